//! Durable jobs: what a job is, and how one is enqueued.
//!
//! A job is a row of the `jobs` table, inserted by the transaction that needs the work done: state
//! and job commit or vanish together. The workers move rows through the states (see [`lifecycle`]);
//! Redis only carries ids. One file per queue holds its job structs, which say everything about a
//! kind in one place: queue, retries, time limit, uniqueness. The handlers are in the worker crate.
//!
//! What code that enqueues may rely on (`docs/jobs.md` has it all, with a diagram of the states):
//!
//! - A job exists if and only if its transaction commits. It then runs until it is done or dead,
//!   even if processes die meanwhile.
//! - At most one job with a given [unique key](Job::unique_key) is live; the key is free again when
//!   that job is done, dead or cancelled.
//! - It runs when it is due, not before; lower [priorities](Job::PRIORITY) first, then the older.
//! - It may run more than once, even in two workers at a time if one of them is presumed dead. What
//!   a handler commits together with [`lifecycle::Lease::complete`] still happens exactly once;
//!   what it does outside PostgreSQL may be repeated after a crash.
//! - An attempt begins when a worker takes the job. It ends as done, as a failure that
//!   counts (error, panic, time-out, vanished worker), as snoozed or given back, which do not
//!   count, or as discarded. After [`RetryPolicy::max_attempts`] failures the job is dead, and
//!   stays so until an operator decides.
//! - A failing job does not hold up other jobs.

pub mod admin;
pub mod backlog;
pub mod bookings;
pub mod cleanup;
pub mod cron;
pub mod expiry;
pub mod lifecycle;
pub mod notifications;
pub mod otp;
pub mod payments;
pub mod wakeups;

use std::{collections::HashSet, fmt::Display, time::Duration};

use serde::{Serialize, de::DeserializeOwned};
use sqlx::PgConnection;
use uuid::Uuid;

pub use crate::types::{queue::Queue, retry_policy::RetryPolicy};
use crate::{
    error::{Error, Result},
    types::text_enum::text_enum,
};

/// A job's id: UUIDv7, shown to operators and, for ticket generation, to clients.
pub type JobId = Uuid;

text_enum! {
    /// A job's state. In SQL, `job_is_live(state)` is true for the first three.
    pub enum JobState {
        Pending = "pending",
        /// Its delivery is on its way to a worker.
        Queued = "queued",
        Running = "running",
        Done = "done",
        /// It has failed for good, and waits for an operator.
        Dead = "dead",
        /// An operator has discarded it.
        Cancelled = "cancelled",
    }
}

/// A kind of job. The payload is the struct itself; it carries ids, never secrets.
pub trait Job: Serialize + DeserializeOwned + Send + Sync + 'static {
    /// The queue that serves it.
    const QUEUE: Queue;
    /// Its name in the ledger; stable, because rows outlive deployments.
    const KIND: &'static str;
    /// When and how often it is tried again.
    const RETRY: RetryPolicy;
    /// An attempt that takes longer is stopped and counts as failed.
    const TIMEOUT: Duration = Duration::from_secs(30);
    /// Lower runs first within its queue. All jobs with the same priority above 0 use at most half
    /// of a worker's slots: a job that may wait, or that depends on a slow provider, gets such a
    /// number and leaves the other half to the rest of the queue.
    const PRIORITY: i16 = 0;

    /// This job's priority, where jobs of a kind differ.
    fn priority(&self) -> i16 {
        Self::PRIORITY
    }

    /// At most one live job has this key; enqueueing a second one does nothing.
    fn unique_key(&self) -> Option<String> {
        None
    }

    /// The unique key of this kind's job about `id`; `job_key(kind, id)` in SQL.
    fn key(id: impl Display) -> String {
        format!("{}:{id}", Self::KIND)
    }
}

/// Enqueues `job` to run at once, as part of the caller's transaction. `None` when a live job
/// already has its unique key.
pub async fn enqueue<J: Job>(conn: &mut PgConnection, job: &J) -> Result<Option<JobId>> {
    insert(conn, job, Duration::ZERO).await
}

/// Enqueues `job` to run after `wait`, as part of the caller's transaction. `None` when a live job
/// already has its unique key.
pub async fn enqueue_in<J: Job>(
    conn: &mut PgConnection,
    job: &J,
    wait: Duration,
) -> Result<Option<JobId>> {
    insert(conn, job, wait).await
}

/// Enqueues many jobs of a kind with one statement, to run at once, as part of the caller's
/// transaction: each under the trace context of what it follows from. Returns an id for each, in
/// order; `None` when a live job already has its unique key.
pub async fn enqueue_all<J: Job>(
    conn: &mut PgConnection,
    jobs: &[(J, Option<String>)],
) -> Result<Vec<Option<JobId>>> {
    if jobs.is_empty() {
        return Ok(vec![]);
    }
    let ids: Vec<JobId> = jobs.iter().map(|_| Uuid::now_v7()).collect();
    let payloads =
        jobs.iter().map(|(job, _)| serde_json::to_value(job)).collect::<Result<Vec<_>, _>>();
    let payloads = payloads.map_err(Error::internal)?;
    let keys: Vec<Option<String>> = jobs.iter().map(|(job, _)| job.unique_key()).collect();
    let priorities: Vec<i16> = jobs.iter().map(|(job, _)| job.priority()).collect();
    let traces: Vec<Option<&str>> = jobs.iter().map(|(_, trace)| trace.as_deref()).collect();
    let enqueued = sqlx::query_scalar!(
        "INSERT INTO jobs (id, queue, kind, payload, unique_key, priority, max_attempts, available_at, trace_context)
         SELECT id, $4, $5, payload, unique_key, priority, $7, clock_timestamp(), trace_context
         FROM unnest($1::uuid[], $2::jsonb[], $3::text[], $6::smallint[], $8::text[])
             AS job (id, payload, unique_key, priority, trace_context)
         ON CONFLICT (unique_key) WHERE job_is_live(state) DO NOTHING
         RETURNING id",
        &ids,
        &payloads,
        &keys as &[Option<String>],
        J::QUEUE as _,
        J::KIND,
        &priorities,
        J::RETRY.max_attempts,
        &traces as &[Option<&str>],
    )
    .fetch_all(conn)
    .await?;
    crate::observability::metrics::enqueued(J::QUEUE, J::KIND, enqueued.len() as u64);
    // One job is enough to wake the queue's relays.
    if let Some(first) = enqueued.first() {
        wakeups::enqueued(*first);
    }
    let enqueued: HashSet<JobId> = enqueued.into_iter().collect();
    Ok(ids.into_iter().map(|id| enqueued.contains(&id).then_some(id)).collect())
}

async fn insert<J: Job>(conn: &mut PgConnection, job: &J, wait: Duration) -> Result<Option<JobId>> {
    let payload = serde_json::to_value(job).map_err(Error::internal)?;
    let id = sqlx::query_scalar!(
        "INSERT INTO jobs (id, queue, kind, payload, unique_key, priority, max_attempts, available_at, trace_context)
         VALUES ($1, $2, $3, $4, $5, $6, $7, clock_timestamp() + $8::interval, $9)
         ON CONFLICT (unique_key) WHERE job_is_live(state) DO NOTHING
         RETURNING id",
        Uuid::now_v7(),
        J::QUEUE as _,
        J::KIND,
        payload,
        job.unique_key(),
        job.priority(),
        J::RETRY.max_attempts,
        crate::storage::postgres::interval(wait)?,
        crate::observability::traces::current(),
    )
    .fetch_optional(conn)
    .await?;
    if let Some(id) = id {
        crate::observability::metrics::enqueued(J::QUEUE, J::KIND, 1);
        if wait.is_zero() {
            wakeups::enqueued(id);
        }
    }
    Ok(id)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_delay_grows_with_the_attempt_and_is_bounded(attempt in 1..100_i32) {
            let policy = RetryPolicy::OUTBOUND;
            let delay = policy.delay_after(attempt);
            prop_assert!(delay <= policy.longest);
            let exact = policy.first.saturating_mul(1_u32 << (attempt.min(20) - 1)).min(policy.longest);
            prop_assert!(delay >= exact.mul_f64(0.74));
        }
    }
}
