//! Requests that wait for seats, event by event. The first request for an event starts the task
//! that writes the event's groups; the task ends when no request waits any more. One transaction at
//! a time writes an event, and as many events are written at once as there are connections for it.
//! While another transaction holds an event's inventory, its task gives the connection back for a
//! while, and its requests wait on for as long as their callers do.

use std::{
    collections::{HashMap, VecDeque, hash_map::Entry},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use sqlx::{PgPool, Postgres, pool::PoolConnection};
use tokio::{
    sync::{Semaphore, oneshot},
    time::sleep,
};

use super::{
    lock::{Request, Terms, WonLocks},
    lock_groups::{decide, decide_locked},
};
use crate::{
    error::{Error, Kind, Result},
    storage::postgres::{FRESH, bounded},
    types::ids::EventId,
};

pub(super) type Reply = oneshot::Sender<Result<WonLocks>>;
type Waiting = (Request, Reply);

/// Requests that are written in one transaction.
const GROUP: usize = 100;
/// How often a group that collides is decided anew, at most.
const ATTEMPTS: u32 = 5;
/// Requests that may wait in all, and for one event; further ones are told to come back.
const WAITING: usize = 10_000;
const WAITING_FOR_ONE: usize = 5_000;
/// The same for an event whose inventory another transaction holds: its callers get nothing for
/// their patience.
const WAITING_FOR_HELD: usize = 200;
/// How long an event steps back while another transaction holds its inventory.
const PAUSE: Duration = Duration::from_millis(100);

/// Writes the waiting requests.
pub(super) struct Writer {
    db: PgPool,
    terms: Terms,
    /// One for each connection.
    turns: Semaphore,
    queues: Mutex<Queues>,
    /// Connections that wrote a group a moment ago. To give them back to the pool each time would
    /// cost two round trips.
    kept: Mutex<Vec<(PoolConnection<Postgres>, Instant)>>,
}

#[derive(Default)]
struct Queues {
    /// Each event in the map has a task.
    events: HashMap<EventId, Line>,
    waiting: usize,
}

/// Those who wait for one event.
#[derive(Default)]
struct Line {
    waiting: VecDeque<Waiting>,
    /// How many are being written, and wait on if they cannot be.
    in_hand: usize,
    /// Whether its inventory was held when it was last tried to write them.
    is_held: bool,
}

impl Line {
    fn is_full(&self) -> bool {
        let most = if self.is_held { WAITING_FOR_HELD } else { WAITING_FOR_ONE };
        self.waiting.len() + self.in_hand >= most
    }
}

impl Writer {
    /// Writes over the connections of `db`, which nothing else uses.
    pub(super) fn new(db: PgPool, terms: Terms) -> Arc<Self> {
        let turns = Semaphore::new(db.options().get_max_connections() as usize);
        Arc::new(Writer { db, terms, turns, queues: Mutex::default(), kept: Mutex::default() })
    }

    pub(super) fn pool(&self) -> &PgPool {
        &self.db
    }

    /// Queues a request; false when too many wait.
    pub(super) fn push(self: &Arc<Self>, request: Request, reply: Reply) -> bool {
        let event = request.selection.event;
        let mut queues = self.queues();
        if queues.waiting >= WAITING {
            return false;
        }
        match queues.events.entry(event) {
            Entry::Occupied(line) if line.get().is_full() => return false,
            Entry::Occupied(mut line) => line.get_mut().waiting.push_back((request, reply)),
            Entry::Vacant(place) => {
                place.insert(Line { waiting: [(request, reply)].into(), ..Line::default() });
                tokio::spawn(self.clone().write_groups(event));
            }
        }
        queues.waiting += 1;
        true
    }

    /// Writes the groups of one event until no request waits for it.
    async fn write_groups(self: Arc<Self>, event: EventId) {
        while let Ok(turn) = self.turns.acquire().await {
            let Some(group) = self.take(event) else { return };
            // A separate task: if it panics, its callers are told, and the event's other requests
            // are served.
            let unwritten = tokio::spawn(self.clone().write(event, group)).await;
            drop(turn);
            match unwritten {
                Ok(unwritten) if !unwritten.is_empty() => {
                    self.put_back(event, unwritten);
                    sleep(PAUSE).await;
                }
                _ => self.written(event),
            }
        }
    }

    /// The next group of an event. When no request waits, returns `None` and removes the event's
    /// queue.
    fn take(&self, event: EventId) -> Option<Vec<Waiting>> {
        let mut queues = self.queues();
        let line = queues.events.get_mut(&event)?;
        let waiting = line.waiting.len();
        let mut group = Vec::new();
        while group.len() < GROUP
            && let Some((request, reply)) = line.waiting.pop_front()
        {
            // Some callers may have gone: a lock that its caller does not hear of would only block
            // the seat.
            if !reply.is_closed() {
                group.push((request, reply));
            }
        }
        let taken = waiting - line.waiting.len();
        line.in_hand = group.len();
        if group.is_empty() {
            queues.events.remove(&event);
        }
        queues.waiting -= taken;
        (!group.is_empty()).then_some(group)
    }

    /// Puts a group back at the head of its queue.
    fn put_back(&self, event: EventId, group: Vec<Waiting>) {
        let mut queues = self.queues();
        queues.waiting += group.len();
        let line = queues.events.entry(event).or_default();
        line.is_held = true;
        line.in_hand = 0;
        group.into_iter().rev().for_each(|waiting| line.waiting.push_front(waiting));
    }

    /// Notes that a group is written, so that the event's inventory is not held any more.
    fn written(&self, event: EventId) {
        if let Some(line) = self.queues().events.get_mut(&event) {
            line.is_held = false;
            line.in_hand = 0;
        }
    }

    fn queues(&self) -> MutexGuard<'_, Queues> {
        self.queues.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Writes a group and tells its callers. Returns the group, unwritten, when the inventory was
    /// held for too long.
    async fn write(self: Arc<Self>, event: EventId, group: Vec<Waiting>) -> Vec<Waiting> {
        let (requests, replies): (Vec<Request>, Vec<Reply>) = group.into_iter().unzip();
        match bounded(self.write_group(event, &requests)).await {
            Ok(results) => {
                for (reply, result) in replies.into_iter().zip(results) {
                    // The caller may have gone; its lock runs out by itself.
                    let _ = reply.send(result);
                }
            }
            Err(Error::Busy(cause)) => {
                let event_id = event.0;
                tracing::warn!(event_id, error = %cause, "an event's inventory is held; its locks wait");
                return requests.into_iter().zip(replies).collect();
            }
            // One bad apple must not spoil the group: write each by itself, once.
            Err(error) if error.kind() == Kind::Internal && requests.len() > 1 => {
                tracing::error!(
                    error = error.details(),
                    "a group of locks failed; writing one by one"
                );
                for (request, reply) in requests.iter().zip(replies) {
                    let only = std::slice::from_ref(request);
                    let result = bounded(self.write_group(event, only)).await;
                    let _ = reply.send(result.and_then(|mut only| {
                        only.pop()
                            .unwrap_or_else(|| Err(Error::internal("a request was not decided")))
                    }));
                }
            }
            Err(error) => {
                for reply in replies {
                    let _ = reply.send(Err(error.repeated()));
                }
            }
        }
        vec![]
    }

    /// Writes a group; returns one result per request, in order. If it collides with what other
    /// processes do, everything is decided anew, with the inventory locked. Even then it can collide
    /// with the Node service, which does not lock the inventory.
    async fn write_group(
        &self,
        event: EventId,
        requests: &[Request],
    ) -> Result<Vec<Result<WonLocks>>> {
        let mut conn = match self.kept() {
            Some(conn) => conn,
            None => self.db.acquire().await?,
        };
        let mut attempt = 1;
        let mut result = decide(&mut conn, event, requests, self.terms).await;
        while let Err(error @ Error::Collision(_)) = &result
            && attempt < ATTEMPTS
        {
            tracing::debug!(error = error.details(), attempt, "a group of locks is decided anew");
            attempt += 1;
            result = decide_locked(&mut conn, event, requests, self.terms).await;
        }
        // After a failure, the pool finds out whether the connection is still good.
        if result.is_ok() {
            self.keep(conn);
        }
        result
    }

    /// A connection that was used a moment ago: it is there still.
    fn kept(&self) -> Option<PoolConnection<Postgres>> {
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        let (conn, used) = kept.pop()?;
        (used.elapsed() < FRESH).then_some(conn)
    }

    fn keep(&self, conn: PoolConnection<Postgres>) {
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        kept.retain(|(_, used)| used.elapsed() < FRESH);
        kept.push((conn, Instant::now()));
    }
}
