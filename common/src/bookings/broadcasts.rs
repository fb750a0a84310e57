//! What clients are told of bookings.

use serde::Serialize;
use utoipa::ToSchema;

use crate::{
    realtime::{Listeners, Payload},
    types::{
        ids::{BookingId, EventId},
        money::Paise,
        statuses::BookingStatus,
    },
};

/// What stands for a booking's reference before whom it does not concern: neither its time nor its
/// random tail can be told from it, and with them the ids of its tickets.
pub const MASKED_REFERENCE: &str = "BKG-****-****-******-****";

/// Somebody is about to pay for seats.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct BookingCreated {
    pub event_id: EventId,
    /// `BKG-****-****-******-****` for others than its buyer and its organiser.
    pub booking_reference: String,
    /// `null` for others than its buyer and its organiser: 0 would be a price.
    pub total_amount: Option<Paise>,
    pub status: BookingStatus,
}

impl Payload for BookingCreated {
    const EVENT: &'static str = "booking_created";
    const LISTENERS: Listeners = Listeners::ViewersOfBookings;
}

impl BookingCreated {
    /// For whom it does not concern.
    pub fn masked(&self) -> Self {
        BookingCreated { booking_reference: MASKED_REFERENCE.into(), total_amount: None, ..*self }
    }
}

/// Seats are paid for.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct BookingConfirmed {
    pub booking_id: BookingId,
    /// `BKG-****-****-******-****` for others than its buyer and its organiser.
    pub booking_reference: String,
    pub event_id: EventId,
    pub total_tickets: usize,
    pub status: BookingStatus,
}

impl Payload for BookingConfirmed {
    const EVENT: &'static str = "booking_confirmed";
    const LISTENERS: Listeners = Listeners::ViewersOfBookings;
}

impl BookingConfirmed {
    /// For whom it does not concern.
    pub fn masked(&self) -> Self {
        BookingConfirmed { booking_reference: MASKED_REFERENCE.into(), ..*self }
    }
}

/// A booking is cancelled; said once.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct BookingCancelled {
    pub booking_id: BookingId,
    /// In the buyer's own words, if they have said why; others than the buyer and the organiser are
    /// told `Cancelled by user`, `Event cancelled` or `Refunded`.
    pub reason: String,
}

impl Payload for BookingCancelled {
    const EVENT: &'static str = "booking_cancelled";
    const LISTENERS: Listeners = Listeners::ViewersOfBookings;
}
