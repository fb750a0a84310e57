//! An operator's view of the job ledger: look, retry, discard. `nexus-jobs`, the API's `/admin` and
//! the metrics use it.

use std::time::Duration;

use chrono::{DateTime, Utc};
use serde_json::{Value, json};
use sqlx::{PgConnection, PgPool};

use super::{Job, JobId, JobState, Queue};
use crate::{
    audit::{self, Action, Operator, Subject, SubjectKind},
    error::Result,
    observability::metrics,
};

/// A job as an operator sees it.
#[derive(Debug, serde::Serialize)]
pub struct JobRow {
    pub id: JobId,
    pub queue: String,
    pub kind: String,
    pub state: JobState,
    pub payload: Value,
    pub unique_key: Option<String>,
    pub priority: i16,
    pub attempt: i32,
    pub max_attempts: i32,
    pub available_at: DateTime<Utc>,
    pub worker: Option<String>,
    pub last_error: Option<String>,
    pub errors: Value,
    pub trace_context: Option<String>,
    pub created_at: DateTime<Utc>,
    pub started_at: Option<DateTime<Utc>>,
    pub finished_at: Option<DateTime<Utc>>,
    /// The operator who has retried or discarded it last, and when.
    pub acted_by: Option<String>,
    pub acted_at: Option<DateTime<Utc>>,
}

impl JobRow {
    /// `3/14`: the attempts made, and the most that may be made.
    pub fn attempts(&self) -> String {
        // Some jobs are tried for ever.
        if self.max_attempts == i32::MAX {
            self.attempt.to_string()
        } else {
            format!("{}/{}", self.attempt, self.max_attempts)
        }
    }

    /// The trace that the job was enqueued in.
    pub fn trace_id(&self) -> Option<&str> {
        self.trace_context.as_deref()?.split('-').nth(1)
    }
}

/// Which jobs to list; `None` means any.
#[derive(Debug, Default)]
pub struct Filter {
    pub queue: Option<String>,
    pub kind: Option<String>,
    pub state: Option<JobState>,
    /// The most to list, newest first.
    pub limit: i64,
}

/// The newest jobs that match.
pub async fn list(pool: &PgPool, filter: &Filter) -> Result<Vec<JobRow>> {
    let rows = sqlx::query_as!(
        JobRow,
        r#"SELECT id, queue, kind, state::text AS "state!: _", payload, unique_key, priority, attempt, max_attempts, available_at, worker,
                  last_error, errors, trace_context, created_at, started_at, finished_at, acted_by, acted_at
           FROM jobs
           WHERE ($1::text IS NULL OR queue = $1) AND ($2::text IS NULL OR kind = $2)
             AND state = ANY (CASE WHEN $3::text IS NULL THEN enum_range(NULL::job_state) ELSE ARRAY[$3::text::job_state] END)
           ORDER BY id DESC LIMIT $4"#,
        filter.queue,
        filter.kind,
        filter.state as _,
        filter.limit,
    )
    .fetch_all(pool)
    .await?;
    Ok(rows)
}

/// One job; `None` when it does not exist any more.
pub async fn show(pool: &PgPool, id: JobId) -> Result<Option<JobRow>> {
    let row = sqlx::query_as!(
        JobRow,
        r#"SELECT id, queue, kind, state::text AS "state!: _", payload, unique_key, priority, attempt, max_attempts, available_at, worker,
                  last_error, errors, trace_context, created_at, started_at, finished_at, acted_by, acted_at
           FROM jobs WHERE id = $1"#,
        id,
    )
    .fetch_optional(pool)
    .await?;
    Ok(row)
}

/// Makes a dead or cancelled job due again, with all its attempts; its history stays. False when it
/// is in another state, or when a live job has its unique key.
pub async fn retry(pool: &PgPool, id: JobId, by: Operator) -> Result<bool> {
    Ok(revive(pool, Some(id), None, by).await? == 1)
}

/// Makes every dead job of `kind` due again; returns how many.
pub async fn retry_all(pool: &PgPool, kind: &str, by: Operator) -> Result<u64> {
    revive(pool, None, Some(kind), by).await
}

async fn revive(pool: &PgPool, id: Option<JobId>, kind: Option<&str>, by: Operator) -> Result<u64> {
    let mut tx = pool.begin().await?;
    let revived = sqlx::query_scalar!(
        "UPDATE jobs SET state = 'pending', attempt = 0, available_at = now(), finished_at = NULL,
             acted_by = coalesce('user ' || $3::int, session_user), acted_at = now()
         WHERE id IN (
             SELECT DISTINCT ON (coalesce(unique_key, id::text)) id FROM jobs dead
             WHERE ($1::uuid IS NULL OR id = $1) AND ($2::text IS NULL OR kind = $2)
               AND (state = 'dead' OR (state = 'cancelled' AND $1 IS NOT NULL))
               AND NOT EXISTS (
                   SELECT 1 FROM jobs live
                   WHERE live.unique_key = dead.unique_key AND job_is_live(live.state))
             ORDER BY coalesce(unique_key, id::text), id DESC
         )
         -- Two operators at once: what the first has revived may be running when the second has waited for it.
         AND state IN ('dead', 'cancelled')
         RETURNING queue",
        id,
        kind,
        by.user() as _,
    )
    .fetch_all(&mut *tx)
    .await?;
    sqlx::query!(
        "SELECT pg_notify('nexus_jobs', queue) FROM (SELECT DISTINCT unnest($1::text[]) AS queue) q",
        &revived
    )
    .fetch_all(&mut *tx)
    .await?;
    let revived = revived.len() as u64;
    let (one, all) = (Action::JobRetried, Action::JobsRetried);
    record(&mut tx, by, revived, (id, one), (kind, all)).await?;
    tx.commit().await?;
    Ok(revived)
}

/// Cancels a job that has not started or is dead. False when it is running or finished.
pub async fn discard(pool: &PgPool, id: JobId, by: Operator) -> Result<bool> {
    let mut tx = pool.begin().await?;
    let discarded = sqlx::query!(
        "UPDATE jobs SET state = 'cancelled', finished_at = now(), acted_by = coalesce('user ' || $2::int, session_user), acted_at = now()
         WHERE id = $1 AND state IN ('pending', 'queued', 'dead')",
        id,
        by.user() as _,
    )
    .execute(&mut *tx)
    .await?
    .rows_affected();
    let (one, all) = (Action::JobDiscarded, Action::JobsDiscarded);
    record(&mut tx, by, discarded, (Some(id), one), (None, all)).await?;
    tx.commit().await?;
    Ok(discarded == 1)
}

/// Records what an operator has done to one job, or to all dead ones of a kind.
async fn record(
    conn: &mut PgConnection,
    by: Operator,
    jobs: u64,
    (id, one): (Option<JobId>, Action),
    (kind, all): (Option<&str>, Action),
) -> Result<()> {
    if jobs == 0 {
        return Ok(());
    }
    let (action, subject) = match (id, kind) {
        (Some(id), _) => (one, audit::job(id)),
        (None, kind) => (all, Subject::of(SubjectKind::JobKind, kind.unwrap_or_default())),
    };
    audit::record(conn, action, by.user(), subject, json!({ "jobs": jobs })).await
}

/// How many jobs a queue has in a state, and when the oldest of them became due.
#[derive(Debug, serde::Serialize)]
pub struct Stat {
    pub queue: String,
    pub state: JobState,
    pub count: i64,
    /// When the oldest of them became due.
    pub oldest: Option<DateTime<Utc>>,
}

/// Cancels every dead job of `kind`; returns how many.
pub async fn discard_all(pool: &PgPool, kind: &str, by: Operator) -> Result<u64> {
    let mut tx = pool.begin().await?;
    let discarded = sqlx::query!(
        "UPDATE jobs SET state = 'cancelled', finished_at = now(), acted_by = coalesce('user ' || $2::int, session_user), acted_at = now()
         WHERE kind = $1 AND state = 'dead'",
        kind,
        by.user() as _,
    )
    .execute(&mut *tx)
    .await?
    .rows_affected();
    let (one, all) = (Action::JobDiscarded, Action::JobsDiscarded);
    record(&mut tx, by, discarded, (None, one), (Some(kind), all)).await?;
    tx.commit().await?;
    Ok(discarded)
}

/// The jobs of one kind that are in trouble.
#[derive(Debug)]
pub struct Trouble {
    pub kind: String,
    pub queue: String,
    pub count: i64,
    /// The error of the job that failed last.
    pub last_error: Option<String>,
    /// When that job failed, or when the next of them is tried again.
    pub when: Option<DateTime<Utc>>,
}

/// The dead jobs, by kind.
pub async fn dead_kinds(pool: &PgPool) -> Result<Vec<Trouble>> {
    let kinds = sqlx::query_as!(
        Trouble,
        r#"SELECT kind, queue, count(*) AS "count!", (array_agg(last_error ORDER BY finished_at DESC))[1] AS last_error,
                  max(finished_at) AS when
           FROM jobs WHERE state = 'dead' GROUP BY kind, queue ORDER BY count(*) DESC, kind"#
    )
    .fetch_all(pool)
    .await?;
    Ok(kinds)
}

/// Makes the jobs of a kind due now, because what they waited for has come.
pub async fn make_due<J: Job>(conn: &mut PgConnection) -> Result<()> {
    sqlx::query!(
        "UPDATE jobs SET available_at = now() WHERE queue = $1 AND kind = $2 AND state = 'pending' AND available_at > now()",
        J::QUEUE as _,
        J::KIND,
    )
    .execute(conn)
    .await?;
    Ok(())
}

/// The jobs that have failed and will be tried again, by kind.
pub async fn failing_kinds(pool: &PgPool) -> Result<Vec<Trouble>> {
    let kinds = sqlx::query_as!(
        Trouble,
        r#"SELECT kind, queue, count(*) AS "count!", (array_agg(last_error ORDER BY started_at DESC))[1] AS last_error,
                  min(available_at) AS when
           FROM jobs WHERE state = 'pending' AND attempt > 0 AND last_error IS NOT NULL
           GROUP BY kind, queue ORDER BY count(*) DESC, kind"#
    )
    .fetch_all(pool)
    .await?;
    Ok(kinds)
}

/// The state of one queue's jobs.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Depth {
    /// Waiting, and due.
    pub due: i64,
    /// Waiting for their time.
    pub scheduled: i64,
    /// Handed over to Redis and not yet claimed.
    pub queued: i64,
    /// With a worker.
    pub running: i64,
    /// Failed for good.
    pub dead: i64,
    /// How long the oldest due job has been waiting.
    pub oldest_due: Duration,
}

impl Depth {
    pub fn record(&self, queue: Queue) {
        let states = [
            ("due", self.due),
            ("scheduled", self.scheduled),
            ("queued", self.queued),
            ("running", self.running),
            ("dead", self.dead),
        ];
        metrics::depth(queue, states, self.oldest_due);
    }
}

/// The state of a queue's jobs now. Finished jobs cost nothing here, however many there are.
pub async fn depth(pool: &PgPool, queue: Queue) -> Result<Depth> {
    // One index look-up each; a single pass with filters would read the whole table.
    let row = sqlx::query!(
        r#"SELECT (SELECT count(*) FROM jobs WHERE queue = $1 AND state = 'pending' AND available_at <= now()) AS "due!",
                  (SELECT count(*) FROM jobs WHERE queue = $1 AND state = 'pending' AND available_at > now()) AS "scheduled!",
                  (SELECT count(*) FROM jobs WHERE queue = $1 AND state = 'queued') AS "queued!",
                  (SELECT count(*) FROM jobs WHERE queue = $1 AND state = 'running') AS "running!",
                  (SELECT count(*) FROM jobs WHERE queue = $1 AND state = 'dead') AS "dead!",
                  coalesce((SELECT extract(epoch FROM now() - min(available_at))::float8 FROM jobs
                            WHERE queue = $1 AND state = 'pending' AND available_at <= now()), 0) AS "oldest!""#,
        queue as _,
    )
    .fetch_one(pool)
    .await?;
    Ok(Depth {
        due: row.due,
        scheduled: row.scheduled,
        queued: row.queued,
        running: row.running,
        dead: row.dead,
        oldest_due: Duration::try_from_secs_f64(row.oldest).unwrap_or_default(),
    })
}

/// A queue at one moment.
#[derive(Debug, PartialEq, Eq)]
pub struct QueueNow {
    pub queue: Queue,
    /// The state of its unfinished and dead jobs.
    pub depth: Depth,
    /// Jobs that were done in the last hour.
    pub done_last_hour: i64,
    /// Jobs that died in the last hour.
    pub died_last_hour: i64,
    /// Jobs that were done in the last hour, by spans of five minutes, oldest first.
    pub done_by_span: [i64; SPANS],
}

/// Spans of five minutes in an hour.
const SPANS: usize = 12;

pub async fn queues(pool: &PgPool) -> Result<Vec<QueueNow>> {
    let finished = sqlx::query!(
        r#"SELECT queue, floor(extract(epoch FROM now() - finished_at) / 300)::int AS "spans_ago!",
                  count(*) FILTER (WHERE state = 'done') AS "done!", count(*) FILTER (WHERE state = 'dead') AS "died!"
           FROM jobs WHERE state IN ('done', 'dead') AND finished_at > now() - interval '1 hour' GROUP BY 1, 2"#
    )
    .fetch_all(pool)
    .await?;
    let mut queues = Vec::with_capacity(Queue::ALL.len());
    for queue in Queue::ALL {
        let finished = finished.iter().filter(|row| row.queue == queue.name());
        let mut done_by_span = [0; SPANS];
        for row in finished.clone() {
            let ago = usize::try_from(row.spans_ago).unwrap_or(0).min(SPANS - 1);
            done_by_span[SPANS - 1 - ago] += row.done;
        }
        queues.push(QueueNow {
            queue,
            depth: depth(pool, queue).await?,
            done_last_hour: done_by_span.iter().sum(),
            died_last_hour: finished.map(|row| row.died).sum(),
            done_by_span,
        });
    }
    Ok(queues)
}

/// Counts by queue and state.
pub async fn stats(pool: &PgPool) -> Result<Vec<Stat>> {
    let rows = sqlx::query_as!(
        Stat,
        r#"SELECT queue, state::text AS "state!: _", count(*) AS "count!", min(available_at) AS oldest
           FROM jobs GROUP BY queue, state ORDER BY queue, state"#
    )
    .fetch_all(pool)
    .await?;
    Ok(rows)
}
