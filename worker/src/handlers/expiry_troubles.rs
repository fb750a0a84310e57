//! Deadlines that the sweep could not serve a moment ago, and passes over until it tries them
//! again.

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

/// How long the sweep passes over a deadline that it could not serve.
const PAUSE: Duration = Duration::from_secs(5);

/// A deadline that has passed.
#[derive(Clone, Copy, Debug)]
pub(super) enum Deadline {
    Booking(BookingId),
    /// Locks of a seat type.
    Locks(SeatTypeId),
}

/// The deadlines that the sweep passes over, each with the time of its next try.
#[derive(Default)]
pub(super) struct Troubles {
    events: HashMap<EventId, Instant>,
    bookings: HashMap<BookingId, Instant>,
    seat_types: HashMap<SeatTypeId, Instant>,
}

impl Troubles {
    /// Forgets the deadlines that may be tried again.
    pub(super) fn forget_old(&mut self) {
        let now = Instant::now();
        self.events.retain(|_, until| *until > now);
        self.bookings.retain(|_, until| *until > now);
        self.seat_types.retain(|_, until| *until > now);
    }

    /// The deadlines that the sweep passes over now.
    pub(super) fn except(&self) -> Except {
        Except {
            events: self.events.keys().copied().collect(),
            bookings: self.bookings.keys().copied().collect(),
            seat_types: self.seat_types.keys().copied().collect(),
        }
    }

    /// Whether another transaction held the event's inventory a moment ago.
    pub(super) fn is_held(&self, event: EventId) -> bool {
        self.events.contains_key(&event)
    }

    /// How long until a deadline may be tried again.
    pub(super) fn next(&self) -> Option<Duration> {
        let all =
            self.events.values().chain(self.bookings.values()).chain(self.seat_types.values());
        all.min().map(|until| until.saturating_duration_since(Instant::now()))
    }

    /// Notes the outcome of a deadline of `event`. False means that another transaction has the
    /// rows, so nothing could be done. Fails only when PostgreSQL is away and there is no use in
    /// going on.
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
