//! What the relay has to know of the transport: whether it answers, and how many workers it knows.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};

use tokio::time::{Instant, sleep};

use crate::transport::Transport;

/// A transport that has not answered for this long is away.
const AWAY_AFTER: Duration = Duration::from_secs(3);
/// How often the transport is asked.
const ASK_EVERY: Duration = Duration::from_secs(2);

/// How the transport has been doing, as [`watch`] has seen it.
pub(super) struct TransportHealth {
    answers: AtomicBool,
    workers: AtomicUsize,
}

impl TransportHealth {
    pub(super) fn new() -> Arc<Self> {
        Arc::new(TransportHealth { answers: AtomicBool::new(true), workers: AtomicUsize::new(1) })
    }

    /// Whether the transport has answered lately: every call to one that does not would hold up the
    /// relay.
    pub(super) fn answers(&self) -> bool {
        self.answers.load(Ordering::Relaxed)
    }

    /// Workers of the queue, when the transport last reported them.
    pub(super) fn workers(&self) -> usize {
        self.workers.load(Ordering::Relaxed)
    }

    /// A call has failed.
    pub(super) fn failed(&self) {
        self.answers.store(false, Ordering::Relaxed);
    }
}

/// Asks the transport again and again.
pub(super) async fn watch(transport: Arc<impl Transport>, health: Arc<TransportHealth>) {
    let (mut failing, mut away) = (None, false);
    loop {
        match transport.depth().await {
            Ok(depth) => {
                health.workers.store(depth.workers.max(1), Ordering::Relaxed);
                health.answers.store(true, Ordering::Relaxed);
                failing = None;
                if std::mem::take(&mut away) {
                    tracing::info!("Redis is back");
                }
            }
            Err(error) => {
                health.failed();
                let since = *failing.get_or_insert_with(Instant::now);
                if !away && since.elapsed() >= AWAY_AFTER {
                    away = true;
                    tracing::warn!(
                        error = error.details(),
                        "Redis is away; each worker runs only the jobs that it finds by itself"
                    );
                }
            }
        }
        sleep(ASK_EVERY).await;
    }
}
