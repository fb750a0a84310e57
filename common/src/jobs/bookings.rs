//! Jobs of the bookings queue.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{Job, Queue, RetryPolicy};
use crate::types::ids::{BookingId, EventId, TicketId};

/// Makes one ticket with a QR code for each seat of a confirmed booking. Exactly once: the tickets
/// commit with the job.
#[derive(Debug, Serialize, Deserialize)]
pub struct FinaliseBooking {
    pub booking_id: BookingId,
}

impl Job for FinaliseBooking {
    const QUEUE: Queue = Queue::Bookings;
    const KIND: &'static str = "finalise_booking";
    const RETRY: RetryPolicy = RetryPolicy::INTERNAL;

    fn unique_key(&self) -> Option<String> {
        Some(Self::key(self.booking_id))
    }
}

/// Cancels every booking of a cancelled event, a batch a run, and frees its locks. Each booking
/// commits by itself, so that a run can be interrupted anywhere; what is cancelled is not looked at
/// again.
#[derive(Debug, Serialize, Deserialize)]
pub struct CancelEvent {
    pub event_id: EventId,
}

impl Job for CancelEvent {
    const QUEUE: Queue = Queue::Bookings;
    const KIND: &'static str = "cancel_event";
    const RETRY: RetryPolicy = RetryPolicy::INTERNAL;
    /// Long runs; buyers who wait for their tickets have half of the slots for themselves.
    const PRIORITY: i16 = 10;
    const TIMEOUT: Duration = Duration::from_secs(120);

    fn unique_key(&self) -> Option<String> {
        Some(Self::key(self.event_id))
    }
}

/// Issues tickets anew whose QR codes nobody has signed. Each booking commits by itself, so that a
/// run can be interrupted anywhere; a run that has been at it for long leaves the rest to the next
/// job.
#[derive(Debug, Serialize, Deserialize)]
pub struct ReissueTickets {
    /// Those with ids from here on have been looked at; without it, none. A dump that lasts keeps
    /// what is left in the index of those, which nobody is to read again and again.
    #[serde(default)]
    pub before: Option<TicketId>,
}

impl Job for ReissueTickets {
    const QUEUE: Queue = Queue::Bookings;
    const KIND: &'static str = "reissue_tickets";
    const RETRY: RetryPolicy = RetryPolicy::INTERNAL;
    const TIMEOUT: Duration = Duration::from_secs(120);
    /// Who has just bought comes first.
    const PRIORITY: i16 = 10;

    fn unique_key(&self) -> Option<String> {
        Some(Self::KIND.into())
    }
}
