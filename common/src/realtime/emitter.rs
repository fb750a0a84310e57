//! How a worker sends broadcasts.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use redis::{AsyncCommands, RedisError, aio::ConnectionManager};
use tokio::time::{Instant, timeout};

use super::{Broadcast, CHANNEL, Message, Publish};
use crate::{
    config::Redis,
    storage::redis::{Profile, connect},
};

/// Sends a worker's broadcasts to every API process, over Redis.
#[derive(Clone)]
pub struct Emitter {
    connection: ConnectionManager,
    /// After a slow failure, nothing is sent until then, so that an outage of Redis costs a job one
    /// time-out rather than one per broadcast.
    quiet_until: Arc<Mutex<Option<Instant>>>,
}

/// How long that silence lasts; a failure that takes at least this long is slow.
const QUIET: Duration = Duration::from_millis(500);

/// A Redis that has not taken a broadcast within this time, connecting included, is away.
const EMIT: Duration = Duration::from_secs(2);

impl Emitter {
    /// Connects lazily: Redis may be away.
    pub fn new(settings: &Redis) -> Result<Self, RedisError> {
        let connection = connect(settings, Profile::BROADCASTS)?;
        Ok(Emitter { connection, quiet_until: Arc::default() })
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
        let begun = Instant::now();
        let emit = async {
            let message =
                Message::new(None, &broadcast).encoded().map_err(|error| error.to_string())?;
            let mut connection = self.connection.clone();
            let published = connection.publish::<_, _, ()>(CHANNEL, message);
            match timeout(EMIT, published).await {
                Ok(published) => published.map_err(|error| error.to_string()),
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

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use serde_json::value::RawValue;
    use tokio::net::TcpListener;

    use super::{super::Audience, *};

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
        let broadcast = Broadcast {
            event: "seat_locked",
            audience: Audience::Everyone,
            data: RawValue::NULL.to_owned(),
        };
        emitter.publish(broadcast.clone()).await;
        assert!(emitter.quiet_until().is_some());

        // So that the test does not depend on time.
        *emitter.quiet_until() = Some(Instant::now() + Duration::from_secs(3_600));
        let before = connections.load(Ordering::Relaxed);
        for _ in 0..100 {
            emitter.publish(broadcast.clone()).await;
        }
        assert_eq!((before > 0, connections.load(Ordering::Relaxed)), (true, before));
    }
}
