//! How a seat is locked when thousands of users want it (docs/architecture.md#seats).
//!
//! Redis turns away every request but the first. The requests it lets through are written to
//! PostgreSQL in groups, event by event: those that arrive while the event's previous group commits
//! become one transaction, because a single hot row commits only so many times a second. A caller
//! is told after its group's commit. PostgreSQL has the final word; without Redis it decides alone.
//! [`lock_queues`](super::lock_queues) forms the groups, and [`lock_groups`](super::lock_groups) is
//! a group's transaction.

use std::{sync::Arc, time::Duration};

use sqlx::PgPool;
use tokio::sync::oneshot;

use super::{
    freeing,
    hints::{self, Hint},
    lock::{Request, Terms, WonLocks},
    lock_queues::Writer,
    selection::Selection,
    spent_networks::SpentNetworks,
    unpaid,
    visibilities::Visibilities,
};
use crate::{
    config::Database,
    error::{Error, Result},
    storage::{Cache, postgres},
    types::{
        ids::{NetworkHash, UserId},
        seats::SeatKey,
        time::Timestamp,
        visibility::{ShareCode, Viewer},
    },
};

/// The way to lock seats. Cheap to clone.
#[derive(Clone)]
pub struct SeatLocks {
    cache: Cache,
    db: PgPool,
    writer: Arc<Writer>,
    visibilities: Visibilities,
    spent: SpentNetworks,
    terms: Terms,
}

/// The longest time that a caller waits for a reply.
const REPLY_TIMEOUT: Duration = Duration::from_secs(15);

/// The longest time that a group waits for its event's inventory while it has one of few
/// connections.
const LOCK_TIMEOUT: Duration = Duration::from_secs(2);

/// Connections for writing locks and nothing else, so that a process can lock seats however busy
/// its other connections are.
pub fn pool(database: &Database, connections: u32, process: &str) -> PgPool {
    let settings = Database {
        max_connections: connections,
        lock_timeout: database.lock_timeout.min(LOCK_TIMEOUT),
        ..database.clone()
    };
    postgres::pool(&settings, process)
}

impl SeatLocks {
    /// Reads over the connections of `db` and writes over those of `writing`, which nothing else
    /// uses: it may keep them.
    pub fn new(db: PgPool, writing: PgPool, cache: Cache, terms: Terms) -> Self {
        let visibilities = Visibilities::new(db.clone());
        let spent = SpentNetworks::follow(db.clone(), terms.unpaid);
        SeatLocks { cache, db, writer: Writer::new(writing, terms), visibilities, spent, terms }
    }

    /// The connections that write locks.
    pub fn pool(&self) -> &PgPool {
        self.writer.pool()
    }

    /// How long a lock is valid.
    pub fn valid(&self) -> Duration {
        self.terms.valid
    }

    /// Locks the seats of `selection` for `user`, who comes from `network`: all or none. A private
    /// event has to be known by its `code`; where the event has a waiting room, the user has to have
    /// been called, or be admitted by an outside system.
    pub async fn lock(
        &self,
        user: UserId,
        network: NetworkHash,
        code: Option<ShareCode>,
        is_admitted: bool,
        selection: Selection,
    ) -> Result<WonLocks> {
        let is_spent = self.spent.contain(network);
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
            Ok(()) => {
                self.write(Request { user, code, network, is_spent, is_admitted, selection }).await
            }
            // Nor does it tell of an event that the user may not know of which seats are taken.
            Err(Error::SeatTaken(label)) => {
                let viewer = Viewer { user: Some(user), code };
                let visible = self.visibilities.require(selection.event, viewer).await;
                visible.and(Err(Error::SeatTaken(label)))
            }
            Err(error) => Err(error),
        };
        if result.is_err() {
            hints::give_back(&self.cache, &taken, user).await;
        }
        result
            .inspect_err(|error| unpaid::note(error, is_spent))
            .map(|won| WonLocks { cache_hit, ..won })
    }

    /// Step 1: Redis turns away every request but the first.
    async fn take_key(&self, seat: &SeatKey, user: UserId) -> Result<Hint> {
        let now = Timestamp::now();
        let until = Timestamp(now.0 + self.terms.valid);
        let taken = || Error::SeatTaken(seat.label.to_string());
        match hints::take(&self.cache, seat, user, now, until).await {
            Hint::Taken => {}
            hint => return Ok(hint),
        }
        // A key can outlive its row (a crash between a commit and the key's removal). It must not
        // block the seat for long.
        if !hints::may_recheck(&self.cache, seat).await {
            return Err(taken());
        }
        let mut conn = self.db.acquire().await?;
        if freeing::is_taken(&mut conn, seat).await? {
            return Err(taken());
        }
        drop(conn);
        hints::drop_stale(&self.cache, seat).await;
        match hints::take(&self.cache, seat, user, now, until).await {
            Hint::Taken => Err(taken()),
            hint => Ok(hint),
        }
    }

    /// Step 2: PostgreSQL decides.
    async fn write(&self, request: Request) -> Result<WonLocks> {
        let (reply, replied) = oneshot::channel();
        if !self.writer.push(request, reply) {
            return Err(Error::overloaded());
        }
        match tokio::time::timeout(REPLY_TIMEOUT, replied).await {
            Ok(Ok(result)) => result,
            Ok(Err(_)) => Err(Error::internal("the lock writer is gone")),
            Err(elapsed) => Err(Error::Unavailable(Box::new(elapsed))),
        }
    }
}
