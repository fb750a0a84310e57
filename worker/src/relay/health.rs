//! Whether the transport is usable, or away for so long that the relay does without it.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use nexus_common::Error;
use tokio::time::{Instant, sleep};

use crate::transport::Transport;

/// A transport that has taken nothing for this long is away.
const AWAY_AFTER: Duration = Duration::from_secs(3);
/// Failures that are further apart have nothing to do with each other.
const APART: Duration = Duration::from_secs(10);
/// How often the relay asks the transport whether it answers, and how often it tries one that is
/// away but answers.
const ASK_EVERY: Duration = Duration::from_secs(1);

/// How the transport has been doing.
pub(super) struct TransportHealth {
    /// What [`watch`] has seen.
    answers: Arc<AtomicBool>,
    /// The first and the last failure since the transport last took a delivery.
    failing: Option<(Instant, Instant)>,
    /// The transport is away, and the relay does not try it before this time.
    away_until: Option<Instant>,
}

impl TransportHealth {
    pub(super) fn new(answers: Arc<AtomicBool>) -> Self {
        TransportHealth { answers, failing: None, away_until: None }
    }

    /// Whether to leave the transport alone now: every call to one that does not answer would hold
    /// up the relay.
    pub(super) fn is_away(&self) -> bool {
        self.away_until
            .is_some_and(|until| Instant::now() < until || !self.answers.load(Ordering::Relaxed))
    }

    /// The transport has taken a delivery.
    pub(super) fn works(&mut self) {
        self.failing = None;
        if self.away_until.take().is_some() {
            tracing::info!("Redis is back; jobs go through it again");
        }
    }

    /// A call that began at `asked` has failed.
    pub(super) fn failed(&mut self, asked: Instant, error: &Error) {
        let now = Instant::now();
        let first = self
            .failing
            .filter(|(_, last)| asked < *last + APART)
            .map_or(asked, |(first, _)| first);
        self.failing = Some((first, now));
        if now >= first + AWAY_AFTER {
            if self.away_until.is_none() {
                tracing::warn!(
                    error = error.details(),
                    "Redis is away; this worker runs its jobs without it"
                );
            }
            self.away_until = Some(now + ASK_EVERY);
        }
    }
}

/// Asks the transport again and again whether it answers.
pub(super) async fn watch(transport: Arc<impl Transport>, answers: Arc<AtomicBool>) {
    loop {
        answers.store(transport.ping().await.is_ok(), Ordering::Relaxed);
        sleep(ASK_EVERY).await;
    }
}
