//! Limits how fast commands may come over one connection, no matter which user sends them. A
//! connection ends in one process, so this needs no Redis.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Instant,
};

use nexus_common::{
    Error,
    config::{Limit, RateLimit},
    limiter::Window,
    observability::metrics,
};

/// A connection's limiter: it travels with the request that opened the connection, so that a client
/// that is disconnected and reconnects over the same one gets no new budget.
#[derive(Clone)]
pub(crate) struct CommandRateLimiter {
    /// `None`: unlimited.
    rate: Option<RateLimit>,
    windows: Arc<Mutex<Windows>>,
}

#[derive(Default)]
struct Windows {
    taken: Window,
    refused: Window,
}

/// What to do with a command.
pub(super) enum Step {
    Taken,
    Refused(Error),
    /// As many commands have been refused as would have been accepted: this client does not listen.
    Flooding,
}

impl CommandRateLimiter {
    pub(crate) fn new(rate: Option<RateLimit>) -> Self {
        CommandRateLimiter { rate, windows: Arc::default() }
    }

    /// Counts another command.
    pub(super) fn step(&self) -> Step {
        let (Some(rate), now) = (self.rate, Instant::now()) else { return Step::Taken };
        let mut windows = self.windows.lock().unwrap_or_else(PoisonError::into_inner);
        if windows.taken.take(rate, now) {
            return Step::Taken;
        }
        metrics::rate_limited(Limit::Commands);
        match windows.refused.take(rate, now) {
            true => Step::Refused(Error::RateLimited(windows.taken.usage(rate, now))),
            false => Step::Flooding,
        }
    }
}
