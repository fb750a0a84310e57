//! Jobs of the expiry queue.

use serde::{Deserialize, Serialize};

use super::{Job, Queue, RetryPolicy};

/// Frees expired locks and expires unpaid bookings whose deadline has passed, then sleeps until the
/// next deadline: one job that lives for ever, so that a seat becomes free at its deadline without
/// a job for every lock. The worker's clock enqueues the job anew if it is ever lost.
#[derive(Debug, Serialize, Deserialize)]
pub struct SweepExpired {}

impl Job for SweepExpired {
    const QUEUE: Queue = Queue::Expiry;
    const KIND: &'static str = "sweep_expired";
    const RETRY: RetryPolicy = RetryPolicy {
        first: std::time::Duration::from_millis(250),
        longest: std::time::Duration::from_secs(10),
        max_attempts: i32::MAX,
    };

    fn unique_key(&self) -> Option<String> {
        Some(Self::KIND.into())
    }
}
