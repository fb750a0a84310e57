//! What the sweep could not serve a moment ago, and passes over until it is time to try again.

use std::{
    collections::HashMap,
    time::{Duration, Instant},
};

use nexus_common::{
    Error,
    bookings::deadlines::Except,
    error::Kind,
    types::ids::{BookingId, EventId, SeatTypeId},
};

/// What is in trouble is left alone for so long.
const PAUSE: Duration = Duration::from_secs(5);

/// What has run out.
#[derive(Clone, Copy, Debug)]
pub(super) enum Deadline {
    Booking(BookingId),
    /// Locks of a seat type.
    Locks(SeatTypeId),
}

/// Each with the time of the next try.
#[derive(Default)]
pub(super) struct Troubles {
    events: HashMap<EventId, Instant>,
    bookings: HashMap<BookingId, Instant>,
    seat_types: HashMap<SeatTypeId, Instant>,
}

impl Troubles {
    /// What may be tried again.
    pub(super) fn forget_old(&mut self) {
        let now = Instant::now();
        self.events.retain(|_, until| *until > now);
        self.bookings.retain(|_, until| *until > now);
        self.seat_types.retain(|_, until| *until > now);
    }

    /// What is passed over.
    pub(super) fn except(&self) -> Except {
        Except {
            events: self.events.keys().copied().collect(),
            bookings: self.bookings.keys().copied().collect(),
            seat_types: self.seat_types.keys().copied().collect(),
        }
    }

    /// Whether the event's inventory was held a moment ago.
    pub(super) fn is_held(&self, event: EventId) -> bool {
        self.events.contains_key(&event)
    }

    /// How long until something may be tried again.
    pub(super) fn next(&self) -> Option<Duration> {
        let all =
            self.events.values().chain(self.bookings.values()).chain(self.seat_types.values());
        all.min().map(|until| until.saturating_duration_since(Instant::now()))
    }

    /// Notes what came of a deadline of `event`'s. False means that nothing could be done, because
    /// another transaction has those rows. Fails only when PostgreSQL is away, and there is no use
    /// in going on.
    pub(super) fn note(
        &mut self,
        served: Result<bool, Error>,
        event: EventId,
        what: Deadline,
    ) -> Result<(), Error> {
        let until = Instant::now() + PAUSE;
        let (event_id, again_in_ms) = (event.0, PAUSE.as_millis() as u64);
        match served {
            Ok(true) => return Ok(()),
            Ok(false) => {}
            Err(error @ (Error::Busy(_) | Error::Collision(_))) => {
                let error = error.details();
                tracing::warn!(
                    event_id,
                    error,
                    again_in_ms,
                    "an event's inventory is held; its deadlines wait"
                );
                self.events.insert(event, until);
                return Ok(());
            }
            Err(error) if error.kind() == Kind::Unavailable => return Err(error),
            Err(error) => {
                let error = error.details();
                tracing::error!(event_id, deadline = ?what, error, again_in_ms, "a deadline cannot be served");
            }
        }
        match what {
            Deadline::Booking(id) => self.bookings.insert(id, until),
            Deadline::Locks(id) => self.seat_types.insert(id, until),
        };
        Ok(())
    }
}
