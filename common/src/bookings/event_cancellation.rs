//! Cancels the bookings of a cancelled event, one per transaction, and frees its locks at the end.
//! [`events::cancellation`](crate::events::cancellation) begins it.

use sqlx::PgConnection;

use super::{booking_states::BookingEvent, cancellation, changes};
use crate::{
    error::Result,
    events::{cancellation::is_cancelled, inventory},
    realtime::AfterCommit,
    seats::{
        broadcasts::{self, UnlockReason},
        freeing,
    },
    types::{
        ids::{BookingId, EventId},
        statuses::BookingStatus,
    },
};

/// Up to `limit` bookings that are still to be cancelled.
pub async fn open_bookings(
    conn: &mut PgConnection,
    event: EventId,
    limit: i64,
) -> Result<Vec<BookingId>> {
    // A transaction that is creating a booking has seen the old status, and keeps the event's row
    // until its booking is visible.
    sqlx::query!("SELECT id FROM events WHERE id = $1 FOR UPDATE", event as _)
        .fetch_optional(&mut *conn)
        .await?;
    let ids = sqlx::query_scalar!(
        r#"SELECT id AS "id: BookingId" FROM bookings
           WHERE event_id = $1 AND status IN ('pending', 'confirmed') ORDER BY id LIMIT $2"#,
        event as _,
        limit,
    )
    .fetch_all(conn)
    .await?;
    Ok(ids)
}

/// Cancels a booking with its event. False when the event is no longer being cancelled.
pub async fn cancel_booking(
    conn: &mut PgConnection,
    event: EventId,
    id: BookingId,
    after: &mut AfterCommit,
) -> Result<bool> {
    let Some(booking) = changes::lock_for_update(conn, id).await? else { return Ok(true) };
    if !is_cancelled(conn, event).await? {
        return Ok(false);
    }
    if matches!(booking.status, BookingStatus::Pending | BookingStatus::Confirmed) {
        sqlx::query!("UPDATE bookings SET cancelled_with_event = TRUE WHERE id = $1", id as _)
            .execute(&mut *conn)
            .await?;
        cancellation::carry_out(conn, &booking, BookingEvent::EventCancelled, None, after).await?;
    }
    Ok(true)
}

/// Once no booking is left, frees the locks and records that the cancellation is finished. False
/// while there is something left to cancel.
///
/// The same transaction must also complete the job: an organiser who reverts the cancellation and
/// cancels again waits for it in [`prepare`](crate::events::cancellation). Their second
/// cancellation is then either seen here, or finds that the job is gone.
pub async fn finish(
    conn: &mut PgConnection,
    event: EventId,
    after: &mut AfterCommit,
) -> Result<bool> {
    inventory::lock_inventory(conn, &[event]).await?;
    if !is_cancelled(conn, event).await? {
        return Ok(true);
    }
    if !open_bookings(conn, event, 1).await?.is_empty() {
        return Ok(false);
    }
    let freed = freeing::free_locked(conn, event).await?;
    broadcasts::freed(after, freed, UnlockReason::Cancelled);
    sqlx::query!(
        "UPDATE event_cancellations SET finished_at = now() WHERE event_id = $1",
        event as _,
    )
    .execute(conn)
    .await?;
    Ok(true)
}
