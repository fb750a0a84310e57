//! What a buyer is told about a cancelled booking.

use sqlx::PgConnection;

use crate::{
    error::Result,
    jobs::{
        self, Job,
        notifications::{EmailCancellation, SmsCancellation},
    },
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

/// Enqueues the e-mail and the SMS that tell a booking's buyer.
pub(super) async fn enqueue(conn: &mut PgConnection, booking: BookingId) -> Result<()> {
    jobs::enqueue(conn, &EmailCancellation { booking_id: booking }).await?;
    jobs::enqueue(conn, &SmsCancellation { booking_id: booking }).await?;
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

/// What to send about a booking; `None` when it is not cancelled.
pub async fn notice(conn: &mut PgConnection, booking: BookingId) -> Result<Option<Notice>> {
    let notice = sqlx::query_as!(
        Notice,
        r#"SELECT n.booking_reference AS "reference!", n.reason, n.event_name AS "event_name!", n.event_start AS "event_start!", n.time_zone AS "time_zone!: TimeZone",
                  u.id AS "user: UserId", u.name, CASE WHEN u.email_verified_at IS NOT NULL THEN u.email END AS email, CASE WHEN u.phone_verified_at IS NOT NULL THEN u.phone END AS phone,
                  (SELECT sum(amount_paise)::bigint FROM refunds WHERE booking_id = $1 AND reason <> 'disputed') AS "refund: _"
           FROM (SELECT b.user_id, b.booking_reference, b.cancellation_reason AS reason, e.name AS event_name,
                        e.start_date AS event_start, e.time_zone
                 FROM bookings b JOIN events e ON e.id = b.event_id WHERE b.id = $1 AND b.status = 'cancelled'
                 UNION ALL
                 SELECT user_id, booking_reference, reason, event_name, event_start, time_zone
                 FROM cancellation_notices WHERE booking_id = $1) n
           JOIN users u ON u.id = n.user_id
           LIMIT 1"#,
        booking as _,
    )
    .fetch_optional(conn)
    .await?;
    Ok(notice)
}
