//! Jobs that do nothing, and the one that says when it is run. The other systems' are in
//! `node/hub.js`.

use std::time::Duration;

use nexus_common::jobs::{Job, Queue, RetryPolicy};
use serde::{Deserialize, Serialize};

/// A queue whose worker runs 16 jobs at once unless told otherwise.
pub const QUEUE: Queue = Queue::Otp;

/// Is done at once.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Noop {}

impl Job for Noop {
    const QUEUE: Queue = QUEUE;
    const KIND: &'static str = "bench_noop";
    const RETRY: RetryPolicy = RetryPolicy::INTERNAL;
}

/// Waits, as a job that calls a provider does.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Wait {
    /// Milliseconds.
    pub ms: u64,
}

impl Wait {
    /// How long it waits.
    pub fn duration(&self) -> Duration {
        Duration::from_millis(self.ms)
    }
}

impl Job for Wait {
    const QUEUE: Queue = QUEUE;
    const KIND: &'static str = "bench_wait";
    const RETRY: RetryPolicy = RetryPolicy::INTERNAL;
}

/// Says when its handler starts.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Probe {
    pub seq: u64,
}

impl Job for Probe {
    const QUEUE: Queue = QUEUE;
    const KIND: &'static str = "bench_probe";
    const RETRY: RetryPolicy = RetryPolicy::INTERNAL;
}
