//! How a seat is locked when thousands want it (ARCHITECTURE.md, "Seats: hybrid lock").
//!
//! Redis turns away everyone who comes second. Those it lets through are written to PostgreSQL in groups: whatever arrived while the previous
//! group committed becomes one transaction, because a single hot row commits only so many times a second. A caller is answered after its
//! group's commit. PostgreSQL has the final word; without Redis it decides alone. What a group's transaction does is in
//! [`seat_lock_groups`](super::seat_lock_groups).

use std::{sync::Arc, time::Duration};

use serde::Serialize;
use sqlx::PgPool;
use tokio::sync::{mpsc, oneshot};
use utoipa::ToSchema;

use super::{
    ids::{EventId, SeatTypeId, UserId},
    schemas::SeatStatus,
    seat_lock_groups::decide,
    seat_selection::Selection,
    seats::{self, Freed, SeatKey, SeatLabel},
    time::Timestamp,
};
use crate::{
    cache::{Cache, Hint},
    db::bounded,
    error::{Error, Kind, Result},
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
        SeatKey { event: self.event_id, seat_type: self.event_seat_type_id, label: self.seat_label.clone() }
    }
}

/// Locks that have been won.
#[derive(Clone, Debug)]
pub struct Won {
    /// Each lock, and what is left of its seat type after it.
    pub locks: Vec<(Lock, i32)>,
    /// Whether Redis took part in the decision.
    pub cache_hit: bool,
    /// Expired locks that were cleared away with the same commit; whoever gets them tells the clients.
    pub cleared: Vec<Freed>,
}

/// Somebody wants seats.
#[derive(Clone, Debug)]
pub(super) struct Request {
    pub(super) user: UserId,
    pub(super) selection: Selection,
}

type Answer = oneshot::Sender<Result<Won>>;

/// The way to lock seats. Cheap to clone.
#[derive(Clone)]
pub struct SeatLocks {
    cache: Cache,
    db: PgPool,
    queue: mpsc::Sender<(Request, Answer)>,
    valid: Duration,
}

/// Locks that are written in one transaction.
const GROUP: usize = 100;
/// A group that collides is decided at most so often.
const ATTEMPTS: u32 = 5;
/// Locks that may wait; more than that are told to come back.
const WAITING: usize = 10_000;
/// Longest that a caller waits for an answer.
const PATIENCE: Duration = Duration::from_secs(15);

impl SeatLocks {
    /// Starts the task that writes the groups. Locks are valid for `valid`.
    pub fn start(db: PgPool, cache: Cache, valid: Duration) -> Self {
        let (queue, waiting) = mpsc::channel(WAITING);
        tokio::spawn(write_groups(db.clone(), waiting, valid));
        SeatLocks { cache, db, queue, valid }
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
        // A key can outlive its row (a crash between a commit and the key's removal). It must not win for long.
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
        self.queue.try_send((request, answer)).map_err(|_| overloaded())?;
        match tokio::time::timeout(PATIENCE, answered).await {
            Ok(Ok(result)) => result,
            Ok(Err(_)) => Err(Error::internal("the lock writer is gone")),
            Err(_) => Err(overloaded()),
        }
    }
}

async fn write_groups(db: PgPool, mut waiting: mpsc::Receiver<(Request, Answer)>, valid: Duration) {
    let mut group = Vec::with_capacity(GROUP);
    while waiting.recv_many(&mut group, GROUP).await > 0 {
        // Nobody waits for these any more: a lock that its caller does not hear of would only block the seat.
        group.retain(|(_, answer): &(Request, Answer)| !answer.is_closed());
        let (requests, answers): (Vec<Request>, Vec<Answer>) = group.drain(..).unzip();
        match bounded(write_group(&db, &requests, valid)).await {
            Ok(results) => {
                for (answer, result) in answers.into_iter().zip(results) {
                    // The caller may have gone; its lock runs out by itself.
                    let _ = answer.send(result);
                }
            }
            // One bad apple must not spoil the group: each by itself, once.
            Err(error) if error.kind() == Kind::Internal && requests.len() > 1 => {
                tracing::error!(error = error.details(), "a group of locks failed; writing one by one");
                for (request, answer) in requests.iter().zip(answers) {
                    let result = bounded(write_group(&db, std::slice::from_ref(request), valid)).await;
                    let _ = answer.send(result.and_then(|mut only| {
                        only.pop().unwrap_or_else(|| Err(Error::internal("no answer")))
                    }));
                }
            }
            Err(error) => {
                let cause: Arc<str> = error.details().into();
                let unavailable = error.kind() == Kind::Unavailable;
                for answer in answers {
                    let error = if unavailable {
                        Error::Unavailable(cause.as_ref().into())
                    } else {
                        Error::internal(cause.as_ref())
                    };
                    let _ = answer.send(Err(error));
                }
            }
        }
    }
}

/// Writes a group; one answer a request, in order. The Node service does not open the inventory, so that a group can collide with it: then
/// everything is decided anew.
async fn write_group(db: &PgPool, requests: &[Request], valid: Duration) -> Result<Vec<Result<Won>>> {
    let mut attempt = 1;
    loop {
        match try_group(db, requests, valid).await {
            Err(error @ Error::Collision(_)) if attempt < ATTEMPTS => {
                tracing::info!(error = error.details(), attempt, "a group of locks is decided anew");
                attempt += 1;
            }
            result => return result,
        }
    }
}

/// Writes a group in one transaction.
async fn try_group(db: &PgPool, requests: &[Request], valid: Duration) -> Result<Vec<Result<Won>>> {
    let mut tx = db.begin().await?;
    let answers = decide(&mut tx, requests, valid).await?;
    if answers.iter().any(Result::is_ok) {
        tx.commit().await?;
    } else {
        tx.rollback().await?;
    }
    Ok(answers)
}
