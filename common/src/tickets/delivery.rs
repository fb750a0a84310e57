//! Sending tickets: what a message needs, and which have been sent.

use sqlx::PgConnection;

use crate::{
    error::{Error, Result},
    jobs::{self, notifications::EmailTickets},
    types::{
        ids::{BookingId, TicketId},
        time::Timestamp,
    },
};

/// The tickets of a booking, to be sent to its buyer.
#[derive(Debug)]
pub struct Delivery {
    pub reference: String,
    pub event_name: String,
    pub event_start: Timestamp,
    pub location: String,
    pub name: Option<String>,
    pub email: Option<String>,
    /// Only a proved number.
    pub phone: Option<String>,
    pub email_sent: bool,
    pub sms_sent: bool,
    pub tickets: Vec<Delivered>,
}

/// A ticket as it is sent.
#[derive(Debug)]
pub struct Delivered {
    pub id: TicketId,
    pub nonce: Option<i64>,
    pub ticket_id: String,
    pub seat_label: String,
    pub seat_type_name: String,
    /// A data URL.
    pub qr_code: String,
    pub email_sent: bool,
    pub sms_sent: bool,
}

/// The tickets of a booking, and the buyer who gets them; `None` when there are none to deliver.
pub async fn delivery(conn: &mut PgConnection, booking: BookingId) -> Result<Option<Delivery>> {
    let row = sqlx::query!(
        "SELECT b.booking_reference, e.name AS event_name, e.start_date, e.location, u.name, u.email,
                CASE WHEN u.phone_verified_at IS NOT NULL THEN u.phone END AS phone
         FROM bookings b JOIN events e ON e.id = b.event_id JOIN users u ON u.id = b.user_id
         WHERE b.id = $1 AND b.status = 'confirmed'",
        booking as _,
    )
    .fetch_optional(&mut *conn)
    .await?;
    let Some(row) = row else { return Ok(None) };
    let tickets = sqlx::query_as!(
        Delivered,
        r#"SELECT id, qr_nonce AS nonce, ticket_id, seat_label, coalesce(seat_type_name, '') AS "seat_type_name!",
                  coalesce(qr_code, '') AS "qr_code!", coalesce(email_sent, FALSE) AS "email_sent!", coalesce(sms_sent, FALSE) AS "sms_sent!"
           FROM tickets WHERE booking_id = $1 AND status <> 'cancelled' ORDER BY id"#,
        booking as _,
    )
    .fetch_all(conn)
    .await?;
    if tickets.is_empty() {
        return Ok(None);
    }
    Ok(Some(Delivery {
        reference: row.booking_reference,
        event_name: row.event_name,
        event_start: row.start_date.into(),
        location: row.location,
        name: row.name,
        email: row.email,
        phone: row.phone,
        email_sent: tickets.iter().all(|ticket| ticket.email_sent),
        sms_sent: tickets.iter().all(|ticket| ticket.sms_sent),
        tickets,
    }))
}

/// Records that tickets have been e-mailed. False when they were reissued meanwhile: the new ones
/// are still to be sent.
pub async fn mark_emailed(
    conn: &mut PgConnection,
    booking: BookingId,
    sent: &[Delivered],
) -> Result<bool> {
    let (ids, nonces): (Vec<TicketId>, Vec<Option<i64>>) =
        sent.iter().map(|ticket| (ticket.id, ticket.nonce)).unzip();
    let still = sqlx::query!(
        "UPDATE tickets t SET email_sent = TRUE, delivered_at = coalesce(delivered_at, now())
         FROM unnest($2::int[], $3::bigint[]) AS sent (id, nonce)
         WHERE t.booking_id = $1 AND t.id = sent.id AND t.qr_nonce IS NOT DISTINCT FROM sent.nonce",
        booking as _,
        &ids as _,
        &nonces as _,
    )
    .execute(conn)
    .await?;
    Ok(still.rows_affected() == sent.len() as u64)
}

/// Records that a booking's buyer has been told by SMS.
pub async fn mark_texted(conn: &mut PgConnection, booking: BookingId) -> Result<()> {
    sqlx::query!(
        "UPDATE tickets SET sms_sent = TRUE, delivered_at = coalesce(delivered_at, now()) WHERE booking_id = $1",
        booking as _,
    )
    .execute(conn)
    .await?;
    Ok(())
}

/// Enqueues another e-mail of a confirmed booking's tickets, to its buyer's current address. The
/// error says why nothing will be sent.
pub async fn resend(conn: &mut PgConnection, reference: &str) -> Result<()> {
    let booking = sqlx::query!(
        r#"SELECT b.id AS "id: BookingId", u.email IS NOT NULL AS "has_email!" FROM bookings b JOIN users u ON u.id = b.user_id
           WHERE b.booking_reference = $1 AND b.status = 'confirmed' FOR UPDATE OF b"#,
        reference,
    )
    .fetch_optional(&mut *conn)
    .await?
    .ok_or_else(|| Error::invalid(format!("there is no confirmed booking {reference}")))?;
    if !booking.has_email {
        return Err(Error::invalid("its buyer has no e-mail address"));
    }
    let unsent = sqlx::query!(
        "UPDATE tickets SET email_sent = FALSE WHERE booking_id = $1 AND status <> 'cancelled'",
        booking.id as _,
    )
    .execute(&mut *conn)
    .await?;
    if unsent.rows_affected() == 0 {
        return Err(Error::invalid("its tickets have not been made yet, and will be sent then"));
    }
    // A running job may have read the old address.
    let job =
        jobs::enqueue(conn, &EmailTickets { booking_id: booking.id, reissued: false }).await?;
    job.map(drop).ok_or_else(|| {
        Error::invalid("its e-mail is under way: see `nexus-jobs list --kind email_tickets`")
    })
}
