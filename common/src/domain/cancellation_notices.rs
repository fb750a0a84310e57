//! What a buyer is told whose booking has been cancelled.

use sqlx::PgConnection;

use super::{ids::BookingId, money::Paise, time::Timestamp};
use crate::{
    error::Result,
    jobs::{
        self,
        notifications::{EmailCancellation, SmsCancellation},
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

/// What to send about a booking; `None` when it is not cancelled (any more).
pub async fn notice(conn: &mut PgConnection, booking: BookingId) -> Result<Option<Notice>> {
    let row = sqlx::query!(
        r#"SELECT b.booking_reference, b.cancellation_reason, e.name AS event_name, e.start_date, u.name, u.email, u.phone,
                  (SELECT sum(amount_paise)::bigint FROM refunds WHERE booking_id = b.id) AS refund
           FROM bookings b JOIN events e ON e.id = b.event_id JOIN users u ON u.id = b.user_id
           WHERE b.id = $1 AND b.status = 'cancelled'"#,
        booking.0,
    )
    .fetch_optional(conn)
    .await?;
    Ok(row.map(|row| Notice {
        reference: row.booking_reference,
        event_name: row.event_name,
        event_start: row.start_date.into(),
        name: row.name,
        email: row.email,
        phone: row.phone,
        reason: row.cancellation_reason,
        refund: row.refund.map(Paise::from_db),
    }))
}
