//! Broadcasts to and from the other processes, over Redis. Publishing never waits and never fails:
//! while Redis is away, a process's clients still hear its own broadcasts.

use nexus_common::{
    config,
    realtime::{CHANNEL, Message},
    storage::{
        listener::{Heard, listen_to_redis},
        redis::{Profile, connect},
    },
};
use redis::{RedisError, aio::ConnectionManager};
use tokio::sync::{mpsc, oneshot};
use uuid::Uuid;

use super::gaps::{Gaps, Way};

/// Broadcasts that may wait to be published, and that are published in one round trip.
const WAITING: usize = 4096;
const AT_ONCE: usize = 200;

/// The way to the other processes. Cheap to clone.
#[derive(Clone)]
pub(super) struct Bus {
    /// This process.
    pub(super) id: Uuid,
    outbox: mpsc::Sender<Outgoing>,
}

enum Outgoing {
    Message(Message),
    /// To be told when all before it are published.
    End(oneshot::Sender<()>),
}

impl Bus {
    /// Publishes, and gives what other processes say to `hear`. Redis may be away.
    pub(super) fn start(
        settings: &config::Redis,
        gaps: Gaps,
        hear: impl Fn(Message) + Send + Sync + 'static,
    ) -> Result<Self, RedisError> {
        let id = Uuid::new_v4();
        let (outbox, waiting) = mpsc::channel(WAITING);
        tokio::spawn(publish(waiting, connect(settings, Profile::BROADCASTS)?, gaps.clone()));
        let client = settings.client()?;
        tokio::spawn(async move {
            let hear = |heard: Heard<'_>| {
                let text = match heard {
                    Heard::Message(text) => text,
                    Heard::Connected => return gaps.end(Way::In),
                    Heard::Disconnected => return gaps.begin(Way::In),
                };
                match serde_json::from_str::<Message>(text) {
                    Ok(message) if message.from != Some(id) => hear(message),
                    Ok(_) => {}
                    Err(error) => tracing::warn!(%error, "a broadcast cannot be understood"),
                }
            };
            listen_to_redis(client, CHANNEL, "broadcasts of other processes", hear).await;
        });
        Ok(Bus { id, outbox })
    }

    pub(super) fn say(&self, message: Message) {
        if self.outbox.try_send(Outgoing::Message(message)).is_err() {
            tracing::warn!("too many broadcasts to other processes: one was dropped");
        }
    }

    /// Returns when everything is published, or lost.
    pub(super) async fn settle(&self) {
        let (end, is_done) = oneshot::channel();
        if self.outbox.send(Outgoing::End(end)).await.is_ok() {
            let _ = is_done.await;
        }
    }
}

async fn publish(
    mut waiting: mpsc::Receiver<Outgoing>,
    mut connection: ConnectionManager,
    gaps: Gaps,
) {
    let mut lost = 0;
    let mut due = Vec::with_capacity(AT_ONCE);
    while waiting.recv_many(&mut due, AT_ONCE).await > 0 {
        let mut pipeline = redis::pipe();
        let mut ends = Vec::new();
        for outgoing in due.drain(..) {
            let message = match outgoing {
                Outgoing::Message(message) => message,
                Outgoing::End(end) => {
                    ends.push(end);
                    continue;
                }
            };
            match message.encoded() {
                Ok(said) => pipeline.publish(CHANNEL, said).ignore(),
                Err(error) => {
                    tracing::error!(%error, "a broadcast does not serialise");
                    continue;
                }
            };
        }
        let published = match pipeline.is_empty() {
            true => Ok(()),
            false => pipeline.query_async::<()>(&mut connection).await,
        };
        match published {
            Ok(()) if lost > 0 && !pipeline.is_empty() => {
                tracing::info!(lost, "broadcasts reach other processes again");
                gaps.end(Way::Out);
                lost = 0;
            }
            Ok(()) => {}
            Err(error) => {
                if lost == 0 {
                    tracing::warn!(%error, "broadcasts do not reach other processes");
                    gaps.begin(Way::Out);
                }
                lost += pipeline.len();
            }
        }
        for end in ends {
            let _ = end.send(());
        }
    }
}
