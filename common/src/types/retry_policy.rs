//! When a failed attempt is tried again.

use std::time::Duration;

use rand::RngExt;

/// How long to wait after a failed attempt: exponential, with jitter, so that the victims of one
/// outage do not return together.
#[derive(Clone, Copy, Debug)]
pub struct RetryPolicy {
    /// The wait after the first failure.
    pub first: Duration,
    /// No wait is longer than this.
    pub longest: Duration,
    /// After this many failed attempts the job is dead.
    pub max_attempts: i32,
}

impl RetryPolicy {
    /// For work that calls the outside world: 1 s, 2 s, 4 s … 10 min; gives up after about an hour.
    pub const OUTBOUND: RetryPolicy = RetryPolicy {
        first: Duration::from_secs(1),
        longest: Duration::from_secs(600),
        max_attempts: 14,
    };
    /// For work inside PostgreSQL, where only an outage or a defect can be in the way: 0.5 s … 60
    /// s.
    pub const INTERNAL: RetryPolicy = RetryPolicy {
        first: Duration::from_millis(500),
        longest: Duration::from_secs(60),
        max_attempts: 20,
    };

    /// The wait after `attempt` (1 is the first) has failed: between 75 % and 125 % of `first *
    /// 2^(attempt-1)`, at most `longest`.
    pub fn delay_after(&self, attempt: i32) -> Duration {
        let doublings = attempt.clamp(1, 31) - 1;
        let exact = self.first.saturating_mul(1 << doublings).min(self.longest);
        exact.mul_f64(rand::rng().random_range(0.75..1.25)).min(self.longest)
    }
}
