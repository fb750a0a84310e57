//! Broadcasts: what clients are told, to whom, and how a worker sends one.
//!
//! The API delivers to its own sockets and, through the adapter, to those of every other API
//! process; a worker publishes in the same wire format ([`Emitter`]). Broadcasts are sent after
//! commit and are hints: whoever missed one fetches the state.

use std::{
    collections::HashSet,
    future::Future,
    sync::{Arc, Mutex as StdMutex, MutexGuard, PoisonError},
    time::Duration,
};

use redis::{
    AsyncCommands, RedisError,
    aio::{ConnectionManager, ConnectionManagerConfig},
};
use serde_json::Value;
use socketioxide_emitter::IoEmitter;
use sqlx::PgPool;
use tokio::{
    sync::Mutex,
    time::{Instant, timeout},
};

use crate::{
    config::Redis,
    db::bounded,
    domain::{
        event_views,
        ids::{EventId, UserId},
        news::News,
    },
    metrics,
    traces::{self, KeyValue, Span, SpanKind},
};

/// Every socket is in this room until it joins an event.
pub const ALL_EVENTS: &str = "all";

/// Who receives a broadcast.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Audience {
    /// Every connected client, anonymous ones too.
    Everyone,
    /// Of those, all but one user's sockets.
    Others(UserId),
    /// Seat and booking news of an event: those who joined it, and those who never joined any.
    Event(EventId),
    /// Of those, the sockets of the two whose booking it is.
    Parties(Parties),
    /// Of those, all others.
    Bystanders(Parties),
    /// One user's sockets.
    User(UserId),
}

/// Whose business a booking is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub struct Parties {
    pub event: EventId,
    pub buyer: UserId,
    pub organiser: UserId,
}

impl Parties {
    /// The rooms of both, as viewers of the event.
    fn rooms(self) -> Vec<String> {
        let viewing = viewers(self.event);
        let mut users = vec![self.buyer, self.organiser];
        users.dedup();
        users.iter().flat_map(|user| viewing.iter().map(|room| own_room(*user, room))).collect()
    }
}

/// One message to clients.
#[derive(Clone, Debug)]
pub struct Broadcast {
    /// The Socket.IO event's name (CONTRACT.md, section 8).
    pub event: &'static str,
    /// Who receives it.
    pub audience: Audience,
    /// Its one argument.
    pub payload: Value,
}

impl Broadcast {
    /// Tells `audience` the news.
    pub fn new<N: News>(audience: Audience, news: N) -> Self {
        let payload = serde_json::to_value(news).unwrap_or_else(|error| {
            tracing::error!(%error, event = N::EVENT, "a broadcast does not serialise");
            Value::Null
        });
        Broadcast { event: N::EVENT, audience, payload }
    }

    /// Sends it by `emit`: counted, logged and traced as a part of what caused it.
    pub async fn send<E: std::fmt::Display>(
        &self,
        emit: impl Future<Output = Result<(), E>>,
    ) -> Result<(), E> {
        let span = Span::within(SpanKind::Producer, || format!("broadcast {}", self.event));
        let sent = span.run(emit).await;
        metrics::broadcast(self.event);
        tracing::debug!(event = self.event, audience = ?self.audience, trace_id = span.trace_id(), "broadcast");
        span.describe(|| {
            [KeyValue::new("nexus.broadcast.audience", format!("{:?}", self.audience))]
        });
        if let Err(error) = &sent {
            span.failed(&error.to_string());
        }
        span.end();
        sent
    }

    /// The rooms that make up the audience, but for those of [`except`](Self::except); none means
    /// everyone.
    pub fn rooms(&self) -> Vec<String> {
        match self.audience {
            Audience::Everyone | Audience::Others(_) => vec![],
            Audience::Event(event) | Audience::Bystanders(Parties { event, .. }) => {
                viewers(event).into()
            }
            Audience::Parties(parties) => parties.rooms(),
            Audience::User(user) => vec![user_room(user)],
        }
    }

    /// The rooms whose sockets are left out.
    pub fn except(&self) -> Vec<String> {
        match self.audience {
            Audience::Bystanders(parties) => parties.rooms(),
            Audience::Others(user) => vec![user_room(user)],
            _ => vec![],
        }
    }
}

/// The rooms of those who hear the news of `event`.
fn viewers(event: EventId) -> [String; 2] {
    [ALL_EVENTS.into(), event_room(event)]
}

/// The room of those who joined `event`.
pub fn event_room(event: EventId) -> String {
    format!("event:{event}")
}

/// The room of `user`'s sockets.
pub fn user_room(user: UserId) -> String {
    format!("user:{user}")
}

/// The room of those of `user`'s sockets that are in `room`, too: rooms can be added up and left
/// out, but not intersected.
pub fn own_room(user: UserId, room: &str) -> String {
    format!("user:{user}:{room}")
}

/// Whether a room is of one user's sockets.
pub fn is_own(room: &str) -> bool {
    room.starts_with("user:")
}

/// Something that can deliver a broadcast.
pub trait Publish: Clone + Send + Sync + 'static {
    /// Delivers, or logs why not; never fails and never blocks for long.
    fn publish(&self, broadcast: Broadcast) -> impl Future<Output = ()> + Send;
}

/// Sends a worker's broadcasts to every API process, over Redis.
#[derive(Clone)]
pub struct Emitter {
    driver: RedisDriver,
    /// After a failure that took long nobody tries until then, so that an outage of Redis costs a
    /// job one time-out and not one a broadcast.
    quiet_until: Arc<StdMutex<Option<Instant>>>,
}

/// For how long; also what is long.
const QUIET: Duration = Duration::from_millis(500);
/// A Redis that has not taken a broadcast by then, connecting included, is away.
const EMIT: Duration = Duration::from_secs(2);

#[derive(Clone)]
struct RedisDriver(ConnectionManager);

impl socketioxide_emitter::Driver for RedisDriver {
    type Error = RedisError;

    async fn emit(&self, channel: String, data: Vec<u8>) -> Result<(), RedisError> {
        self.0.clone().publish::<_, _, ()>(channel, data).await
    }
}

impl Emitter {
    /// A connection made in the background; it returns by itself when Redis does.
    pub fn new(settings: &Redis) -> Result<Self, RedisError> {
        let client = settings.client()?;
        let config = ConnectionManagerConfig::new()
            .set_connection_timeout(Some(Duration::from_secs(1)))
            .set_response_timeout(Some(Duration::from_secs(1)))
            .set_number_of_retries(2)
            .set_max_delay(Duration::from_millis(500));
        let driver = RedisDriver(ConnectionManager::new_lazy_with_config(client, config)?);
        Ok(Emitter { driver, quiet_until: Arc::default() })
    }

    fn quiet_until(&self) -> MutexGuard<'_, Option<Instant>> {
        self.quiet_until.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Publish for Emitter {
    async fn publish(&self, broadcast: Broadcast) {
        if self.quiet_until().is_some_and(|until| Instant::now() < until) {
            tracing::debug!(
                event = broadcast.event,
                "a broadcast was lost, Redis was away a moment ago"
            );
            return;
        }
        let emitter = IoEmitter::new().to(broadcast.rooms()).except(broadcast.except());
        let begun = Instant::now();
        let emit = async {
            let emit = emitter.emit(broadcast.event, &broadcast.payload, &self.driver);
            match timeout(EMIT, emit).await {
                Ok(emitted) => emitted.map_err(|error| error.to_string()),
                Err(elapsed) => Err(elapsed.to_string()),
            }
        };
        if let Err(error) = broadcast.send(emit).await {
            if begun.elapsed() > QUIET {
                *self.quiet_until() = Some(Instant::now() + QUIET);
            }
            tracing::warn!(%error, event = broadcast.event, "a broadcast was lost");
        }
    }
}

/// Tells clients the counts of an event after they changed (`event:seats-update`): coalesced, at
/// most one per event per 100 ms over all processes, and always one after the last change.
#[derive(Clone)]
pub struct SeatsUpdates<P> {
    db: PgPool,
    gate: ConnectionManager,
    publisher: P,
    /// Without Redis: events whose update this process is about to send.
    due: Arc<Mutex<HashSet<EventId>>>,
}

const COALESCE: Duration = Duration::from_millis(100);

impl<P: Publish> SeatsUpdates<P> {
    /// Sends through `publisher`; processes take turns through Redis.
    pub fn new(db: PgPool, settings: &Redis, publisher: P) -> Result<Self, RedisError> {
        let client = settings.client()?;
        let config = ConnectionManagerConfig::new()
            .set_connection_timeout(Some(COALESCE))
            .set_response_timeout(Some(COALESCE))
            .set_number_of_retries(0);
        let gate = ConnectionManager::new_lazy_with_config(client, config)?;
        Ok(SeatsUpdates { db, gate, publisher, due: Arc::default() })
    }

    /// Call after the commit of whatever changed an event's counts. Returns at once.
    pub fn changed(&self, event: EventId) {
        let this = self.clone();
        tokio::spawn(traces::carried(async move {
            // Whoever finds the gate closed committed before it opens again, so the read after that
            // sees the change.
            match this.gate_is_mine(event).await {
                Some(false) => return,
                Some(true) => tokio::time::sleep(COALESCE + Duration::from_millis(5)).await,
                None => {
                    if !this.due.lock().await.insert(event) {
                        return;
                    }
                    tokio::time::sleep(COALESCE).await;
                    this.due.lock().await.remove(&event);
                }
            }
            this.send(event).await;
        }));
    }

    /// Whether this process speaks for the event in the next 100 ms; `None` without Redis, when
    /// every process speaks for itself.
    async fn gate_is_mine(&self, event: EventId) -> Option<bool> {
        let options = redis::SetOptions::default()
            .conditional_set(redis::ExistenceCheck::NX)
            .with_expiration(redis::SetExpiry::PX(COALESCE.as_millis() as u64));
        let won: Result<Option<()>, _> =
            self.gate.clone().set_options(format!("seats_update:{event}"), 1, options).await;
        won.ok().map(|won| won.is_some())
    }

    async fn send(&self, event: EventId) {
        let counts =
            async { event_views::seat_counts(&mut *self.db.acquire().await?, event).await };
        match bounded(counts).await {
            Ok(counts) => {
                self.publisher.publish(Broadcast::new(Audience::Event(event), counts)).await;
            }
            Err(error) => tracing::debug!(error = error.details(), %event, "no event:seats-update"),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use tokio::net::TcpListener;

    use super::*;

    #[tokio::test]
    async fn a_redis_that_does_not_answer_is_left_alone_for_a_moment() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("redis://{}", listener.local_addr().unwrap());
        let connections = Arc::new(AtomicUsize::new(0));
        let count = connections.clone();
        tokio::spawn(async move {
            let mut open = Vec::new();
            while let Ok(connection) = listener.accept().await {
                count.fetch_add(1, Ordering::Relaxed);
                open.push(connection);
            }
        });
        let emitter = Emitter::new(&Redis { url: url.into(), ca: None }).unwrap();
        let broadcast =
            Broadcast { event: "news", audience: Audience::Everyone, payload: Value::Null };
        emitter.publish(broadcast.clone()).await;
        assert!(emitter.quiet_until().is_some());

        // So that the test depends on no time.
        *emitter.quiet_until() = Some(Instant::now() + Duration::from_secs(3_600));
        let before = connections.load(Ordering::Relaxed);
        for _ in 0..100 {
            emitter.publish(broadcast.clone()).await;
        }
        assert_eq!((before > 0, connections.load(Ordering::Relaxed)), (true, before));
    }
}
