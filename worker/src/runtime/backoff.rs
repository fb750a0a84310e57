//! Waiting for something that is away.

use std::time::Duration;

use nexus_common::jobs::RetryPolicy;

/// Waits that grow from 100 ms to 1 s with jitter, until something works again.
pub(crate) struct Backoff {
    failures: i32,
}

const WAITS: RetryPolicy = RetryPolicy {
    first: Duration::from_millis(100),
    longest: Duration::from_secs(1),
    max_attempts: i32::MAX,
};

impl Backoff {
    pub(crate) fn new() -> Self {
        Backoff { failures: 0 }
    }

    /// How long to wait after one more failure.
    pub(crate) fn next(&mut self) -> Duration {
        self.failures = self.failures.saturating_add(1);
        WAITS.delay_after(self.failures)
    }

    /// Whether something failed since it last worked.
    pub(crate) fn is_failing(&self) -> bool {
        self.failures > 0
    }

    pub(crate) fn reset(&mut self) {
        self.failures = 0;
    }
}
