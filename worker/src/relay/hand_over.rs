//! Takes due jobs from the ledger and puts them into the transport, or, while that is away, into
//! the free slots of this worker.

use std::{sync::atomic::Ordering, time::Duration};

use nexus_common::{
    Result,
    jobs::{
        backlog::Capacity,
        lifecycle::{self, Delivery},
    },
    observability::metrics,
    storage::postgres::bounded,
};
use tokio::time::Instant;

use super::{
    LOOK, LOOK_FULL, Relay, State,
    capacity::{BATCH, MOST, of_a_priority, target},
};
use crate::transport::Transport;

/// The shortest pause between two rounds that found nothing.
const PAUSE: Duration = Duration::from_millis(10);

impl<T: Transport> Relay<T> {
    /// Hands due jobs to the transport, up to its target. Returns the pause until the next round.
    pub(super) async fn fill_transport(&self, state: &mut State) -> Result<Duration> {
        // The transport may hold more than the ledger thinks, namely deliveries that have been
        // replaced since. If the transport does not answer, the relay hands it nothing.
        let asked = Instant::now();
        let depth = self.transport.depth().await;
        let depth = depth.inspect_err(|error| state.health.failed(asked, error))?;
        state.workers = depth.workers.max(1);
        let room =
            target(self.concurrency, depth.workers).saturating_sub(state.backlog.queued() as usize);
        let room = room.min(MOST.saturating_sub(depth.deliveries));
        let batch = room.min(BATCH);
        let handed = if batch > 0 { self.push(state, batch).await? } else { 0 };
        let full = handed == room;
        self.signal.claimed.store(0, Ordering::Relaxed);
        self.signal.full.store(full, Ordering::Relaxed);
        self.signal.waiting.store(batch > 0 && handed == 0, Ordering::Relaxed);
        state.misses = if full || handed > 0 { 0 } else { (state.misses + 1).min(6) };
        Ok(if full {
            LOOK_FULL
        } else if handed == batch {
            Duration::ZERO
        } else {
            // The remaining jobs have a priority whose slots are taken, or another relay is taking
            // them just now.
            (PAUSE * (1 << state.misses)).min(LOOK)
        })
    }

    /// Hands due jobs to the free slots of this worker. Returns the pause until the next round.
    pub(super) async fn fill_own_slots(&self, state: &mut State) -> Result<Duration> {
        self.transport.suspend();
        // No worker may ever receive the deliveries that were pushed.
        bounded(self.take_back(state)).await?;
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
        let deliveries = self.take_due(state, free).await?;
        state.misses = if deliveries.is_empty() { (state.misses + 1).min(6) } else { 0 };
        for (delivery, slot) in deliveries.into_iter().zip(slots) {
            let (run_job, signal) = (self.run_job.clone(), self.signal.clone());
            self.running.spawn(async move {
                run_job(delivery).await;
                drop(slot);
                signal.ended();
            });
        }
        Ok((PAUSE * (1 << state.misses)).min(LOOK))
    }

    /// Pushes up to `limit` due jobs.
    async fn push(&self, state: &mut State, limit: usize) -> Result<usize> {
        let deliveries = self.take_due(state, limit).await?;
        if deliveries.is_empty() {
            return Ok(0);
        }
        let asked = Instant::now();
        if let Err(error) = self.transport.push(&deliveries).await {
            state.health.failed(asked, &error);
            // The push may have arrived after all: then the next hand-over has a higher number, and
            // this delivery finds that it has been replaced.
            bounded(lifecycle::take_back(&self.db, &deliveries)).await?;
            self.signal.lost.store(true, Ordering::Release);
            return Err(error);
        }
        state.health.works();
        state.pushed.extend(&deliveries);
        let excess = state.pushed.len().saturating_sub(MOST);
        state.pushed.drain(..excess);
        Ok(deliveries.len())
    }

    /// Takes up to `limit` due jobs from the ledger. If the relay dies before it delivers them,
    /// their rows stay `queued` until a rescue finds them.
    async fn take_due(&self, state: &State, limit: usize) -> Result<Vec<Delivery>> {
        let of_a_priority = of_a_priority(self.concurrency, state.workers) as i64;
        let capacity = Capacity { jobs: limit as i64, of_a_priority };
        let (deliveries, lag) = bounded(state.backlog.hand_over(&self.db, capacity)).await?;
        if !deliveries.is_empty() {
            metrics::handed_over(self.queue, lag);
        }
        Ok(deliveries)
    }

    /// Puts back the jobs that this relay has pushed and no worker has claimed.
    pub(super) async fn take_back(&self, state: &mut State) -> Result<()> {
        if !state.pushed.is_empty() {
            lifecycle::take_back(&self.db, state.pushed.make_contiguous()).await?;
            state.pushed.clear();
        }
        Ok(())
    }
}
