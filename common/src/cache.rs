//! Redis as the hint it is: seat locks, revoked tokens and rate limits (those are in
//! [`limiter`](crate::limiter)), in the key format that the Node service uses (CONTRACT.md, section
//! 11).
//!
//! Every call is bounded and may fail; callers then go on with PostgreSQL alone. Nothing here is
//! the truth.

use std::{
    future::Future,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use redis::{
    AsyncCommands, FromRedisValue, RedisError, RedisResult, Script, ScriptInvocation,
    aio::{ConnectionManager, ConnectionManagerConfig},
};
use serde::{Deserialize, Serialize};

use crate::{
    config::Redis,
    domain::{
        auth::EndedSessions,
        ids::{EventId, SeatTypeId, UserId},
        seats::SeatKey,
        time::Timestamp,
        tokens::{self, ACCESS_VALID, Keeping, REFRESH_VALID, Verified},
    },
};

/// A connection that reconnects by itself.
#[derive(Clone)]
pub struct Cache {
    conn: ConnectionManager,
    tokens: Keeping,
    started: Instant,
    /// Milliseconds after `started` until which Redis is not asked again.
    away_until: Arc<AtomicU64>,
}

/// What became of an attempt to take a seat's key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hint {
    /// The key is ours; PostgreSQL decides next.
    Won,
    /// Somebody else has it.
    Taken,
    /// Redis cannot be asked; PostgreSQL alone decides.
    Unknown,
}

/// The JSON under `seat_lock:{event}:{type}:{label}`, as the Node service writes it.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct LockValue<'a> {
    user_id: UserId,
    locked_at: Timestamp,
    expires_at: Timestamp,
    seat_label: &'a str,
    event_id: EventId,
    seat_type_id: SeatTypeId,
}

/// A key that was won lives this long until PostgreSQL has committed, so that a crash in between
/// cannot block a free seat.
const UNCOMMITTED: Duration = Duration::from_secs(5);
/// At most once in this time is a taken key compared with PostgreSQL.
const RECHECK: Duration = Duration::from_secs(2);
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
            tokens: Keeping::Hashed,
            started: Instant::now(),
            away_until: Arc::default(),
        })
    }

    /// Tokens are kept hashed unless this says otherwise.
    pub fn keeping_tokens(self, tokens: Keeping) -> Self {
        Cache { tokens, ..self }
    }

    /// Asks Redis, unless it was away a moment ago. A hint that cannot be had is worth a debug
    /// line: PostgreSQL has the truth.
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

    /// Runs a script; `None` when Redis cannot be asked.
    pub(crate) async fn run<T: FromRedisValue>(&self, call: &ScriptInvocation<'_>) -> Option<T> {
        self.ask(call.invoke_async(&mut self.conn.clone())).await
    }

    /// Gives back a use, taken at that time, of each of these budgets.
    pub(crate) async fn give_back(&self, budgets: impl Iterator<Item = &str>, at: i64) {
        let mut pipe = redis::pipe();
        for key in budgets {
            pipe.lrem(key, -1, at).ignore();
        }
        self.ask(pipe.query_async::<()>(&mut self.conn.clone())).await;
    }

    /// Whether Redis answers.
    pub async fn ping(&self) -> Result<(), RedisError> {
        redis::cmd("PING").query_async::<()>(&mut self.conn.clone()).await
    }

    /// Tries to take the seat's key for `user` until the database has decided.
    pub async fn take_seat(
        &self,
        seat: &SeatKey,
        user: UserId,
        now: Timestamp,
        until: Timestamp,
    ) -> Hint {
        let options = redis::SetOptions::default()
            .conditional_set(redis::ExistenceCheck::NX)
            .with_expiration(redis::SetExpiry::PX(UNCOMMITTED.as_millis() as u64));
        let value = lock_value(seat, user, now, until);
        let mut conn = self.conn.clone();
        match self.ask(conn.set_options::<_, _, Option<()>>(key(seat), value, options)).await {
            Some(Some(())) => Hint::Won,
            Some(None) => Hint::Taken,
            None => Hint::Unknown,
        }
    }

    /// Whether it is this caller's turn to compare a taken key with PostgreSQL: the key may have
    /// outlived its row.
    pub async fn may_recheck(&self, seat: &SeatKey) -> bool {
        let options = redis::SetOptions::default()
            .conditional_set(redis::ExistenceCheck::NX)
            .with_expiration(redis::SetExpiry::PX(RECHECK.as_millis() as u64));
        let mut conn = self.conn.clone();
        let turn = self.ask(conn.set_options::<_, _, Option<()>>(
            format!("{}:checked", key(seat)),
            1,
            options,
        ));
        turn.await.flatten().is_some()
    }

    /// Follows a lock or booking that has been committed: the keys live to its deadline, whoever
    /// had them before.
    pub async fn keep_seats(
        &self,
        seats: &[SeatKey],
        user: UserId,
        now: Timestamp,
        until: Timestamp,
    ) {
        let left = (until.0 - now.0).num_milliseconds();
        if left <= 0 || seats.is_empty() {
            return;
        }
        let mut pipe = redis::pipe();
        for seat in seats {
            pipe.pset_ex(key(seat), lock_value(seat, user, now, until), left as u64).ignore();
        }
        self.ask(pipe.query_async::<()>(&mut self.conn.clone())).await;
    }

    /// Follows seats that have become free or booked: removes their keys as far as they are still
    /// `user`'s.
    pub async fn drop_seats(&self, seats: &[SeatKey], user: UserId) {
        if seats.is_empty() {
            return;
        }
        let script = Script::new(
            r"for _, key in ipairs(KEYS) do
                  local value = redis.call('GET', key)
                  if value then
                      local ok, lock = pcall(cjson.decode, value)
                      if ok and tostring(lock.userId) == ARGV[1] then redis.call('DEL', key) end
                  end
              end",
        );
        let mut call = script.prepare_invoke();
        for seat in seats {
            call.key(key(seat));
        }
        call.arg(user.0.to_string());
        self.ask(call.invoke_async::<()>(&mut self.conn.clone())).await;
    }

    /// Removes a key that was found to have outlived its row.
    pub async fn drop_stale_seat(&self, seat: &SeatKey) {
        self.ask(self.conn.clone().del::<_, ()>(key(seat))).await;
    }

    /// Whether `token` is known to be revoked; `None` when Redis cannot be asked.
    pub async fn is_revoked(&self, token: &str, verified: &Verified) -> Option<bool> {
        let mut conn = self.conn.clone();
        let mut pipe = redis::pipe();
        let listed = tokens::either_way(token).map(|token| blacklist(&token));
        pipe.exists(&listed).get(sessions_from(verified.user));
        let (listed, from): (u32, Option<i64>) = self.ask(pipe.query_async(&mut conn)).await?;
        Some(listed > 0 || from.is_some_and(|from| verified.issued_at.timestamp_millis() < from))
    }

    /// Remembers that `token` is revoked, for as long as it would have been valid.
    pub async fn revoke(&self, token: &str, left: Duration) {
        let seconds = left.as_secs().max(1);
        let key = blacklist(&self.tokens.kept(token));
        self.ask(self.conn.clone().set_ex::<_, _, ()>(key, "1", seconds)).await;
    }

    /// Remembers that all sessions of `user` have ended, refresh tokens where the Node service
    /// looks for them.
    pub async fn end_sessions(&self, user: UserId, ended: &EndedSessions) {
        let mut pipe = redis::pipe();
        pipe.set_ex(sessions_from(user), ended.from.timestamp_millis(), ACCESS_VALID.as_secs())
            .ignore();
        for token in &ended.refresh_tokens {
            pipe.del(refresh_token(token)).ignore();
            pipe.set_ex(blacklist(&self.tokens.kept(token)), "1", REFRESH_VALID.as_secs()).ignore();
        }
        self.ask(pipe.query_async::<()>(&mut self.conn.clone())).await;
    }

    /// Remembers a refresh token where the Node service looks for it; nobody else does.
    pub async fn keep_refresh_token(&self, token: &str, user: UserId, left: Duration) {
        if self.tokens == Keeping::Hashed {
            return;
        }
        let seconds = left.as_secs().max(1);
        self.ask(self.conn.clone().set_ex::<_, _, ()>(
            refresh_token(token),
            user.0.to_string(),
            seconds,
        ))
        .await;
    }

    /// Forgets refresh tokens that have been revoked, or that nobody looks for here any more.
    pub async fn drop_refresh_tokens(&self, tokens: &[String]) {
        if !tokens.is_empty() {
            let keys: Vec<_> = tokens.iter().map(|token| refresh_token(token)).collect();
            self.ask(self.conn.clone().del::<_, ()>(keys)).await;
        }
    }
}

fn key(seat: &SeatKey) -> String {
    format!("seat_lock:{}:{}:{}", seat.event.0, seat.seat_type.0, seat.label)
}

fn blacklist(token: &str) -> String {
    format!("blacklist:{token}")
}

fn refresh_token(token: &str) -> String {
    format!("refresh_token:{token}")
}

fn sessions_from(user: UserId) -> String {
    format!("sessions_from:{user}")
}

fn lock_value(seat: &SeatKey, user: UserId, now: Timestamp, until: Timestamp) -> String {
    let value = LockValue {
        user_id: user,
        locked_at: now,
        expires_at: until,
        seat_label: seat.label.as_str(),
        event_id: seat.event,
        seat_type_id: seat.seat_type,
    };
    serde_json::to_string(&value).unwrap_or_default()
}
