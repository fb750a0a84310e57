//! Limits how fast commands may come over one connection, no matter which user sends them. A
//! connection ends in one process, so this needs no Redis.

use std::{
    sync::{Mutex, PoisonError},
    time::Instant,
};

use nexus_common::{
    Error,
    config::{Limit, RateLimit},
    limiter::Window,
    observability::metrics,
};

/// A socket's limiter.
pub(super) struct CommandRateLimiter {
    /// `None`: unlimited.
    rate: Option<RateLimit>,
    windows: Mutex<Windows>,
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
    pub(super) fn new(rate: Option<RateLimit>) -> Self {
        CommandRateLimiter { rate, windows: Mutex::default() }
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
