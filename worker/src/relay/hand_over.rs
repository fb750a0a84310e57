//! Puts due jobs into the transport that no worker takes by itself: this one is full, and another
//! may have a free slot without knowing of them.

use std::{sync::atomic::Ordering, time::Duration};

use nexus_common::{
    Result,
    jobs::{backlog::Capacity, lifecycle},
    storage::postgres::bounded,
};

use super::{
    Relay, State,
    capacity::{BATCH, MOST, target},
};
use crate::transport::Transport;

/// A job that has been due for so long although every worker was told of it.
const OVERDUE: Duration = Duration::from_millis(250);

impl<T: Transport> Relay<T> {
    /// Hands overdue jobs to the transport, up to its target, if there are other workers.
    pub(super) async fn hand_over(&self, state: &mut State) -> Result<()> {
        let others = state.health.workers() > 1 && state.health.answers();
        let slow = self.slow(state.health.workers());
        if !others || state.backlog.overdue(&slow) < OVERDUE {
            return Ok(());
        }
        // The transport may hold more than the ledger thinks, namely deliveries that have been
        // replaced since.
        let depth = self.transport.depth().await.inspect_err(|_| state.health.failed())?;
        let room =
            target(self.concurrency, depth.workers).saturating_sub(state.backlog.queued() as usize);
        let room = room.min(MOST.saturating_sub(depth.deliveries)).min(BATCH);
        if room == 0 {
            return Ok(());
        }
        let capacity = Capacity { jobs: room as i64, slow: self.slow(depth.workers) };
        // If the relay dies before it delivers them, their rows stay `queued` until a rescue finds
        // them.
        let deliveries = bounded(state.backlog.hand_over(&self.db, OVERDUE, capacity)).await?;
        if deliveries.is_empty() {
            return Ok(());
        }
        state.pushed.extend(&deliveries);
        let excess = state.pushed.len().saturating_sub(MOST);
        state.pushed.drain(..excess);
        let pushed = self.transport.push(&deliveries).await;
        pushed.inspect_err(|_| {
            state.health.failed();
            // The push may have arrived after all: then the next hand-over has a higher number, and
            // this delivery finds that it has been replaced.
            self.signal.lost.store(true, Ordering::Release);
        })
    }

    /// Puts back the jobs that this relay has pushed and no worker has accepted.
    pub(super) async fn take_back(&self, state: &mut State) -> Result<()> {
        if !state.pushed.is_empty() {
            lifecycle::take_back(&self.db, state.pushed.make_contiguous()).await?;
            state.pushed.clear();
        }
        Ok(())
    }
}
