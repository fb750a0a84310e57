//! What follows a commit: cache keys and broadcasts, collected while the transaction runs and sent
//! when it has committed.

use std::collections::{BTreeMap, BTreeSet};

use super::{
    ids::{EventId, UserId},
    news::{News, SeatUnlocked, UnlockReason},
    seats::{Freed, SeatKey},
    time::Timestamp,
};
use crate::{
    cache::Cache,
    realtime::{Audience, Broadcast, Parties, Publish, SeatsUpdates},
};

/// Collected effects outside PostgreSQL. Losing them, to a crash between commit and here, costs
/// clients a hint and nothing else.
#[derive(Debug, Default)]
#[must_use = "run it after the commit"]
pub struct AfterCommit {
    broadcasts: Vec<Broadcast>,
    kept: Vec<(UserId, Timestamp, Timestamp, Vec<SeatKey>)>,
    dropped: BTreeMap<UserId, Vec<SeatKey>>,
    changed: BTreeSet<EventId>,
}

impl AfterCommit {
    /// Tells clients.
    pub fn tell(&mut self, broadcast: Broadcast) {
        self.broadcasts.push(broadcast);
    }

    /// Tells whose booking it is the news in `full`, and all others who hear of the event what is
    /// left of it `masked`.
    pub fn tell_of_booking<N: News>(&mut self, parties: Parties, full: N, masked: N) {
        self.tell(Broadcast::new(Audience::Parties(parties), full));
        self.tell(Broadcast::new(Audience::Bystanders(parties), masked));
    }

    /// Seats that are `user`'s from now, which is PostgreSQL's, until then: their Redis keys live
    /// as long.
    pub fn keep(&mut self, user: UserId, now: Timestamp, until: Timestamp, seats: Vec<SeatKey>) {
        self.kept.push((user, now, until, seats));
    }

    /// A seat whose Redis key has no use any more, if it is still `user`'s.
    pub fn drop_key(&mut self, user: UserId, seat: SeatKey) {
        self.dropped.entry(user).or_default().push(seat);
    }

    /// The counts of `event` have changed.
    pub fn counts_changed(&mut self, event: EventId) {
        self.changed.insert(event);
    }

    /// Seats that became free, and why.
    pub fn freed(&mut self, freed: Vec<Freed>, reason: UnlockReason) {
        for seat in freed {
            self.counts_changed(seat.key.event);
            let news = SeatUnlocked {
                event_id: seat.key.event,
                seat_type_id: seat.key.seat_type,
                seat_label: seat.key.label.clone(),
                available_quantity: seat.available_quantity,
                version: seat.version,
                reason,
            };
            self.tell(Broadcast::new(Audience::Event(seat.key.event), news));
            if let Some(holder) = seat.holder {
                self.drop_key(holder, seat.key);
            }
        }
    }

    /// Does it all: keys first, so that whoever hears of a free seat can have it.
    pub async fn run<P: Publish, Q: Publish>(
        self,
        cache: &Cache,
        publisher: &P,
        seats: &SeatsUpdates<Q>,
    ) {
        for (user, seats) in self.dropped {
            cache.drop_seats(&seats, user).await;
        }
        for (user, now, until, keys) in self.kept {
            cache.keep_seats(&keys, user, now, until).await;
        }
        for broadcast in self.broadcasts {
            publisher.publish(broadcast).await;
        }
        for event in self.changed {
            seats.changed(event);
        }
    }
}
