//! Events and their seat types in memory. Each is compared with PostgreSQL by its stamp whenever
//! somebody asks for it, and read again when it has changed.

use std::{
    collections::{HashMap, HashSet},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use nexus_common::{
    Result,
    events::{
        seat_types::{self, EventSeatTypes},
        stamps::{Known, Look, Stamp},
        views::{self, Catalogue, EventDetail},
    },
    observability::metrics,
    types::ids::EventId,
};
use sqlx::PgConnection;

use super::{
    body::Body,
    groups::Source,
    memory::{Memory, Weigh},
};

/// Stamps are made of the numbers of transactions, which another server of PostgreSQL may give
/// again where it takes over from one that has lost some: nothing is believed for longer.
const BELIEVED: Duration = Duration::from_secs(60);

/// Something of an event, and the response to everyone who may see it.
#[derive(Debug)]
pub(crate) struct Remembered<T> {
    pub(crate) content: T,
    pub(crate) body: Body,
    stamp: Stamp,
    since: Instant,
}

impl<T> Weigh for Arc<Remembered<T>> {
    fn weight(&self) -> usize {
        // The content is about as long as its JSON, and what is compressed is shorter.
        3 * self.body.json.len() + 500
    }
}

/// Something of an event that can be shown.
pub(crate) trait Shown: Send + Sync + Sized + 'static {
    /// Its name in metrics.
    const NAME: &'static str;

    /// The response to everyone who may see it.
    fn body(&self) -> Result<Body>;
}

impl Shown for EventDetail {
    const NAME: &'static str = "event";

    fn body(&self) -> Result<Body> {
        Body::around(self)
    }
}

impl Shown for EventSeatTypes {
    const NAME: &'static str = "seat_types";

    fn body(&self) -> Result<Body> {
        Body::around(&self.types)
    }
}

/// By event.
pub(crate) type Found<T> = HashMap<EventId, Arc<Remembered<T>>>;

/// The events that are in memory.
pub(crate) struct Events<T>(Mutex<Memory<EventId, Arc<Remembered<T>>>>);

impl<T: Shown> Events<T> {
    /// Remembers so many bytes.
    pub(crate) fn new(most: usize) -> Self {
        Events(Mutex::new(Memory::new(most)))
    }

    fn memory(&self) -> MutexGuard<'_, Memory<EventId, Arc<Remembered<T>>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What is known of these events.
    fn recall(&self, events: HashSet<EventId>) -> (Vec<Known>, Found<T>) {
        let mut memory = self.memory();
        let mut found = Found::new();
        let known = events.into_iter().map(|event| {
            let remembered = memory.get(&event).filter(|known| known.since.elapsed() < BELIEVED);
            let stamp = remembered.as_ref().map(|known| known.stamp);
            found.extend(remembered.map(|known| (event, known)));
            Known { event, stamp }
        });
        (known.collect(), found)
    }

    /// What is known of the events after another look.
    fn learn(&self, mut known: Found<T>, looks: Vec<Look<T>>) -> Result<Found<T>> {
        let mut found = Found::with_capacity(looks.len());
        let (mut same, mut changed) = (0, 0);
        for Look { event, stamp, changed: content } in looks {
            let now = match (content, known.remove(&event)) {
                (Some(content), _) => {
                    changed += 1;
                    let body = content.body()?;
                    let now = Remembered { content, body, stamp, since: Instant::now() };
                    let now = Arc::new(now);
                    self.memory().insert(event, now.clone());
                    now
                }
                (None, Some(known)) => {
                    same += 1;
                    known
                }
                (None, None) => continue,
            };
            found.insert(event, now);
        }
        metrics::looked(T::NAME, same, changed);
        Ok(found)
    }
}

impl Events<EventDetail> {
    /// Looks at events, and at what the lists are made of, at one moment.
    pub(crate) async fn look(
        &self,
        conn: &mut PgConnection,
        events: HashSet<EventId>,
    ) -> Result<(Catalogue, Found<EventDetail>)> {
        let (asked, known) = self.recall(events);
        let now = views::events(conn, &asked).await?;
        Ok((now.catalogue, self.learn(known, now.found)?))
    }
}

/// The source of [`Events`], which other sources may share.
pub(crate) struct Shared<T>(pub(crate) Arc<Events<T>>);

impl Source for Shared<EventDetail> {
    type Key = EventId;
    type Answer = Arc<Remembered<EventDetail>>;

    const NAME: &'static str = EventDetail::NAME;

    async fn read(
        &self,
        conn: &mut PgConnection,
        events: HashSet<EventId>,
    ) -> Result<Found<EventDetail>> {
        Ok(self.0.look(conn, events).await?.1)
    }
}

impl Source for Shared<EventSeatTypes> {
    type Key = EventId;
    type Answer = Arc<Remembered<EventSeatTypes>>;

    const NAME: &'static str = EventSeatTypes::NAME;

    async fn read(
        &self,
        conn: &mut PgConnection,
        events: HashSet<EventId>,
    ) -> Result<Found<EventSeatTypes>> {
        let (asked, known) = self.0.recall(events);
        let looks = seat_types::of_events(conn, &asked).await?;
        self.0.learn(known, looks)
    }
}
