//! Creating a booking from locked seats (docs/contract.md#bookings). How it changes after that is
//! in [`changes`](super::changes) and [`cancellation`](super::cancellation); what people see of it
//! is in [`views`](super::views).

use std::{collections::BTreeSet, time::Duration};

use rand::RngExt;
use serde::Serialize;
use sqlx::PgConnection;
use utoipa::ToSchema;

use super::broadcasts::BookingCreated;
use crate::{
    error::{Error, Result, violated_constraint},
    jobs::{self, payments::ConfirmFreeBooking},
    realtime::{AfterCommit, Parties},
    seats::hints,
    storage::postgres,
    types::{
        ids::{BookingId, EventId, SeatId, SeatTypeId, UserId},
        money::Paise,
        seats::{SeatKey, SeatLabel},
        statuses::{BookingStatus, EventStatus, PaymentStatus},
        time::{Timestamp, in_words},
    },
};

/// A request for a booking; every rule is checked.
#[derive(Debug)]
pub struct NewBooking {
    pub event: EventId,
    /// The seats; each once.
    pub seats: BTreeSet<(SeatTypeId, SeatLabel)>,
}

/// The response to a new booking.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = NewBooking)]
pub struct Created {
    pub booking: CreatedBooking,
    pub event: BookedEvent,
    pub seats: Vec<CreatedSeat>,
    pub total_seats: usize,
    pub message: String,
    pub payment_required: bool,
}

#[derive(Debug, Serialize, ToSchema)]
pub struct CreatedBooking {
    pub id: BookingId,
    pub booking_reference: String,
    pub event_id: EventId,
    pub user_id: UserId,
    pub total_amount: Paise,
    pub status: BookingStatus,
    pub payment_status: PaymentStatus,
    pub booked_at: Timestamp,
    pub expires_at: Timestamp,
}

/// The event of a booking.
#[derive(Debug, Serialize, ToSchema)]
pub struct BookedEvent {
    pub id: EventId,
    pub name: String,
    /// Only `create` shows it.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub description: Option<String>,
    pub start_date: Timestamp,
    pub end_date: Timestamp,
    pub location: String,
    pub venue_name: Option<String>,
    pub image_url: Option<String>,
}

/// A seat of a new booking.
#[derive(Debug, Serialize, ToSchema)]
pub struct CreatedSeat {
    pub seat_id: SeatId,
    pub seat_label: SeatLabel,
    pub seat_type_id: SeatTypeId,
    pub seat_type_name: String,
    pub price: Paise,
}

/// Turns locked seats into a booking that waits for its payment. From now on, booking and seats
/// have the same deadline.
pub async fn create(
    conn: &mut PgConnection,
    user: UserId,
    new: &NewBooking,
    valid: Duration,
) -> Result<(Created, AfterCommit)> {
    let (event, organiser) = booked_event(conn, new.event).await?;
    let seats = locked_seats(conn, user, new).await?;
    let total = seats
        .iter()
        .try_fold(Paise::ZERO, |sum, seat| sum.checked_add(seat.price))
        .ok_or_else(|| Error::invalid("The booking's total is too large"))?;
    let booking = insert(conn, user, new.event, total, valid).await?;
    link(conn, &booking, &seats).await?;

    let payment_required = total > Paise::ZERO;
    if !payment_required {
        jobs::enqueue(conn, &ConfirmFreeBooking { booking_id: booking.id }).await?;
    }

    let mut after = AfterCommit::default();
    let keys: Vec<SeatKey> = seats
        .iter()
        .map(|seat| SeatKey {
            event: new.event,
            seat_type: seat.seat_type_id,
            label: seat.seat_label.clone(),
        })
        .collect();
    hints::keep(&mut after, &keys, user, booking.booked_at, booking.expires_at);
    let full = BookingCreated {
        event_id: new.event,
        booking_reference: booking.booking_reference.clone(),
        total_amount: Some(total),
        status: booking.status,
    };
    let parties = Parties { event: new.event, buyer: user, organiser };
    let masked = full.masked();
    after.tell_of_booking(parties, full, masked);
    let created = Created {
        message: if payment_required {
            format!(
                "Booking created successfully. Please complete payment within {}.",
                in_words(valid)
            )
        } else {
            "Booking created successfully. No payment is required.".into()
        },
        total_seats: seats.len(),
        booking,
        event,
        seats,
        payment_required,
    };
    Ok((created, after))
}

/// The event, which cannot be deleted until this transaction ends, and its organiser.
async fn booked_event(conn: &mut PgConnection, id: EventId) -> Result<(BookedEvent, UserId)> {
    let row = sqlx::query!(
        r#"SELECT name, description, start_date, end_date, location, venue_name, image_url, organizer_id AS "organizer_id: UserId",
                  status AS "status: EventStatus", start_date <= now() AS "started!"
           FROM events WHERE id = $1 FOR KEY SHARE"#,
        id as _,
    )
    .fetch_optional(conn)
    .await?
    .ok_or(Error::EventNotFound)?;
    if row.started {
        return Err(Error::EventStarted);
    }
    if row.status != EventStatus::Published {
        return Err(Error::EventNotOnSale);
    }
    let event = BookedEvent {
        id,
        name: row.name,
        description: Some(row.description),
        start_date: row.start_date.into(),
        end_date: row.end_date.into(),
        location: row.location,
        venue_name: row.venue_name,
        image_url: row.image_url,
    };
    Ok((event, row.organizer_id))
}

/// The wanted seats, if `user` has locked every one. Until the transaction ends, their rows stay
/// locked and their types cannot be deleted.
async fn locked_seats(
    conn: &mut PgConnection,
    user: UserId,
    new: &NewBooking,
) -> Result<Vec<CreatedSeat>> {
    let (types, labels): (Vec<SeatTypeId>, Vec<&SeatLabel>) =
        new.seats.iter().map(|(seat_type, label)| (*seat_type, label)).unzip();
    // Lock the rows first and look second: a single statement would decide by the rows and the time
    // from before it waited for other transactions.
    let ids = sqlx::query_scalar!(
        r#"SELECT s.id AS "id: SeatId" FROM unnest($3::int[], $4::text[]) AS wanted (seat_type, label)
           JOIN seats s ON s.event_seat_type_id = wanted.seat_type AND s.seat_label = wanted.label
           JOIN event_seat_types t ON t.id = s.event_seat_type_id
           WHERE s.event_id = $1 AND s.user_id = $2
           ORDER BY s.id FOR UPDATE OF s FOR KEY SHARE OF t"#,
        new.event as _,
        user as _,
        &types as _,
        &labels as _,
    )
    .fetch_all(&mut *conn)
    .await?;
    let rows = sqlx::query!(
        r#"SELECT s.id AS "seat_id: SeatId", s.seat_label AS "seat_label: SeatLabel", t.id AS "seat_type_id: SeatTypeId",
                  t.name AS seat_type_name, t.price AS "price: Paise",
                  s.status = 'locked' AND s.expires_at > statement_timestamp() AS "live!",
                  EXISTS (SELECT 1 FROM booking_seats bs WHERE bs.seat_id = s.id) AS "linked!"
           FROM seats s JOIN event_seat_types t ON t.id = s.event_seat_type_id
           WHERE s.id = ANY ($1) ORDER BY s.id"#,
        &ids as _,
    )
    .fetch_all(conn)
    .await?;
    if rows.iter().any(|row| row.live && row.linked) {
        return Err(Error::SeatsLinked);
    }
    if rows.iter().any(|row| !row.live) {
        return Err(Error::LockExpired);
    }
    if rows.len() < new.seats.len() {
        return Err(Error::SeatsNotLocked);
    }
    Ok(rows
        .into_iter()
        .map(|row| CreatedSeat {
            seat_id: row.seat_id,
            seat_label: row.seat_label,
            seat_type_id: row.seat_type_id,
            seat_type_name: row.seat_type_name,
            price: row.price,
        })
        .collect())
}

async fn insert(
    conn: &mut PgConnection,
    user: UserId,
    event: EventId,
    total: Paise,
    valid: Duration,
) -> Result<CreatedBooking> {
    let booking = sqlx::query_as!(
        CreatedBooking,
        r#"INSERT INTO bookings (booking_reference, event_id, user_id, total_amount, booked_at, expires_at, orders_are_marked)
           VALUES ($1, $2, $3, $4, now(), now() + $5::interval, TRUE)
           RETURNING id, booking_reference, event_id, user_id, total_amount AS "total_amount: _", status AS "status: _",
                     payment_status AS "payment_status: _", booked_at AS "booked_at!", expires_at AS "expires_at!""#,
        reference(Timestamp::now()),
        event as _,
        user as _,
        total as _,
        postgres::interval(valid)?,
    )
    .fetch_one(conn)
    .await?;
    Ok(booking)
}

/// `BKG-YYYY-MMDD-HHMMSS-` and eight random characters: 40 bits, so that references neither collide
/// nor can be guessed.
fn reference(now: Timestamp) -> String {
    const ALPHABET: &[u8; 32] = b"ABCDEFGHJKLMNPQRSTUVWXYZ23456789";
    let tail: String =
        (0..8).map(|_| char::from(ALPHABET[rand::rng().random_range(0..32)])).collect();
    format!("{}-{tail}", now.0.format("BKG-%Y-%m%d-%H%M%S"))
}

/// Links the seats to their booking and gives them its deadline.
async fn link(
    conn: &mut PgConnection,
    booking: &CreatedBooking,
    seats: &[CreatedSeat],
) -> Result<()> {
    let (ids, prices): (Vec<SeatId>, Vec<Paise>) =
        seats.iter().map(|seat| (seat.seat_id, seat.price)).unzip();
    sqlx::query!(
        "UPDATE seats SET expires_at = $2, updated_at = now() WHERE id = ANY ($1)",
        &ids as _,
        booking.expires_at as _,
    )
    .execute(&mut *conn)
    .await?;
    let linked = sqlx::query!(
        "INSERT INTO booking_seats (booking_id, seat_id, price_paid)
         SELECT $1, seat_id, price FROM unnest($2::int[], $3::numeric[]) AS seat (seat_id, price)",
        booking.id as _,
        &ids as _,
        &prices as _,
    )
    .execute(conn)
    .await;
    match linked {
        Err(error) if violated_constraint(&error) == Some("booking_seats_seat_key") => {
            return Err(Error::SeatsLinked);
        }
        other => other?,
    };
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reference_tells_when_and_fits_a_razorpay_receipt() {
        let made = reference(Timestamp::parse("2026-11-23T22:46:40Z").unwrap());
        assert!(made.starts_with("BKG-2026-1123-224640-"), "{made}");
        assert!(made.len() <= 40);
    }
}
