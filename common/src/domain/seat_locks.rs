//! How a seat is locked when thousands want it (ARCHITECTURE.md, "Seats: hybrid lock").
//!
//! Redis turns away everyone who comes second. Those it lets through are written to PostgreSQL in
//! groups, event by event: whatever arrived while the event's previous group committed becomes one
//! transaction, because a single hot row commits only so many times a second. A caller is answered
//! after its group's commit. PostgreSQL has the final word; without Redis it decides alone. What
//! brings the groups together is in [`seat_lock_queues`](super::seat_lock_queues), what a group's
//! transaction does in [`seat_lock_groups`](super::seat_lock_groups).

use std::{sync::Arc, time::Duration};

use serde::Serialize;
use sqlx::PgPool;
use tokio::sync::oneshot;
use utoipa::ToSchema;

use super::{
    ids::{EventId, SeatTypeId, UserId},
    schemas::SeatStatus,
    seat_lock_queues::Writer,
    seat_selection::Selection,
    seats::{self, Freed, SeatKey, SeatLabel},
    time::Timestamp,
};
use crate::{
    cache::{Cache, Hint},
    config::Database,
    db,
    error::{Error, Result},
};

/// A lock as the API shows it.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[allow(missing_docs)] // columns of `seats`
pub struct Lock {
    pub id: i32,
    pub event_id: EventId,
    pub event_seat_type_id: SeatTypeId,
    pub seat_label: SeatLabel,
    pub user_id: UserId,
    #[schema(value_type = SeatStatus)]
    pub status: &'static str,
    pub locked_at: Timestamp,
    pub expires_at: Timestamp,
}

impl Lock {
    /// Of which seat.
    pub fn key(&self) -> SeatKey {
        SeatKey {
            event: self.event_id,
            seat_type: self.event_seat_type_id,
            label: self.seat_label.clone(),
        }
    }
}

/// Locks that have been won.
#[derive(Clone, Debug)]
pub struct Won {
    /// Each lock, and what is left of its seat type after it.
    pub locks: Vec<(Lock, i32)>,
    /// Of the event's counts, with these locks.
    pub version: i64,
    /// Whether Redis took part in the decision.
    pub cache_hit: bool,
    /// Expired locks that were cleared away with the same commit; whoever gets them tells the
    /// clients.
    pub cleared: Vec<Freed>,
}

/// Somebody wants seats.
#[derive(Clone, Debug)]
pub(super) struct Request {
    pub(super) user: UserId,
    pub(super) selection: Selection,
}

/// The way to lock seats. Cheap to clone.
#[derive(Clone)]
pub struct SeatLocks {
    cache: Cache,
    db: PgPool,
    writer: Arc<Writer>,
    valid: Duration,
}

/// Longest that a caller waits for an answer.
const PATIENCE: Duration = Duration::from_secs(15);
/// Longest that a group waits for its event's inventory, with one of few connections.
const LOCK_TIMEOUT: Duration = Duration::from_secs(2);

/// The connections over which locks are written, and nothing else: whatever else a process does, it
/// can lock seats.
pub fn pool(database: &Database, connections: u32, process: &str) -> PgPool {
    let settings = Database {
        max_connections: connections,
        lock_timeout: database.lock_timeout.min(LOCK_TIMEOUT),
        ..database.clone()
    };
    db::pool(&settings, process)
}

impl SeatLocks {
    /// Looks over the connections of `db` and writes over those of `writing`. Locks are valid for
    /// `valid`.
    pub fn new(db: PgPool, writing: PgPool, cache: Cache, valid: Duration) -> Self {
        SeatLocks { cache, db, writer: Writer::new(writing, valid), valid }
    }

    /// The connections over which it writes.
    pub fn pool(&self) -> &PgPool {
        self.writer.pool()
    }

    /// How long a lock is valid.
    pub fn valid(&self) -> Duration {
        self.valid
    }

    /// Locks the seats of `selection` for `user`, all or none.
    pub async fn lock(&self, user: UserId, selection: Selection) -> Result<Won> {
        let keys = selection.keys();
        let mut taken = Vec::with_capacity(keys.len());
        let mut result = Ok(());
        for seat in &keys {
            match self.take_key(seat, user).await {
                Ok(Hint::Won) => taken.push(seat.clone()),
                Ok(_) => {}
                Err(error) => {
                    result = Err(error);
                    break;
                }
            }
        }
        let cache_hit = !taken.is_empty() && taken.len() == keys.len();
        let result = match result {
            Ok(()) => self.write(Request { user, selection }).await,
            Err(error) => Err(error),
        };
        match &result {
            Ok(won) => {
                // Written together, so that all have the same times.
                if let Some((first, _)) = won.locks.first() {
                    let keys: Vec<SeatKey> = won.locks.iter().map(|(lock, _)| lock.key()).collect();
                    self.cache.keep_seats(&keys, user, first.locked_at, first.expires_at).await;
                }
            }
            Err(_) => self.cache.drop_seats(&taken, user).await,
        }
        result.map(|won| Won { cache_hit, ..won })
    }

    /// Step 1: Redis turns away who comes second.
    async fn take_key(&self, seat: &SeatKey, user: UserId) -> Result<Hint> {
        let now = Timestamp::now();
        let until = Timestamp(now.0 + self.valid);
        let taken = || Error::SeatTaken(seat.label.to_string());
        match self.cache.take_seat(seat, user, now, until).await {
            Hint::Taken => {}
            hint => return Ok(hint),
        }
        // A key can outlive its row (a crash between a commit and the key's removal). It must not
        // win for long.
        if !self.cache.may_recheck(seat).await {
            return Err(taken());
        }
        let mut conn = self.db.acquire().await?;
        if seats::is_taken(&mut conn, seat).await? {
            return Err(taken());
        }
        drop(conn);
        self.cache.drop_stale_seat(seat).await;
        match self.cache.take_seat(seat, user, now, until).await {
            Hint::Taken => Err(taken()),
            hint => Ok(hint),
        }
    }

    /// Step 2: PostgreSQL decides.
    async fn write(&self, request: Request) -> Result<Won> {
        let (answer, answered) = oneshot::channel();
        let overloaded = || Error::Unavailable("too many locks are waiting".into());
        if !self.writer.push(request, answer) {
            return Err(overloaded());
        }
        match tokio::time::timeout(PATIENCE, answered).await {
            Ok(Ok(result)) => result,
            Ok(Err(_)) => Err(Error::internal("the lock writer is gone")),
            Err(_) => Err(overloaded()),
        }
    }
}
