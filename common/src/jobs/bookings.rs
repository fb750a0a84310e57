//! Jobs of the bookings queue.

use serde::{Deserialize, Serialize};

use super::{Job, Queue, RetryPolicy};

/// Makes one ticket with a QR code for each seat of a confirmed booking. Exactly once: the tickets commit with the job.
#[derive(Debug, Serialize, Deserialize)]
pub struct FinaliseBooking {
    /// `bookings.id`
    pub booking_id: i32,
}

impl Job for FinaliseBooking {
    const QUEUE: Queue = Queue::Bookings;
    const KIND: &'static str = "finalise_booking";
    const RETRY: RetryPolicy = RetryPolicy::INTERNAL;

    fn unique_key(&self) -> Option<String> {
        Some(format!("finalise_booking:{}", self.booking_id))
    }
}
