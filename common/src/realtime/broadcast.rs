//! One message to clients, and who receives it.

use std::future::Future;

use serde::Serialize;
use serde_json::Value;
use tracing::Instrument;
use utoipa::ToSchema;

use crate::{
    observability::{metrics, traces},
    types::ids::{EventId, UserId},
};

/// What a broadcast says (docs/contract.md#broadcasts).
pub trait Payload: Serialize + ToSchema {
    /// The Socket.IO event's name.
    const EVENT: &'static str;
    /// For the API documents.
    const LISTENERS: Listeners;
}

/// Who hears a kind of broadcast.
#[derive(Clone, Copy, Debug)]
pub enum Listeners {
    Everybody,
    Viewers,
    ViewersOfBookings,
    Buyer,
}

impl Listeners {
    /// The text in the API documents.
    pub fn description(self) -> &'static str {
        match self {
            Listeners::Everybody => {
                "Every client; of drafts and private events, their organiser only."
            }
            Listeners::Viewers => {
                "Clients that have joined the event, and those that have joined none."
            }
            Listeners::ViewersOfBookings => {
                "Clients that have joined the event, and those that have joined none: the buyer's \
                 and the organiser's are told all of it, others without what is nobody else's \
                 business."
            }
            Listeners::Buyer => "The buyer's clients.",
        }
    }
}

/// Every socket is in this room until it joins an event.
pub const ALL_EVENTS: &str = "all";

/// Who receives a broadcast.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Audience {
    /// Every connected client, anonymous ones too.
    Everyone,
    /// Everyone but one user's sockets.
    Others(UserId),
    /// About seats and bookings of an event: those who joined it, and those who never joined any.
    Event(EventId),
    /// The sockets of the booking's parties, among those of `Event`.
    Parties(Parties),
    /// The sockets of `Event` that are not the booking's parties'.
    Bystanders(Parties),
    /// One user's sockets.
    User(UserId),
}

/// The buyer and the organiser of a booking.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Parties {
    pub event: EventId,
    pub buyer: UserId,
    pub organiser: UserId,
}

impl Parties {
    /// The rooms of both parties, as viewers of the event.
    fn rooms(self) -> Vec<String> {
        let viewing = viewers(self.event);
        let mut users = vec![self.buyer, self.organiser];
        users.dedup();
        users.iter().flat_map(|user| viewing.iter().map(|room| own_room(*user, room))).collect()
    }
}

/// One message to clients.
#[derive(Clone, Debug)]
pub struct Broadcast {
    /// The Socket.IO event's name (docs/contract.md#broadcasts).
    pub event: &'static str,
    /// Who receives it.
    pub audience: Audience,
    /// Its one argument.
    pub payload: Value,
}

impl Broadcast {
    /// A broadcast of the payload to `audience`.
    pub fn new<P: Payload>(audience: Audience, payload: P) -> Self {
        let payload = serde_json::to_value(payload).unwrap_or_else(|error| {
            tracing::error!(%error, event = P::EVENT, "a broadcast does not serialise");
            Value::Null
        });
        Broadcast { event: P::EVENT, audience, payload }
    }

    /// Sends it by `emit`: counted, logged, and traced as part of what caused it.
    pub async fn send<E: std::fmt::Display>(
        &self,
        emit: impl Future<Output = Result<(), E>>,
    ) -> Result<(), E> {
        let span = tracing::info_span!(
            "broadcast",
            otel.name = format!("broadcast {}", self.event),
            otel.kind = "producer",
            nexus.broadcast.audience = ?self.audience,
        );
        let sent = emit.instrument(span.clone()).await;
        metrics::broadcast(self.event);
        let trace_id = traces::trace_id(&span);
        tracing::debug!(event = self.event, audience = ?self.audience, trace_id, "broadcast");
        if let Err(error) = &sent {
            traces::failed(&span, &error.to_string());
        }
        sent
    }

    /// The rooms that make up the audience, except those of [`except`](Self::except); none means
    /// everyone.
    pub fn rooms(&self) -> Vec<String> {
        match self.audience {
            Audience::Everyone | Audience::Others(_) => vec![],
            Audience::Event(event) | Audience::Bystanders(Parties { event, .. }) => {
                viewers(event).into()
            }
            Audience::Parties(parties) => parties.rooms(),
            Audience::User(user) => vec![user_room(user)],
        }
    }

    /// The rooms whose sockets do not receive it.
    pub fn except(&self) -> Vec<String> {
        match self.audience {
            Audience::Bystanders(parties) => parties.rooms(),
            Audience::Others(user) => vec![user_room(user)],
            _ => vec![],
        }
    }
}

/// The rooms of the sockets that hear of `event`.
fn viewers(event: EventId) -> [String; 2] {
    [ALL_EVENTS.into(), event_room(event)]
}

/// The room of the sockets that joined `event`.
pub fn event_room(event: EventId) -> String {
    format!("event:{event}")
}

/// The room of `user`'s sockets.
pub fn user_room(user: UserId) -> String {
    format!("user:{user}")
}

/// The room of those of `user`'s sockets that are also in `room`: Socket.IO can add rooms up and
/// leave them out, but not intersect them.
pub fn own_room(user: UserId, room: &str) -> String {
    format!("user:{user}:{room}")
}

/// Whether a room belongs to one user's sockets.
pub fn is_own(room: &str) -> bool {
    room.starts_with("user:")
}

/// Something that can deliver a broadcast.
pub trait Publish: Clone + Send + Sync + 'static {
    /// Delivers, or logs why not; never fails and never blocks for long.
    fn publish(&self, broadcast: Broadcast) -> impl Future<Output = ()> + Send;
}
