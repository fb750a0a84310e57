//! Listeners: connections over which PostgreSQL or Redis sends messages to this process. A listener
//! notices when its connection breaks, even if the server has vanished silently, and makes another
//! one, for as long as the process lives. It does not hear messages that are sent in between.

use std::{convert::Infallible, error::Error, fmt::Display, time::Duration};

use futures_util::StreamExt;
use redis::Client;
use sqlx::{Executor, PgPool, postgres::PgListener};
use tokio::time::{sleep, timeout};

use crate::types::backoff::Backoff;

/// A server that has been silent for this long is asked whether it is still there.
const SILENCE: Duration = Duration::from_secs(5);
/// A server that takes longer to answer is away.
const ANSWER: Duration = Duration::from_secs(5);

/// What a listener reports.
#[derive(Debug)]
pub enum Heard<'a> {
    /// The listener is connected. It has not heard earlier messages.
    Connected,
    Message(&'a str),
    /// The listener is no longer connected.
    Disconnected,
}

/// Listens to a channel of PostgreSQL, over the connection of a pool of one. `what` names the
/// messages in the log.
pub async fn listen_to_postgres(
    pool: PgPool,
    channel: &str,
    what: &'static str,
    mut hear: impl FnMut(Heard<'_>),
) {
    let mut connection = Connection::new(what);
    loop {
        let Err(error) = hear_postgres(&pool, channel, &mut connection, &mut hear).await;
        hear(Heard::Disconnected);
        connection.broke(&error).await;
    }
}

/// Listens to a channel of Redis. `what` names the messages in the log.
pub async fn listen_to_redis(
    client: Client,
    channel: &str,
    what: &'static str,
    mut hear: impl FnMut(Heard<'_>),
) {
    let mut connection = Connection::new(what);
    loop {
        let Err(error) = hear_redis(&client, channel, &mut connection, &mut hear).await;
        hear(Heard::Disconnected);
        connection.broke(&error).await;
    }
}

/// Why a session ends.
type Broken = Box<dyn Error + Send + Sync>;

async fn hear_postgres(
    pool: &PgPool,
    channel: &str,
    connection: &mut Connection,
    hear: &mut impl FnMut(Heard<'_>),
) -> Result<Infallible, Broken> {
    let mut listener = PgListener::connect_with(pool).await?;
    timeout(ANSWER, listener.listen(channel)).await??;
    connection.works();
    hear(Heard::Connected);
    loop {
        match timeout(SILENCE, listener.try_recv()).await {
            Ok(message) => hear(Heard::Message(message?.ok_or(CLOSED)?.payload())),
            Err(_silence) => {
                timeout(ANSWER, listener.execute("SELECT 1")).await??;
            }
        }
    }
}

async fn hear_redis(
    client: &Client,
    channel: &str,
    connection: &mut Connection,
    hear: &mut impl FnMut(Heard<'_>),
) -> Result<Infallible, Broken> {
    let pubsub = timeout(ANSWER, client.get_async_pubsub()).await??;
    let (mut sink, mut messages) = pubsub.split();
    timeout(ANSWER, sink.subscribe(channel)).await??;
    connection.works();
    hear(Heard::Connected);
    loop {
        tokio::select! {
            message = messages.next() => {
                // What is not text was not said by one of our processes.
                if let Ok(text) = std::str::from_utf8(message.ok_or(CLOSED)?.get_payload_bytes()) {
                    hear(Heard::Message(text));
                }
            }
            () = sleep(SILENCE) => timeout(ANSWER, sink.ping()).await??,
        }
    }
}

const CLOSED: &str = "the server has closed the connection";

/// A listener's connection, across sessions: logs once that it broke, and once that it works again.
struct Connection {
    what: &'static str,
    waits: Backoff,
}

impl Connection {
    fn new(what: &'static str) -> Self {
        Connection { what, waits: Backoff::default() }
    }

    fn works(&mut self) {
        match self.waits.is_failing() {
            true => tracing::info!(what = self.what, "listening again"),
            false => tracing::debug!(what = self.what, "listening"),
        }
        self.waits.reset();
    }

    /// Logs the failure, and returns when it is time to connect again.
    async fn broke(&mut self, error: &impl Display) {
        if !self.waits.is_failing() {
            tracing::warn!(what = self.what, %error, "not listening; connecting again");
        }
        sleep(self.waits.next_wait()).await;
    }
}
