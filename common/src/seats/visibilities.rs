//! Who may know of an event, when many ask at once: PostgreSQL is asked for all of them together,
//! and for those whom Redis has turned away not again for a second. Whoever gets a seat is decided
//! by PostgreSQL itself.

use std::{
    collections::{BTreeSet, HashMap},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use sqlx::{PgConnection, PgPool, types::Json};

use crate::{
    error::{Error, Result},
    events::event::require_visible,
    storage::{groups::Groups, postgres::promptly_from},
    types::{
        ids::EventId,
        visibility::{Viewer, Visibility},
    },
};

/// How long an answer that lets somebody know of an event is good.
const FRESH: Duration = Duration::from_secs(1);
/// Beyond this number, those that are over are forgotten.
const MOST: usize = 1_000;

/// Cheap to clone.
#[derive(Clone)]
pub(super) struct Visibilities {
    known: Arc<Mutex<HashMap<EventId, (Visibility, Instant)>>>,
    asked: Groups<EventId, Option<Visibility>>,
}

impl Visibilities {
    pub(super) fn new(db: PgPool) -> Self {
        Visibilities { known: Arc::default(), asked: current(db) }
    }

    /// [`Error::EventNotFound`] unless `viewer` may know of the event, or might a second ago.
    pub(super) async fn require(&self, event: EventId, viewer: Viewer) -> Result<()> {
        let known = self.known().get(&event).copied();
        if let Some((visibility, at)) = known
            && at.elapsed() < FRESH
            && visibility.is_open_to(viewer)
        {
            return Ok(());
        }
        let visibility = self.asked.call(event).await?.ok_or(Error::EventNotFound)?;
        let mut known = self.known();
        if known.len() >= MOST {
            known.retain(|_, (_, at)| at.elapsed() < FRESH);
        }
        known.insert(event, (visibility, Instant::now()));
        require_visible(visibility, viewer)
    }

    fn known(&self) -> MutexGuard<'_, HashMap<EventId, (Visibility, Instant)>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Who may know of an event now; `None` if there is none.
pub fn current(db: PgPool) -> Groups<EventId, Option<Visibility>> {
    Groups::new(move |events: Vec<EventId>| {
        let db = db.clone();
        async move {
            let read = async { read(&mut *db.acquire().await?, &events).await };
            promptly_from(&db, read).await
        }
    })
}

async fn read(
    conn: &mut PgConnection,
    events: &[EventId],
) -> Result<Vec<Result<Option<Visibility>>>> {
    let ids = Vec::from_iter(events.iter().copied().collect::<BTreeSet<_>>());
    let rows = sqlx::query!(
        r#"SELECT id AS "id: EventId", event_visibility(events) AS "visibility!: Json<Visibility>" FROM events WHERE id = ANY ($1)"#,
        &ids as _,
    );
    let rows = rows.fetch_all(conn).await?.into_iter();
    let found: HashMap<EventId, Visibility> = rows.map(|row| (row.id, row.visibility.0)).collect();
    Ok(events.iter().map(|event| Ok(found.get(event).copied())).collect())
}
