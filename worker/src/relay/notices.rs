//! Wakes the relay when PostgreSQL notifies that jobs were enqueued.

use std::{sync::Arc, time::Duration};

use nexus_common::jobs::{Queue, wakeups};
use sqlx::{PgPool, postgres::PgListener};
use tokio::time::{sleep, timeout};

use super::signal::RelaySignal;
use crate::runtime::backoff::Backoff;

/// When nothing has been heard for so long, the connection is made anew: one that has silently
/// broken would never say so.
const SILENCE: Duration = Duration::from_secs(60);

/// Wakes the relay whenever a job of `queue` is enqueued.
pub(super) async fn wake_on_enqueue(pool: PgPool, queue: Queue, signal: Arc<RelaySignal>) {
    let mut waits = Backoff::new();
    loop {
        let Err(error) = hear(&pool, queue, &signal, &mut waits).await;
        tracing::debug!(%error, "not listening to PostgreSQL");
        sleep(waits.next()).await;
    }
}

async fn hear(
    pool: &PgPool,
    queue: Queue,
    signal: &RelaySignal,
    waits: &mut Backoff,
) -> Result<std::convert::Infallible, sqlx::Error> {
    let mut listener = PgListener::connect_with(pool).await?;
    listener.listen(wakeups::CHANNEL).await?;
    waits.reset();
    // What happened before gave no notice here.
    signal.back();
    loop {
        let heard = timeout(SILENCE, listener.try_recv()).await;
        match heard.map_err(|_| sqlx::Error::Io(std::io::ErrorKind::TimedOut.into()))?? {
            Some(notice) => match notice.payload().strip_prefix(queue.name()) {
                Some("") => signal.wake(),
                Some(wakeups::BACK) => signal.back(),
                _ => {}
            },
            // The connection was lost and is there again; notices may be missing.
            None => signal.back(),
        }
    }
}
