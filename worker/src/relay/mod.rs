//! The relay hands due jobs of one queue from the ledger to the transport: batch by batch, never
//! more than the workers are about to need, so that Redis holds no backlog and loses little when it
//! loses everything.
//!
//! Each round looks at the ledger and says when to look again: at the next due time, or after
//! [`LOOK`]. Notices of newly enqueued jobs ([`wakeups`](nexus_common::jobs::wakeups)) and the
//! worker's own progress wake the relay earlier ([`signal`]). Lost deliveries are found again: a
//! relay takes back what it has pushed as soon as the transport reports trouble, and every relay
//! rescues everything else ([`rescue`]).
//!
//! A transport that takes nothing for some seconds is away ([`health`]): the relay then hands due
//! jobs to the slots of its own worker until the transport takes deliveries again ([`hand_over`]).
//! Deliveries that the transport still makes after that have been replaced in the ledger, and do
//! not run twice.

mod capacity;
mod hand_over;
mod health;
mod rescue;
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
    Result,
    jobs::{Queue, backlog::Backlog, lifecycle::Delivery},
    storage::postgres::{bounded, within},
    types::backoff::Backoff,
};
use sqlx::PgPool;
use tokio::{
    sync::Semaphore,
    time::{Instant, sleep},
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

pub(crate) use self::capacity::refill_after;
use self::{health::TransportHealth, signal::RelaySignal};
use crate::transport::{RunJob, Transport};

/// How often the relay looks at the ledger while nothing is due: other processes give no notice of
/// retries and snoozes.
const LOOK: Duration = Duration::from_millis(500);
/// The same while the transport is full: claims of this worker wake the relay earlier, claims of
/// other workers do not.
const LOOK_FULL: Duration = Duration::from_millis(100);
const RESCUE_EVERY: Duration = Duration::from_millis(1000);
/// A survey, which reads all live jobs, is followed by a pause of this many times its duration:
/// while an old snapshot is open, it is not cheap.
const SURVEY_PAUSE: u32 = 50;
/// The same when a job has come that only a survey can find.
const URGENT_SURVEY_PAUSE: u32 = 5;
/// The longest such pause.
const LONGEST_SURVEY_PAUSE: Duration = Duration::from_secs(5);

/// The relay of one worker.
pub(crate) struct Relay<T> {
    pub(crate) db: PgPool,
    pub(crate) queue: Queue,
    pub(crate) concurrency: usize,
    pub(crate) lost_after: Duration,
    pub(crate) transport: Arc<T>,
    /// Runs a job here, without the transport.
    pub(crate) run_job: RunJob,
    /// The worker's slots, which it shares with the transport.
    pub(crate) slots: Arc<Semaphore>,
    /// Knows every running job.
    pub(crate) running: TaskTracker,
    pub(crate) signal: Arc<RelaySignal>,
    pub(crate) stop: CancellationToken,
}

/// What a running relay remembers.
struct State {
    backlog: Backlog,
    /// When the last survey of all live jobs ended, and how long it took. Other looks begin where
    /// the survey found the first live jobs.
    surveyed: Option<(Instant, Duration)>,
    /// The newest pushes, including all that no worker has claimed yet.
    pushed: VecDeque<Delivery>,
    rescue_at: Instant,
    /// Rounds in a row that expected a due job and found none.
    misses: u32,
    health: TransportHealth,
    /// Workers of the queue, when the transport last reported them.
    workers: usize,
}

impl<T: Transport> Relay<T> {
    /// Runs until the worker stops; then takes back the deliveries that no worker has claimed.
    pub(crate) async fn run(self) {
        let answers = Arc::new(AtomicBool::new(true));
        let watch = tokio::spawn(health::watch(self.transport.clone(), answers.clone()));
        let mut state = State {
            backlog: Backlog::unknown(self.queue),
            surveyed: None,
            pushed: VecDeque::new(),
            rescue_at: Instant::now(),
            misses: 0,
            health: TransportHealth::new(answers),
            workers: 1,
        };
        let mut waits = Backoff::default();
        while !self.stop.is_cancelled() {
            match self.round(&mut state).await {
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
                    // Signals do not shorten this pause: processes go on enqueuing, and must not
                    // turn an outage into a storm.
                    tokio::select! {
                        () = self.stop.cancelled() => {}
                        () = sleep(waits.next_wait()) => {}
                    }
                }
            }
        }
        watch.abort();
        if let Err(error) = within(Duration::from_secs(3), self.take_back(&mut state)).await {
            tracing::debug!(
                error = error.details(),
                "pushed jobs were not taken back; a rescue will find them"
            );
        }
    }

    /// Hands over due jobs. Returns the pause until the next round.
    async fn round(&self, state: &mut State) -> Result<Duration> {
        if self.signal.lost.swap(false, Ordering::Acquire)
            && let Err(error) = bounded(self.take_back(state)).await
        {
            self.signal.lost.store(true, Ordering::Release);
            return Err(error);
        }
        let mut unrescued = None;
        if Instant::now() >= state.rescue_at {
            let began = Instant::now();
            state.rescue_at = began + RESCUE_EVERY.mul_f64(jitter());
            unrescued = bounded(self.rescue()).await.err();
            state.rescue_at =
                state.rescue_at.max(Instant::now() + pause(began.elapsed(), SURVEY_PAUSE));
        }
        self.look(state).await?;
        // Due jobs must not wait for a rescue that fails.
        if let Some(error) = unrescued {
            tracing::warn!(error = error.details(), "lost jobs cannot be rescued; trying again");
        }
        let due_in = state.backlog.due_in();
        if due_in == Some(Duration::ZERO) {
            if !state.health.is_away() {
                match self.fill_transport(state).await {
                    Err(_) if state.health.is_away() => {}
                    filled => return filled,
                }
            }
            return self.fill_own_slots(state).await;
        }
        self.signal.full.store(false, Ordering::Relaxed);
        self.signal.waiting.store(false, Ordering::Relaxed);
        state.misses = 0;
        let next = self.next_survey(state).filter(|_| self.signal.back.load(Ordering::Acquire));
        let next = next.map_or(LOOK, |at| at.saturating_duration_since(Instant::now()));
        Ok(due_in.unwrap_or(LOOK).min(LOOK).min(next))
    }

    /// When the next survey is due; `None` before the first.
    fn next_survey(&self, state: &State) -> Option<Instant> {
        let times = if self.signal.back.load(Ordering::Acquire) {
            URGENT_SURVEY_PAUSE
        } else {
            SURVEY_PAUSE
        };
        state.surveyed.map(|(last, took)| last + pause(took, times))
    }

    /// Looks at the ledger; surveys all of it as often as that is cheap.
    async fn look(&self, state: &mut State) -> Result<()> {
        let began = Instant::now();
        if self.next_survey(state).is_none_or(|at| at <= began) {
            self.signal.back.store(false, Ordering::Release);
            match bounded(state.backlog.survey(&self.db)).await {
                Err(error) if state.surveyed.is_none() => return Err(error),
                // The relay can still look from where it last found live jobs.
                Err(error) => {
                    tracing::debug!(error = error.details(), "not all jobs could be looked at");
                    self.signal.back.store(true, Ordering::Release);
                    state.surveyed = Some((Instant::now(), began.elapsed()));
                }
                Ok(()) => {
                    state.surveyed = Some((Instant::now(), began.elapsed()));
                    return Ok(());
                }
            }
        }
        bounded(state.backlog.look(&self.db)).await
    }
}

/// How long to pause after a look that took `took`.
fn pause(took: Duration, times: u32) -> Duration {
    took.saturating_mul(times).min(LONGEST_SURVEY_PAUSE)
}

/// Between 0.75 and 1.25, so that relays do not march in step.
fn jitter() -> f64 {
    0.75 + f64::from(uuid::Uuid::now_v7().as_bytes()[15]) / 512.0
}
