//! Waiting for something that is away.

use std::time::Duration;

use super::retry_policy::RetryPolicy;

/// Waits that grow from 100 ms to 1 s with jitter, until something works again.
#[derive(Debug, Default)]
pub struct Backoff {
    failures: i32,
}

const WAITS: RetryPolicy = RetryPolicy {
    first: Duration::from_millis(100),
    longest: Duration::from_secs(1),
    max_attempts: i32::MAX,
};

impl Backoff {
    /// How long to wait after one more failure.
    pub fn next_wait(&mut self) -> Duration {
        self.failures = self.failures.saturating_add(1);
        WAITS.delay_after(self.failures)
    }

    /// Whether something failed since it last worked.
    pub fn is_failing(&self) -> bool {
        self.failures > 0
    }

    pub fn reset(&mut self) {
        self.failures = 0;
    }
}
