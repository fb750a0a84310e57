//! Seat maps when many users ask at once: a process takes one snapshot of an event at a time, and
//! users who ask meanwhile, or a moment later, share it. Their own seats are marked from the same
//! snapshot, and whether the event has been hidden since is asked for many together, so that a
//! thousand readers cost hardly more than one.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use nexus_common::{
    Error, Result,
    events::event::require_visible,
    realtime::{AfterCommit, Coalesced},
    seats::{
        broadcasts::{self, UnlockReason},
        map::{self, Snapshot},
        visibilities,
    },
    storage::{Cache, groups::Groups, postgres::bounded},
    types::{
        ids::{EventId, UserId},
        visibility::{Viewer, Visibility},
    },
};
use sqlx::PgPool;
use tokio::sync::watch;

use crate::{reads::body::Body, socketio::delivery::Everyone};

/// How long a finished snapshot is shared. A client that has heard of a later version sees from the
/// map's version that the map is older.
const SHARED: Duration = Duration::from_millis(100);
/// Longer than a snapshot takes and is shared.
const REMEMBERED: Duration = Duration::from_secs(60);
/// How many changes are remembered before old ones are removed.
const MANY: usize = 1_000;

/// Snapshots that are being taken or shared, and users who must not be shown an older one.
#[derive(Clone)]
pub(crate) struct SeatMaps(Arc<Maps>);

struct Maps {
    db: PgPool,
    cache: Cache,
    everyone: Everyone,
    counts: Coalesced<Everyone>,
    visibilities: Groups<EventId, Option<Visibility>>,
    snapshots: Mutex<HashMap<EventId, Taking>>,
    /// When a user last changed something through this process: an earlier map would not show it.
    changes: Mutex<HashMap<UserId, Instant>>,
}

/// A snapshot that is being taken, or has been.
#[derive(Clone)]
struct Taking {
    began: Instant,
    taken: watch::Receiver<Option<Taken>>,
}

#[derive(Clone)]
struct Taken {
    at: Instant,
    result: Result<Arc<Shared>, Arc<Error>>,
}

/// A snapshot, and the response to all users who have no seats in it.
struct Shared {
    snapshot: Snapshot,
    strangers: Body,
}

impl Taking {
    fn is_under_way(&self) -> bool {
        self.taken.borrow().is_none() && self.taken.has_changed().is_ok()
    }

    /// A failure is only for the callers who have waited for it.
    fn is_fresh(&self) -> bool {
        self.taken
            .borrow()
            .as_ref()
            .is_some_and(|taken| taken.result.is_ok() && taken.at.elapsed() <= SHARED)
    }
}

impl SeatMaps {
    /// Maps from `db`; frees expired locks on the way, and tells clients.
    pub(crate) fn new(
        db: PgPool,
        cache: Cache,
        everyone: Everyone,
        counts: Coalesced<Everyone>,
    ) -> Self {
        SeatMaps(Arc::new(Maps {
            visibilities: visibilities::current(db.clone()),
            db,
            cache,
            everyone,
            counts,
            snapshots: Mutex::default(),
            changes: Mutex::default(),
        }))
    }

    /// Notes that a user has changed something.
    pub(crate) fn changed(&self, user: UserId) {
        let mut changes = locked(&self.0.changes);
        if changes.len() >= MANY {
            changes.retain(|_, at| at.elapsed() < REMEMBERED);
        }
        changes.insert(user, Instant::now());
    }

    /// The response to `GET /seats/:eventId`.
    pub(crate) async fn response(&self, event: EventId, viewer: Viewer) -> Result<Body> {
        let asked = Instant::now();
        let (shared, began) = self.shared(event, viewer.user).await?;
        if began < asked {
            // The event may have been hidden since, or shown.
            let visibility = self.0.visibilities.call(event).await?.ok_or(Error::EventNotFound)?;
            require_visible(visibility, viewer)?;
        } else {
            shared.snapshot.require_visible(viewer)?;
        }
        match viewer.user {
            Some(user) if shared.snapshot.has_seats_of(user) => {
                Body::for_one(shared.snapshot.map(viewer.user))
            }
            _ => Ok(shared.strangers.clone()),
        }
    }

    /// Also says when it began to be taken.
    async fn shared(
        &self,
        event: EventId,
        viewer: Option<UserId>,
    ) -> Result<(Arc<Shared>, Instant)> {
        let since = viewer.and_then(|user| locked(&self.0.changes).get(&user).copied());
        loop {
            let mut taking = self.join(event, since);
            let taken = taking.taken.wait_for(Option::is_some).await.map(|taken| taken.clone());
            let Ok(Some(Taken { result, .. })) = taken else {
                return Err(Error::internal("the task that takes a snapshot is gone"));
            };
            // A snapshot that began before the caller's own change may not show it; the next one
            // will.
            if since.is_none_or(|since| since <= taking.began) {
                let shared = result.map_err(|error| error.repeated())?;
                return Ok((shared, taking.began));
            }
        }
    }

    /// Joins the snapshot that is being taken or shared, or begins one.
    fn join(&self, event: EventId, since: Option<Instant>) -> Taking {
        let mut snapshots = locked(&self.0.snapshots);
        if let Some(taking) = snapshots.get(&event)
            && (taking.is_under_way()
                || (taking.is_fresh() && since.is_none_or(|since| since <= taking.began)))
        {
            return taking.clone();
        }
        let (sender, taken) = watch::channel(None);
        let taking = Taking { began: Instant::now(), taken };
        snapshots.insert(event, taking.clone());
        // A separate task: the first caller may leave, and the others still get their response.
        tokio::spawn(take(self.0.clone(), event, taking.began, sender));
        taking
    }
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

async fn take(
    maps: Arc<Maps>,
    event: EventId,
    began: Instant,
    sender: watch::Sender<Option<Taken>>,
) {
    let result = bounded(maps.tidy_snapshot(event)).await.map(Arc::new).map_err(Arc::new);
    let is_shared = result.is_ok();
    sender.send_replace(Some(Taken { at: Instant::now(), result }));
    if is_shared {
        tokio::time::sleep(SHARED).await;
    }
    maps.forget(event, began);
}

impl Maps {
    /// Forgets a snapshot, unless another has come in its place.
    fn forget(&self, event: EventId, began: Instant) {
        let mut snapshots = locked(&self.snapshots);
        if snapshots.get(&event).is_some_and(|taking| taking.began == began) {
            snapshots.remove(&event);
        }
    }

    /// A snapshot without expired locks, as far as they can be freed; otherwise the map is shown
    /// with them.
    async fn tidy_snapshot(&self, event: EventId) -> Result<Shared> {
        let mut snapshot = self.snapshot(event).await?;
        if snapshot.is_behind() {
            match self.tidy(&snapshot).await {
                Ok(true) => snapshot = self.snapshot(event).await?,
                Ok(false) => {}
                // The expiry worker tells operators what prevents it.
                Err(error) => {
                    tracing::debug!(
                        event_id = event.0,
                        error = error.details(),
                        "locks that are over stay"
                    );
                }
            }
        }
        Ok(Shared { strangers: Body::around(snapshot.map(None))?, snapshot })
    }

    /// Frees expired locks; false when another transaction is about to change the event's counts.
    async fn tidy(&self, snapshot: &Snapshot) -> Result<bool> {
        let mut tx = self.db.begin().await?;
        let Some(freed) = snapshot.free_expired(&mut tx).await? else { return Ok(false) };
        tx.commit().await?;
        let mut after = AfterCommit::default();
        broadcasts::freed(&mut after, freed, UnlockReason::Expired);
        after.run(&self.cache, &self.everyone, &self.counts).await;
        Ok(true)
    }

    async fn snapshot(&self, event: EventId) -> Result<Snapshot> {
        let mut tx = self.db.begin_with("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY").await?;
        let snapshot = map::snapshot(&mut tx, event).await?;
        tx.rollback().await?;
        Ok(snapshot)
    }
}
