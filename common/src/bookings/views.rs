//! Looking at bookings: a user's list, and one booking in detail (docs/contract.md#bookings).

use serde::Serialize;
use sqlx::PgConnection;
use utoipa::ToSchema;

use super::creation::BookedEvent;
use crate::{
    error::{Error, Result},
    types::{
        ids::{BookingId, EventId, SeatId, UserId},
        money::Paise,
        page::Page,
        statuses::{BookingStatus, PaymentStatus, SeatStatus},
        time::Timestamp,
    },
};

/// A booking in a list.
#[derive(Debug, Serialize, ToSchema)]
pub struct ListedBooking {
    pub id: BookingId,
    pub booking_reference: String,
    pub event_id: EventId,
    pub event_name: String,
    pub start_date: Timestamp,
    pub end_date: Timestamp,
    pub image_url: Option<String>,
    pub total_amount: Paise,
    pub status: BookingStatus,
    pub payment_status: PaymentStatus,
    pub booked_at: Timestamp,
    pub confirmed_at: Option<Timestamp>,
    pub expires_at: Timestamp,
}

/// A page of `user`'s bookings, newest first, and how many there are in all.
pub async fn list(
    conn: &mut PgConnection,
    user: UserId,
    status: Option<&str>,
    page: Page,
) -> Result<(Vec<ListedBooking>, i64)> {
    let total = sqlx::query_scalar!(
        r#"SELECT count(*) AS "count!" FROM bookings WHERE user_id = $1 AND ($2::text IS NULL OR status = $2)"#,
        user as _,
        status,
    )
    .fetch_one(&mut *conn)
    .await?;
    let bookings = sqlx::query_as!(
        ListedBooking,
        r#"SELECT b.id, b.booking_reference, b.event_id, e.name AS event_name, e.start_date, e.end_date, e.image_url,
                  b.total_amount AS "total_amount: _", b.status AS "status: _", b.payment_status AS "payment_status: _",
                  b.booked_at AS "booked_at!", b.confirmed_at AS "confirmed_at: _",
                  coalesce(b.expires_at, b.booked_at) AS "expires_at!"
           FROM bookings b JOIN events e ON e.id = b.event_id
           WHERE b.user_id = $1 AND ($2::text IS NULL OR b.status = $2)
           ORDER BY b.booked_at DESC, b.id DESC LIMIT $3 OFFSET $4"#,
        user as _,
        status,
        page.limit,
        page.offset,
    )
    .fetch_all(conn)
    .await?;
    Ok((bookings, total))
}

/// The response to `GET /bookings/:id`.
#[derive(Debug, Serialize, ToSchema)]
pub struct BookingDetail {
    pub booking: DetailedBooking,
    pub event: BookedEvent,
    pub seats: Vec<DetailedSeat>,
}

/// A booking in detail.
#[derive(Debug, Serialize, ToSchema)]
pub struct DetailedBooking {
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
    pub cancelled_at: Option<Timestamp>,
    pub expires_at: Timestamp,
}

/// A seat of a booking; seats that were freed no longer belong to it.
#[derive(Debug, Serialize, ToSchema)]
pub struct DetailedSeat {
    pub seat_id: SeatId,
    pub seat_label: String,
    pub seat_type_name: String,
    pub price: Paise,
    pub status: SeatStatus,
    pub booked_at: Option<Timestamp>,
}

/// One booking, for its owner; to other users it does not exist.
pub async fn get(conn: &mut PgConnection, id: BookingId, user: UserId) -> Result<BookingDetail> {
    let row = sqlx::query!(
        r#"SELECT b.booking_reference, b.event_id AS "event_id: EventId", b.total_amount AS "total_amount: Paise",
                  b.status AS "status: BookingStatus", b.payment_status AS "payment_status: PaymentStatus", b.payment_id,
                  b.payment_gateway, b.booked_at AS "booked_at!", b.confirmed_at AS "confirmed_at: Timestamp",
                  b.cancelled_at AS "cancelled_at: Timestamp",
                  coalesce(b.expires_at, b.booked_at) AS "expires_at!",
                  e.name, e.start_date, e.end_date, e.location, e.venue_name, e.image_url
           FROM bookings b JOIN events e ON e.id = b.event_id
           WHERE b.id = $1 AND b.user_id = $2"#,
        id as _,
        user as _,
    )
    .fetch_optional(&mut *conn)
    .await?
    .ok_or(Error::BookingNotFound)?;
    let seats = sqlx::query_as!(
        DetailedSeat,
        r#"SELECT s.id AS seat_id, s.seat_label, t.name AS seat_type_name, bs.price_paid AS "price: _", s.status AS "status: _",
                  s.booked_at AS "booked_at: _"
           FROM booking_seats bs JOIN seats s ON s.id = bs.seat_id JOIN event_seat_types t ON t.id = s.event_seat_type_id
           WHERE bs.booking_id = $1 ORDER BY bs.id"#,
        id as _,
    )
    .fetch_all(conn)
    .await?;
    Ok(BookingDetail {
        booking: DetailedBooking {
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
            cancelled_at: row.cancelled_at,
            expires_at: row.expires_at.into(),
        },
        event: BookedEvent {
            id: row.event_id,
            name: row.name,
            description: None,
            start_date: row.start_date.into(),
            end_date: row.end_date.into(),
            location: row.location,
            venue_name: row.venue_name,
            image_url: row.image_url,
        },
        seats,
    })
}
