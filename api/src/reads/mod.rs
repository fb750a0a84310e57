//! What everyone may read, from memory. No answer is older than its question: whatever has been
//! committed when a request arrives, by any process or by hand, is in the response. What is in
//! memory is therefore compared with PostgreSQL for every request; but one small statement compares
//! it for all requests that have arrived in the meantime ([`groups`]), and it compares stamps, so
//! that nothing is read, serialised or hashed again that has not changed
//! ([`stamps`](nexus_common::events::stamps)).
//!
//! - [`groups`] – who is answered together
//! - [`memory`] – what is remembered, and how much of it
//! - [`events`], [`lists`] – what can be asked for
//! - [`body`] – a response for many

pub(crate) mod body;
pub(crate) mod events;
pub(crate) mod groups;
pub(crate) mod lists;
pub(crate) mod memory;

use std::sync::Arc;

use nexus_common::{
    Error, Result,
    events::{
        event::require_visible,
        seat_types::EventSeatTypes,
        views::{EventDetail, ListFilter},
    },
    types::{ids::EventId, page::Page, visibility::Viewer},
};
use sqlx::PgPool;

use self::{
    body::Body,
    events::{Events, Shared},
    groups::Groups,
    lists::{KnownLists, ListKey, Lists, NewLists},
};

/// How many bytes are remembered of events, of seat types and of lists.
const EVENTS: usize = 12 << 20;
const SEAT_TYPES: usize = 4 << 20;
const LISTS: usize = 4 << 20;

/// Answers what everyone may ask.
pub(crate) struct Reads {
    events: Groups<Shared<EventDetail>>,
    seat_types: Groups<Shared<EventSeatTypes>>,
    known_lists: Groups<KnownLists>,
    new_lists: Groups<NewLists>,
}

impl Reads {
    pub(crate) fn new(db: &PgPool) -> Self {
        let events = Arc::new(Events::new(EVENTS));
        let lists = Arc::new(Lists::new(LISTS, events.clone()));
        Reads {
            events: Groups::new(db.clone(), Shared(events)),
            seat_types: Groups::new(db.clone(), Shared(Arc::new(Events::new(SEAT_TYPES)))),
            known_lists: Groups::new(db.clone(), KnownLists(lists.clone())),
            new_lists: Groups::new(db.clone(), NewLists(lists)),
        }
    }

    /// The response to `GET /events/:id`.
    pub(crate) async fn event(&self, id: EventId, viewer: Viewer) -> Result<Body> {
        let event = self.events.get(id).await?.ok_or(Error::EventNotFound)?;
        require_visible(event.content.event.visibility(), viewer)?;
        match viewer.user {
            Some(user) if user == event.content.event.organizer_id => {
                Body::for_one(event.content.for_organizer())
            }
            _ => Ok(event.body.clone()),
        }
    }

    /// [`Error::EventNotFound`] unless `viewer` may know of the event.
    pub(crate) async fn require_visible(&self, id: EventId, viewer: Viewer) -> Result<()> {
        let event = self.events.get(id).await?.ok_or(Error::EventNotFound)?;
        require_visible(event.content.event.visibility(), viewer)
    }

    /// The response to `GET /events/:id/seat-types`.
    pub(crate) async fn seat_types(&self, id: EventId, viewer: Viewer) -> Result<Body> {
        let event = self.seat_types.get(id).await?.ok_or(Error::EventNotFound)?;
        require_visible(event.content.visibility, viewer)?;
        Ok(event.body.clone())
    }

    /// The response to `GET /events`.
    pub(crate) async fn list(&self, filter: ListFilter, page: Page) -> Result<Body> {
        let key = ListKey { filter, page };
        let list = match self.known_lists.get(key).await? {
            Some(list) => Some(list),
            None => self.new_lists.get(key).await?,
        };
        Ok(list.ok_or_else(|| Error::internal("a list that was read is gone"))?.body.clone())
    }
}
