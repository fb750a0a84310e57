//! Gaps: as long as Redis is away, clients do not hear what other processes say. When it is back,
//! they are told the counts of each event that has changed meanwhile: from a version that they do
//! not know they see that they have missed something, and fetch the seat map.

use std::{
    collections::{HashSet, VecDeque},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use nexus_common::{
    Result,
    events::inventory::{self, Moment},
    realtime::{Coalesced, Publish},
    storage::postgres::bounded,
    types::{backoff::Backoff, ids::EventId},
};
use sqlx::PgPool;
use tokio::{
    sync::Notify,
    time::{interval, sleep},
};

/// How often a moment is remembered.
const EVERY: Duration = Duration::from_secs(5);
/// So that the oldest was before a gap of which the listener learns by Redis' silence.
const REMEMBERED: usize = 4;

/// Between two events that are told. Each is read from PostgreSQL, whose connections buyers need.
const PACE: Duration = Duration::from_millis(5);

/// Whether there is a gap, and since when.
#[derive(Clone, Default)]
pub(crate) struct Gaps(Arc<Inner>);

#[derive(Default)]
struct Inner {
    moments: Mutex<Moments>,
    ended: Notify,
}

#[derive(Default)]
struct Moments {
    latest: VecDeque<Moment>,
    /// Nothing comes from other processes, or nothing reaches them.
    gaps: HashSet<Way>,
    /// Clients know of everything before.
    missed_since: Option<Moment>,
}

/// Which way broadcasts do not go.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Way {
    In,
    Out,
}

impl Gaps {
    fn moments(&self) -> MutexGuard<'_, Moments> {
        self.0.moments.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// From now on, and perhaps for some time before, no broadcast goes that way.
    pub(super) fn begin(&self, way: Way) {
        let mut moments = self.moments();
        moments.gaps.insert(way);
        moments.missed_since = moments.missed_since.or(moments.latest.front().copied());
    }

    /// Broadcasts go that way again.
    pub(super) fn end(&self, way: Way) {
        let mut moments = self.moments();
        moments.gaps.remove(&way);
        if moments.gaps.is_empty() {
            self.0.ended.notify_one();
        }
    }

    fn remember(&self, moment: Moment) {
        let mut moments = self.moments();
        moments.latest.push_back(moment);
        if !moments.gaps.is_empty() {
            // A process that has started without Redis.
            moments.missed_since.get_or_insert(moment);
        }
        if moments.latest.len() > REMEMBERED {
            moments.latest.pop_front();
        }
    }
}

/// Tells clients after each gap, for as long as the process lives.
pub(crate) async fn tell<P: Publish>(db: PgPool, counts: Coalesced<P>, gaps: Gaps) {
    let mut now = interval(EVERY);
    loop {
        tokio::select! {
            _ = now.tick() => match bounded(moment(&db)).await {
                Ok(moment) => gaps.remember(moment),
                Err(error) => tracing::debug!(error = error.details(), "the moment is not known"),
            },
            () = gaps.0.ended.notified() => {
                let since = gaps.moments().missed_since.take();
                if let Some(since) = since {
                    tell_since(&db, &counts, since).await;
                }
            }
        }
    }
}

async fn tell_since<P: Publish>(db: &PgPool, counts: &Coalesced<P>, since: Moment) {
    let mut waits = Backoff::default();
    loop {
        match bounded(changed(db, since)).await {
            Ok(events) => {
                tracing::info!(events = events.len(), "clients are told what they have missed");
                for event in events {
                    counts.changed(event);
                    sleep(PACE).await;
                }
                return;
            }
            Err(error) if waits.is_failing() => {
                tracing::debug!(error = error.details(), "nobody is told yet what was missed");
            }
            Err(error) => {
                tracing::warn!(error = error.details(), "nobody is told yet what was missed");
            }
        }
        sleep(waits.next_wait()).await;
    }
}

async fn moment(db: &PgPool) -> Result<Moment> {
    inventory::moment(&mut *db.acquire().await?).await
}

async fn changed(db: &PgPool, since: Moment) -> Result<Vec<EventId>> {
    inventory::changed_since(&mut *db.acquire().await?, since).await
}
