//! Lists of events in memory: which events are on a page is the same for as long as the catalogue
//! is, and the events themselves are those of [`events`](super::events).

use std::{
    collections::{HashMap, HashSet},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use nexus_common::{
    Error, Result,
    events::views::{self, Catalogue, EventDetail, EventListItem, ListFilter},
    types::{
        ids::EventId,
        page::{Page, Pagination},
    },
};
use serde::Serialize;
use sqlx::{Connection, PgConnection};

use super::{
    body::Body,
    events::{Events, Found, Remembered},
    groups::Source,
    memory::{Memory, Weigh},
};

/// Which events, and which page of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct ListKey {
    pub(crate) filter: ListFilter,
    pub(crate) page: Page,
}

/// A page of a list.
#[derive(Debug)]
pub(crate) struct List {
    catalogue: Catalogue,
    total: i64,
    events: Vec<Arc<Remembered<EventDetail>>>,
    pub(crate) body: Body,
}

impl Weigh for Arc<List> {
    fn weight(&self) -> usize {
        // Whatever is compressed is shorter.
        2 * self.body.json.len() + 16 * self.events.len() + 500
    }
}

#[derive(Serialize)]
struct Response<'a> {
    data: &'a [&'a EventListItem],
    pagination: Pagination,
}

/// The response with a page (docs/contract.md#transport).
pub(crate) fn response(data: &[&EventListItem], pagination: Pagination) -> Result<Body> {
    Body::of(&Response { data, pagination })
}

impl List {
    /// A list with these members, if all of them have been found.
    fn of(
        catalogue: Catalogue,
        page: Page,
        members: impl Iterator<Item = EventId>,
        total: i64,
        found: &Found<EventDetail>,
    ) -> Result<Option<Self>> {
        let events: Option<Vec<_>> = members.map(|id| found.get(&id).cloned()).collect();
        let Some(events) = events else { return Ok(None) };
        let items: Vec<_> = events.iter().map(|event| &event.content.event).collect();
        let body = response(&items, page.describe(total))?;
        Ok(Some(List { catalogue, total, events, body }))
    }

    fn members(&self) -> impl Iterator<Item = EventId> {
        self.events.iter().map(|event| event.content.event.id)
    }

    /// Whether its events are still the same.
    fn is_of(&self, found: &Found<EventDetail>) -> bool {
        self.events.iter().all(|event| {
            found.get(&event.content.event.id).is_some_and(|now| Arc::ptr_eq(now, event))
        })
    }
}

/// The lists that are in memory.
pub(crate) struct Lists {
    events: Arc<Events<EventDetail>>,
    lists: Mutex<Memory<ListKey, Arc<List>>>,
}

impl Lists {
    /// Remembers so many bytes, besides the events.
    pub(crate) fn new(most: usize, events: Arc<Events<EventDetail>>) -> Self {
        Lists { events, lists: Mutex::new(Memory::new(most)) }
    }

    fn memory(&self) -> MutexGuard<'_, Memory<ListKey, Arc<List>>> {
        self.lists.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Lists whose members are in memory. Their events may have changed.
pub(crate) struct KnownLists(pub(crate) Arc<Lists>);

impl Source for KnownLists {
    type Key = ListKey;
    type Answer = Arc<List>;

    const NAME: &'static str = "list";
    const MOST_KEYS: usize = 16;

    async fn read(
        &self,
        conn: &mut PgConnection,
        keys: HashSet<ListKey>,
    ) -> Result<HashMap<ListKey, Arc<List>>> {
        let known: Vec<_> = {
            let mut memory = self.0.memory();
            keys.into_iter().filter_map(|key| Some((key, memory.get(&key)?))).collect()
        };
        if known.is_empty() {
            return Ok(HashMap::new());
        }
        let members = known.iter().flat_map(|(_, list)| list.members()).collect();
        let (catalogue, found) = self.0.events.look(conn, members).await?;
        let mut lists = HashMap::new();
        for (key, list) in known {
            if list.catalogue != catalogue {
                continue;
            }
            if list.is_of(&found) {
                lists.insert(key, list);
            } else if let Some(now) =
                List::of(catalogue, key.page, list.members(), list.total, &found)?
            {
                let now = Arc::new(now);
                self.0.memory().insert(key, now.clone());
                lists.insert(key, now);
            }
        }
        Ok(lists)
    }
}

/// Lists whose members have to be read. PostgreSQL counts events for that, so each is read by
/// itself: it must not keep callers of other lists waiting.
pub(crate) struct NewLists(pub(crate) Arc<Lists>);

impl Source for NewLists {
    type Key = ListKey;
    type Answer = Arc<List>;

    const NAME: &'static str = "new_list";
    const MOST_KEYS: usize = 1;
    const PATIENCE: Duration = Duration::ZERO;

    async fn read(
        &self,
        conn: &mut PgConnection,
        keys: HashSet<ListKey>,
    ) -> Result<HashMap<ListKey, Arc<List>>> {
        let mut lists = HashMap::new();
        for key in keys {
            // One moment for the members and what they are.
            let mut tx = conn.begin_with("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY").await?;
            let (members, total) = views::list(&mut tx, key.filter, key.page).await?;
            let (catalogue, found) =
                self.0.events.look(&mut tx, members.iter().copied().collect()).await?;
            tx.rollback().await?;
            let list = List::of(catalogue, key.page, members.into_iter(), total, &found)?;
            let list = list.ok_or_else(|| Error::internal("an event of a list is not there"))?;
            let list = Arc::new(list);
            self.0.memory().insert(key, list.clone());
            lists.insert(key, list);
        }
        Ok(lists)
    }
}
