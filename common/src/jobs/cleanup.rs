//! Jobs of the cleanup queue.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{Job, Queue, RetryPolicy};

/// Removes rows that are no longer needed: expired and revoked tokens, idempotency keys past their
/// time, finished jobs. Hashes the tokens that the Node service left behind, once that service has
/// ended (SIDE_BY_SIDE).
#[derive(Debug, Serialize, Deserialize)]
pub struct CleanUp {}

impl Job for CleanUp {
    const QUEUE: Queue = Queue::Cleanup;
    const KIND: &'static str = "clean_up";
    const RETRY: RetryPolicy = RetryPolicy::INTERNAL;
    /// A run ends by itself ten seconds after its start, once its current statements are done.
    const TIMEOUT: std::time::Duration = std::time::Duration::from_secs(90);

    fn unique_key(&self) -> Option<String> {
        Some(Self::KIND.into())
    }
}

/// Looks for broken invariants of seats and money once a day. Changes nothing.
#[derive(Debug, Serialize, Deserialize)]
pub struct CheckBooks {}

impl Job for CheckBooks {
    const QUEUE: Queue = Queue::Cleanup;
    const KIND: &'static str = "check_books";
    const RETRY: RetryPolicy = RetryPolicy::INTERNAL;
    const TIMEOUT: Duration = Duration::from_secs(600);

    fn unique_key(&self) -> Option<String> {
        Some(Self::KIND.into())
    }
}
