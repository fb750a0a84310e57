//! Booking locked seats, and cancelling.

use nexus_common::{
    Error, Result,
    bookings::{
        cancellation,
        creation::{self, NewBooking},
    },
};

use super::{Call, Done};

/// `POST /bookings/create`, `create_booking`
pub(crate) async fn create(call: Call) -> Result<Done> {
    let new = NewBooking::parse(&call.input)?;
    let mut tx = call.begin().await?;
    let valid = call.app.settings.deadlines.booking;
    let (created, after) = creation::create(&mut tx, call.user, &new, valid).await?;
    // Rolled back with its transaction: nobody is asked for what they could not pay.
    call.app.settings.chargeable.check_total(created.booking.total_amount)?;
    call.commit(tx, created, after).await
}

/// `POST /bookings/:id/cancel`, `cancel_booking`
pub(crate) async fn cancel(call: Call) -> Result<Done> {
    let booking = call.id("booking_id", Error::BookingNotFound, "Invalid booking ID")?;
    let key = match call.input.get("idempotency_key") {
        None => None,
        Some(value) => {
            Some(value.as_str().filter(|key| (1..=255).contains(&key.chars().count())).ok_or_else(
                || Error::invalid("idempotency_key must be text of 1 to 255 characters"),
            )?)
        }
    };
    let reason = call.input.optional_text("reason")?;
    let reason = reason.map(|reason| reason.chars().take(500).collect::<String>());
    let _turn = call.turn_of(booking).await?;
    let mut tx = call.begin().await?;
    let closing = call.app.settings.cancel_until;
    let (cancelled, after) =
        cancellation::cancel(&mut tx, booking, call.user, reason.as_deref(), key, closing).await?;
    call.commit(tx, cancelled, after).await
}
