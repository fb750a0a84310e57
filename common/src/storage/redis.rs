//! Redis as the hint it is: every question is bounded and may stay without an answer; callers then
//! go on with PostgreSQL alone. Nothing in Redis is the truth. What is kept there belongs to its
//! noun: [`seats::hints`](crate::seats::hints), [`accounts::hints`](crate::accounts::hints), the
//! [`limiter`](crate::limiter).

use std::{
    future::Future,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use redis::{
    FromRedisValue, RedisError, RedisResult,
    aio::{ConnectionManager, ConnectionManagerConfig},
};

use crate::config::Redis;

/// A connection that reconnects by itself.
#[derive(Clone)]
pub struct Cache {
    conn: ConnectionManager,
    started: Instant,
    /// Milliseconds after `started` until which Redis is not asked again.
    away_until: Arc<AtomicU64>,
}

const TIMEOUT: Duration = Duration::from_millis(500);
/// After a failure nobody asks for this long, so that an outage costs one caller a time-out and not
/// everybody.
const PAUSE: Duration = Duration::from_millis(500);

impl Cache {
    /// A connection to `settings.url`, made in the background: Redis may be away.
    pub fn new(settings: &Redis) -> Result<Self, RedisError> {
        let client = settings.client()?;
        let config = ConnectionManagerConfig::new()
            .set_connection_timeout(Some(TIMEOUT))
            .set_response_timeout(Some(TIMEOUT))
            .set_number_of_retries(1)
            .set_max_delay(Duration::from_millis(200));
        Ok(Cache {
            conn: ConnectionManager::new_lazy_with_config(client, config)?,
            started: Instant::now(),
            away_until: Arc::default(),
        })
    }

    /// Asks Redis, unless it was away a moment ago; `None` when it cannot be asked. A hint that
    /// cannot be had is worth a debug line: PostgreSQL has the truth.
    async fn ask<T>(&self, question: impl Future<Output = RedisResult<T>>) -> Option<T> {
        let now = self.started.elapsed();
        if (now.as_millis() as u64) < self.away_until.load(Ordering::Relaxed) {
            return None;
        }
        match tokio::time::timeout(2 * TIMEOUT, question).await {
            Ok(Ok(answer)) => return Some(answer),
            Ok(Err(error)) => tracing::debug!(%error, "Redis cannot be asked"),
            Err(_) => tracing::debug!("Redis does not answer"),
        }
        let pause = self.started.elapsed() + PAUSE;
        self.away_until.store(pause.as_millis() as u64, Ordering::Relaxed);
        None
    }

    /// Runs a command; `None` when Redis cannot be asked.
    pub(crate) async fn command<T: FromRedisValue>(&self, command: &redis::Cmd) -> Option<T> {
        self.ask(command.query_async(&mut self.conn.clone())).await
    }

    /// Runs commands in one round trip; `None` when Redis cannot be asked.
    pub(crate) async fn pipeline<T: FromRedisValue>(&self, pipe: &redis::Pipeline) -> Option<T> {
        self.ask(pipe.query_async(&mut self.conn.clone())).await
    }

    /// Runs a script; `None` when Redis cannot be asked.
    pub(crate) async fn script<T: FromRedisValue>(
        &self,
        call: &redis::ScriptInvocation<'_>,
    ) -> Option<T> {
        self.ask(call.invoke_async(&mut self.conn.clone())).await
    }

    /// Whether Redis answers.
    pub async fn ping(&self) -> Result<(), RedisError> {
        redis::cmd("PING").query_async::<()>(&mut self.conn.clone()).await
    }
}
