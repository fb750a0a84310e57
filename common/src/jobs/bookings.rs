//! Jobs of the bookings queue.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{Job, Queue, RetryPolicy};
use crate::types::ids::{BookingId, EventId, NoticeId, TicketId, TransferId};

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

/// Cancels every booking of a cancelled event, a batch per run, and frees its locks. Each booking
/// commits by itself, so a run can be interrupted anywhere; the next run skips cancelled bookings.
#[derive(Debug, Serialize, Deserialize)]
pub struct CancelEvent {
    pub event_id: EventId,
}

impl Job for CancelEvent {
    const QUEUE: Queue = Queue::Bookings;
    const KIND: &'static str = "cancel_event";
    const RETRY: RetryPolicy = RetryPolicy::INTERNAL;
    /// Its runs are long; the priority leaves half of the slots to buyers who wait for their
    /// tickets.
    const PRIORITY: i16 = 10;
    const TIMEOUT: Duration = Duration::from_secs(120);

    fn unique_key(&self) -> Option<String> {
        Some(Self::key(self.event_id))
    }
}

/// Enqueues the messages that tell the buyers of an event what a notice says, a page of bookings per
/// run; each page commits with where it ends.
#[derive(Debug, Serialize, Deserialize)]
pub struct TellBuyers {
    pub notice_id: NoticeId,
}

impl Job for TellBuyers {
    const QUEUE: Queue = Queue::Bookings;
    const KIND: &'static str = "tell_buyers";
    const RETRY: RetryPolicy = RetryPolicy::INTERNAL;
    /// As for [`CancelEvent`].
    const PRIORITY: i16 = 10;

    fn unique_key(&self) -> Option<String> {
        Some(Self::key(self.notice_id))
    }
}

/// Looks for events that are near, and has their buyers reminded.
#[derive(Debug, Serialize, Deserialize)]
pub struct RemindBuyers {}

impl Job for RemindBuyers {
    const QUEUE: Queue = Queue::Bookings;
    const KIND: &'static str = "remind_buyers";
    const RETRY: RetryPolicy = RetryPolicy::INTERNAL;
    /// As for [`CancelEvent`].
    const PRIORITY: i16 = 10;

    fn unique_key(&self) -> Option<String> {
        Some(Self::KIND.into())
    }
}

/// Gives the ticket of an accepted transfer another code and another owner. Exactly once: both commit
/// with the transfer's end.
#[derive(Debug, Serialize, Deserialize)]
pub struct TransferTicket {
    pub transfer_id: TransferId,
}

impl Job for TransferTicket {
    const QUEUE: Queue = Queue::Bookings;
    const KIND: &'static str = "transfer_ticket";
    const RETRY: RetryPolicy = RetryPolicy::INTERNAL;

    fn unique_key(&self) -> Option<String> {
        Some(Self::key(self.transfer_id))
    }
}

/// Stores the codes of signed tickets of which earlier releases have stored the picture only. After
/// some seconds, a run leaves the rest to the next one.
#[derive(Debug, Serialize, Deserialize)]
pub struct StoreCodes {}

impl Job for StoreCodes {
    const QUEUE: Queue = Queue::Bookings;
    const KIND: &'static str = "store_codes";
    const RETRY: RetryPolicy = RetryPolicy::INTERNAL;
    /// As for [`CancelEvent`].
    const PRIORITY: i16 = 10;

    fn unique_key(&self) -> Option<String> {
        Some(Self::KIND.into())
    }
}

/// Issues tickets anew whose QR codes are not signed. Each booking commits by itself, so a run can
/// be interrupted anywhere; after some seconds, a run leaves the rest to the next job.
#[derive(Debug, Serialize, Deserialize)]
pub struct ReissueTickets {
    /// Tickets with ids from here on are done; without it, none are. While a dump runs, their
    /// entries stay in the index of unsigned tickets, and no run shall read them again and again.
    #[serde(default)]
    pub before: Option<TicketId>,
}

impl Job for ReissueTickets {
    const QUEUE: Queue = Queue::Bookings;
    const KIND: &'static str = "reissue_tickets";
    const RETRY: RetryPolicy = RetryPolicy::INTERNAL;
    const TIMEOUT: Duration = Duration::from_secs(120);
    /// Recent buyers come first.
    const PRIORITY: i16 = 10;

    fn unique_key(&self) -> Option<String> {
        Some(Self::KIND.into())
    }
}
