//! What follows a commit: changes of Redis and broadcasts, collected while the transaction runs and
//! carried out when it has committed.

use std::collections::BTreeSet;

use super::{Audience, Broadcast, Coalesced, Parties, Payload, Publish};
use crate::{storage::Cache, types::ids::EventId};

/// Collected effects outside PostgreSQL. Losing them, to a crash between commit and here, costs
/// clients a hint and nothing else.
#[derive(Default)]
#[must_use = "run it after the commit"]
pub struct AfterCommit {
    cache: redis::Pipeline,
    broadcasts: Vec<Broadcast>,
    changed: BTreeSet<EventId>,
}

impl AfterCommit {
    /// Commands for Redis, in their order.
    pub fn cache(&mut self) -> &mut redis::Pipeline {
        &mut self.cache
    }

    /// Sends a broadcast after the commit.
    pub fn tell(&mut self, broadcast: Broadcast) {
        self.broadcasts.push(broadcast);
    }

    /// Tells those whose booking it is everything, in `full`, and all others who hear of the event
    /// what is left of it `masked`.
    pub fn tell_of_booking<P: Payload>(&mut self, parties: Parties, full: P, masked: P) {
        self.tell(Broadcast::new(Audience::Parties(parties), full));
        self.tell(Broadcast::new(Audience::Bystanders(parties), masked));
    }

    /// The counts of `event` have changed.
    pub fn counts_changed(&mut self, event: EventId) {
        self.changed.insert(event);
    }

    /// Does it all: Redis first, so that a client that hears of a free seat can have it.
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
