//! Looking at bookings: a user's list, and one booking in detail (docs/contract.md#bookings).

use std::collections::HashMap;

use serde::Serialize;
use serde_json::Value;
use sqlx::{PgConnection, PgPool};
use utoipa::ToSchema;

use super::new_bookings::BookedEvent;
use crate::{
    error::{Error, Result},
    storage::groups::Groups,
    types::{
        ids::{BookingId, EventId, SeatId, UserId},
        money::Paise,
        page::Page,
        statuses::{BookingStatus, PaymentStatus, SeatStatus},
        time::Timestamp,
        time_zone::TimeZone,
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
    pub time_zone: TimeZone,
    pub image_url: Option<String>,
    pub total_amount: Paise,
    pub status: BookingStatus,
    pub payment_status: PaymentStatus,
    pub booked_at: Timestamp,
    pub confirmed_at: Option<Timestamp>,
    pub expires_at: Timestamp,
}

/// A look at a user's bookings.
#[derive(Clone, Debug)]
pub struct Listing {
    pub user: UserId,
    /// Only those; others than [`BookingStatus`] has none.
    pub status: Option<String>,
    pub page: Page,
}

/// Reads pages of users' bookings, newest first, and how many there are in all; those of many users
/// together.
pub fn lists(db: PgPool) -> Groups<Listing, (Vec<ListedBooking>, i64)> {
    Groups::new(move |listings| {
        let db = db.clone();
        async move { list(&mut *db.acquire().await?, &listings).await }
    })
}

async fn list(
    conn: &mut PgConnection,
    listings: &[Listing],
) -> Result<Vec<Result<(Vec<ListedBooking>, i64)>>> {
    let users: Vec<UserId> = listings.iter().map(|listing| listing.user).collect();
    let statuses: Vec<Option<&str>> =
        listings.iter().map(|listing| listing.status.as_deref()).collect();
    let limits: Vec<i64> = listings.iter().map(|listing| listing.page.limit).collect();
    let offsets: Vec<i64> = listings.iter().map(|listing| listing.page.offset).collect();
    let totals = sqlx::query_scalar!(
        r#"SELECT (SELECT count(*) FROM bookings WHERE user_id = wanted.id AND (wanted.status IS NULL OR status = wanted.status)) AS "total!"
           FROM unnest($1::int[], $2::text[]) WITH ORDINALITY AS wanted (id, status, number) ORDER BY number"#,
        &users as _,
        &statuses as &[Option<&str>],
    )
    .fetch_all(&mut *conn)
    .await?;
    let rows = sqlx::query!(
        r#"SELECT wanted.number AS "number!", b.id AS "id: BookingId", b.booking_reference, b.event_id AS "event_id: EventId",
                  e.name AS event_name, e.start_date, e.end_date, e.time_zone AS "time_zone: TimeZone", e.image_url, b.total_amount AS "total_amount: Paise",
                  b.status AS "status: BookingStatus", b.payment_status AS "payment_status: PaymentStatus",
                  b.booked_at AS "booked_at!", b.confirmed_at AS "confirmed_at: Timestamp",
                  coalesce(b.expires_at, b.booked_at) AS "expires_at!"
           FROM unnest($1::int[], $2::text[], $3::bigint[], $4::bigint[])
               WITH ORDINALITY AS wanted (id, status, most, skipped, number)
           CROSS JOIN LATERAL (
               SELECT * FROM bookings WHERE user_id = wanted.id AND (wanted.status IS NULL OR status = wanted.status)
               ORDER BY booked_at DESC, id DESC LIMIT wanted.most OFFSET wanted.skipped
           ) b JOIN events e ON e.id = b.event_id
           ORDER BY wanted.number, b.booked_at DESC, b.id DESC"#,
        &users as _,
        &statuses as &[Option<&str>],
        &limits,
        &offsets,
    )
    .fetch_all(conn)
    .await?;
    let mut lists: Vec<Result<(Vec<ListedBooking>, i64)>> =
        totals.into_iter().map(|total| Ok((Vec::new(), total))).collect();
    for row in rows {
        let number = usize::try_from(row.number - 1).map_err(Error::internal)?;
        let Some(Ok((list, _))) = lists.get_mut(number) else { continue };
        list.push(ListedBooking {
            id: row.id,
            booking_reference: row.booking_reference,
            event_id: row.event_id,
            event_name: row.event_name,
            start_date: row.start_date.into(),
            end_date: row.end_date.into(),
            time_zone: row.time_zone,
            image_url: row.image_url,
            total_amount: row.total_amount,
            status: row.status,
            payment_status: row.payment_status,
            booked_at: row.booked_at.into(),
            confirmed_at: row.confirmed_at,
            expires_at: row.expires_at.into(),
        });
    }
    Ok(lists)
}

/// The response to `GET /bookings/:id`.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct BookingDetail {
    pub booking: DetailedBooking,
    pub event: BookedEvent,
    pub seats: Vec<DetailedSeat>,
}

/// A booking in detail.
#[derive(Clone, Debug, Serialize, ToSchema)]
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
    /// When a mail about it was refused for good, so that its buyer had better give another address;
    /// left out once one was accepted, or another address was proved.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub mail_refused_at: Option<Timestamp>,
}

/// A seat of a booking; seats that were freed no longer belong to it.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct DetailedSeat {
    pub seat_id: SeatId,
    pub seat_label: String,
    pub seat_type_name: String,
    pub price: Paise,
    pub status: SeatStatus,
    pub booked_at: Option<Timestamp>,
    /// Who sits there, where the buyer has named somebody, and the ticket is the buyer's.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub holder_name: Option<String>,
    /// What the organiser has asked of them.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Object>, nullable = false)]
    pub holder_details: Option<Value>,
    /// The ticket was transferred to somebody else.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    #[schema(required = false)]
    pub is_transferred: bool,
}

/// Reads bookings in detail, each for its owner; to other users they do not exist. Those of many
/// users are read together.
pub fn details(db: PgPool) -> Groups<(BookingId, UserId), BookingDetail> {
    Groups::new(move |wanted| {
        let db = db.clone();
        async move { get(&mut *db.acquire().await?, &wanted).await }
    })
}

async fn get(
    conn: &mut PgConnection,
    wanted: &[(BookingId, UserId)],
) -> Result<Vec<Result<BookingDetail>>> {
    let (ids, users): (Vec<BookingId>, Vec<UserId>) = wanted.iter().copied().unzip();
    let rows = sqlx::query!(
        r#"SELECT b.id AS "id: BookingId", b.booking_reference, b.event_id AS "event_id: EventId", b.user_id AS "user_id: UserId",
                  b.total_amount AS "total_amount: Paise",
                  b.status AS "status: BookingStatus", b.payment_status AS "payment_status: PaymentStatus", b.payment_id,
                  b.payment_gateway, b.booked_at AS "booked_at!", b.confirmed_at AS "confirmed_at: Timestamp",
                  b.cancelled_at AS "cancelled_at: Timestamp", CASE WHEN b.mail_refused_at > u.email_verified_at THEN b.mail_refused_at END AS "mail_refused_at: Timestamp",
                  coalesce(b.expires_at, b.booked_at) AS "expires_at!",
                  e.name, e.start_date, e.end_date, e.time_zone AS "time_zone: TimeZone", e.location, e.venue_name, e.image_url
           FROM unnest($1::int[], $2::int[]) WITH ORDINALITY AS wanted (id, user_id, number)
           JOIN bookings b ON b.id = wanted.id AND b.user_id = wanted.user_id JOIN events e ON e.id = b.event_id JOIN users u ON u.id = b.user_id"#,
        &ids as _,
        &users as _,
    )
    .fetch_all(&mut *conn)
    .await?;
    let found: Vec<BookingId> = rows.iter().map(|row| row.id).collect();
    let seat_rows = sqlx::query!(
        r#"SELECT bs.booking_id AS "booking: BookingId", s.id AS "seat_id: SeatId", s.seat_label, t.name AS seat_type_name,
                  bs.price_paid AS "price: Paise", s.status AS "status: SeatStatus", s.booked_at AS "booked_at: Timestamp",
                  bs.holder_name, bs.holder_details, k.owner_id IS NOT NULL AS "is_transferred!"
           FROM booking_seats bs JOIN seats s ON s.id = bs.seat_id JOIN event_seat_types t ON t.id = s.event_seat_type_id
           LEFT JOIN tickets k ON k.booking_id = bs.booking_id AND k.seat_id = bs.seat_id
           WHERE bs.booking_id = ANY ($1) ORDER BY bs.id"#,
        &found as _,
    )
    .fetch_all(conn)
    .await?;
    let mut seats: HashMap<BookingId, Vec<DetailedSeat>> = HashMap::new();
    for row in seat_rows {
        seats.entry(row.booking).or_default().push(DetailedSeat {
            seat_id: row.seat_id,
            seat_label: row.seat_label,
            seat_type_name: row.seat_type_name,
            price: row.price,
            status: row.status,
            booked_at: row.booked_at,
            holder_name: row.holder_name.filter(|_| !row.is_transferred),
            holder_details: row.holder_details.filter(|_| !row.is_transferred),
            is_transferred: row.is_transferred,
        });
    }
    let details = rows.into_iter().map(|row| {
        let detail = BookingDetail {
            booking: DetailedBooking {
                id: row.id,
                booking_reference: row.booking_reference,
                event_id: row.event_id,
                user_id: row.user_id,
                total_amount: row.total_amount,
                status: row.status,
                payment_status: row.payment_status,
                payment_id: row.payment_id,
                payment_gateway: row.payment_gateway,
                booked_at: row.booked_at.into(),
                confirmed_at: row.confirmed_at,
                cancelled_at: row.cancelled_at,
                expires_at: row.expires_at.into(),
                mail_refused_at: row.mail_refused_at,
            },
            event: BookedEvent {
                id: row.event_id,
                name: row.name,
                description: None,
                start_date: row.start_date.into(),
                end_date: row.end_date.into(),
                time_zone: row.time_zone,
                location: row.location,
                venue_name: row.venue_name,
                image_url: row.image_url,
            },
            seats: seats.get(&row.id).cloned().unwrap_or_default(),
        };
        ((row.id, row.user_id), detail)
    });
    let details: HashMap<(BookingId, UserId), BookingDetail> = details.collect();
    let of = |wanted| details.get(wanted).cloned().ok_or(Error::BookingNotFound);
    Ok(wanted.iter().map(of).collect())
}
