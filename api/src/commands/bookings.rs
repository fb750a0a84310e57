//! Booking locked seats, and cancelling.

use nexus_common::{
    Error, Result,
    domain::{
        booking_cancellation,
        bookings::{self, NewBooking},
        ids::UserId,
        input::Input,
    },
};

use super::{Done, id};
use crate::app::App;

/// `POST /bookings/create`, `create_booking`
pub(crate) async fn create(app: App, user: UserId, input: Input) -> Result<Done> {
    let new = NewBooking::parse(&input)?;
    let mut tx = app.db.begin().await?;
    let (created, after) = bookings::create(&mut tx, user, &new, app.settings.deadlines.booking).await?;
    tx.commit().await?;
    Done::new(created, after)
}

/// `POST /bookings/:id/cancel`, `cancel_booking`
pub(crate) async fn cancel(app: App, user: UserId, input: Input) -> Result<Done> {
    let booking = id(&input, "booking_id", Error::BookingNotFound, "Invalid booking ID")?;
    let key = match input.get("idempotency_key") {
        None => None,
        Some(value) => Some(
            value
                .as_str()
                .filter(|key| (1..=255).contains(&key.len()))
                .ok_or_else(|| Error::invalid("idempotency_key must be text of 1 to 255 characters"))?,
        ),
    };
    let reason = input.filled("reason").map(|reason| reason.chars().take(500).collect::<String>());
    let mut tx = app.db.begin().await?;
    let (cancelled, after) =
        booking_cancellation::cancel(&mut tx, booking, user, reason.as_deref(), key).await?;
    tx.commit().await?;
    Done::new(cancelled, after)
}
