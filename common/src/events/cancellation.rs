//! Cancelling an event: its sale ends, every booking is cancelled and refunded, and every lock is
//! freed. The organiser's request only begins it; a job carries it out, one booking per
//! transaction, and may be interrupted anywhere.

use serde::Serialize;
use sqlx::PgConnection;
use utoipa::ToSchema;

use super::{event::require_organizer, inventory};
use crate::{
    error::{Error, Result, violated_constraint},
    jobs::{self, Job, bookings::CancelEvent, payments::RefundPayment},
    types::{
        ids::{EventId, UserId},
        money::Paise,
        statuses::EventStatus,
        time::Timestamp,
    },
};

/// Prepares the change of an event's status to `status`. Cancellation begins here, and so does its
/// reversal, which is possible until the first booking has been cancelled.
pub(super) async fn prepare(
    conn: &mut PgConnection,
    event: EventId,
    status: EventStatus,
) -> Result<()> {
    // Transactions that change the event's seats end before this, or see the new status; the job
    // finds a sale that does neither.
    inventory::lock_inventory(conn, &[event]).await?;
    if status == EventStatus::Cancelled {
        sqlx::query!(
            "INSERT INTO event_cancellations (event_id) VALUES ($1) ON CONFLICT (event_id) DO UPDATE SET finished_at = NULL",
            event as _,
        )
        .execute(&mut *conn)
        .await
        .map_err(|error| match violated_constraint(&error) {
            // The event was deleted since we looked.
            Some("event_cancellations_event_id_fkey") => Error::EventNotFound,
            _ => error.into(),
        })?;
        jobs::enqueue(conn, &CancelEvent { event_id: event }).await?;
        return Ok(());
    }
    let withdrawn = sqlx::query!("DELETE FROM event_cancellations WHERE event_id = $1", event as _)
        .execute(&mut *conn)
        .await?;
    if withdrawn.rows_affected() == 1 {
        let begun = sqlx::query_scalar!(
            r#"SELECT EXISTS (SELECT 1 FROM bookings WHERE event_id = $1 AND cancelled_with_event) AS "begun!""#,
            event as _,
        )
        .fetch_one(conn)
        .await?;
        if begun {
            return Err(Error::EventCancelled);
        }
    }
    Ok(())
}

pub(crate) async fn is_cancelled(conn: &mut PgConnection, event: EventId) -> Result<bool> {
    let cancelled = sqlx::query_scalar!(
        r#"SELECT EXISTS (SELECT 1 FROM event_cancellations WHERE event_id = $1) AS "cancelled!""#,
        event as _,
    )
    .fetch_one(conn)
    .await?;
    Ok(cancelled)
}

/// Unfinished refunds of an event's cancellation. Refunds of buyers who had cancelled before no
/// longer need the event.
pub(crate) async fn open_refunds(conn: &mut PgConnection, event: EventId) -> Result<i64> {
    let open = sqlx::query_scalar!(
        r#"SELECT count(*) AS "open!" FROM event_cancellations c
           JOIN bookings b ON b.event_id = c.event_id
           JOIN refunds r ON r.booking_id = b.id AND r.created_at >= c.begun_at
           WHERE c.event_id = $1 AND (r.status IN ('pending', 'requested') OR (r.status = 'failed' AND EXISTS (
               SELECT 1 FROM jobs WHERE unique_key = job_key($2, r.id) AND job_is_live(state))))"#,
        event as _,
        RefundPayment::KIND,
    )
    .fetch_one(conn)
    .await?;
    Ok(open)
}

/// The progress of an event's cancellation.
#[derive(Debug, Serialize, ToSchema)]
pub struct EventCancellation {
    pub event_id: EventId,
    /// When it was cancelled.
    pub begun_at: Timestamp,
    /// When the last booking was cancelled and the last lock freed; null until then.
    pub finished_at: Option<Timestamp>,
    /// Bookings to cancel, paid or not.
    pub total: i64,
    /// How many of them are cancelled.
    pub cancelled: i64,
    /// Payments that go back, as far as is known: one for each paid booking that is cancelled, and
    /// payments that came too late.
    pub refunds: i64,
    /// How many of them have gone back.
    pub refunded: i64,
    /// How many could not be sent back so far; the ticket shop's staff look after them.
    pub failed: i64,
    /// The sum of the payments that go back.
    pub refund_amount: Paise,
    /// How much of it has gone back.
    pub refunded_amount: Paise,
}

/// The progress of an event's cancellation, for its organiser.
pub async fn progress(
    conn: &mut PgConnection,
    event: EventId,
    user: UserId,
) -> Result<EventCancellation> {
    require_organizer(conn, event, user, "see how far this event's cancellation is").await?;
    sqlx::query_as!(
        EventCancellation,
        r#"SELECT c.event_id, c.begun_at, c.finished_at AS "finished_at: _", b.total AS "total!", b.cancelled AS "cancelled!",
                  r.refunds AS "refunds!", r.refunded AS "refunded!", r.failed AS "failed!",
                  r.paise AS "refund_amount!: _", r.refunded_paise AS "refunded_amount!: _"
           FROM event_cancellations c
           CROSS JOIN LATERAL (
               SELECT count(*) FILTER (WHERE cancelled_with_event OR status IN ('pending', 'confirmed')) AS total,
                      count(*) FILTER (WHERE cancelled_with_event AND status = 'cancelled') AS cancelled
               FROM bookings WHERE event_id = c.event_id
           ) b
           CROSS JOIN LATERAL (
               SELECT count(*) AS refunds,
                      count(*) FILTER (WHERE r.status = 'processed') AS refunded,
                      count(*) FILTER (WHERE r.status <> 'processed' AND EXISTS (
                          SELECT 1 FROM jobs WHERE unique_key = job_key($2, r.id) AND state = 'dead') AND NOT EXISTS (
                          SELECT 1 FROM jobs WHERE unique_key = job_key($2, r.id) AND job_is_live(state))) AS failed,
                      coalesce(sum(r.amount_paise), 0)::bigint AS paise,
                      coalesce(sum(r.amount_paise) FILTER (WHERE r.status = 'processed'), 0)::bigint AS refunded_paise
               FROM refunds r JOIN bookings b ON b.id = r.booking_id
               WHERE b.event_id = c.event_id AND r.created_at >= c.begun_at
           ) r
           WHERE c.event_id = $1"#,
        event as _,
        RefundPayment::KIND,
    )
    .fetch_optional(conn)
    .await?
    .ok_or(Error::EventNotCancelled)
}
