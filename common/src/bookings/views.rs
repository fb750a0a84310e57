//! Looking at bookings: one's list, and one booking closely (docs/contract.md#bookings).

use serde::Serialize;
use sqlx::PgConnection;
use utoipa::ToSchema;

use super::creation::BookedEvent;
use crate::{
    error::{Error, Result},
    types::{
        ids::{BookingId, EventId, UserId},
        money::Paise,
        page::Page,
        schemas::{BookingStatus, PaymentStatus, SeatStatus},
        time::Timestamp,
    },
};

/// A booking in a list.
#[derive(Debug, Serialize, ToSchema)]
#[allow(missing_docs)] // docs/contract.md#bookings
pub struct ListedBooking {
    pub id: BookingId,
    pub booking_reference: String,
    pub event_id: EventId,
    pub event_name: String,
    pub start_date: Timestamp,
    pub end_date: Timestamp,
    pub image_url: Option<String>,
    pub total_amount: Paise,
    #[schema(value_type = BookingStatus)]
    pub status: String,
    #[schema(value_type = PaymentStatus)]
    pub payment_status: String,
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
        user.0,
        status,
    )
    .fetch_one(&mut *conn)
    .await?;
    let rows = sqlx::query!(
        r#"SELECT b.id, b.booking_reference, b.event_id, e.name AS event_name, e.start_date, e.end_date, e.image_url,
                  (b.total_amount * 100)::bigint AS "total!", b.status, b.payment_status, b.booked_at AS "booked_at!", b.confirmed_at,
                  coalesce(b.expires_at, b.booked_at) AS "expires_at!"
           FROM bookings b JOIN events e ON e.id = b.event_id
           WHERE b.user_id = $1 AND ($2::text IS NULL OR b.status = $2)
           ORDER BY b.booked_at DESC, b.id DESC LIMIT $3 OFFSET $4"#,
        user.0,
        status,
        page.limit,
        page.offset,
    )
    .fetch_all(conn)
    .await?;
    let items = rows
        .into_iter()
        .map(|row| ListedBooking {
            id: BookingId(row.id),
            booking_reference: row.booking_reference,
            event_id: EventId(row.event_id),
            event_name: row.event_name,
            start_date: row.start_date.into(),
            end_date: row.end_date.into(),
            image_url: row.image_url,
            total_amount: Paise::from_db(row.total),
            status: row.status,
            payment_status: row.payment_status,
            booked_at: row.booked_at.into(),
            confirmed_at: row.confirmed_at.map(Timestamp),
            expires_at: row.expires_at.into(),
        })
        .collect();
    Ok((items, total))
}

/// What `GET /bookings/:id` answers.
#[derive(Debug, Serialize, ToSchema)]
#[allow(missing_docs)] // docs/contract.md#bookings
pub struct BookingDetail {
    pub booking: DetailedBooking,
    pub event: BookedEvent,
    pub seats: Vec<DetailedSeat>,
}

/// A booking, looked at closely.
#[derive(Debug, Serialize, ToSchema)]
#[allow(missing_docs)] // columns of `bookings`
pub struct DetailedBooking {
    pub id: BookingId,
    pub booking_reference: String,
    pub event_id: EventId,
    pub user_id: UserId,
    pub total_amount: Paise,
    #[schema(value_type = BookingStatus)]
    pub status: String,
    #[schema(value_type = PaymentStatus)]
    pub payment_status: String,
    pub payment_id: Option<String>,
    pub payment_gateway: Option<String>,
    pub booked_at: Timestamp,
    pub confirmed_at: Option<Timestamp>,
    pub cancelled_at: Option<Timestamp>,
    pub expires_at: Timestamp,
}

/// A seat of a booking; seats that have been freed are not its any more.
#[derive(Debug, Serialize, ToSchema)]
#[allow(missing_docs)]
pub struct DetailedSeat {
    pub seat_id: i32,
    pub seat_label: String,
    pub seat_type_name: String,
    pub price: Paise,
    #[schema(value_type = SeatStatus)]
    pub status: String,
    pub booked_at: Option<Timestamp>,
}

/// One booking, for its owner; another's does not exist.
pub async fn get(conn: &mut PgConnection, id: BookingId, user: UserId) -> Result<BookingDetail> {
    let row = sqlx::query!(
        r#"SELECT b.booking_reference, b.event_id, (b.total_amount * 100)::bigint AS "total!", b.status, b.payment_status, b.payment_id,
                  b.payment_gateway, b.booked_at AS "booked_at!", b.confirmed_at, b.cancelled_at,
                  coalesce(b.expires_at, b.booked_at) AS "expires_at!",
                  e.name, e.start_date, e.end_date, e.location, e.venue_name, e.image_url
           FROM bookings b JOIN events e ON e.id = b.event_id
           WHERE b.id = $1 AND b.user_id = $2"#,
        id.0,
        user.0,
    )
    .fetch_optional(&mut *conn)
    .await?
    .ok_or(Error::BookingNotFound)?;
    let seats = sqlx::query!(
        r#"SELECT s.id, s.seat_label, t.name AS type_name, (bs.price_paid * 100)::bigint AS "price!", s.status, s.booked_at
           FROM booking_seats bs JOIN seats s ON s.id = bs.seat_id JOIN event_seat_types t ON t.id = s.event_seat_type_id
           WHERE bs.booking_id = $1 ORDER BY bs.id"#,
        id.0,
    )
    .fetch_all(conn)
    .await?;
    Ok(BookingDetail {
        booking: DetailedBooking {
            id,
            booking_reference: row.booking_reference,
            event_id: EventId(row.event_id),
            user_id: user,
            total_amount: Paise::from_db(row.total),
            status: row.status,
            payment_status: row.payment_status,
            payment_id: row.payment_id,
            payment_gateway: row.payment_gateway,
            booked_at: row.booked_at.into(),
            confirmed_at: row.confirmed_at.map(Timestamp),
            cancelled_at: row.cancelled_at.map(Timestamp),
            expires_at: row.expires_at.into(),
        },
        event: BookedEvent {
            id: EventId(row.event_id),
            name: row.name,
            description: None,
            start_date: row.start_date.into(),
            end_date: row.end_date.into(),
            location: row.location,
            venue_name: row.venue_name,
            image_url: row.image_url,
        },
        seats: seats
            .into_iter()
            .map(|seat| DetailedSeat {
                seat_id: seat.id,
                seat_label: seat.seat_label,
                seat_type_name: seat.type_name,
                price: Paise::from_db(seat.price),
                status: seat.status,
                booked_at: seat.booked_at.map(Timestamp),
            })
            .collect(),
    })
}
