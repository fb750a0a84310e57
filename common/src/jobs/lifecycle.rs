//! How workers move a job through its states, once [`backlog`](super::backlog) has found it due.
//! Every step is one conditional statement, so that two workers, or one worker twice, can never
//! both succeed:
//!
//! ```text
//! pending --hand_over--> queued --claim--> running --complete----------> done
//!    ^ ^                   |               (begin) \--give_up, rescue---> dead
//!    | +- take_back, rescue+                 |
//!    +----- retry, snooze, give_back, rescue +
//! ```
//!
//! A claim is not an attempt yet: [`begin`] counts the attempt, and is the last step before the
//! handler. If the worker vanishes between the two, or the claim takes so long that the lease runs
//! out, the job has not been tried.
//!
//! A worker holds a running job through its [`Lease`]: job id, delivery number, and a deadline that
//! the worker keeps moving. If the worker has lost the lease (paused too long, presumed dead), its
//! `complete` changes nothing and it must roll back.

use std::{
    collections::{BTreeMap, HashMap, HashSet},
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
#[derive(Clone, Copy, Debug)]
pub struct Lease {
    delivery: Delivery,
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
    /// The number of the attempt that begins now; 1 for the first.
    pub attempt: i32,
    /// The attempt after which a failure is final.
    pub max_attempts: i32,
    /// The W3C traceparent under which the job was enqueued.
    pub trace_context: Option<String>,
    /// How long it had been due.
    pub waited: Duration,
}

impl Lease {
    /// The job that the lease holds.
    pub fn job_id(&self) -> JobId {
        self.delivery.job_id
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
        if done.rows_affected() == 1 { Ok(()) } else { Err(Error::LeaseLost) }
    }

    /// Moves the deadline; false when the lease is lost.
    pub async fn renew(&self, pool: &PgPool, lease: Duration) -> Result<bool> {
        let renewed = sqlx::query!(
            "UPDATE jobs SET leased_until = now() + $3 WHERE id = $1 AND delivery = $2 AND state = 'running'",
            self.delivery.job_id,
            self.delivery.delivery,
            interval(lease)?,
        )
        .execute(pool)
        .await?;
        Ok(renewed.rows_affected() == 1)
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

    /// The worker is leaving, or cannot begin: the job is due again at once, in its old place, and
    /// `attempt` does not count, whether it had begun or not. The relays of other workers are told
    /// that a job is [back](super::wakeups::BACK).
    pub async fn give_back(&self, pool: &PgPool, attempt: i32) -> Result<bool> {
        let given = sqlx::query!(
            "WITH back AS (
                 UPDATE jobs SET state = 'pending', leased_until = NULL, attempt = $3
                 WHERE id = $1 AND delivery = $2 AND state = 'running'
                 RETURNING queue
             )
             SELECT pg_notify('nexus_jobs', queue || ' back') FROM back",
            self.delivery.job_id,
            self.delivery.delivery,
            attempt - 1,
        )
        .fetch_all(pool)
        .await?;
        Ok(!given.is_empty())
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

/// Claims delivered jobs for `worker`; returns one result per delivery. `None` when the delivery no
/// longer counts: its job has run, was delivered anew, or was cancelled.
pub async fn claim(
    pool: &PgPool,
    deliveries: &[Delivery],
    worker: &str,
    lease: Duration,
) -> Result<Vec<Option<Claimed>>> {
    let (ids, numbers) = newest(deliveries.iter().copied());
    let rows = sqlx::query!(
        "UPDATE jobs SET state = 'running', leased_until = now() + $3, worker = $4, started_at = NULL
         WHERE id = ANY ($1) AND delivery = ($2::int[])[array_position($1, id)] AND state = 'queued'
         RETURNING id, delivery, kind, payload, attempt + 1 AS \"attempt!\", max_attempts, trace_context,
                   extract(epoch FROM now() - available_at)::float8 AS \"waited!\"",
        &ids,
        &numbers,
        interval(lease)?,
        worker,
    )
    .fetch_all(pool)
    .await?;
    let mut claimed: HashMap<Delivery, Claimed> = rows
        .into_iter()
        .map(|row| {
            let delivery = Delivery { job_id: row.id, delivery: row.delivery };
            let claimed = Claimed {
                lease: Lease { delivery },
                kind: row.kind,
                payload: row.payload,
                attempt: row.attempt,
                max_attempts: row.max_attempts,
                trace_context: row.trace_context,
                waited: Duration::try_from_secs_f64(row.waited.max(0.0)).unwrap_or_default(),
            };
            (delivery, claimed)
        })
        .collect();
    Ok(deliveries.iter().map(|delivery| claimed.remove(delivery)).collect())
}

/// Counts the attempts that handlers are about to begin, and renews their leases; returns one
/// result each, false when the lease is lost. May be repeated.
pub async fn begin(pool: &PgPool, attempts: &[(Lease, i32)], lease: Duration) -> Result<Vec<bool>> {
    // In order and each job once, as `newest` does.
    let mut newest: BTreeMap<JobId, (i32, i32)> = BTreeMap::new();
    for (Lease { delivery: Delivery { job_id, delivery } }, number) in attempts {
        let attempt = newest.entry(*job_id).or_default();
        *attempt = (*delivery, *number).max(*attempt);
    }
    let ids: Vec<JobId> = newest.keys().copied().collect();
    let (deliveries, numbers): (Vec<i32>, Vec<i32>) = newest.into_values().unzip();
    // Does not wait for the flush: if PostgreSQL crashes and forgets this, the attempt does not
    // count.
    let begun = sqlx::query!(
        "UPDATE jobs SET attempt = ($3::int[])[array_position($1, id)], started_at = clock_timestamp(),
                leased_until = clock_timestamp() + $4::interval
         FROM (SELECT set_config('synchronous_commit', 'off', TRUE)) unflushed
         WHERE id = ANY ($1) AND delivery = ($2::int[])[array_position($1, id)] AND state = 'running'
         RETURNING id, delivery",
        &ids,
        &deliveries,
        &numbers,
        interval(lease)?,
    )
    .fetch_all(pool)
    .await?;
    let begun: HashSet<Delivery> =
        begun.into_iter().map(|row| Delivery { job_id: row.id, delivery: row.delivery }).collect();
    Ok(attempts.iter().map(|(lease, _)| begun.contains(&lease.delivery)).collect())
}

/// Marks jobs done, except those that their handlers have completed and those whose lease is lost.
pub async fn complete(pool: &PgPool, leases: &[Lease]) -> Result<()> {
    let (ids, numbers) = newest(leases.iter().map(|lease| lease.delivery));
    sqlx::query!(
        "UPDATE jobs SET state = 'done', finished_at = now(), leased_until = NULL
         WHERE id = ANY ($1) AND delivery = ($2::int[])[array_position($1, id)] AND state = 'running'",
        &ids,
        &numbers,
    )
    .execute(pool)
    .await?;
    Ok(())
}

/// Marks jobs done **in the caller's transaction**, together with their effects. Returns those whose
/// lease was still held: nothing may be done for the others.
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
