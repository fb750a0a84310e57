//! Connections to Redis, and Redis as a source of hints ([`Cache`]): every question is bounded and
//! may stay unanswered; callers then go on with PostgreSQL alone. Nothing in Redis is the truth.
//! Each kind of hint belongs to its noun: [`seats::hints`](crate::seats::hints),
//! [`accounts::hints`](crate::accounts::hints), the [`limiter`](crate::limiter).

use std::{
    future::Future,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use redis::{
    ErrorKind, FromRedisValue, RedisError, RedisResult,
    aio::{ConnectionManager, ConnectionManagerConfig},
};

use crate::config::Redis;

/// The purpose of a connection: how long its users wait for a connection and for an answer, and how
/// often a connection is tried again before they get an error.
#[derive(Clone, Copy, Debug)]
pub struct Profile {
    connecting: Duration,
    answer: Duration,
    retries: usize,
}

impl Profile {
    /// Hints, about which PostgreSQL has the truth.
    const HINTS: Self = Self::new(TIMEOUT, 1);
    /// Which process sends an event's coalesced broadcast, decided every 100 ms.
    pub(crate) const TURNS: Self = Self::new(Duration::from_millis(100), 0);
    /// Broadcasts, which are lost while Redis is away.
    pub const BROADCASTS: Self = Self::new(Duration::from_secs(1), 1);
    /// Deliveries of jobs, which a relay makes without Redis while Redis is away.
    pub const DELIVERIES: Self = Self::new(Duration::from_secs(2), 1);
    /// A worker of apalis, which a late response ends.
    pub const APALIS: Self = Self { answer: Duration::from_secs(15), ..Self::DELIVERIES };

    const fn new(patience: Duration, retries: usize) -> Self {
        Profile { connecting: patience, answer: patience, retries }
    }
}

/// The longest pause before a connection is tried again.
const RETRY_PAUSE: Duration = Duration::from_millis(200);

/// A connection that is made on first use, since Redis may be away, and again whenever it breaks.
pub fn connect(settings: &Redis, profile: Profile) -> RedisResult<ConnectionManager> {
    let config = ConnectionManagerConfig::new()
        .set_connection_timeout(Some(profile.connecting))
        .set_response_timeout(Some(profile.answer))
        .set_number_of_retries(profile.retries)
        .set_max_delay(RETRY_PAUSE);
    ConnectionManager::new_lazy_with_config(settings.client()?, config)
}

/// Asks Redis for hints.
#[derive(Clone)]
pub struct Cache {
    conn: ConnectionManager,
    started: Instant,
    /// Milliseconds after `started` until which Redis is not asked again.
    away_until: Arc<AtomicU64>,
}

const TIMEOUT: Duration = Duration::from_millis(500);
/// How long Redis is not asked after a failure, so that an outage costs one caller a time-out, and
/// not all of them.
const PAUSE: Duration = Duration::from_millis(500);

impl Cache {
    /// Connects lazily: Redis may be away.
    pub fn new(settings: &Redis) -> RedisResult<Self> {
        Ok(Cache {
            conn: connect(settings, Profile::HINTS)?,
            started: Instant::now(),
            away_until: Arc::default(),
        })
    }

    /// Asks Redis, unless it was away a moment ago; `None` when it does not answer. A missing hint
    /// is only worth a debug line: PostgreSQL has the truth.
    async fn ask<T>(&self, question: impl Future<Output = RedisResult<T>>) -> Option<T> {
        let now = self.started.elapsed();
        if (now.as_millis() as u64) < self.away_until.load(Ordering::Relaxed) {
            return None;
        }
        match tokio::time::timeout(2 * TIMEOUT, question).await {
            Ok(Ok(response)) => return Some(response),
            Ok(Err(error)) => tracing::debug!(%error, "Redis cannot be asked"),
            Err(_) => tracing::debug!("Redis does not answer"),
        }
        let pause = self.started.elapsed() + PAUSE;
        self.away_until.store(pause.as_millis() as u64, Ordering::Relaxed);
        None
    }

    /// Runs a command; `None` when Redis does not answer.
    pub(crate) async fn command<T: FromRedisValue>(&self, command: &redis::Cmd) -> Option<T> {
        self.ask(command.query_async(&mut self.conn.clone())).await
    }

    /// Runs commands in one round trip; `None` when Redis does not answer.
    pub(crate) async fn pipeline<T: FromRedisValue>(&self, pipe: &redis::Pipeline) -> Option<T> {
        self.ask(pipe.query_async(&mut self.conn.clone())).await
    }

    /// Runs a script; `None` when Redis does not answer.
    pub(crate) async fn script<T: FromRedisValue>(
        &self,
        call: &redis::ScriptInvocation<'_>,
    ) -> Option<T> {
        self.ask(call.invoke_async(&mut self.conn.clone())).await
    }

    /// Whether Redis answers, and is one that can be used.
    pub async fn check(&self) -> RedisResult<()> {
        let mut info = redis::cmd("INFO");
        let said: String = info.arg("server").query_async(&mut self.conn.clone()).await?;
        match said.lines().find_map(|line| line.strip_prefix("redis_mode:")) {
            Some("cluster") => Err(unusable("REDIS_URL leads to a node of a Redis Cluster")),
            Some("sentinel") => {
                Err(unusable("REDIS_URL leads to a Sentinel, and not to what it watches"))
            }
            _ => Ok(()),
        }
    }
}

/// Neither keeps what belongs together on the one server that the URL leads to.
fn unusable(why: &'static str) -> RedisError {
    let wanted = "Nexus needs the address of one Redis, or of a proxy that follows the primary";
    RedisError::from((ErrorKind::InvalidClientConfig, why, wanted.to_owned()))
}
