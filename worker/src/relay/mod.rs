//! Hands due jobs of one queue from the ledger to Redis: batch by batch, never more than the
//! workers are about to need, so that Redis holds no backlog and loses little when it loses
//! everything.
//!
//! A round looks at the ledger and says when to look again: at the next due time, or after
//! [`LOOK`]. A notice of whoever has enqueued something ([`wakeups`]) and the worker's own progress
//! wake it earlier. Whatever is handed over and then lost is found again: what this relay pushed is
//! taken back as soon as the transport reports trouble; everything else by `lifecycle::rescue`,
//! which every relay runs.
//!
//! A Redis that takes nothing for [`AWAY_AFTER`] is done without: the relay hands due jobs to the
//! slots of its own worker, until Redis takes them again. Whatever Redis still delivers after that
//! has been replaced in the ledger, and is not run twice.

pub(crate) mod signal;

use std::{
    collections::VecDeque,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use nexus_common::{
    Error, Result,
    jobs::{
        Queue,
        backlog::{Backlog, Room},
        lifecycle::{self, Delivery, Rescued, Vanished},
        wakeups,
    },
    observability::metrics,
    storage::postgres::{bounded, within},
};
use sqlx::{PgPool, postgres::PgListener};
use tokio::{
    sync::Semaphore,
    time::{Instant, sleep, timeout},
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use self::signal::RelaySignal;
use crate::{
    dead_letters,
    runtime::backoff::Backoff,
    transport::{RunJob, Transport},
};

/// With nothing due, the ledger is looked at so often: retries and snoozes of other processes give
/// no notice.
const LOOK: Duration = Duration::from_millis(500);
/// While Redis holds all that it may: own claims wake the relay earlier, those of other workers do
/// not.
const LOOK_FULL: Duration = Duration::from_millis(100);
/// The shortest time between two rounds that found nothing.
const PAUSE: Duration = Duration::from_millis(10);
/// More than this many jobs of a queue are never in Redis, over all relays together: the transport
/// breaks at 8,000 (docs/apalis.md).
const MOST: usize = 1000;
/// Handed over at once. Small against `MOST`, because relays that look at the same moment do not
/// see each other's batch.
const BATCH: usize = 100;
const RESCUE_EVERY: Duration = Duration::from_millis(1000);
/// What reads all live jobs is paused for so many times as long as it took: with an old snapshot
/// around it is not cheap.
const THRIFT: u32 = 50;
/// The same where something has come that only it can find.
const HASTE: u32 = 5;
/// Never for longer.
const LONGEST: Duration = Duration::from_secs(5);
/// A Redis that has taken nothing for so long is away.
const AWAY_AFTER: Duration = Duration::from_secs(3);
/// Failures that are further apart have nothing to do with each other.
const APART: Duration = Duration::from_secs(10);
/// Whether Redis answers is looked at so often, and one that is away and answers is tried so often.
const ASK_EVERY: Duration = Duration::from_secs(1);

/// How many jobs of a queue the relays keep in Redis together: a small multiple of what its workers
/// run at once, so that none has to wait for a relay, be it another's or its own.
fn target(concurrency: usize, workers: usize) -> usize {
    (share(concurrency) * workers.max(1)).min(MOST)
}

/// How many jobs of one priority above 0 may be with the workers at once: half of all slots.
fn of_a_priority(concurrency: usize, workers: usize) -> usize {
    (concurrency * workers.max(1) / 2).max(1)
}

/// After so many claims of a worker's own, Redis has room for a part of what its relay keeps there.
pub(crate) fn refill_after(concurrency: usize) -> usize {
    target(concurrency, 1).div_ceil(4)
}

/// One worker's part of it.
fn share(concurrency: usize) -> usize {
    (concurrency * 2).max(16)
}

/// The relay of one worker.
pub(crate) struct Relay<T> {
    pub(crate) db: PgPool,
    /// A pool of one connection, which listens.
    pub(crate) notifications: PgPool,
    pub(crate) queue: Queue,
    pub(crate) concurrency: usize,
    pub(crate) lost_after: Duration,
    pub(crate) transport: Arc<T>,
    /// Runs a job here, without Redis.
    pub(crate) run_job: RunJob,
    /// The worker's slots, whoever delivers.
    pub(crate) slots: Arc<Semaphore>,
    /// Knows every running job.
    pub(crate) running: TaskTracker,
    pub(crate) signal: Arc<RelaySignal>,
    pub(crate) stop: CancellationToken,
}

/// What a running relay remembers.
struct Memory {
    backlog: Backlog,
    /// When all live jobs had been looked at, not only those from where they began the last time,
    /// and how long that took.
    surveyed: Option<(Instant, Duration)>,
    /// The newest pushes; those that nobody claimed yet are among them.
    pushed: VecDeque<Delivery>,
    rescue_at: Instant,
    /// Rounds in a row that expected a due job and found none.
    misses: u32,
    redis: Standing,
}

/// How Redis has been doing.
struct Standing {
    /// Workers of the queue, when it last said so.
    workers: usize,
    /// The first and the last failure since it last took something.
    failing: Option<(Instant, Instant)>,
    /// It is away, and not tried before that.
    away_until: Option<Instant>,
}

impl Standing {
    fn works(&mut self) {
        self.failing = None;
        if self.away_until.take().is_some() {
            tracing::info!("Redis is back; jobs go through it again");
        }
    }

    /// A call that began at `asked` has failed.
    fn failed(&mut self, asked: Instant, error: &Error) {
        let now = Instant::now();
        let first = self
            .failing
            .filter(|(_, last)| asked < *last + APART)
            .map_or(asked, |(first, _)| first);
        self.failing = Some((first, now));
        if now >= first + AWAY_AFTER {
            if self.away_until.is_none() {
                tracing::warn!(
                    error = error.details(),
                    "Redis is away; this worker runs its jobs without it"
                );
            }
            self.away_until = Some(now + ASK_EVERY);
        }
    }
}

impl<T: Transport> Relay<T> {
    /// Relays until the worker stops; then takes back what nobody has claimed.
    pub(crate) async fn run(self) {
        let listener =
            tokio::spawn(listen(self.notifications.clone(), self.queue, self.signal.clone()));
        let redis_answers = Arc::new(AtomicBool::new(true));
        let asker = tokio::spawn(ask(self.transport.clone(), redis_answers.clone()));
        let redis = Standing { workers: 1, failing: None, away_until: None };
        let mut memory = Memory {
            backlog: Backlog::unknown(self.queue),
            surveyed: None,
            pushed: VecDeque::new(),
            rescue_at: Instant::now(),
            misses: 0,
            redis,
        };
        let mut waits = Backoff::new();
        while !self.stop.is_cancelled() {
            match self.round(&mut memory, &redis_answers).await {
                Ok(pause) => {
                    if waits.is_failing() {
                        tracing::info!("relaying again");
                        waits.reset();
                    }
                    tokio::select! {
                        () = self.stop.cancelled() => {}
                        () = self.signal.notify.notified() => {}
                        () = sleep(pause) => {}
                    }
                }
                Err(error) => {
                    if !waits.is_failing() {
                        tracing::warn!(
                            error = error.details(),
                            "jobs cannot be relayed; trying again"
                        );
                    }
                    // Without listening to the bell: enqueuing goes on, and must not turn an outage
                    // into a storm.
                    tokio::select! {
                        () = self.stop.cancelled() => {}
                        () = sleep(waits.next()) => {}
                    }
                }
            }
        }
        listener.abort();
        asker.abort();
        if let Err(error) = within(Duration::from_secs(3), self.take_back(&mut memory)).await {
            tracing::debug!(
                error = error.details(),
                "pushed jobs were not taken back; a rescue will find them"
            );
        }
    }

    /// Hands over what is due, and says how long there is nothing more to do.
    async fn round(&self, memory: &mut Memory, redis_answers: &AtomicBool) -> Result<Duration> {
        if self.signal.lost.swap(false, Ordering::Acquire)
            && let Err(error) = bounded(self.take_back(memory)).await
        {
            self.signal.lost.store(true, Ordering::Release);
            return Err(error);
        }
        let mut unrescued = None;
        if Instant::now() >= memory.rescue_at {
            let began = Instant::now();
            memory.rescue_at = began + RESCUE_EVERY.mul_f64(jitter());
            unrescued = bounded(self.rescue()).await.err();
            memory.rescue_at =
                memory.rescue_at.max(Instant::now() + pause(began.elapsed(), THRIFT));
        }
        self.look(memory).await?;
        // What is due must not wait for a rescue that fails.
        if let Some(error) = unrescued {
            tracing::warn!(error = error.details(), "lost jobs cannot be rescued; trying again");
        }
        let due_in = memory.backlog.due_in();
        if due_in == Some(Duration::ZERO) {
            // A Redis that does not answer would hold the relay up with every question.
            let away = |redis: &Standing| {
                let until = redis.away_until;
                until.is_some_and(|until| {
                    Instant::now() < until || !redis_answers.load(Ordering::Relaxed)
                })
            };
            if !away(&memory.redis) {
                match self.relay(memory).await {
                    Err(_) if away(&memory.redis) => {}
                    relayed => return relayed,
                }
            }
            return self.run_here(memory).await;
        }
        self.signal.full.store(false, Ordering::Relaxed);
        self.signal.waiting.store(false, Ordering::Relaxed);
        memory.misses = 0;
        let next = self.next_survey(memory).filter(|_| self.signal.back.load(Ordering::Acquire));
        let next = next.map_or(LOOK, |at| at.saturating_duration_since(Instant::now()));
        Ok(due_in.unwrap_or(LOOK).min(LOOK).min(next))
    }

    /// Until when all of the ledger is left alone.
    fn next_survey(&self, memory: &Memory) -> Option<Instant> {
        let times = if self.signal.back.load(Ordering::Acquire) { HASTE } else { THRIFT };
        memory.surveyed.map(|(last, took)| last + pause(took, times))
    }

    /// Looks at the ledger: at all of it, as often as that is cheap.
    async fn look(&self, memory: &mut Memory) -> Result<()> {
        let began = Instant::now();
        if self.next_survey(memory).is_none_or(|at| at <= began) {
            self.signal.back.store(false, Ordering::Release);
            match bounded(memory.backlog.survey(&self.db)).await {
                Err(error) if memory.surveyed.is_none() => return Err(error),
                // What is known already can be looked at all the same.
                Err(error) => {
                    tracing::debug!(error = error.details(), "not all jobs could be looked at");
                    self.signal.back.store(true, Ordering::Release);
                    memory.surveyed = Some((Instant::now(), began.elapsed()));
                }
                Ok(()) => {
                    memory.surveyed = Some((Instant::now(), began.elapsed()));
                    return Ok(());
                }
            }
        }
        bounded(memory.backlog.look(&self.db)).await
    }

    async fn rescue(&self) -> Result<()> {
        let rescued =
            lifecycle::rescue(&mut *self.db.acquire().await?, self.queue, self.lost_after).await?;
        if rescued.lost > 0 {
            self.signal.back();
        }
        self.report(&rescued);
        // One at a time: an alert that has to wait for a lock puts off its own job's death, and
        // nothing else.
        loop {
            let mut tx = self.db.begin().await?;
            let Some(dead) = lifecycle::bury(&mut tx, self.queue).await? else { return Ok(()) };
            let Vanished { job_id, kind, payload, error, .. } = &dead;
            dead_letters::alert_operators(&mut tx, *job_id, kind, payload, error).await?;
            tx.commit().await?;
            self.report(&Rescued { lost: 0, vanished: vec![dead] });
        }
    }

    fn report(&self, rescued: &Rescued) {
        metrics::rescued(self.queue, rescued.lost + rescued.vanished.len() as u64);
        if rescued.lost > 0 {
            tracing::info!(
                lost = rescued.lost,
                "jobs waited in Redis for long, or were lost there; they are due again"
            );
        }
        for Vanished { job_id, kind, attempt, max_attempts: max, error, dead, .. } in
            &rescued.vanished
        {
            if *dead {
                tracing::error!(kind, %job_id, attempt, max, outcome = "dead", error, "job is dead");
            } else {
                tracing::warn!(kind, %job_id, attempt, max, outcome = "vanished", error, "job failed and will be tried again");
            }
        }
    }

    /// Hands due jobs to Redis.
    async fn relay(&self, memory: &mut Memory) -> Result<Duration> {
        // Redis may hold more than the ledger thinks, namely deliveries that have been replaced
        // since. Also asked so that nothing is handed over while Redis is away.
        let asked = Instant::now();
        let depth = self.transport.depth().await;
        let redis = depth.inspect_err(|error| memory.redis.failed(asked, error))?;
        memory.redis.workers = redis.workers.max(1);
        let room = target(self.concurrency, redis.workers)
            .saturating_sub(memory.backlog.queued() as usize);
        let room = room.min(MOST.saturating_sub(redis.deliveries));
        let batch = room.min(BATCH);
        let handed = if batch > 0 { self.push(memory, batch).await? } else { 0 };
        let full = handed == room;
        self.signal.claimed.store(0, Ordering::Relaxed);
        self.signal.full.store(full, Ordering::Relaxed);
        self.signal.waiting.store(batch > 0 && handed == 0, Ordering::Relaxed);
        memory.misses = if full || handed > 0 { 0 } else { (memory.misses + 1).min(6) };
        Ok(if full {
            LOOK_FULL
        } else if handed == batch {
            Duration::ZERO
        } else {
            // The rest has a priority whose slots are taken; or another relay is taking it just
            // now.
            (PAUSE * (1 << memory.misses)).min(LOOK)
        })
    }

    /// Takes up to `limit` due jobs out of the ledger. Who dies before they are delivered leaves
    /// rows that are `queued`, and rescued as lost.
    async fn hand_over(&self, memory: &Memory, limit: usize) -> Result<Vec<Delivery>> {
        let of_a_priority = of_a_priority(self.concurrency, memory.redis.workers) as i64;
        let room = Room { jobs: limit as i64, of_a_priority };
        let (deliveries, lag) = bounded(memory.backlog.hand_over(&self.db, room)).await?;
        if !deliveries.is_empty() {
            metrics::handed_over(self.queue, lag);
        }
        Ok(deliveries)
    }

    /// Hands due jobs to the slots of this worker that are free, without Redis.
    async fn run_here(&self, memory: &mut Memory) -> Result<Duration> {
        self.transport.suspend();
        // Nobody may ever fetch these.
        bounded(self.take_back(memory)).await?;
        let mut slots = Vec::new();
        while slots.len() < BATCH
            && let Ok(slot) = self.slots.clone().try_acquire_owned()
        {
            slots.push(slot);
        }
        let free = slots.len();
        self.signal.waiting.store(true, Ordering::Relaxed);
        if free == 0 {
            return Ok(LOOK_FULL);
        }
        let deliveries = self.hand_over(memory, free).await?;
        memory.misses = if deliveries.is_empty() { (memory.misses + 1).min(6) } else { 0 };
        for (delivery, slot) in deliveries.into_iter().zip(slots) {
            let (run_job, signal) = (self.run_job.clone(), self.signal.clone());
            self.running.spawn(async move {
                run_job(delivery).await;
                drop(slot);
                signal.ended();
            });
        }
        Ok((PAUSE * (1 << memory.misses)).min(LOOK))
    }

    /// Sends up to `limit` due jobs to Redis.
    async fn push(&self, memory: &mut Memory, limit: usize) -> Result<usize> {
        let deliveries = self.hand_over(memory, limit).await?;
        if deliveries.is_empty() {
            return Ok(0);
        }
        let asked = Instant::now();
        if let Err(error) = self.transport.push(&deliveries).await {
            memory.redis.failed(asked, &error);
            // Perhaps it did arrive: then the next hand-over has a higher number, and this delivery
            // finds that it is not its turn.
            bounded(lifecycle::take_back(&self.db, &deliveries)).await?;
            self.signal.lost.store(true, Ordering::Release);
            return Err(error);
        }
        memory.redis.works();
        memory.pushed.extend(&deliveries);
        let excess = memory.pushed.len().saturating_sub(MOST);
        memory.pushed.drain(..excess);
        Ok(deliveries.len())
    }

    async fn take_back(&self, memory: &mut Memory) -> Result<()> {
        if !memory.pushed.is_empty() {
            lifecycle::take_back(&self.db, memory.pushed.make_contiguous()).await?;
            memory.pushed.clear();
        }
        Ok(())
    }
}

/// Looks again and again whether Redis answers.
async fn ask(transport: Arc<impl Transport>, answers: Arc<AtomicBool>) {
    loop {
        answers.store(transport.ping().await.is_ok(), Ordering::Relaxed);
        sleep(ASK_EVERY).await;
    }
}

/// When nothing has been heard for so long, the connection is made anew: one that has silently
/// broken would never say so.
const SILENCE: Duration = Duration::from_secs(60);

/// Rings the bell whenever a job of `queue` is enqueued.
async fn listen(pool: PgPool, queue: Queue, signal: Arc<RelaySignal>) {
    let mut waits = Backoff::new();
    loop {
        let Err(error) = hear(&pool, queue, &signal, &mut waits).await;
        tracing::debug!(%error, "not listening to PostgreSQL");
        sleep(waits.next()).await;
    }
}

async fn hear(
    pool: &PgPool,
    queue: Queue,
    signal: &RelaySignal,
    waits: &mut Backoff,
) -> Result<std::convert::Infallible, sqlx::Error> {
    let mut listener = PgListener::connect_with(pool).await?;
    listener.listen(wakeups::CHANNEL).await?;
    waits.reset();
    // What happened before gave no notice here.
    signal.back();
    loop {
        let heard = timeout(SILENCE, listener.try_recv()).await;
        match heard.map_err(|_| sqlx::Error::Io(std::io::ErrorKind::TimedOut.into()))?? {
            Some(notice) => match notice.payload().strip_prefix(queue.name()) {
                Some("") => signal.wake(),
                Some(wakeups::BACK) => signal.back(),
                _ => {}
            },
            // The connection was lost and is there again; notices may be missing.
            None => signal.back(),
        }
    }
}

/// How long to leave alone what took so long.
fn pause(took: Duration, times: u32) -> Duration {
    took.saturating_mul(times).min(LONGEST)
}

/// Between 0.75 and 1.25, so that relays do not march in step.
fn jitter() -> f64 {
    0.75 + f64::from(uuid::Uuid::now_v7().as_bytes()[15]) / 512.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_target_follows_the_slots_of_all_workers_within_bounds() {
        assert_eq!(target(1, 1), 16);
        assert_eq!(target(16, 1), 32);
        assert_eq!(target(16, 3), 96);
        assert_eq!(target(16, 0), 32, "this worker is not registered yet");
        assert_eq!(target(1000, 1), MOST);
        assert_eq!(target(16, 1000), MOST);
    }

    #[test]
    fn a_priority_above_0_has_half_of_the_slots_and_at_least_one() {
        assert_eq!(of_a_priority(16, 1), 8);
        assert_eq!(of_a_priority(16, 3), 24);
        assert_eq!(of_a_priority(1, 1), 1);
        assert_eq!(of_a_priority(4, 0), 2, "this worker is not registered yet");
    }
}
