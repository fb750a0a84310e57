//! `POST /bookings/:id/cancel`, `cancel_booking`

use nexus_common::{
    Error, Result,
    bookings::cancellation::{self, Cancelled},
    config::Limit,
    types::{ids::BookingId, text::joined_lines},
};
use serde::Deserialize;
use utoipa::ToSchema;

use crate::{
    http::{
        fields::{Field, Id, Text, any_text, sent},
        texts::{optional, text},
    },
    operations::{Call, Command, Done},
    spec::operation::Operation,
};

text!(
    CancelReason = "reason", at most 20_000, cleaned by joined_lines, any_text("Changed my mind")
);

/// As much of a reason as is kept.
const LONGEST_REASON: usize = 500;

#[derive(Deserialize, ToSchema)]
pub(crate) struct CancelBooking {
    booking_id: Id,
    /// For the buyer alone; others are told that the user has cancelled. Beyond 500 characters, it is
    /// cut off.
    reason: Option<CancelReason>,
    /// A call with the same key answers what the first call did.
    #[schema(value_type = Option<String>, min_length = 1, max_length = 255)]
    idempotency_key: Option<Text>,
}

impl Command for CancelBooking {
    type Response = Cancelled;

    fn spec() -> Operation {
        Operation::command("cancel_booking", "Cancel a booking")
            .description("Frees its seats, and refunds what has been paid as long as the event has not started.")
            .failures([
                Error::BookingNotFound,
                Error::Forbidden("cancel this booking"),
                Error::BookingTimedOut,
                Error::CancelTooLate,
                Error::CancelClosed("60 minutes".into()),
                Error::TicketsUsed,
                Error::TicketsTransferred,
                Error::IdempotencyInFlight,
            ])
    }

    async fn run(self, call: Call) -> Result<Done> {
        let booking = self.booking_id.required(Error::BookingNotFound, "Invalid booking ID")?;
        let booking = BookingId(booking);
        let key = sent(&self.idempotency_key).map(|key| {
            key.read().filter(|key| (1..=255).contains(&key.chars().count())).ok_or_else(|| {
                Error::invalid("idempotency_key must be text of 1 to 255 characters")
            })
        });
        let key = key.transpose()?;
        let reason = optional(self.reason.as_ref())?;
        let reason = reason.map(|reason| reason.chars().take(LONGEST_REASON).collect::<String>());
        let (app, reason, key) = (call.app.clone(), reason.as_deref(), key.as_deref());
        // Only a new key counts: what was carried out is answered as ever.
        let taken = match key {
            Some(key) if !is_known(&call, booking, key).await? => {
                Some(app.budgets.idempotency_key(call.user).await?)
            }
            _ => None,
        };
        let cancelled = cancel(call, booking, reason, key).await;
        if let (Some(taken), Err(_) | Ok((_, false))) = (taken, &cancelled) {
            app.budgets.give_back(&taken, &[Limit::IdempotencyKeys]).await;
        }
        Ok(cancelled?.0)
    }
}

/// Cancels, and says whether the key is remembered because of that.
async fn cancel(
    call: Call,
    booking: BookingId,
    reason: Option<&str>,
    key: Option<&str>,
) -> Result<(Done, bool)> {
    let _turn = call.turn_of(booking).await?;
    let mut tx = call.begin().await?;
    let closing = call.app.settings.cancel_until;
    let (cancelled, after) =
        cancellation::cancel(&mut tx, booking, call.user, reason, key, closing).await?;
    let is_new = !cancelled.idempotent;
    Ok((call.commit(tx, cancelled, after).await?, is_new))
}

async fn is_known(call: &Call, booking: BookingId, key: &str) -> Result<bool> {
    let mut conn = call.app.db.acquire().await?;
    cancellation::is_known(&mut conn, call.user, booking, key).await
}
