//! Jobs of the expiry queue.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{Job, Queue, RetryPolicy};

/// For jobs that never end.
const FOR_EVER: RetryPolicy = RetryPolicy {
    first: Duration::from_millis(250),
    longest: Duration::from_secs(10),
    max_attempts: i32::MAX,
};

/// Frees expired locks and expires unpaid bookings whose deadline has passed, then sleeps until the
/// next deadline: one job that lives for ever, so that a seat becomes free at its deadline without
/// a job for every lock. The worker's clock enqueues the job anew if it is ever lost.
#[derive(Debug, Serialize, Deserialize)]
pub struct SweepExpired {}

/// Draws waiting rooms whose opening has come, and calls the next visitors of those that are open,
/// once a second: one job that lives for ever, as [`SweepExpired`] does.
#[derive(Debug, Serialize, Deserialize)]
pub struct CallVisitors {}

impl Job for CallVisitors {
    const QUEUE: Queue = Queue::Expiry;
    const KIND: &'static str = "call_visitors";
    const RETRY: RetryPolicy = FOR_EVER;
    /// A draw of very many.
    const TIMEOUT: Duration = Duration::from_secs(120);

    fn unique_key(&self) -> Option<String> {
        Some(Self::KIND.into())
    }
}

impl Job for SweepExpired {
    const QUEUE: Queue = Queue::Expiry;
    const KIND: &'static str = "sweep_expired";
    const RETRY: RetryPolicy = FOR_EVER;

    fn unique_key(&self) -> Option<String> {
        Some(Self::KIND.into())
    }
}
