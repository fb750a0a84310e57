//! How workers hear of new jobs at once: the process that enqueues jobs tells their relays when the
//! jobs are committed.
//!
//! It does not use a NOTIFY in the enqueueing transaction: PostgreSQL lets transactions that notify
//! commit one after the other, each with its own flush of the log, so every transaction that
//! enqueues would queue up behind a lock of the whole installation. Instead, one task per process
//! remembers the jobs that were enqueued, asks which of them are committed when it hears of a
//! commit ([`committed`]) or a moment later, and notifies once for all of those, in a separate
//! transaction that changes nothing and waits for no flush. A crash or an outage may lose a
//! wake-up: the relays look by themselves, too.

use std::{
    collections::HashMap,
    sync::{
        OnceLock,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use sqlx::PgPool;
use tokio::{
    sync::{Notify, mpsc},
    time::{Instant, sleep, sleep_until, timeout},
};

use super::JobId;
use crate::{
    error::Result,
    storage::postgres::{interval, within},
};

/// The PostgreSQL channel on which relays hear the names of queues.
pub const CHANNEL: &str = "nexus_jobs";
/// Follows a queue's name when jobs are pending in old places, which may be before all that a relay
/// looks at: they were given back, or committed late.
pub const BACK: &str = " back";
/// How long after its due time a job may become visible, because its transaction is still open.
/// [`Backlog::survey`](super::backlog::Backlog::survey), which [`BACK`] asks for, finds jobs whose
/// transactions take longer.
pub(super) const LATE: Duration = Duration::from_secs(1);

/// Jobs whose announcement may wait; the relays find further ones when they next look.
const WAITING: usize = 10_000;
/// Jobs that are enqueued within this time of each other, or of the last announcement, are
/// announced together; most are committed by then.
const SOON: Duration = Duration::from_millis(2);
/// How long to wait, at most, before looking again at a transaction that takes longer.
const LATER: Duration = Duration::from_millis(100);
/// After this time a job's transaction has probably been rolled back; if not, the relays find the
/// job by themselves.
const FORGOTTEN: Duration = Duration::from_secs(2);
/// A PostgreSQL that takes longer is away.
const CALL: Duration = Duration::from_secs(2);

static ENQUEUED: OnceLock<mpsc::Sender<JobId>> = OnceLock::new();
/// How many enqueued jobs have not been announced.
static OPEN: AtomicUsize = AtomicUsize::new(0);
static COMMITTED: Notify = Notify::const_new();

/// Starts the task that tells the relays which jobs this process has enqueued. Without it, jobs
/// wait until the relays look.
pub fn start(db: PgPool) {
    let (sender, enqueued) = mpsc::channel(WAITING);
    if ENQUEUED.set(sender).is_ok() {
        tokio::spawn(tell(db, enqueued));
    }
}

/// Says that a transaction has been committed. If it has enqueued jobs, they are announced at once;
/// without this, a moment later.
pub fn committed() {
    if OPEN.load(Ordering::Relaxed) > 0 {
        COMMITTED.notify_one();
    }
}

/// Notes a job that was enqueued; its transaction may not be committed yet.
pub(super) fn enqueued(id: JobId) {
    if let Some(sender) = ENQUEUED.get() {
        OPEN.fetch_add(1, Ordering::Relaxed);
        // A full channel drops the job: there is much to do, and the relays find the rest by
        // themselves.
        let _ = sender.try_send(id);
    }
}

async fn tell(db: PgPool, mut enqueued: mpsc::Receiver<JobId>) {
    let mut open: HashMap<JobId, Instant> = HashMap::new();
    let mut told = Instant::now();
    let mut pause = SOON;
    loop {
        OPEN.store(open.len() + enqueued.len(), Ordering::Relaxed);
        tokio::select! {
            id = enqueued.recv() => {
                let Some(id) = id else { return };
                open.insert(id, Instant::now());
                pause = SOON;
                let _ = timeout(SOON, COMMITTED.notified()).await;
                sleep_until(told + SOON).await;
            }
            () = COMMITTED.notified(), if !open.is_empty() => sleep_until(told + SOON).await,
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
        told = Instant::now();
        pause = (pause * 2).min(LATER);
    }
}

/// Wakes the relays of those jobs that are committed, with one notice per queue; returns those
/// jobs.
async fn announce(pool: &PgPool, ids: &[JobId]) -> Result<Vec<JobId>> {
    // A transaction that notifies writes to the log, and would wait for its flush while it holds a
    // lock that every other notifying transaction needs.
    let announced = sqlx::query!(
        // A job that has long been due by now was committed late.
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
