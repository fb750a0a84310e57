//! How fast one socket's commands may come, whoever sends them. A socket lives in one process, so this needs no Redis.

use std::time::Instant;

use nexus_common::{
    Error,
    config::{Limit, RateLimit},
    limiter::Window,
    metrics,
};

/// A socket's pace.
pub(super) struct Pace {
    /// None: as fast as they like.
    rate: Option<RateLimit>,
    taken: Window,
    refused: Window,
}

/// What becomes of a command.
pub(super) enum Step {
    Taken,
    Refused(Error),
    /// As many have been refused as would have been taken: this client does not listen.
    Flooding,
}

impl Pace {
    pub(super) fn new(rate: Option<RateLimit>) -> Self {
        Pace { rate, taken: Window::default(), refused: Window::default() }
    }

    /// Another command has come.
    pub(super) fn step(&mut self) -> Step {
        let (Some(rate), now) = (self.rate, Instant::now()) else { return Step::Taken };
        if self.taken.take(rate, now) {
            return Step::Taken;
        }
        metrics::rate_limited(Limit::Commands);
        match self.refused.take(rate, now) {
            true => Step::Refused(Error::RateLimited(self.taken.usage(rate, now))),
            false => Step::Flooding,
        }
    }
}
