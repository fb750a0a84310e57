//! Redis pub/sub for the Socket.IO adapter, made to outlive Redis: the library's own driver never
//! recovers from a restart, and publishes before it delivers locally
//! (docs/realtime.md#several-processes). This one subscribes anew whenever Redis returns, and
//! publishing never waits and never fails: while Redis is away, a process's clients still hear its
//! own broadcasts.

use std::{collections::HashMap, convert::Infallible};

use nexus_common::{
    config,
    storage::{
        listener::listen_to_redis,
        redis::{Profile, connect},
    },
};
use redis::{AsyncCommands, Msg, RedisError, aio::ConnectionManager};
use socketioxide_redis::drivers::{ChanItem, Driver, MessageStream};
use tokio::sync::{mpsc, watch};

/// Messages that may wait to be published.
const OUTBOX: usize = 4096;

/// See the module's documentation. Cheap to clone.
#[derive(Clone)]
pub(crate) struct RedisDriver {
    outbox: mpsc::Sender<ChanItem>,
    subscribers: watch::Sender<Subscribers>,
    counter: ConnectionManager,
}

/// The receiver of each channel's messages.
type Subscribers = HashMap<String, mpsc::Sender<ChanItem>>;

impl RedisDriver {
    /// Starts the tasks that publish and listen. Redis may be away.
    pub(crate) fn start(settings: &config::Redis) -> Result<Self, RedisError> {
        let connection = connect(settings, Profile::BROADCASTS)?;
        let (outbox, waiting) = mpsc::channel(OUTBOX);
        tokio::spawn(publish(waiting, connection.clone()));
        let subscribers = watch::Sender::new(Subscribers::new());
        let (channels, known) = (subscribers.subscribe(), subscribers.clone());
        let listening = listen_to_redis(
            settings.client()?,
            channels,
            "broadcasts of other processes",
            move |message| deliver(message, &known),
        );
        tokio::spawn(listening);
        Ok(RedisDriver { outbox, subscribers, counter: connection })
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

fn deliver(message: &Msg, subscribers: &watch::Sender<Subscribers>) {
    let channel = message.get_channel_name();
    let subscriber = subscribers.borrow().get(channel).cloned();
    let Some(subscriber) = subscriber else { return };
    let message = (channel.to_owned(), message.get_payload_bytes().to_vec());
    if subscriber.try_send(message).is_err() {
        tracing::warn!(channel, "too many broadcasts from other processes: one was dropped");
    }
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
        self.subscribers.send_modify(|subscribers| {
            subscribers.insert(channel, subscriber);
        });
        Ok(MessageStream::new(messages))
    }

    async fn unsubscribe(&self, channel: String) -> Result<(), Infallible> {
        self.subscribers.send_modify(|subscribers| {
            subscribers.remove(&channel);
        });
        Ok(())
    }

    async fn num_serv(&self, channel: &str) -> Result<u16, Infallible> {
        let mut counter = self.counter.clone();
        let counted: Result<(String, u16), _> =
            redis::cmd("PUBSUB").arg("NUMSUB").arg(channel).query_async(&mut counter).await;
        // Without Redis, this process counts as the only one.
        Ok(counted.map_or(1, |(_, servers)| servers.max(1)))
    }
}
