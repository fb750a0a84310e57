//! Redis pub/sub for the Socket.IO adapter, made to outlive Redis: the library's own driver never
//! recovers from a restart, and publishes before it delivers locally
//! (docs/realtime.md#several-processes). This one subscribes anew whenever Redis returns, and
//! publishing never waits and never fails: while Redis is away, clients of this process still hear
//! this process.

use std::{
    collections::HashMap,
    convert::Infallible,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use futures_util::StreamExt;
use nexus_common::{
    config,
    storage::redis::{Profile, connect},
};
use redis::{AsyncCommands, Client, RedisError, aio::ConnectionManager};
use socketioxide_redis::drivers::{ChanItem, Driver, MessageStream};
use tokio::sync::{Notify, mpsc};

/// Messages that may wait to be published.
const OUTBOX: usize = 4096;
const TIMEOUT: Duration = Duration::from_secs(1);
const RECONNECT_AFTER: Duration = Duration::from_millis(250);
/// A Redis that has said nothing for so long is asked whether it is still there.
const SILENCE: Duration = Duration::from_secs(5);

/// See the module's documentation. Cheap to clone.
#[derive(Clone)]
pub(crate) struct RedisDriver {
    outbox: mpsc::Sender<ChanItem>,
    subscriptions: Arc<Subscriptions>,
    counter: ConnectionManager,
}

#[derive(Default)]
struct Subscriptions {
    channels: Mutex<HashMap<String, mpsc::Sender<ChanItem>>>,
    changed: Notify,
}

impl Subscriptions {
    fn with<T>(&self, act: impl FnOnce(&mut HashMap<String, mpsc::Sender<ChanItem>>) -> T) -> T {
        act(&mut self.channels.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn deliver(&self, channel: &str, payload: Vec<u8>) {
        let Some(subscriber) = self.with(|channels| channels.get(channel).cloned()) else { return };
        if subscriber.try_send((channel.to_owned(), payload)).is_err() {
            tracing::warn!(channel, "too many broadcasts from other processes: one was dropped");
        }
    }
}

impl RedisDriver {
    /// Starts the tasks that publish and listen. Redis may be away.
    pub(crate) fn start(settings: &config::Redis) -> Result<Self, RedisError> {
        let client = settings.client()?;
        let connection = connect(settings, Profile::BROADCASTS)?;
        let subscriptions = Arc::new(Subscriptions::default());
        let (outbox, waiting) = mpsc::channel(OUTBOX);
        tokio::spawn(publish(waiting, connection.clone()));
        tokio::spawn(listen(client, subscriptions.clone()));
        Ok(RedisDriver { outbox, subscriptions, counter: connection })
    }
}

async fn publish(mut waiting: mpsc::Receiver<ChanItem>, mut connection: ConnectionManager) {
    let mut lost = 0_u64;
    while let Some((channel, payload)) = waiting.recv().await {
        match connection.publish::<_, _, ()>(channel, payload).await {
            Ok(()) if lost > 0 => {
                tracing::info!(lost, "broadcasts reach other processes again");
                lost = 0;
            }
            Ok(()) => {}
            Err(error) => {
                if lost == 0 {
                    tracing::warn!(%error, "broadcasts do not reach other processes");
                }
                lost += 1;
            }
        }
    }
}

/// Keeps every channel subscribed for as long as the process lives.
async fn listen(client: Client, subscriptions: Arc<Subscriptions>) {
    let mut heard = true;
    loop {
        let error = match session(&client, &subscriptions, &mut heard).await {
            Ok(()) => "the connection was closed".to_owned(),
            Err(error) => error.to_string(),
        };
        if heard {
            tracing::warn!(error, "broadcasts from other processes are not heard; reconnecting");
        }
        heard = false;
        tokio::time::sleep(RECONNECT_AFTER).await;
    }
}

/// One connection, until it breaks.
async fn session(
    client: &Client,
    subscriptions: &Subscriptions,
    heard: &mut bool,
) -> Result<(), RedisError> {
    let pubsub = in_time(client.get_async_pubsub()).await?;
    if !std::mem::replace(heard, true) {
        tracing::info!("broadcasts from other processes are heard again");
    }
    let (mut sink, mut messages) = pubsub.split();
    let mut subscribed: Vec<String> = Vec::new();
    loop {
        let wanted: Vec<String> = subscriptions.with(|channels| channels.keys().cloned().collect());
        for channel in wanted.iter().filter(|channel| !subscribed.contains(channel)) {
            in_time(sink.subscribe(channel)).await?;
        }
        for channel in subscribed.iter().filter(|channel| !wanted.contains(channel)) {
            in_time(sink.unsubscribe(channel)).await?;
        }
        subscribed = wanted;
        loop {
            tokio::select! {
                () = subscriptions.changed.notified() => break,
                message = messages.next() => match message {
                    Some(message) => subscriptions.deliver(message.get_channel_name(), message.get_payload_bytes().to_vec()),
                    None => return Ok(()),
                },
                // One that has vanished closes no connection.
                () = tokio::time::sleep(SILENCE) => in_time(sink.ping()).await?,
            }
        }
    }
}

async fn in_time<T>(call: impl Future<Output = Result<T, RedisError>>) -> Result<T, RedisError> {
    let timed_out = |_| RedisError::from(std::io::Error::from(std::io::ErrorKind::TimedOut));
    tokio::time::timeout(TIMEOUT, call).await.map_err(timed_out)?
}

impl Driver for RedisDriver {
    type Error = Infallible;

    async fn publish(&self, channel: String, payload: Vec<u8>) -> Result<(), Infallible> {
        if self.outbox.try_send((channel, payload)).is_err() {
            tracing::warn!("too many broadcasts to other processes: one was dropped");
        }
        Ok(())
    }

    async fn subscribe(
        &self,
        channel: String,
        size: usize,
    ) -> Result<MessageStream<ChanItem>, Infallible> {
        let (subscriber, messages) = mpsc::channel(size);
        self.subscriptions.with(|channels| channels.insert(channel, subscriber));
        self.subscriptions.changed.notify_one();
        Ok(MessageStream::new(messages))
    }

    async fn unsubscribe(&self, channel: String) -> Result<(), Infallible> {
        self.subscriptions.with(|channels| channels.remove(&channel));
        self.subscriptions.changed.notify_one();
        Ok(())
    }

    async fn num_serv(&self, channel: &str) -> Result<u16, Infallible> {
        let mut counter = self.counter.clone();
        let counted: Result<(String, u16), _> =
            redis::cmd("PUBSUB").arg("NUMSUB").arg(channel).query_async(&mut counter).await;
        // Without Redis this process is alone.
        Ok(counted.map_or(1, |(_, servers)| servers.max(1)))
    }
}
