//! How workers hear of new jobs at once: the process that has enqueued some tells their relays when
//! they are committed.
//!
//! Not by a NOTIFY in the enqueueing transaction: PostgreSQL lets transactions that notify commit
//! one after the other, each with its own flush of the log, and so all that enqueue would queue up
//! behind a lock of the whole installation. Here one task a process remembers what has been
//! enqueued, asks a moment later which of it is committed, and notifies once for all that is, in a
//! transaction of its own that changes nothing and waits for no flush. A wake-up may be lost, to a
//! crash or to an outage: the relays look by themselves, too.

use std::{collections::HashMap, sync::OnceLock, time::Duration};

use sqlx::PgPool;
use tokio::{
    sync::mpsc,
    time::{Instant, sleep},
};

use super::JobId;
use crate::{
    error::Result,
    storage::postgres::{interval, within},
};

/// The channel of PostgreSQL on which relays hear the names of queues.
pub const CHANNEL: &str = "nexus_jobs";
/// Follows a queue's name where jobs are pending in old places, which may be before all that a
/// relay looks at: they are back, or were committed late.
pub const BACK: &str = " back";
/// A job may become visible so long after the moment from which it is due, since its transaction
/// goes on for a while. One that takes longer is found by the next
/// [`Backlog::survey`](super::backlog::Backlog::survey), which [`BACK`] asks for.
pub(super) const LATE: Duration = Duration::from_secs(1);

/// Jobs that may wait to be told of; those beyond are found by the relays' own look.
const WAITING: usize = 10_000;
/// Jobs that are enqueued within this time are told of together; most are committed by then.
const SOON: Duration = Duration::from_millis(2);
/// A transaction that takes longer is looked at again, later each time, up to this.
const LATER: Duration = Duration::from_millis(100);
/// One that has not been committed by then has been rolled back, or the relays find its jobs by
/// themselves.
const FORGOTTEN: Duration = Duration::from_secs(2);
/// A PostgreSQL that takes longer is away.
const CALL: Duration = Duration::from_secs(2);

static ENQUEUED: OnceLock<mpsc::Sender<JobId>> = OnceLock::new();

/// Starts the task that tells the relays what this process has enqueued. Without it, jobs wait for
/// the relays' own look.
pub fn start(db: PgPool) {
    let (sender, enqueued) = mpsc::channel(WAITING);
    if ENQUEUED.set(sender).is_ok() {
        tokio::spawn(tell(db, enqueued));
    }
}

/// A job has been enqueued; its transaction may or may not be committed.
pub(super) fn enqueued(id: JobId) {
    if let Some(sender) = ENQUEUED.get() {
        // Full: there is very much to do, and the relays find the rest by themselves.
        let _ = sender.try_send(id);
    }
}

async fn tell(db: PgPool, mut enqueued: mpsc::Receiver<JobId>) {
    let mut open: HashMap<JobId, Instant> = HashMap::new();
    let mut pause = SOON;
    loop {
        tokio::select! {
            id = enqueued.recv() => {
                let Some(id) = id else { return };
                open.insert(id, Instant::now());
                pause = SOON;
                sleep(pause).await;
            }
            () = sleep(pause), if !open.is_empty() => {}
        }
        while open.len() < WAITING
            && let Ok(id) = enqueued.try_recv()
        {
            open.insert(id, Instant::now());
        }
        let ids: Vec<JobId> = open.keys().copied().collect();
        match within(CALL, announce(&db, &ids)).await {
            Ok(committed) => open.retain(|id, _| !committed.contains(id)),
            Err(error) => tracing::debug!(error = error.details(), "relays could not be woken"),
        }
        open.retain(|_, since| since.elapsed() < FORGOTTEN);
        pause = (pause * 2).min(LATER);
    }
}

/// Wakes the relays of those of these jobs that are committed, with one notice a queue; returns
/// which those are.
async fn announce(pool: &PgPool, ids: &[JobId]) -> Result<Vec<JobId>> {
    // A transaction that notifies writes to the log, and would wait for its flush with a lock that
    // all others need who notify.
    let announced = sqlx::query!(
        // What has been due for long by now was committed late.
        r#"SELECT array_agg(id) AS "ids!",
                  pg_notify('nexus_jobs', queue || CASE WHEN min(available_at) < now() - $2::interval THEN ' back' ELSE '' END) AS told
           FROM jobs, (SELECT set_config('synchronous_commit', 'off', TRUE)) unflushed
           WHERE id = ANY ($1) GROUP BY queue"#,
        ids,
        interval(LATE)?,
    )
    .fetch_all(pool)
    .await?;
    Ok(announced.into_iter().flat_map(|row| row.ids).collect())
}
