//! How workers move a job through its states, once [`backlog`](super::backlog) has found it due.
//! Every step is one conditional statement, so that two workers, or one worker twice, can never
//! both succeed:
//!
//! ```text
//!         +--------------- claim ---------------+
//!         |                                     v
//! pending --hand_over--> queued --accept--> running --complete----------> done
//!    ^ ^                   |                    |  \--give_up, rescue---> dead
//!    | +- take_back, rescue+                    |
//!    +----- retry, snooze, give_back, rescue ---+
//! ```
//!
//! A worker claims due jobs for itself, with [`Backlog::claim`](super::backlog::Backlog::claim), or
//! accepts one that Redis has brought. Either counts an attempt, in the statement that takes the
//! job: the count has to be written before the handler is called, so that a job that kills its
//! worker every time is dead in the end.
//!
//! A worker holds a running job through its [`Lease`]: job id, delivery number, and a deadline that
//! the worker keeps moving. If the worker has lost the lease (paused too long, presumed dead), its
//! `complete` changes nothing and it must roll back.
//!
//! Claims of few jobs, and completions apart from a handler's transaction, do not wait for the flush
//! of the log ([decision 14](../../../docs/decisions/0014-workers-claim-for-themselves.md)). A
//! PostgreSQL that crashes may forget the last of them: then the job is pending again, and the
//! attempt does not count; its worker finds that it has lost the lease. What a handler commits
//! together with `complete` is flushed as every transaction is, and everything before it.

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use serde_json::Value;
use sqlx::{PgConnection, PgPool};

use super::{JobId, Queue};
use crate::{
    error::{Error, Result},
    storage::postgres::interval,
};

/// The message that travels through Redis: enough to find the row, and to notice that a later
/// delivery has replaced this one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
pub struct Delivery {
    pub job_id: JobId,
    /// Which hand-over this is; the row remembers the newest.
    pub delivery: i32,
}

/// The right to run a job, until another worker may.
#[derive(Clone, Debug)]
pub struct Lease {
    delivery: Delivery,
    /// Whether the handler has completed the job, as far as its transaction was committed.
    completed: Arc<AtomicBool>,
}

/// A job that a worker has claimed.
#[derive(Debug)]
pub struct Claimed {
    /// The right to run it.
    pub lease: Lease,
    /// The job's kind, which selects the handler.
    pub kind: String,
    /// The job struct as JSON.
    pub payload: Value,
    /// The job's [priority](super::Job::PRIORITY).
    pub priority: i16,
    /// The number of this attempt; 1 for the first.
    pub attempt: i32,
    /// The attempt after which a failure is final.
    pub max_attempts: i32,
    /// The W3C traceparent under which the job was enqueued.
    pub trace_context: Option<String>,
    /// How long it had been due.
    pub waited: Duration,
}

impl Claimed {
    /// The user whom the job is about, if its payload says so.
    pub fn user_id(&self) -> Option<i64> {
        self.payload["user_id"].as_i64()
    }
}

impl Lease {
    pub(super) fn new(delivery: Delivery) -> Self {
        Lease { delivery, completed: Arc::default() }
    }

    /// The job that the lease holds, and by which delivery.
    pub(crate) fn held(&self) -> Delivery {
        self.delivery
    }

    /// The job that the lease holds.
    pub fn job_id(&self) -> JobId {
        self.delivery.job_id
    }

    /// Whether [`complete`](Self::complete) has succeeded. A handler that returns `Ok` after that
    /// has committed it.
    pub fn is_completed(&self) -> bool {
        self.completed.load(Ordering::Acquire)
    }

    /// Notes that another statement than [`complete`](Self::complete) has completed the job, and is
    /// committed.
    pub fn note_completed(&self) {
        self.completed.store(true, Ordering::Release);
    }

    /// Marks the job done **in the caller's transaction**, together with the job's effects.
    /// [`Error::LeaseLost`] means that another worker may have the job: the caller must roll back.
    pub async fn complete(&self, conn: &mut PgConnection) -> Result<()> {
        let done = sqlx::query!(
            "UPDATE jobs SET state = 'done', finished_at = now(), leased_until = NULL
             WHERE id = $1 AND delivery = $2 AND state = 'running'",
            self.delivery.job_id,
            self.delivery.delivery,
        )
        .execute(conn)
        .await?;
        if done.rows_affected() != 1 {
            return Err(Error::LeaseLost);
        }
        self.completed.store(true, Ordering::Release);
        Ok(())
    }

    /// Whether the handler has completed the job. A renewal that found nothing to renew must ask
    /// this before it calls the lease lost.
    pub async fn is_done(&self, pool: &PgPool) -> Result<bool> {
        let done = sqlx::query_scalar!(
            r#"SELECT EXISTS (SELECT 1 FROM jobs WHERE id = $1 AND delivery = $2 AND state = 'done') AS "done!""#,
            self.delivery.job_id,
            self.delivery.delivery,
        )
        .fetch_one(pool)
        .await?;
        Ok(done)
    }

    /// The attempt failed; try again after `delay`. The error joins the job's history. As with
    /// every way to end an attempt, false means that it is no longer this lease's to end: the job
    /// is done already, or another worker has it.
    pub async fn retry(&self, pool: &PgPool, error: &str, delay: Duration) -> Result<bool> {
        let retried = sqlx::query!(
            "UPDATE jobs SET state = 'pending', available_at = now() + $3, leased_until = NULL, last_error = $4,
                    errors = jobs_with_error(errors, attempt, $4)
             WHERE id = $1 AND delivery = $2 AND state = 'running'",
            self.delivery.job_id,
            self.delivery.delivery,
            interval(delay)?,
            error,
        )
        .execute(pool)
        .await?;
        Ok(retried.rows_affected() == 1)
    }

    /// The job has failed for good: it is a dead letter until an operator retries or discards it.
    /// Runs in the caller's transaction, together with the alert for operators.
    pub async fn give_up(&self, conn: &mut PgConnection, error: &str) -> Result<bool> {
        let given_up = sqlx::query!(
            "UPDATE jobs SET state = 'dead', finished_at = now(), leased_until = NULL, last_error = $3,
                    errors = jobs_with_error(errors, attempt, $3)
             WHERE id = $1 AND delivery = $2 AND state = 'running'",
            self.delivery.job_id,
            self.delivery.delivery,
            error,
        )
        .execute(conn)
        .await?;
        Ok(given_up.rows_affected() == 1)
    }

    /// The job has come to nothing, and nobody needs to do anything about it.
    pub async fn cancel(&self, pool: &PgPool, reason: &str) -> Result<bool> {
        let cancelled = sqlx::query!(
            "UPDATE jobs SET state = 'cancelled', finished_at = now(), leased_until = NULL, last_error = $3,
                    errors = jobs_with_error(errors, attempt, $3)
             WHERE id = $1 AND delivery = $2 AND state = 'running'",
            self.delivery.job_id,
            self.delivery.delivery,
            reason,
        )
        .execute(pool)
        .await?;
        Ok(cancelled.rows_affected() == 1)
    }

    /// Not now but `after` that; the attempt does not count. A job that is tried for ever starts
    /// over: it succeeded, so earlier failures must not lengthen the waits after its next failure.
    pub async fn snooze(&self, pool: &PgPool, after: Duration) -> Result<bool> {
        let snoozed = sqlx::query!(
            "UPDATE jobs SET state = 'pending', available_at = clock_timestamp() + $3::interval, leased_until = NULL,
                    attempt = CASE WHEN max_attempts = 2147483647 THEN 0 ELSE attempt - 1 END
             WHERE id = $1 AND delivery = $2 AND state = 'running'",
            self.delivery.job_id,
            self.delivery.delivery,
            interval(after)?,
        )
        .execute(pool)
        .await?;
        Ok(snoozed.rows_affected() == 1)
    }
}

/// A row of a job that was just taken.
pub(super) struct ClaimedRow {
    pub(super) id: JobId,
    pub(super) delivery: i32,
    pub(super) kind: String,
    pub(super) payload: Value,
    pub(super) priority: i16,
    pub(super) attempt: i32,
    pub(super) max_attempts: i32,
    pub(super) trace_context: Option<String>,
    pub(super) waited: f64,
}

impl From<ClaimedRow> for Claimed {
    fn from(row: ClaimedRow) -> Self {
        Claimed {
            lease: Lease::new(Delivery { job_id: row.id, delivery: row.delivery }),
            kind: row.kind,
            payload: row.payload,
            priority: row.priority,
            attempt: row.attempt,
            max_attempts: row.max_attempts,
            trace_context: row.trace_context,
            waited: Duration::try_from_secs_f64(row.waited.max(0.0)).unwrap_or_default(),
        }
    }
}

/// Puts back jobs that no worker has claimed: their hand-over to Redis failed, Redis may have lost
/// them, or the worker is leaving. They keep their place in the queue, and the relays of other
/// workers are told that jobs are [back](super::wakeups::BACK).
pub async fn take_back(pool: &PgPool, deliveries: &[Delivery]) -> Result<()> {
    let (ids, numbers): (Vec<_>, Vec<_>) =
        deliveries.iter().map(|d| (d.job_id, d.delivery)).unzip();
    sqlx::query!(
        "WITH back AS (
             UPDATE jobs SET state = 'pending' FROM unnest($1::uuid[], $2::int[]) AS d (id, delivery)
             WHERE jobs.id = d.id AND jobs.delivery = d.delivery AND jobs.state = 'queued'
             RETURNING queue
         )
         SELECT pg_notify('nexus_jobs', queue || ' back') FROM (SELECT DISTINCT queue FROM back) q",
        &ids,
        &numbers,
    )
    .fetch_all(pool)
    .await?;
    Ok(())
}

/// Accepts jobs for `worker` that Redis has brought; returns one result per delivery. `None` when
/// the delivery no longer counts: its job has run, was delivered anew, or was cancelled.
pub async fn accept(
    pool: &PgPool,
    deliveries: &[Delivery],
    worker: &str,
    lease: Duration,
) -> Result<Vec<Option<Claimed>>> {
    let (ids, numbers) = newest(deliveries.iter().copied());
    let rows = sqlx::query_as!(
        ClaimedRow,
        r#"UPDATE jobs SET state = 'running', worker = $4, attempt = attempt + 1, started_at = clock_timestamp(),
                  leased_until = clock_timestamp() + $3::interval
           WHERE id = ANY ($1) AND delivery = ($2::int[])[array_position($1, id)] AND state = 'queued'
           RETURNING id, delivery, kind, payload, priority, attempt, max_attempts, trace_context,
                     extract(epoch FROM now() - available_at)::float8 AS "waited!""#,
        &ids,
        &numbers,
        interval(lease)?,
        worker,
    )
    .fetch_all(pool)
    .await?;
    let mut accepted: HashMap<JobId, Claimed> =
        rows.into_iter().map(|row| (row.id, row.into())).collect();
    let accepted = deliveries.iter().map(|delivery| {
        let claimed = accepted.remove(&delivery.job_id)?;
        (claimed.lease.delivery == *delivery).then_some(claimed)
    });
    Ok(accepted.collect())
}

/// Moves the deadlines of leases; returns one result each, false when the lease is lost.
pub async fn renew(pool: &PgPool, leases: &[Lease], lease: Duration) -> Result<Vec<bool>> {
    let (ids, numbers) = newest(leases.iter().map(|lease| lease.delivery));
    let renewed = sqlx::query!(
        "UPDATE jobs SET leased_until = clock_timestamp() + $3::interval
         FROM (SELECT set_config('synchronous_commit', 'off', TRUE)) unflushed
         WHERE id = ANY ($1) AND delivery = ($2::int[])[array_position($1, id)] AND state = 'running'
         RETURNING id, delivery",
        &ids,
        &numbers,
        interval(lease)?,
    )
    .fetch_all(pool)
    .await?;
    let renewed: HashSet<Delivery> = renewed
        .into_iter()
        .map(|row| Delivery { job_id: row.id, delivery: row.delivery })
        .collect();
    Ok(leases.iter().map(|lease| renewed.contains(&lease.delivery)).collect())
}

/// Marks jobs done, except those whose lease is lost. If PostgreSQL crashes and forgets this, a job
/// runs again, as if its worker had died just before.
pub async fn complete(pool: &PgPool, leases: &[Lease]) -> Result<()> {
    let (ids, numbers) = newest(leases.iter().map(|lease| lease.delivery));
    sqlx::query!(
        "UPDATE jobs SET state = 'done', finished_at = now(), leased_until = NULL
         FROM (SELECT set_config('synchronous_commit', 'off', TRUE)) unflushed
         WHERE id = ANY ($1) AND delivery = ($2::int[])[array_position($1, id)] AND state = 'running'",
        &ids,
        &numbers,
    )
    .execute(pool)
    .await?;
    Ok(())
}

/// Marks jobs done **in the caller's transaction**, together with their effects. Returns those whose
/// lease was still held: nothing may be done for the others. After the commit, the caller
/// [notes](Lease::note_completed) it.
pub async fn complete_all(conn: &mut PgConnection, leases: &[Lease]) -> Result<HashSet<JobId>> {
    let (ids, numbers) = newest(leases.iter().map(|lease| lease.delivery));
    let done = sqlx::query_scalar!(
        "UPDATE jobs SET state = 'done', finished_at = now(), leased_until = NULL
         WHERE id = ANY ($1) AND delivery = ($2::int[])[array_position($1, id)] AND state = 'running'
         RETURNING id",
        &ids,
        &numbers,
    )
    .fetch_all(conn)
    .await?;
    Ok(done.into_iter().collect())
}

/// The worker is leaving, or has no slot for these jobs: they are due again at once, in their old
/// places, and the attempts do not count. Returns one result each, false when the lease is lost. The
/// relays of other workers are told that jobs are [back](super::wakeups::BACK).
pub async fn give_back(pool: &PgPool, leases: &[Lease]) -> Result<Vec<bool>> {
    let (ids, numbers) = newest(leases.iter().map(|lease| lease.delivery));
    let given = sqlx::query!(
        r#"WITH back AS (
               UPDATE jobs SET state = 'pending', leased_until = NULL, started_at = NULL, attempt = attempt - 1
               WHERE id = ANY ($1) AND delivery = ($2::int[])[array_position($1, id)] AND state = 'running'
               RETURNING id, queue
           )
           SELECT array_agg(id) AS "ids!", pg_notify('nexus_jobs', queue || ' back') AS told FROM back GROUP BY queue"#,
        &ids,
        &numbers,
    )
    .fetch_all(pool)
    .await?;
    let given: HashSet<JobId> = given.into_iter().flat_map(|row| row.ids).collect();
    Ok(leases.iter().map(|lease| given.contains(&lease.delivery.job_id)).collect())
}

/// Gives back what `worker` holds besides `own`: it has claimed jobs whose names have not reached
/// it, because the connection broke.
pub async fn disown(pool: &PgPool, queue: Queue, worker: &str, own: &[JobId]) -> Result<()> {
    sqlx::query!(
        "WITH back AS (
             UPDATE jobs SET state = 'pending', leased_until = NULL, started_at = NULL, attempt = attempt - 1
             WHERE queue = $1 AND state = 'running' AND worker = $2 AND id <> ALL ($3)
             RETURNING queue
         )
         SELECT pg_notify('nexus_jobs', queue || ' back') FROM (SELECT DISTINCT queue FROM back) q",
        queue as _,
        worker,
        own,
    )
    .fetch_all(pool)
    .await?;
    Ok(())
}

/// Ids and delivery numbers, each job once and in order, so that two statements never wait for each
/// other in a circle. Only the newest of a job's deliveries counts.
fn newest(deliveries: impl Iterator<Item = Delivery>) -> (Vec<JobId>, Vec<i32>) {
    let mut newest = BTreeMap::new();
    for Delivery { job_id, delivery } in deliveries {
        newest
            .entry(job_id)
            .and_modify(|number: &mut i32| *number = delivery.max(*number))
            .or_insert(delivery);
    }
    newest.into_iter().unzip()
}

/// What [`rescue`] found.
#[derive(Debug, Default)]
pub struct Rescued {
    /// Jobs that were handed over and not begun; they are due again.
    pub lost: u64,
    /// Jobs whose worker vanished while it ran them.
    pub vanished: Vec<Vanished>,
}

/// A job whose worker vanished.
#[derive(Debug)]
pub struct Vanished {
    pub job_id: JobId,
    pub kind: String,
    pub payload: Value,
    pub attempt: i32,
    pub max_attempts: i32,
    pub error: String,
    /// Whether that was its last attempt.
    pub dead: bool,
}

/// Whether [`rescue`] or [`bury`] would find a job of `queue`. Cheap, because it is asked again and
/// again and hardly ever true.
pub async fn is_any_lost(pool: &PgPool, queue: Queue, lost_after: Duration) -> Result<bool> {
    let lost = sqlx::query_scalar!(
        r#"SELECT EXISTS (
               SELECT 1 FROM jobs WHERE queue = $1 AND state IN ('queued', 'running')
                   AND CASE state WHEN 'queued' THEN queued_at < now() - $2::interval ELSE leased_until < now() END
           ) AS "lost!""#,
        queue as _,
        interval(lost_after)?,
    )
    .fetch_one(pool)
    .await?;
    Ok(lost)
}

/// Makes jobs of `queue` due again whose delivery was lost (queued for longer than `lost_after`,
/// because Redis was emptied) or whose worker died (lease run out), at most 1,000 of each per call.
///
/// A job that was lost, or claimed but not begun, keeps its place in the queue: it has not been
/// tried. A job that its worker was running has been tried: it is due at once the first time, then
/// after pauses that grow to a minute, so that a job that kills its workers leaves them time for
/// other jobs. After its last attempt, [`bury`] handles it.
pub async fn rescue(
    conn: &mut PgConnection,
    queue: Queue,
    lost_after: Duration,
) -> Result<Rescued> {
    let lost = sqlx::query!(
        "UPDATE jobs SET state = 'pending', leased_until = NULL WHERE id = ANY (ARRAY(
             SELECT id FROM jobs WHERE queue = $1 AND state IN ('queued', 'running')
                 AND CASE state WHEN 'queued' THEN queued_at < now() - $2::interval
                                ELSE started_at IS NULL AND leased_until < now() END
             LIMIT 1000 FOR UPDATE SKIP LOCKED))",
        queue as _,
        interval(lost_after)?,
    )
    .execute(&mut *conn)
    .await?;
    let vanished = vanished(conn, queue, false, 1000).await?;
    Ok(Rescued { lost: lost.rows_affected(), vanished })
}

/// Makes a dead letter of a job of `queue` whose worker vanished during its last attempt. Runs in
/// the caller's transaction, together with the alert for operators.
pub async fn bury(conn: &mut PgConnection, queue: Queue) -> Result<Option<Vanished>> {
    Ok(vanished(conn, queue, true, 1).await?.pop())
}

async fn vanished(
    conn: &mut PgConnection,
    queue: Queue,
    last: bool,
    most: i64,
) -> Result<Vec<Vanished>> {
    let vanished = sqlx::query_as!(
        Vanished,
        r#"UPDATE jobs SET
               state = CASE WHEN attempt >= max_attempts THEN 'dead'::job_state ELSE 'pending' END,
               finished_at = CASE WHEN attempt >= max_attempts THEN now() END,
               available_at = now() + interval '1 second' * least(2 ^ least(attempt - 1, 10) - 1, 60),
               leased_until = NULL,
               last_error = 'worker ' || coalesce(worker, '?') || ' vanished',
               errors = jobs_with_error(errors, attempt, 'worker ' || coalesce(worker, '?') || ' vanished')
           WHERE id = ANY (ARRAY(
               SELECT id FROM jobs
               WHERE queue = $1 AND state = 'running' AND leased_until < now() AND started_at IS NOT NULL
                   AND (attempt >= max_attempts) = $2
               LIMIT $3 FOR UPDATE SKIP LOCKED))
           RETURNING id AS job_id, kind, payload, attempt, max_attempts, last_error AS "error!", state = 'dead' AS "dead!""#,
        queue as _,
        last,
        most,
    )
    .fetch_all(conn)
    .await?;
    Ok(vanished)
}

/// Removes jobs that finished longer than `keep` ago, at most 10,000 per call; returns how many.
/// Dead letters stay until an operator decides.
pub async fn prune(conn: &mut PgConnection, keep: Duration) -> Result<u64> {
    let pruned = sqlx::query!(
        // A job that an operator has revived between the look and the lock stays.
        "DELETE FROM jobs WHERE state IN ('done', 'cancelled') AND id = ANY (ARRAY(
             SELECT id FROM jobs WHERE state IN ('done', 'cancelled') AND finished_at < now() - $1::interval LIMIT 10000))",
        interval(keep)?,
    )
    .execute(conn)
    .await?;
    Ok(pruned.rows_affected())
}
