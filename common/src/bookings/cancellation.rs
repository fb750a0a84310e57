//! Cancelling a booking: at most once, however often a client asks for it
//! (docs/contract.md#bookings).

use std::time::Duration;

use serde::Serialize;
use serde_json::Value;
use sha2::{Digest, Sha256};
use sqlx::PgConnection;
use utoipa::ToSchema;

use super::{
    booking_states::{self, BookingEvent, BookingState, BookingStep},
    broadcasts::BookingCancelled,
    cancellation_notices,
    changes::{LockedBooking, free_seats, lock_for_update},
};
use crate::{
    error::{Error, Result},
    ledger::refunds,
    realtime::AfterCommit,
    seats::{broadcasts::UnlockReason, unpaid::End},
    storage::postgres::interval,
    types::{
        ids::{BookingId, UserId},
        statuses::TicketStatus,
        time::in_words,
    },
};

/// The response to a cancellation.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Cancellation)]
pub struct Cancelled {
    /// The sentence that the contract prescribes.
    pub message: &'static str,
    pub booking_id: BookingId,
    /// Set only when the booking was cancelled before.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub already_cancelled: bool,
    /// Set only when a call with the same idempotency key cancelled it before.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub idempotent: bool,
    /// The response to the first call with that key.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Cancelled, nullable = false, no_recursion)]
    pub cached_response: Option<Value>,
}

/// Cancels a booking for its owner: an unpaid one at once, a confirmed one with a refund, until
/// `closing` before its event starts.
pub async fn cancel(
    conn: &mut PgConnection,
    id: BookingId,
    user: UserId,
    reason: Option<&str>,
    idempotency_key: Option<&str>,
    closing: Duration,
) -> Result<(Cancelled, AfterCommit)> {
    let mut after = AfterCommit::default();
    let key = idempotency_key.map(|key| stored_key(user, key));
    if let (Some(key), Some(sent)) = (&key, idempotency_key)
        && let Some(first) = reserve_key(conn, key, sent, id, user).await?
    {
        return Ok((first, after));
    }
    let booking = lock_for_update(conn, id).await?.ok_or(Error::BookingNotFound)?;
    if booking.user != user {
        return Err(Error::Forbidden("cancel this booking"));
    }
    let event =
        if booking.event_started { BookingEvent::CancelAfterStart } else { BookingEvent::Cancel };
    if booking_states::next(booking.state(), event) == BookingStep::CancelSale {
        require_time_left(conn, &booking, closing).await?;
        require_unused(conn, id).await?;
    }
    let cancelled = carry_out(conn, &booking, event, reason, &mut after).await?;
    let response = Cancelled {
        message: if cancelled {
            "Booking cancelled successfully"
        } else {
            "Booking is already cancelled"
        },
        booking_id: id,
        already_cancelled: !cancelled,
        idempotent: false,
        cached_response: None,
    };
    if let Some(key) = &key {
        let stored = serde_json::to_value(&response).map_err(Error::internal)?;
        sqlx::query!(
            "UPDATE idempotency_keys SET status = 'completed', completed_at = now(), response_data = $2 WHERE idempotency_key = $1",
            key,
            stored,
        )
        .execute(conn)
        .await?;
    }
    Ok((response, after))
}

/// Whether an idempotency key has cancelled a booking before.
pub async fn is_known(
    conn: &mut PgConnection,
    user: UserId,
    booking: BookingId,
    key: &str,
) -> Result<bool> {
    let known = sqlx::query_scalar!(
        r#"SELECT EXISTS (
               SELECT 1 FROM idempotency_keys WHERE (idempotency_key = $1 OR idempotency_key = $2 AND user_id = $3)
               AND resource_id = $4 AND expires_at >= now()) AS "known!""#,
        stored_key(user, key),
        key,
        user as _,
        booking as _,
    );
    Ok(known.fetch_one(conn).await?)
}

/// Refuses to cancel a sale later than `closing` before the event starts.
async fn require_time_left(
    conn: &mut PgConnection,
    booking: &LockedBooking,
    closing: Duration,
) -> Result<()> {
    let closed = sqlx::query_scalar!(
        r#"SELECT start_date - $2::interval <= clock_timestamp() AS "closed!" FROM events WHERE id = $1"#,
        booking.event as _,
        interval(closing)?,
    )
    .fetch_one(conn)
    .await?;
    if closed { Err(Error::CancelClosed(in_words(closing))) } else { Ok(()) }
}

/// Refuses to cancel a booking with whose tickets somebody has come in, or that has tickets of others:
/// whoever has sold one gets no money back for it, too. Who is at the door, or gives a ticket to
/// somebody, waits for this transaction, or is waited for.
async fn require_unused(conn: &mut PgConnection, booking: BookingId) -> Result<()> {
    let tickets = sqlx::query!(
        r#"SELECT status AS "status: TicketStatus", owner_id IS NOT NULL AS "is_others!" FROM tickets WHERE booking_id = $1 ORDER BY id FOR NO KEY UPDATE"#,
        booking as _,
    )
    .fetch_all(&mut *conn)
    .await?;
    if tickets.iter().any(|ticket| ticket.status == TicketStatus::Used) {
        return Err(Error::TicketsUsed);
    }
    // With the tickets held, nobody accepts one.
    let accepted = sqlx::query_scalar!(
        r#"SELECT EXISTS (SELECT 1 FROM tickets t JOIN ticket_transfers x ON x.ticket_id = t.id
                          WHERE t.booking_id = $1 AND x.status = 'accepted') AS "accepted!""#,
        booking as _,
    );
    match tickets.iter().any(|ticket| ticket.is_others) || accepted.fetch_one(conn).await? {
        true => Err(Error::TicketsTransferred),
        false => Ok(()),
    }
}

/// Cancels a locked booking, as far as `event` can do that in its state: reverses the sale, owes
/// its money, voids its tickets, frees its seats, and has the buyer told if they had paid, or were
/// about to when the event was cancelled. The reason is what is `said`, if anything is;
/// bystanders see the event's. False when there is nothing left to cancel.
pub async fn carry_out(
    conn: &mut PgConnection,
    booking: &LockedBooking,
    event: BookingEvent,
    said: Option<&str>,
    after: &mut AfterCommit,
) -> Result<bool> {
    let id = booking.id;
    match booking_states::next(booking.state(), event) {
        BookingStep::Cancel => {
            sqlx::query!("UPDATE bookings SET payment_status = 'cancelled' WHERE id = $1", id as _)
                .execute(&mut *conn)
                .await?;
        }
        BookingStep::CancelSale => {
            refunds::reverse_sale(conn, id, booking.payment_id.as_deref(), booking.total).await?;
            sqlx::query!("UPDATE tickets SET status = 'cancelled' WHERE booking_id = $1", id as _)
                .execute(&mut *conn)
                .await?;
        }
        BookingStep::Refuse if booking.state() == BookingState::Expired => {
            return Err(Error::BookingTimedOut);
        }
        BookingStep::Refuse => return Err(Error::CancelTooLate),
        _ => return Ok(false),
    }
    let reason = reason_of(event);
    let told = sqlx::query_scalar!(
        r#"UPDATE bookings SET status = 'cancelled', cancelled_at = now(), cancellation_reason = $2
           WHERE id = $1 RETURNING confirmed_at IS NOT NULL OR cancelled_with_event AS "told!""#,
        id as _,
        said.unwrap_or(reason),
    )
    .fetch_one(&mut *conn)
    .await?;
    let end = match event {
        BookingEvent::Cancel | BookingEvent::CancelAfterStart => End::Unpaid,
        _ => End::Excused,
    };
    free_seats(conn, booking, UnlockReason::Cancelled, end, after).await?;
    let cancelled = |reason: &str| BookingCancelled { booking_id: id, reason: reason.to_owned() };
    let parties = match event {
        // The buyer's words are for nobody else.
        BookingEvent::Cancel | BookingEvent::CancelAfterStart => {
            booking.parties().without_organiser()
        }
        _ => booking.parties(),
    };
    after.tell_of_booking(parties, cancelled(said.unwrap_or(reason)), cancelled(reason));
    if told {
        cancellation_notices::enqueue(conn, id).await?;
    }
    Ok(true)
}

/// Why a booking is cancelled, in words that reveal nothing about its buyer.
fn reason_of(event: BookingEvent) -> &'static str {
    match event {
        BookingEvent::EventCancelled => "Event cancelled",
        BookingEvent::RefundedByHand => "Refunded",
        _ => "Cancelled by user",
    }
}

/// A key belongs to one user (docs/contract.md#change-12) and may be of any length; the column is
/// unique across users.
fn stored_key(user: UserId, key: &str) -> String {
    let digest = Sha256::digest(key.as_bytes());
    format!("cancel:{user}:{}", digest.iter().map(|byte| format!("{byte:02x}")).collect::<String>())
}

/// Reserves an idempotency key, or returns what the first call with it did. That call may have gone
/// to the Node service, which stored keys as clients `sent` them. Waits for a concurrent call with
/// the same key.
async fn reserve_key(
    conn: &mut PgConnection,
    key: &str,
    sent: &str,
    booking: BookingId,
    user: UserId,
) -> Result<Option<Cancelled>> {
    let reserved = sqlx::query!(
        "INSERT INTO idempotency_keys AS stored (idempotency_key, operation_type, resource_id, user_id, expires_at)
         SELECT $1, 'cancel_booking', $2, id, now() + interval '24 hours' FROM users
         WHERE id = $3 AND NOT EXISTS (
             SELECT 1 FROM idempotency_keys WHERE idempotency_key = $4 AND user_id = $3 AND resource_id = $2 AND expires_at >= now())
         ON CONFLICT (idempotency_key) DO UPDATE
             SET resource_id = excluded.resource_id, status = 'pending', created_at = now(), expires_at = excluded.expires_at
             WHERE stored.expires_at < now()",
        key,
        booking as _,
        user as _,
        sent,
    )
    .execute(&mut *conn)
    .await?;
    if reserved.rows_affected() == 1 {
        return Ok(None);
    }
    let first = sqlx::query!(
        r#"SELECT coalesce(status = 'completed' AND resource_id = $4, FALSE) AS "completed!", response_data FROM idempotency_keys
           WHERE idempotency_key = $1 OR (idempotency_key = $2 AND user_id = $3)
           ORDER BY idempotency_key = $1 DESC LIMIT 1"#,
        key,
        sent,
        user as _,
        booking as _,
    )
    .fetch_optional(conn)
    .await?;
    match first {
        Some(row) if row.completed => Ok(Some(Cancelled {
            message: "Booking cancelled successfully (idempotent retry)",
            booking_id: booking,
            already_cancelled: false,
            idempotent: true,
            cached_response: row.response_data,
        })),
        Some(_) => Err(Error::IdempotencyInFlight),
        None => Err(Error::TokenInvalid),
    }
}
