//! What every worker needs.

use std::time::Duration;

use super::{Database, Env, Observability, Redis};
use crate::types::queue::Queue;

/// What every worker needs; its handlers read further groups.
#[derive(Debug, Clone)]
pub struct Worker {
    pub observability: Observability,
    pub database: Database,
    pub redis: Redis,
    /// WORKER_CONCURRENCY: jobs at once; the command line's `--concurrency` wins.
    pub concurrency: usize,
    /// JOB_LEASE_MS: a worker that has not renewed its lease for this long loses its job to
    /// another.
    pub lease: Duration,
    /// JOB_LOST_MS: a job that was handed to Redis this long ago and never claimed is handed over
    /// again.
    pub lost_after: Duration,
    /// SHUTDOWN_GRACE_MS: how long running jobs may take to finish after SIGTERM.
    pub grace: Duration,
}

impl Worker {
    /// Reads every group.
    pub fn from_env(env: &mut Env, queue: Queue) -> Self {
        let concurrency = match queue {
            Queue::Otp | Queue::Payments | Queue::Notifications => 16,
            Queue::Bookings => 4,
            Queue::Expiry | Queue::Cleanup => 1,
        };
        Worker {
            observability: Observability::from_env(env),
            database: Database::from_env(env, 10),
            redis: Redis::from_env(env),
            concurrency: env.between("WORKER_CONCURRENCY", concurrency, 1, 1000) as usize,
            lease: env.milliseconds("JOB_LEASE_MS", 6_000, 1_000, 300_000),
            lost_after: env.milliseconds("JOB_LOST_MS", 10_000, 1_000, 300_000),
            grace: env.milliseconds("SHUTDOWN_GRACE_MS", 10_000, 0, 300_000),
        }
    }
}
