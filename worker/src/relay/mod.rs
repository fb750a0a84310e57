//! The relay finds due jobs of one queue in the ledger, and claims as many for its worker as that
//! has room for ([`claims`], [`load`]). All workers of a queue do so at the same time, and take
//! different jobs.
//!
//! Each round claims or looks, and says when to look again: at the next due time, or after
//! [`LOOK`]. Notices of newly enqueued jobs ([`wakeups`](nexus_common::jobs::wakeups)) and the
//! worker's own progress wake the relay earlier ([`signal`]).
//!
//! A job that is overdue while its worker is full goes to the transport, which gives it to any
//! worker with a free slot ([`hand_over`]); no job needs the transport to be run. Lost deliveries
//! are found again: a relay takes back what it has pushed as soon as the transport reports trouble,
//! and every relay rescues everything else ([`rescue`]).

mod capacity;
mod claims;
mod hand_over;
mod health;
mod load;
mod rescue;
pub(crate) mod signal;

use std::{
    collections::VecDeque,
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use nexus_common::{
    Result,
    jobs::{
        Queue,
        backlog::Backlog,
        lifecycle::{Claimed, Delivery},
    },
    storage::postgres::{bounded, within},
    types::backoff::Backoff,
};
use sqlx::PgPool;
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;

use self::{
    claims::{Left, Which},
    health::TransportHealth,
    signal::RelaySignal,
};
use crate::transport::Transport;

/// How often the relay looks at the ledger while nothing is due: other processes give no notice of
/// retries and snoozes.
const LOOK: Duration = Duration::from_millis(500);
/// The same while jobs wait for this worker, where the end of another of its jobs wakes the relay
/// earlier, or while it claims all that come without a look.
const LOOK_FULL: Duration = Duration::from_millis(100);
const RESCUE_EVERY: Duration = Duration::from_millis(1000);
/// A survey, which reads all live jobs, is followed by a pause of this many times its duration:
/// while an old snapshot is open, it is not cheap.
const SURVEY_PAUSE: u32 = 50;
/// The same when a job has come that only a survey can find.
const URGENT_SURVEY_PAUSE: u32 = 5;
/// The longest such pause.
const LONGEST_SURVEY_PAUSE: Duration = Duration::from_secs(5);

/// Starts a job that the worker holds until then at least.
pub(crate) type RunClaimed = Box<dyn Fn(Claimed, Instant) + Send + Sync>;

/// The relay of one worker.
pub(crate) struct Relay<T> {
    pub(crate) db: PgPool,
    pub(crate) queue: Queue,
    /// The worker's name.
    pub(crate) worker: String,
    pub(crate) lease: Duration,
    pub(crate) concurrency: usize,
    pub(crate) lost_after: Duration,
    pub(crate) transport: Arc<T>,
    pub(crate) run_claimed: RunClaimed,
    pub(crate) signal: Arc<RelaySignal>,
    pub(crate) stop: CancellationToken,
}

/// What a running relay remembers.
struct State {
    backlog: Backlog,
    /// When the last survey of all live jobs ended, and how long it took. Other looks begin where
    /// the survey found the first live jobs.
    surveyed: Option<(Instant, Duration)>,
    /// When the last look of any kind ended.
    looked: Instant,
    /// The newest pushes, including all that no worker has accepted yet.
    pushed: VecDeque<Delivery>,
    rescue_at: Instant,
    /// Rounds in a row that expected a due job and found none.
    misses: u32,
    /// A claim has failed, and may have taken jobs all the same.
    unsure: bool,
    /// When the pace of the worker was last measured.
    measured: Instant,
    health: Arc<TransportHealth>,
}

impl<T: Transport> Relay<T> {
    /// Runs until the worker stops; then takes back the deliveries that no worker has accepted.
    pub(crate) async fn run(self) {
        let health = TransportHealth::new();
        let watch = tokio::spawn(health::watch(self.transport.clone(), health.clone()));
        let mut state = State {
            backlog: Backlog::unknown(self.queue),
            surveyed: None,
            looked: Instant::now(),
            pushed: VecDeque::new(),
            rescue_at: Instant::now(),
            misses: 0,
            unsure: false,
            measured: Instant::now(),
            health,
        };
        let mut waits = Backoff::default();
        let mut woken = false;
        while !self.stop.is_cancelled() {
            match self.round(&mut state, woken).await {
                Ok(pause) => {
                    if waits.is_failing() {
                        tracing::info!("relaying again");
                        waits.reset();
                    }
                    tokio::select! {
                        () = self.stop.cancelled() => {}
                        () = self.signal.notify.notified() => woken = true,
                        () = sleep(pause) => woken = false,
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

    /// Takes due jobs; a relay that was `woken` does so before it looks. Returns the pause until the
    /// next round.
    async fn round(&self, state: &mut State, woken: bool) -> Result<Duration> {
        if self.signal.lost.swap(false, Ordering::Acquire)
            && let Err(error) = bounded(self.take_back(state)).await
        {
            self.signal.lost.store(true, Ordering::Release);
            return Err(error);
        }
        self.signal.load.measure(&mut state.measured);
        let mut unrescued = None;
        if Instant::now() >= state.rescue_at {
            let began = Instant::now();
            state.rescue_at = began + RESCUE_EVERY.mul_f64(jitter());
            unrescued = bounded(self.rescue()).await.err();
            state.rescue_at =
                state.rescue_at.max(Instant::now() + pause(began.elapsed(), SURVEY_PAUSE));
        }
        self.disown(state).await?;
        let is_fresh = state.surveyed.is_some() && state.looked.elapsed() < LOOK;
        let claimed = match woken && is_fresh && !self.signal.back.load(Ordering::Acquire) {
            true => self.claim_new(state).await?,
            false => None,
        };
        if claimed.is_none() {
            self.look(state).await?;
            state.looked = Instant::now();
        }
        // Due jobs must not wait for a rescue that fails.
        if let Some(error) = unrescued {
            tracing::warn!(error = error.details(), "lost jobs cannot be rescued; trying again");
        }
        if let Some(pause) = claimed {
            return Ok(pause);
        }
        if state.backlog.queued() > 0 && self.signal.load.room() > 0 {
            self.transport.fetch();
        }
        let due_in = state.backlog.due_in();
        if due_in == Some(Duration::ZERO) {
            return match self.claim(state, Which::Found).await? {
                Left::Perhaps => {
                    // No job depends on it.
                    if let Err(error) = self.hand_over(state).await {
                        tracing::debug!(error = error.details(), "jobs were not handed over");
                    }
                    Ok(LOOK_FULL)
                }
                Left::Few { taken } => Ok(state.pause_after(taken).min(LOOK)),
            };
        }
        self.signal.waiting.store(false, Ordering::Release);
        state.misses = 0;
        let next = self.next_survey(state).filter(|_| self.signal.back.load(Ordering::Acquire));
        let next = next.map_or(LOOK, |at| at.saturating_duration_since(Instant::now()));
        Ok(due_in.unwrap_or(LOOK).min(LOOK).min(next))
    }

    /// Claims what has come since the last look. Returns the pause until the next round, unless the
    /// relay has to look now.
    async fn claim_new(&self, state: &mut State) -> Result<Option<Duration>> {
        let left = self.claim(state, Which::New).await?;
        let unseen = state.looked.elapsed();
        if unseen >= LOOK_FULL {
            return Ok(None);
        }
        Ok(match left {
            Left::Perhaps => Some(LOOK_FULL),
            // Half of a single slot is nothing: jobs of some priorities were not asked for.
            Left::Few { .. } if self.concurrency == 1 => None,
            // There are no more; unless other relays have got hold of some at the same moment.
            Left::Few { taken } => {
                let due_in = state.backlog.due_in().map(|due_in| due_in.saturating_sub(unseen));
                let next = due_in.unwrap_or(LOOK_FULL).min(LOOK_FULL - unseen);
                let perhaps = taken > 0 && state.health.workers() > 1;
                self.signal.waiting.store(perhaps || next.is_zero(), Ordering::Release);
                Some(next)
            }
        })
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
