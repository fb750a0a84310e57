//! What a buyer is told whose booking has been cancelled.

use sqlx::PgConnection;

use crate::{
    error::Result,
    jobs::{
        self,
        notifications::{EmailCancellation, SmsCancellation},
    },
    types::{
        ids::{BookingId, EventId},
        money::Paise,
        time::Timestamp,
    },
};

/// What is sent.
#[derive(Debug)]
#[allow(missing_docs)]
pub struct Notice {
    pub reference: String,
    pub event_name: String,
    pub event_start: Timestamp,
    pub name: Option<String>,
    pub email: Option<String>,
    /// Only a number that has been proved to be theirs.
    pub phone: Option<String>,
    /// Why.
    pub reason: Option<String>,
    /// What goes back; nothing for a booking that nobody had paid.
    pub refund: Option<Paise>,
}

/// Has a booking's buyer told, by e-mail and SMS.
pub(super) async fn enqueue(conn: &mut PgConnection, booking: BookingId) -> Result<()> {
    jobs::enqueue(conn, &EmailCancellation { booking_id: booking.0 }).await?;
    jobs::enqueue(conn, &SmsCancellation { booking_id: booking.0 }).await?;
    Ok(())
}

/// Keeps what has not been sent yet of an event that is about to be deleted, with its bookings. An
/// operator may have dead letters sent again.
pub(super) async fn keep(conn: &mut PgConnection, event: EventId) -> Result<()> {
    sqlx::query!(
        "INSERT INTO cancellation_notices (booking_id, user_id, booking_reference, event_name, event_start, reason)
         SELECT b.id, b.user_id, b.booking_reference, e.name, e.start_date, b.cancellation_reason
         FROM bookings b JOIN events e ON e.id = b.event_id
         WHERE b.event_id = $1 AND b.status = 'cancelled' AND (
             EXISTS (SELECT 1 FROM jobs WHERE unique_key = ANY (ARRAY['email_cancellation:' || b.id, 'sms_cancellation:' || b.id])
                 AND state IN ('pending', 'queued', 'running')) OR
             EXISTS (SELECT 1 FROM jobs WHERE unique_key = ANY (ARRAY['email_cancellation:' || b.id, 'sms_cancellation:' || b.id])
                 AND state = 'dead'))
         ON CONFLICT (booking_id) DO NOTHING",
        event.0
    )
    .execute(conn)
    .await?;
    Ok(())
}

/// What to send about a booking; `None` when it is not cancelled (any more).
pub async fn notice(conn: &mut PgConnection, booking: BookingId) -> Result<Option<Notice>> {
    let row = sqlx::query!(
        r#"SELECT n.booking_reference AS "booking_reference!", n.reason, n.event_name AS "event_name!", n.event_start AS "event_start!",
                  u.name, u.email, CASE WHEN u.phone_verified_at IS NOT NULL THEN u.phone END AS phone,
                  (SELECT sum(amount_paise)::bigint FROM refunds WHERE booking_id = $1 AND reason <> 'disputed') AS refund
           FROM (SELECT b.user_id, b.booking_reference, b.cancellation_reason AS reason, e.name AS event_name,
                        e.start_date AS event_start
                 FROM bookings b JOIN events e ON e.id = b.event_id WHERE b.id = $1 AND b.status = 'cancelled'
                 UNION ALL
                 SELECT user_id, booking_reference, reason, event_name, event_start
                 FROM cancellation_notices WHERE booking_id = $1) n
           JOIN users u ON u.id = n.user_id
           LIMIT 1"#,
        booking.0,
    )
    .fetch_optional(conn)
    .await?;
    Ok(row.map(|row| Notice {
        reference: row.booking_reference,
        event_name: row.event_name,
        event_start: row.event_start.into(),
        name: row.name,
        email: row.email,
        phone: row.phone,
        reason: row.reason,
        refund: row.refund.map(Paise::from_db),
    }))
}
