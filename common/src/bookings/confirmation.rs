//! `confirm_booking`, a buyer's claim to have paid for a booking (docs/contract.md#commands): the
//! checks before Razorpay is asked, and the response. [`settlement`](crate::payments::settlement)
//! settles the payment, as it does for a webhook.

use serde::Serialize;
use sqlx::PgConnection;
use utoipa::ToSchema;

use super::new_bookings::BookedEvent;
use crate::{
    accounts::users,
    error::{Error, Result},
    jobs::JobId,
    tickets::views::{self, Ticket},
    types::{
        ids::{BookingId, EventId, UserId},
        money::Paise,
        statuses::{BookingStatus, PaymentStatus},
        time::Timestamp,
        time_zone::TimeZone,
    },
};

/// A request for confirmation; every rule that needs neither database nor Razorpay is checked.
#[derive(Debug)]
pub struct Claim {
    pub booking: BookingId,
    /// The payment that the buyer names.
    pub payment_id: String,
}

/// What a claim still needs.
#[derive(Debug, PartialEq, Eq)]
pub enum Needed {
    /// Nothing but the response: the payment confirmed the booking before.
    Nothing,
    /// A confirmation without a payment: the booking costs nothing.
    FreeConfirmation,
    /// An answer from Razorpay.
    Payment,
}

/// Checks a claim. Only the owner may make one: to other users the booking does not exist.
pub async fn needed(conn: &mut PgConnection, claim: &Claim, user: UserId) -> Result<Needed> {
    let row = sqlx::query!(
        r#"SELECT status AS "status: BookingStatus", total_amount = 0 AS "free!", payment_id FROM bookings WHERE id = $1 AND user_id = $2"#,
        claim.booking as _,
        user as _,
    )
    .fetch_optional(conn)
    .await?
    .ok_or(Error::BookingNotFound)?;
    match row.status {
        BookingStatus::Confirmed if row.payment_id.as_deref() == Some(&claim.payment_id) => {
            Ok(Needed::Nothing)
        }
        BookingStatus::Confirmed => Err(Error::BookingConfirmed),
        BookingStatus::Pending if row.free => Ok(Needed::FreeConfirmation),
        BookingStatus::Pending | BookingStatus::Cancelled | BookingStatus::Expired => {
            Ok(Needed::Payment)
        }
    }
}

/// Whether an order belongs to the booking.
pub async fn is_order_of(
    conn: &mut PgConnection,
    order_id: &str,
    booking: BookingId,
) -> Result<bool> {
    let known = sqlx::query_scalar!(
        r#"SELECT EXISTS (SELECT 1 FROM own_orders WHERE order_id = $1 AND booking_id = $2) AS "known!""#,
        order_id,
        booking as _,
    )
    .fetch_one(conn)
    .await?;
    Ok(known)
}

/// The response to `confirm_booking`.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Confirmation)]
pub struct Confirmed {
    pub booking: ConfirmedBooking,
    pub event: BookedEvent,
    pub user: Buyer,
    pub tickets: Vec<Ticket>,
    pub total_tickets: i64,
    pub ticket_generation: TicketGeneration,
    pub message: String,
}

/// A booking that has just been confirmed.
#[derive(Debug, Serialize, ToSchema)]
pub struct ConfirmedBooking {
    pub id: BookingId,
    pub booking_reference: String,
    pub event_id: EventId,
    pub user_id: UserId,
    pub total_amount: Paise,
    pub status: BookingStatus,
    pub payment_status: PaymentStatus,
    pub payment_id: Option<String>,
    pub payment_gateway: Option<String>,
    pub booked_at: Timestamp,
    pub confirmed_at: Option<Timestamp>,
}

/// The buyer.
#[derive(Debug, Serialize, ToSchema)]
pub struct Buyer {
    pub id: UserId,
    pub name: Option<String>,
    pub email: Option<String>,
    pub phone: Option<String>,
}

/// The job that makes the tickets.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct TicketGeneration {
    /// For `GET /bookings/ticket-status/:jobId`.
    pub job_id: String,
    pub status: &'static str,
    pub message: String,
}

/// The response for a confirmed booking.
pub async fn confirmed(conn: &mut PgConnection, id: BookingId, user: UserId) -> Result<Confirmed> {
    let row = sqlx::query!(
        r#"SELECT b.booking_reference, b.event_id AS "event_id: EventId", b.total_amount AS "total_amount: Paise",
                  b.status AS "status: BookingStatus", b.payment_status AS "payment_status: PaymentStatus", b.payment_id,
                  b.payment_gateway, b.booked_at AS "booked_at!", b.confirmed_at AS "confirmed_at: Timestamp", b.finalisation_job,
                  (SELECT count(*) FROM booking_seats WHERE booking_id = b.id) AS "seats!",
                  e.name, e.description, e.start_date, e.end_date, e.time_zone AS "time_zone: TimeZone", e.location, e.venue_name, e.image_url
           FROM bookings b JOIN events e ON e.id = b.event_id WHERE b.id = $1 AND b.user_id = $2"#,
        id as _,
        user as _,
    )
    .fetch_optional(&mut *conn)
    .await?
    .ok_or(Error::BookingNotFound)?;
    let buyer = users::get(conn, user).await?.ok_or(Error::BookingNotFound)?;
    let tickets = views::of_booking(conn, id, user).await?;
    let tickets = tokio::task::spawn_blocking(|| tickets.drawn()).await;
    let tickets = tickets.map_err(Error::internal)??.tickets;
    Ok(Confirmed {
        booking: ConfirmedBooking {
            id,
            booking_reference: row.booking_reference,
            event_id: row.event_id,
            user_id: user,
            total_amount: row.total_amount,
            status: row.status,
            payment_status: row.payment_status,
            payment_id: row.payment_id,
            payment_gateway: row.payment_gateway,
            booked_at: row.booked_at.into(),
            confirmed_at: row.confirmed_at,
        },
        event: BookedEvent {
            id: row.event_id,
            name: row.name,
            description: Some(row.description),
            start_date: row.start_date.into(),
            end_date: row.end_date.into(),
            time_zone: row.time_zone,
            location: row.location,
            venue_name: row.venue_name,
            image_url: row.image_url,
        },
        user: Buyer { id: user, name: buyer.name, email: buyer.email, phone: buyer.phone },
        tickets,
        total_tickets: row.seats,
        ticket_generation: TicketGeneration {
            job_id: row.finalisation_job.as_ref().map(JobId::to_string).unwrap_or_default(),
            status: "queued",
            message: format!(
                "{} ticket(s) are being generated. You'll be notified when ready.",
                row.seats
            ),
        },
        message: format!("Booking confirmed! {} seat(s) booked successfully.", row.seats),
    })
}
