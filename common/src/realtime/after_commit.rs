//! What follows a commit: changes in Redis and broadcasts, collected while the transaction runs and
//! carried out after its commit.

use std::collections::BTreeSet;

use super::{Audience, Broadcast, Coalesced, Parties, Payload, Publish};
use crate::{storage::Cache, types::ids::EventId};

/// Collected effects outside PostgreSQL. If a crash between the commit and here loses them, clients
/// lose a hint and nothing else.
#[derive(Default)]
#[must_use = "run it after the commit"]
pub struct AfterCommit {
    pub(super) cache: redis::Pipeline,
    pub(super) broadcasts: Vec<Broadcast>,
    pub(super) changed: BTreeSet<EventId>,
}

impl AfterCommit {
    /// Commands for Redis, in order.
    pub fn cache(&mut self) -> &mut redis::Pipeline {
        &mut self.cache
    }

    /// Sends a broadcast after the commit.
    pub fn tell(&mut self, broadcast: Broadcast) {
        self.broadcasts.push(broadcast);
    }

    /// Tells the parties of a booking the `full` payload, and the bystanders the `masked` one.
    pub fn tell_of_booking<P: Payload>(&mut self, parties: Parties, full: P, masked: P) {
        self.tell(Broadcast::new(Audience::Parties(parties), full));
        self.tell(Broadcast::new(Audience::Bystanders(parties), masked));
    }

    /// Broadcasts the new counts of `event` after the commit.
    pub fn counts_changed(&mut self, event: EventId) {
        self.changed.insert(event);
    }

    pub(super) fn is_empty(&self) -> bool {
        self.cache.is_empty() && self.broadcasts.is_empty() && self.changed.is_empty()
    }

    /// Carries everything out: Redis first, so that a client that hears of a free seat can lock it.
    pub async fn run<P: Publish, Q: Publish>(
        self,
        cache: &Cache,
        publisher: &P,
        counts: &Coalesced<Q>,
    ) {
        if !self.cache.is_empty() {
            cache.pipeline::<()>(&self.cache).await;
        }
        for broadcast in self.broadcasts {
            publisher.publish(broadcast).await;
        }
        for event in self.changed {
            counts.changed(event);
        }
    }
}
