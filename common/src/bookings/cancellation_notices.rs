//! What a buyer is told about a cancelled booking.

use std::iter;

use sqlx::PgConnection;

use crate::{
    error::Result,
    jobs::{
        self, Job,
        notifications::{EmailCancellation, SmsCancellation},
    },
    tickets::delivery::{self, Portion},
    types::{
        ids::{BookingId, EventId, UserId},
        money::Paise,
        time::Timestamp,
        time_zone::TimeZone,
    },
};

#[derive(Debug)]
pub struct Notice {
    pub user: UserId,
    pub reference: String,
    pub event_name: String,
    pub event_start: Timestamp,
    pub time_zone: TimeZone,
    pub name: Option<String>,
    /// Only a proved address.
    pub email: Option<String>,
    /// Only a proved number.
    pub phone: Option<String>,
    pub reason: Option<String>,
    /// What goes back; `None` for a booking without a payment.
    pub refund: Option<Paise>,
}

/// Enqueues the e-mail and the SMS that tell a booking's buyer, and the other owners of its tickets.
pub(super) async fn enqueue(conn: &mut PgConnection, booking: BookingId) -> Result<()> {
    let others = delivery::other_owners(conn, &[booking]).await?;
    let all = iter::once(None).chain(others.into_iter().map(|(_, owner)| Some(owner)));
    for to in all {
        jobs::enqueue(conn, &EmailCancellation { booking_id: booking, to }).await?;
        jobs::enqueue(conn, &SmsCancellation { booking_id: booking, to }).await?;
    }
    Ok(())
}

/// Keeps unsent notices when an event is about to be deleted together with its bookings. An
/// operator may have those sent again that could not be sent, or were refused.
pub(super) async fn keep(conn: &mut PgConnection, event: EventId) -> Result<()> {
    sqlx::query!(
        "INSERT INTO cancellation_notices (booking_id, user_id, booking_reference, event_name, event_start, time_zone, reason)
         SELECT b.id, b.user_id, b.booking_reference, e.name, e.start_date, e.time_zone, b.cancellation_reason
         FROM bookings b JOIN events e ON e.id = b.event_id
         WHERE b.event_id = $1 AND b.status = 'cancelled'
             AND (b.mail_refused_at IS NOT NULL
                  OR EXISTS (SELECT 1 FROM tickets t WHERE t.booking_id = b.id AND t.owner_id IS NOT NULL)
                  OR EXISTS (SELECT 1 FROM open_jobs WHERE unique_key = ANY (ARRAY[job_key($2, b.id), job_key($3, b.id)])))
         ON CONFLICT (booking_id) DO NOTHING",
        event as _,
        EmailCancellation::KIND,
        SmsCancellation::KIND,
    )
    .execute(conn)
    .await?;
    Ok(())
}

/// What to send about a booking to its buyer, or to another owner of its tickets; `None` when it is
/// not cancelled.
pub async fn notice(conn: &mut PgConnection, (booking, to): Portion) -> Result<Option<Notice>> {
    let notice = sqlx::query_as!(
        Notice,
        r#"SELECT n.booking_reference AS "reference!", CASE WHEN u.id = n.user_id OR n.reason = 'Event cancelled' THEN n.reason END AS reason, n.event_name AS "event_name!", n.event_start AS "event_start!", n.time_zone AS "time_zone!: TimeZone",
                  u.id AS "user: UserId", u.name, CASE WHEN u.email_verified_at IS NOT NULL THEN u.email END AS email, CASE WHEN u.phone_verified_at IS NOT NULL THEN u.phone END AS phone,
                  CASE WHEN u.id = n.user_id THEN (SELECT sum(amount_paise)::bigint FROM refunds WHERE booking_id = $1 AND reason <> 'disputed') END AS "refund: _"
           FROM (SELECT b.user_id, b.booking_reference, b.cancellation_reason AS reason, e.name AS event_name,
                        e.start_date AS event_start, e.time_zone
                 FROM bookings b JOIN events e ON e.id = b.event_id WHERE b.id = $1 AND b.status = 'cancelled'
                 UNION ALL
                 SELECT user_id, booking_reference, reason, event_name, event_start, time_zone
                 FROM cancellation_notices WHERE booking_id = $1) n
           JOIN users u ON u.id = coalesce($2, n.user_id)
               AND ($2 IS NULL OR EXISTS (SELECT 1 FROM tickets WHERE booking_id = $1 AND owner_id = $2) OR NOT EXISTS (SELECT 1 FROM bookings WHERE id = $1))
           LIMIT 1"#,
        booking as _,
        to as _,
    )
    .fetch_optional(conn)
    .await?;
    Ok(notice)
}
