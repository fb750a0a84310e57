//! Claims due jobs for the relay's own worker.

use std::{sync::atomic::Ordering, time::Duration};

use nexus_common::{
    Result,
    jobs::{
        backlog::{Capacity, Claimant, Slow},
        lifecycle::{self, Claimed},
    },
    observability::metrics,
    storage::postgres::bounded,
};
use tokio::time::Instant;

use super::{Relay, State, capacity::of_a_priority};

/// Which jobs to claim.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Which {
    /// Those that the last look has found.
    Found,
    /// Those that have come since.
    New,
}

/// What a claim says about the jobs that are left.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Left {
    /// The worker has taken as many as it could; there may be more.
    Perhaps,
    /// The worker had room for more than it found.
    Few { taken: usize },
}

impl<T> Relay<T> {
    /// Claims as many due jobs as the worker has room for.
    pub(super) async fn claim(&self, state: &mut State, which: Which) -> Result<Left> {
        // Before the room is measured: a job that ends after that wakes the relay.
        self.signal.waiting.store(true, Ordering::Release);
        // What is in Redis has waited for longer: it gets a slot of its own.
        let elsewhere = usize::from(state.backlog.queued() > 0);
        let room = self.signal.load.room().saturating_sub(elsewhere);
        // A worker that has enough to do waits until a claim is worth it.
        if room == 0 || !self.signal.load.is_low() {
            return Ok(Left::Perhaps);
        }
        let capacity = Capacity { jobs: room as i64, slow: self.slow(state.health.workers()) };
        let asked = Instant::now();
        let new = which == Which::New;
        let claimant = Claimant { name: &self.worker, lease: self.lease };
        let claiming = state.backlog.claim(&self.db, claimant, capacity, new);
        let claimed = bounded(claiming).await.inspect_err(|_| state.unsure = true)?;
        let taken = claimed.len();
        if let Some(longest) = claimed.iter().map(|job| job.waited).max() {
            metrics::handed_over(self.queue, longest);
        }
        self.start(claimed, asked).await?;
        let is_full = match self.slow(state.health.workers()) {
            Slow::Own { most, held } => held.values().any(|held| *held >= most),
            Slow::Common { .. } => false,
        };
        Ok(if taken == room || is_full { Left::Perhaps } else { Left::Few { taken } })
    }

    /// How many jobs of each priority above 0 may be taken, where there are so many workers.
    pub(super) fn slow(&self, workers: usize) -> Slow {
        match self.concurrency {
            1 => Slow::Common { most: of_a_priority(1, workers) as i64 },
            slots => Slow::Own {
                most: of_a_priority(slots, 1) as i64,
                held: self.signal.load.of_each_priority(),
            },
        }
    }

    /// Starts jobs that were claimed at `asked`.
    async fn start(&self, mut claimed: Vec<Claimed>, mut asked: Instant) -> Result<()> {
        self.signal.load.take(claimed.iter().map(|job| (job.lease.job_id(), job.priority)));
        // The claim has taken long: other workers may think that this one is dead.
        if asked.elapsed() > self.lease / 3 {
            asked = Instant::now();
            let leases: Vec<_> = claimed.iter().map(|job| job.lease.clone()).collect();
            let renewed = bounded(lifecycle::renew(&self.db, &leases, self.lease)).await;
            let renewed = renewed.unwrap_or_else(|_| vec![false; leases.len()]);
            let mut renewed = renewed.into_iter();
            claimed.retain(|job| {
                let held = renewed.next() == Some(true);
                if !held {
                    self.signal.load.drop(job.lease.job_id());
                }
                held
            });
        }
        for job in claimed {
            (self.run_claimed)(job, asked + self.lease);
        }
        Ok(())
    }

    /// Gives back what a claim has taken whose answer has not arrived.
    pub(super) async fn disown(&self, state: &mut State) -> Result<()> {
        if state.unsure {
            let own = self.signal.load.jobs();
            bounded(lifecycle::disown(&self.db, self.queue, &self.worker, &own)).await?;
            state.unsure = false;
        }
        Ok(())
    }
}

/// The shortest pause after a claim that found less than the look.
const PAUSE: Duration = Duration::from_millis(10);

impl State {
    /// How long to wait after a claim of jobs that a look had found: other relays are taking them,
    /// or the slots for their priority are taken.
    pub(super) fn pause_after(&mut self, taken: usize) -> Duration {
        self.misses = if taken > 0 { 0 } else { (self.misses + 1).min(6) };
        PAUSE * (1 << self.misses)
    }
}
