//! What buyers see of their tickets, and of how far they are (docs/contract.md#bookings).

use crate::{
    error::{Error, Result},
    jobs::{Job, JobId, bookings::FinaliseBooking},
    types::{
        ids::{BookingId, UserId},
        money::Paise,
        schemas::{JobStatus, Printing, TicketStatus},
        time::Timestamp,
    },
};
use serde::Serialize;
use sqlx::PgConnection;
use utoipa::ToSchema;

/// A ticket as the API shows it.
#[derive(Debug, Serialize, ToSchema)]
#[allow(missing_docs)] // docs/contract.md#bookings
pub struct Ticket {
    pub id: i32,
    pub ticket_id: String,
    pub seat_label: String,
    pub seat_type_name: String,
    pub price_paid: Paise,
    pub qr_code: String,
    #[schema(value_type = TicketStatus)]
    pub status: String,
    pub email_sent: bool,
    pub sms_sent: bool,
    pub generated_at: Timestamp,
    pub delivered_at: Option<Timestamp>,
}

/// The tickets of a booking and how far they are.
#[derive(Debug, Serialize, ToSchema)]
pub struct Tickets {
    /// Those that are made.
    pub tickets: Vec<Ticket>,
    /// How far.
    #[schema(value_type = Printing)]
    pub status: &'static str,
}

/// A booking's tickets, for its owner.
pub async fn of_booking(
    conn: &mut PgConnection,
    booking: BookingId,
    user: UserId,
) -> Result<Tickets> {
    let row = sqlx::query!(
        r#"SELECT status, (SELECT count(*) FROM booking_seats WHERE booking_id = $1) AS "seats!"
           FROM bookings WHERE id = $1 AND user_id = $2"#,
        booking.0,
        user.0,
    )
    .fetch_optional(&mut *conn)
    .await?
    .ok_or(Error::BookingNotFoundOrForbidden)?;
    let tickets: Vec<Ticket> = sqlx::query!(
        r#"SELECT id, ticket_id, seat_label, coalesce(seat_type_name, '') AS "seat_type_name!",
                  (price_paid * 100)::bigint AS "price_paid!", coalesce(qr_code, '') AS "qr_code!", status,
                  coalesce(email_sent, FALSE) AS "email_sent!", coalesce(sms_sent, FALSE) AS "sms_sent!",
                  coalesce(generated_at, created_at, now()) AS "generated_at!", delivered_at
           FROM tickets WHERE booking_id = $1 ORDER BY id"#,
        booking.0,
    )
    .fetch_all(conn)
    .await?
    .into_iter()
    .map(|row| Ticket {
        id: row.id,
        ticket_id: row.ticket_id,
        seat_label: row.seat_label,
        seat_type_name: row.seat_type_name,
        price_paid: Paise::from_db(row.price_paid),
        qr_code: row.qr_code,
        status: row.status,
        email_sent: row.email_sent,
        sms_sent: row.sms_sent,
        generated_at: row.generated_at.into(),
        delivered_at: row.delivered_at.map(Timestamp),
    })
    .collect();
    let status = match (row.status.as_str(), tickets.len()) {
        ("confirmed", 0) => "generating",
        (_, 0) => "pending",
        (_, made) if (made as i64) < row.seats => "partial",
        _ => "ready",
    };
    Ok(Tickets { tickets, status })
}

/// How far the job is that makes a booking's tickets, in the words of the queue that the Node
/// service used.
#[derive(Debug, Serialize, ToSchema)]
pub struct TicketJob {
    /// How far.
    #[schema(value_type = JobStatus)]
    pub status: &'static str,
    /// Percent.
    pub progress: i32,
    /// Once it is completed.
    pub result: Option<TicketJobResult>,
}

/// What a completed job has made.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[allow(missing_docs)]
pub struct TicketJobResult {
    pub tickets_generated: i64,
    pub booking_id: BookingId,
}

/// The job that makes the tickets of one of `user`'s bookings.
pub async fn job_status(conn: &mut PgConnection, job: JobId, user: UserId) -> Result<TicketJob> {
    let row = sqlx::query!(
        r#"SELECT j.state::text AS "state!", j.available_at > now() AS "later!", b.id AS "booking_id!",
                  (SELECT count(*) FROM tickets WHERE booking_id = b.id) AS "tickets!"
           FROM jobs j JOIN bookings b ON b.id = (j.payload ->> 'booking_id')::integer
           WHERE j.id = $1 AND j.kind = $2 AND b.user_id = $3"#,
        job,
        FinaliseBooking::KIND,
        user.0,
    )
    .fetch_optional(conn)
    .await?
    .ok_or(Error::TicketJobNotFound)?;
    let status = match row.state.as_str() {
        "pending" if row.later => "delayed",
        "pending" | "queued" => "waiting",
        "running" => "active",
        "done" => "completed",
        _ => "failed",
    };
    let completed = status == "completed";
    Ok(TicketJob {
        status,
        progress: if completed { 100 } else { 0 },
        result: completed.then_some(TicketJobResult {
            tickets_generated: row.tickets,
            booking_id: BookingId(row.booking_id),
        }),
    })
}
