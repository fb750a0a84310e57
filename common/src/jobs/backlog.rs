//! The jobs that wait in a queue, and which of them a relay takes next, for its own worker or for
//! Redis.
//! [`lifecycle`](super::lifecycle) has what happens to a job after that.
//!
//! Every job passes through the two small indexes that are read here, and leaves an entry in them
//! for each state that it was in. Vacuum removes these entries, but none that an old snapshot could
//! still see: while a dump runs for an hour, each look at the head of the queue would walk over all
//! jobs of that hour. So a relay remembers where the live jobs begin, and looks from there.

use std::{collections::HashMap, time::Duration};

use chrono::{DateTime, Utc};
use sqlx::{PgExecutor, PgPool};

use super::{
    Queue,
    lifecycle::{Claimed, ClaimedRow, Delivery},
    wakeups::LATE,
};
use crate::{error::Result, storage::postgres::interval};

/// The priorities that kinds of jobs have. Another priority becomes known once a survey has found
/// it.
const PRIORITIES: [i16; 5] = [0, 10, 11, 12, 20];

/// The live jobs of a queue, as far as a relay needs to know them.
#[derive(Debug)]
pub struct Backlog {
    queue: Queue,
    /// One for each priority, in order.
    levels: Vec<Level>,
}

/// The live jobs of one [priority](super::Job::PRIORITY).
#[derive(Debug)]
struct Level {
    priority: i16,
    /// No pending job was due before this.
    pending_from: DateTime<Utc>,
    /// No job that is with the workers was handed over before this.
    taken_from: DateTime<Utc>,
    /// Handed over to Redis and not yet claimed.
    queued: i64,
    /// Seconds until the next pending job is due; negative when it is overdue.
    due_in: Option<f64>,
}

/// For whom a relay takes due jobs.
#[derive(Clone, Copy, Debug)]
enum Taker<'a> {
    Worker(Claimant<'a>),
    /// Any worker, through Redis; only jobs that have been due for so long.
    Redis(Duration),
}

/// The worker for which a relay claims jobs.
#[derive(Clone, Copy, Debug)]
pub struct Claimant<'a> {
    pub name: &'a str,
    /// It holds each job for so long at least.
    pub lease: Duration,
}

/// How many jobs a relay may take.
#[derive(Debug)]
pub struct Capacity {
    /// Jobs of any priority.
    pub jobs: i64,
    /// Jobs of each [priority](super::Job::PRIORITY) above 0.
    pub slow: Slow,
}

/// How many jobs of each priority above 0 may be with the workers at once, including those that
/// already are.
#[derive(Debug)]
pub enum Slow {
    /// So many with the worker itself, which holds so many of each.
    Own { most: i64, held: HashMap<i16, i64> },
    /// So many with all workers together: half of a single slot is nothing.
    Common { most: i64 },
}

impl Backlog {
    /// Nothing is known yet.
    pub fn unknown(queue: Queue) -> Self {
        Backlog { queue, levels: Vec::new() }
    }

    /// How many jobs are in Redis, or on their way there.
    pub fn queued(&self) -> i64 {
        self.levels.iter().map(|level| level.queued).sum()
    }

    /// How long until the next pending job is due (zero: one is). PostgreSQL's clock decides.
    pub fn due_in(&self) -> Option<Duration> {
        let first = self.levels.iter().filter_map(|level| level.due_in).min_by(f64::total_cmp)?;
        // A time in the past means due; one centuries away is not soon.
        Some(Duration::try_from_secs_f64(first.max(0.0)).unwrap_or(Duration::MAX))
    }

    /// For how long the oldest pending job has been due that may be [handed
    /// over](Self::hand_over).
    pub fn overdue(&self, slow: &Slow) -> Duration {
        let levels = self.levels.iter().filter(|level| level.is_handed_over(slow));
        let first = levels.filter_map(|level| level.due_in).min_by(f64::total_cmp);
        Duration::try_from_secs_f64(-first.unwrap_or_default()).unwrap_or_default()
    }

    /// Looks at all live jobs, and finds anew where they begin. While another transaction holds an
    /// old snapshot, the cost grows with every job that has finished since.
    pub async fn survey(&mut self, pool: &PgPool) -> Result<()> {
        let known: Vec<i16> =
            self.levels.iter().map(|level| level.priority).chain(PRIORITIES).collect();
        self.levels = sqlx::query_as!(
            Level,
            r#"WITH RECURSIVE first AS (
                   (SELECT priority, available_at FROM jobs WHERE queue = $1 AND state = 'pending'
                    ORDER BY priority, available_at LIMIT 1)
                   UNION ALL
                   SELECT next.priority, next.available_at FROM first, LATERAL (
                       SELECT priority, available_at FROM jobs
                       WHERE queue = $1 AND state = 'pending' AND priority > first.priority
                       ORDER BY priority, available_at LIMIT 1) next
               ),
               taken AS (
                   SELECT priority, count(*) FILTER (WHERE state = 'queued') AS queued, min(queued_at) AS since FROM jobs
                   WHERE queue = $1 AND state IN ('queued', 'running') GROUP BY priority
               ),
               level AS (
                   SELECT priority FROM first UNION SELECT priority FROM taken UNION SELECT unnest($2::smallint[])
               )
               SELECT priority AS "priority!",
                      least(first.available_at, now() - $3::interval) AS "pending_from!",
                      least(taken.since, now() - $3::interval) AS "taken_from!",
                      coalesce(taken.queued, 0) AS "queued!",
                      extract(epoch FROM first.available_at - now())::float8 AS due_in
               FROM level LEFT JOIN first USING (priority) LEFT JOIN taken USING (priority) ORDER BY priority"#,
            self.queue as _,
            &known,
            interval(LATE)?,
        )
        .fetch_all(pool)
        .await?;
        Ok(())
    }

    /// Looks from where the live jobs began. Misses jobs of a priority that no survey has found,
    /// and jobs that are back in an old place.
    pub async fn look(&mut self, pool: &PgPool) -> Result<()> {
        let (priorities, pending_from, taken_from) = columns(&self.levels);
        let seen = sqlx::query!(
            r#"SELECT priority AS "priority!",
                      (SELECT count(*) FROM jobs
                       WHERE queue = $1 AND state = 'queued' AND priority = level.priority AND queued_at >= level.taken_from
                      ) AS "queued!",
                      extract(epoch FROM (
                          SELECT available_at FROM jobs
                          WHERE queue = $1 AND state = 'pending' AND priority = level.priority
                              AND available_at >= level.pending_from
                          ORDER BY available_at LIMIT 1
                      ) - now())::float8 AS due_in
               FROM unnest($2::smallint[], $3::timestamptz[], $4::timestamptz[]) AS level (priority, pending_from, taken_from)"#,
            self.queue as _,
            &priorities,
            &pending_from,
            &taken_from,
        )
        .fetch_all(pool)
        .await?;
        for row in seen {
            if let Some(level) = self.levels.iter_mut().find(|level| level.priority == row.priority)
            {
                (level.queued, level.due_in) = (row.queued, row.due_in);
            }
        }
        Ok(())
    }

    /// Claims due jobs for a worker, by priority and then by age, and no more than there is room
    /// for: those that a look has found, or, if `blindly`, all that may have come since and that
    /// no other relay has to be asked about.
    pub async fn claim(
        &self,
        pool: &PgPool,
        claimant: Claimant<'_>,
        capacity: Capacity,
        blindly: bool,
    ) -> Result<Vec<Claimed>> {
        let taker = Taker::Worker(claimant);
        let rows = match &capacity.slow {
            Slow::Common { most } if !blindly => {
                self.take_counted(pool, taker, capacity.jobs, *most).await?
            }
            slow => {
                let room = |level: &Level| match slow {
                    _ if level.priority <= 0 => capacity.jobs,
                    Slow::Own { most, held } => most - held.get(&level.priority).unwrap_or(&0),
                    Slow::Common { .. } => 0,
                };
                let rooms = self.levels.iter().filter(|level| blindly || level.is_due());
                let rooms = rooms.map(|level| (level, room(level))).filter(|(_, room)| *room > 0);
                take(pool, self.queue, taker, capacity.jobs, rooms).await?
            }
        };
        Ok(rows.into_iter().map(Claimed::from).collect())
    }

    /// Takes jobs that have been due for `overdue` for hand-over to Redis, by priority and then by
    /// age, and no more than there is room for.
    pub async fn hand_over(
        &self,
        pool: &PgPool,
        overdue: Duration,
        capacity: Capacity,
    ) -> Result<Vec<Delivery>> {
        let (taker, jobs) = (Taker::Redis(overdue), capacity.jobs);
        let rows = match capacity.slow {
            Slow::Common { most } => self.take_counted(pool, taker, jobs, most).await?,
            ref slow => {
                let due = |level: &&Level| level.is_handed_over(slow) && level.is_due();
                let rooms = self.levels.iter().filter(due).map(|level| (level, jobs));
                take(pool, self.queue, taker, jobs, rooms).await?
            }
        };
        let delivery = |row: ClaimedRow| Delivery { job_id: row.id, delivery: row.delivery };
        Ok(rows.into_iter().map(delivery).collect())
    }

    /// Takes due jobs, and no more of a priority above 0 than leaves `most` of it with all workers
    /// together.
    async fn take_counted(
        &self,
        pool: &PgPool,
        taker: Taker<'_>,
        jobs: i64,
        most: i64,
    ) -> Result<Vec<ClaimedRow>> {
        let due: Vec<&Level> = self.levels.iter().filter(|level| level.is_due()).collect();
        let (counted, free): (Vec<&Level>, Vec<&Level>) =
            due.into_iter().partition(|level| level.priority > 0);
        let mut rooms: Vec<(&Level, i64)> = free.into_iter().map(|level| (level, jobs)).collect();
        if counted.is_empty() {
            return take(pool, self.queue, taker, jobs, rooms).await;
        }
        // One relay at a time counts, so that all relays together take no more than there is room
        // for. The others leave such jobs to it. Separate statements, so that the second one sees
        // what the previous relay took.
        let mut tx = pool.begin().await?;
        let alone = sqlx::query_scalar!(
            r#"SELECT pg_try_advisory_xact_lock(hashtextextended('nexus.hand_over.' || $1, 0)) AS "alone!""#,
            self.queue as _,
        )
        .fetch_one(&mut *tx)
        .await?;
        if alone {
            let (priorities, _, taken_from) = columns(counted.iter().copied());
            let taken = sqlx::query_scalar!(
                r#"SELECT (SELECT count(*) FROM jobs
                           WHERE queue = $1 AND state IN ('queued', 'running') AND priority = level.priority
                               AND queued_at >= level.taken_from) AS "taken!"
                   FROM unnest($2::smallint[], $3::timestamptz[]) WITH ORDINALITY AS level (priority, taken_from, number)
                   ORDER BY number"#,
                self.queue as _,
                &priorities,
                &taken_from,
            )
            .fetch_all(&mut *tx)
            .await?;
            rooms
                .extend(counted.into_iter().zip(taken).map(|(level, taken)| (level, most - taken)));
        }
        let rooms = rooms.into_iter().filter(|(_, room)| *room > 0);
        let taken = take(&mut *tx, self.queue, taker, jobs, rooms).await?;
        tx.commit().await?;
        Ok(taken)
    }
}

impl Level {
    fn is_due(&self) -> bool {
        self.due_in.is_some_and(|left| left <= 0.0)
    }

    /// Of the others, each worker looks for as many as it may hold by itself.
    fn is_handed_over(&self, slow: &Slow) -> bool {
        self.priority <= 0 || matches!(slow, Slow::Common { .. })
    }
}

/// Takes due jobs, as many of each priority as there is room for it, and so many in all.
async fn take<'a>(
    db: impl PgExecutor<'_>,
    queue: Queue,
    taker: Taker<'_>,
    jobs: i64,
    rooms: impl IntoIterator<Item = (&'a Level, i64)>,
) -> Result<Vec<ClaimedRow>> {
    let (levels, rooms): (Vec<&Level>, Vec<i64>) = rooms.into_iter().unzip();
    if levels.is_empty() {
        return Ok(vec![]);
    }
    let (priorities, pending_from, _) = columns(levels);
    let (worker, lease, overdue) = match taker {
        Taker::Worker(Claimant { name, lease }) => {
            (Some(name), Some(interval(lease)?), Duration::ZERO)
        }
        Taker::Redis(overdue) => (None, None, overdue),
    };
    // Priority by priority, so that the index leads to the due jobs however many wait for later. An
    // array rather than a join, so that no plan that was made while the table was small reads the
    // whole table once it is large.
    let mut rows = sqlx::query_as!(
        ClaimedRow,
        r#"UPDATE jobs SET state = CASE WHEN $6::text IS NULL THEN 'queued'::job_state ELSE 'running' END,
                  queued_at = now(), delivery = delivery + 1, worker = $6, leased_until = clock_timestamp() + $7::interval,
                  attempt = attempt + CASE WHEN $6::text IS NULL THEN 0 ELSE 1 END,
                  started_at = CASE WHEN $6::text IS NOT NULL THEN clock_timestamp() END
           WHERE id = ANY (ARRAY(
               SELECT due.id
               FROM unnest($3::smallint[], $4::timestamptz[], $5::bigint[]) AS level (priority, pending_from, room), LATERAL (
                   SELECT id FROM jobs
                   WHERE queue = $1 AND state = 'pending' AND priority = level.priority
                       AND available_at BETWEEN level.pending_from AND now() - $8::interval
                   ORDER BY available_at, id
                   LIMIT level.room
                   FOR UPDATE SKIP LOCKED) due
               LIMIT $2
           ))
           RETURNING id, delivery, kind, payload, priority, attempt, max_attempts, trace_context,
                     extract(epoch FROM now() - available_at)::float8 AS "waited!""#,
        queue as _,
        jobs,
        &priorities,
        &pending_from,
        &rooms,
        worker,
        lease as _,
        interval(overdue)?,
    )
    .fetch_all(db)
    .await?;
    // RETURNING has no order; ids are time-ordered.
    rows.sort_by_key(|row| (row.priority, row.id));
    Ok(rows)
}

/// Levels in the form that PostgreSQL takes: priorities, where the pending jobs begin, and where
/// the jobs that are with the workers begin.
fn columns<'a>(
    levels: impl IntoIterator<Item = &'a Level>,
) -> (Vec<i16>, Vec<DateTime<Utc>>, Vec<DateTime<Utc>>) {
    let row = |level: &Level| (level.priority, level.pending_from, level.taken_from);
    levels.into_iter().map(row).collect()
}
