//! What buyers see of their tickets and of their progress (docs/contract.md#bookings).

use serde::Serialize;
use serde_json::Value;
use sqlx::PgConnection;
use utoipa::ToSchema;

use super::codes::{Code, Stored};
use crate::{
    error::{Error, Result},
    jobs::{Job, JobId, JobState, bookings::FinaliseBooking},
    types::{
        ids::{BookingId, EventId, TicketId, UserId},
        money::Paise,
        statuses::{BookingStatus, TicketStatus},
        text_enum::text_enum,
        time::Timestamp,
    },
};

/// A ticket as the API shows it.
#[derive(Debug, Serialize, ToSchema)]
pub struct Ticket {
    pub id: TicketId,
    pub ticket_id: String,
    pub seat_label: String,
    pub seat_type_name: String,
    pub price_paid: Paise,
    pub qr_code: String,
    pub status: TicketStatus,
    pub email_sent: bool,
    pub sms_sent: bool,
    pub generated_at: Timestamp,
    pub delivered_at: Option<Timestamp>,
    /// Who comes in with it, where its owner has named somebody.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub holder_name: Option<String>,
    /// What the organiser has asked of them.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Object>, nullable = false)]
    pub holder_details: Option<Value>,
}

/// A ticket as it is stored.
#[derive(Debug)]
struct TicketRow {
    id: TicketId,
    ticket_id: String,
    seat_label: String,
    seat_type_name: String,
    price_paid: Paise,
    qr_code: Option<String>,
    qr_nonce: Option<i64>,
    qr_key: Option<String>,
    qr_signature: Option<Vec<u8>>,
    status: TicketStatus,
    email_sent: bool,
    sms_sent: bool,
    generated_at: Timestamp,
    delivered_at: Option<Timestamp>,
    holder_name: Option<String>,
    holder_details: Option<Value>,
}

text_enum! {
    /// How far the tickets of a booking are.
    pub enum TicketProgress {
        /// The booking is not confirmed.
        Pending = "pending",
        Generating = "generating",
        /// Some seats have their ticket.
        Partial = "partial",
        Ready = "ready",
    }
}

/// The tickets of a booking, and their progress.
#[derive(Debug, Serialize, ToSchema)]
pub struct Tickets {
    /// The tickets that have been made.
    pub tickets: Vec<Ticket>,
    pub status: TicketProgress,
}

/// The tickets of a booking, as they are stored.
#[derive(Debug)]
pub struct StoredTickets {
    event: EventId,
    rows: Vec<TicketRow>,
    status: TicketProgress,
}

/// The tickets of a booking that are `user`'s: who has booked it, or to whom one was transferred.
pub async fn of_booking(
    conn: &mut PgConnection,
    booking: BookingId,
    user: UserId,
) -> Result<StoredTickets> {
    let row = sqlx::query!(
        r#"SELECT event_id AS "event: EventId", status AS "status: BookingStatus", (SELECT count(*) FROM booking_seats WHERE booking_id = $1) AS "seats!",
                  (SELECT count(*) FROM tickets WHERE booking_id = $1) AS "made!"
           FROM bookings WHERE id = $1 AND (user_id = $2 OR EXISTS (SELECT 1 FROM tickets WHERE booking_id = $1 AND owner_id = $2))"#,
        booking as _,
        user as _,
    )
    .fetch_optional(&mut *conn)
    .await?
    .ok_or(Error::BookingNotFoundOrForbidden)?;
    let rows = sqlx::query_as!(
        TicketRow,
        r#"SELECT t.id AS "id: TicketId", ticket_id, t.seat_label, coalesce(seat_type_name, '') AS "seat_type_name!",
                  t.price_paid AS "price_paid: Paise", qr_code, qr_nonce, qr_key, qr_signature, t.status AS "status: TicketStatus",
                  coalesce(email_sent, FALSE) AS "email_sent!", coalesce(sms_sent, FALSE) AS "sms_sent!",
                  coalesce(generated_at, t.created_at, now()) AS "generated_at!: Timestamp", delivered_at AS "delivered_at: Timestamp",
                  s.holder_name AS "holder_name?", s.holder_details AS "holder_details?"
           FROM tickets t JOIN bookings b ON b.id = t.booking_id LEFT JOIN booking_seats s ON s.booking_id = b.id AND s.seat_id = t.seat_id
           WHERE t.booking_id = $1 AND coalesce(t.owner_id, b.user_id) = $2 ORDER BY t.id"#,
        booking as _,
        user as _,
    )
    .fetch_all(conn)
    .await?;
    let status = match (row.status, row.made) {
        (BookingStatus::Confirmed, 0) => TicketProgress::Generating,
        (_, 0) => TicketProgress::Pending,
        (_, made) if made < row.seats => TicketProgress::Partial,
        _ => TicketProgress::Ready,
    };
    Ok(StoredTickets { event: row.event, rows, status })
}

impl StoredTickets {
    /// Whether there are none yet.
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// With the pictures of their codes. Occupies a core for a third of a millisecond each: do not
    /// call it on an async thread, unless there are none.
    pub fn drawn(self) -> Result<Tickets> {
        let StoredTickets { event, rows, status } = self;
        let tickets = rows.into_iter().map(|row| row.drawn(event)).collect::<Result<_>>()?;
        Ok(Tickets { tickets, status })
    }
}

impl TicketRow {
    fn drawn(self, event: EventId) -> Result<Ticket> {
        let code = Code::stored(Stored {
            event,
            ticket: self.id,
            nonce: self.qr_nonce,
            key: self.qr_key,
            signature: self.qr_signature,
        });
        Ok(Ticket {
            id: self.id,
            ticket_id: self.ticket_id,
            seat_label: self.seat_label,
            seat_type_name: self.seat_type_name,
            price_paid: self.price_paid,
            qr_code: match code {
                Some(code) => code.picture()?,
                None => self.qr_code.unwrap_or_default(),
            },
            status: self.status,
            email_sent: self.email_sent,
            sms_sent: self.sms_sent,
            generated_at: self.generated_at,
            delivered_at: self.delivered_at,
            holder_name: self.holder_name,
            holder_details: self.holder_details,
        })
    }
}

text_enum! {
    /// A job's progress, in the words of the queue that the Node service used.
    pub enum TicketJobStatus {
        Waiting = "waiting",
        Active = "active",
        Completed = "completed",
        Failed = "failed",
        /// It is tried again later.
        Delayed = "delayed",
    }
}

/// The job that makes a booking's tickets.
#[derive(Debug, Serialize, ToSchema)]
pub struct TicketJob {
    pub status: TicketJobStatus,
    /// In percent: 0 until it is completed, then 100.
    pub progress: i32,
    /// What it has made, once it is completed.
    pub result: Option<TicketJobResult>,
}

/// What a completed job has made.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct TicketJobResult {
    pub tickets_generated: i64,
    pub booking_id: BookingId,
}

/// The job that makes the tickets of one of `user`'s bookings.
pub async fn job_status(conn: &mut PgConnection, job: JobId, user: UserId) -> Result<TicketJob> {
    let row = sqlx::query!(
        r#"SELECT j.state::text AS "state!: JobState", j.available_at > now() AS "later!", b.id AS "booking_id!: BookingId",
                  (SELECT count(*) FROM tickets WHERE booking_id = b.id) AS "tickets!"
           FROM jobs j JOIN bookings b ON b.id = (j.payload ->> 'booking_id')::integer
           WHERE j.id = $1 AND j.kind = $2 AND b.user_id = $3"#,
        job,
        FinaliseBooking::KIND,
        user as _,
    )
    .fetch_optional(conn)
    .await?
    .ok_or(Error::TicketJobNotFound)?;
    let status = match row.state {
        JobState::Pending if row.later => TicketJobStatus::Delayed,
        JobState::Pending | JobState::Queued => TicketJobStatus::Waiting,
        JobState::Running => TicketJobStatus::Active,
        JobState::Done => TicketJobStatus::Completed,
        JobState::Dead | JobState::Cancelled => TicketJobStatus::Failed,
    };
    let completed = status == TicketJobStatus::Completed;
    Ok(TicketJob {
        status,
        progress: if completed { 100 } else { 0 },
        result: completed.then_some(TicketJobResult {
            tickets_generated: row.tickets,
            booking_id: row.booking_id,
        }),
    })
}
