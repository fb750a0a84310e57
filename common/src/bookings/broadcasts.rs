//! Broadcasts about bookings.

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

/// What bystanders get in place of a booking's reference: it tells neither the booking's time nor
/// its random tail, from which they could derive the ids of its tickets.
pub const MASKED_REFERENCE: &str = "BKG-****-****-******-****";

/// A user has created a booking and is about to pay.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct BookingCreated {
    pub event_id: EventId,
    /// `BKG-****-****-******-****` for all but its buyer and its organiser.
    pub booking_reference: String,
    /// `null` for all but its buyer and its organiser: 0 would be a price.
    pub total_amount: Option<Paise>,
    pub status: BookingStatus,
}

impl Payload for BookingCreated {
    const EVENT: &'static str = "booking_created";
    const LISTENERS: Listeners = Listeners::ViewersOfBookings;
}

impl BookingCreated {
    /// The payload for bystanders.
    pub fn masked(&self) -> Self {
        BookingCreated { booking_reference: MASKED_REFERENCE.into(), total_amount: None, ..*self }
    }
}

/// A booking has been confirmed.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct BookingConfirmed {
    pub booking_id: BookingId,
    /// `BKG-****-****-******-****` for all but its buyer and its organiser.
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
    /// The payload for bystanders.
    pub fn masked(&self) -> Self {
        BookingConfirmed { booking_reference: MASKED_REFERENCE.into(), ..*self }
    }
}

/// A booking has been cancelled; sent once.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct BookingCancelled {
    pub booking_id: BookingId,
    /// For the buyer, their own words, if they have given a reason. Others get `Cancelled by user`,
    /// `Event cancelled` or `Refunded`, the organiser also `Payment disputed`.
    pub reason: String,
}

impl Payload for BookingCancelled {
    const EVENT: &'static str = "booking_cancelled";
    const LISTENERS: Listeners = Listeners::ViewersOfBookings;
}
