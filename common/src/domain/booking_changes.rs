//! How a booking changes after it was created: confirmed or expired; cancelled in [`booking_cancellation`](super::booking_cancellation). What
//! may happen in which state is said by [`booking_states`]. Each verb opens the event's inventory first, then takes the booking's row, then
//! the seats: always in that order.

use std::time::Duration;

use sqlx::{Connection, PgConnection};

use super::{
    after_commit::AfterCommit,
    booking_states::{self, BookingEvent, BookingState, BookingStep},
    ids::{BookingId, EventId, SeatTypeId, UserId},
    money::Paise,
    news::{BookingConfirmed, SeatBooked, UnlockReason},
    seats::{self, SeatKey, SeatLabel},
};
use crate::{
    error::Result,
    jobs::{self, bookings::FinaliseBooking},
    realtime::{Audience, Broadcast},
};

/// A booking whose row, and whose event's inventory, belong to this transaction.
#[derive(Debug)]
#[allow(missing_docs)] // columns of `bookings`
pub struct Held {
    pub id: BookingId,
    pub reference: String,
    pub event: EventId,
    pub user: UserId,
    pub total: Paise,
    pub status: String,
    pub payment_status: String,
    pub payment_id: Option<String>,
    /// Its deadline has passed, whether or not its status says so yet.
    pub overdue: bool,
    /// It has paid for itself once, whether or not it was cancelled since.
    pub sold: bool,
    pub event_started: bool,
    pub event_on_sale: bool,
}

impl Held {
    /// Where it stands.
    pub fn state(&self) -> BookingState {
        BookingState::of(&self.status, self.overdue, self.sold)
    }

    /// Whether it was confirmed with that payment.
    pub fn is_confirmed_with(&self, payment_id: &str) -> bool {
        self.status == "confirmed" && self.payment_id.as_deref() == Some(payment_id)
    }

    /// Whether it was confirmed with that payment, and has been cancelled since.
    pub fn was_sold_with(&self, payment_id: &str) -> bool {
        self.status == "cancelled" && self.payment_id.as_deref() == Some(payment_id)
    }
}

/// Takes a booking for change; `None` when there is none.
pub async fn hold(conn: &mut PgConnection, id: BookingId) -> Result<Option<Held>> {
    let event = sqlx::query_scalar!("SELECT event_id FROM bookings WHERE id = $1", id.0)
        .fetch_optional(&mut *conn)
        .await?;
    let Some(event) = event else { return Ok(None) };
    seats::open_inventory(conn, &[EventId(event)]).await?;
    let row = sqlx::query!(
        r#"SELECT b.booking_reference, b.user_id, (b.total_amount * 100)::bigint AS "total!", b.status, b.payment_status, b.payment_id,
                  coalesce(b.expires_at <= clock_timestamp(), FALSE) AS "overdue!", e.start_date <= clock_timestamp() AS "started!",
                  EXISTS (SELECT 1 FROM payments p WHERE p.booking_id = b.id AND p.kind = 'sale') AS "sold!",
                  e.status = 'published' AS "on_sale!"
           FROM bookings b JOIN events e ON e.id = b.event_id WHERE b.id = $1 FOR UPDATE OF b"#,
        id.0,
    )
    .fetch_optional(conn)
    .await?;
    Ok(row.map(|row| Held {
        id,
        reference: row.booking_reference,
        event: EventId(event),
        user: UserId(row.user_id),
        total: Paise::from_db(row.total),
        status: row.status,
        payment_status: row.payment_status,
        payment_id: row.payment_id,
        overdue: row.overdue,
        sold: row.sold,
        event_started: row.started,
        event_on_sale: row.on_sale,
    }))
}

/// Where a booking stands, for a look; it may have moved on by the time the answer is used.
pub async fn state(conn: &mut PgConnection, id: BookingId) -> Result<BookingState> {
    let row = sqlx::query!(
        r#"SELECT status, coalesce(expires_at <= clock_timestamp(), FALSE) AS "overdue!",
                  EXISTS (SELECT 1 FROM payments p WHERE p.booking_id = b.id AND p.kind = 'sale') AS "sold!"
           FROM bookings b WHERE id = $1"#,
        id.0
    )
    .fetch_optional(conn)
    .await?;
    Ok(row.map_or(BookingState::Gone, |row| BookingState::of(&row.status, row.overdue, row.sold)))
}

/// Confirms a booking that costs nothing. False when it needs no confirmation any more, or its seats cannot be had.
pub async fn confirm_free(conn: &mut PgConnection, booking: &Held, after: &mut AfterCommit) -> Result<bool> {
    let step = booking_states::next(booking.state(), BookingEvent::NothingToPay);
    Ok(booking.total == Paise::ZERO
        && step == BookingStep::Confirm
        && confirm(conn, booking, None, after).await?)
}

/// Confirms a booking: its seats are booked, its tickets will be made. False, with nothing changed, when not all of its seats can be had
/// any more: a booking that expired or was cancelled takes the same seats again if they are still free.
pub async fn confirm(
    conn: &mut PgConnection,
    booking: &Held,
    payment_id: Option<&str>,
    after: &mut AfterCommit,
) -> Result<bool> {
    let Some(seats) = take_seats(conn, booking, after).await? else { return Ok(false) };
    let job = jobs::enqueue(conn, &FinaliseBooking { booking_id: booking.id.0 }).await?;
    sqlx::query!(
        "UPDATE bookings SET status = 'confirmed', payment_status = 'completed', payment_id = coalesce($2, payment_id),
                payment_gateway = CASE WHEN $2::text IS NULL THEN payment_gateway ELSE 'razorpay' END,
                confirmed_at = now(), cancelled_at = NULL, cancellation_reason = NULL, finalisation_job = coalesce($3, finalisation_job)
         WHERE id = $1",
        booking.id.0,
        payment_id,
        job,
    )
    .execute(&mut *conn)
    .await?;

    let viewers = Audience::Event(booking.event);
    let news = BookingConfirmed {
        booking_id: booking.id,
        booking_reference: booking.reference.clone(),
        event_id: booking.event,
        total_tickets: seats.len(),
        status: "confirmed",
    };
    after.tell(Broadcast::new(viewers, news));
    for (key, available_quantity) in seats {
        let news = SeatBooked {
            event_id: key.event,
            seat_type_id: key.seat_type,
            seat_label: key.label.clone(),
            available_quantity,
        };
        after.tell(Broadcast::new(viewers, news));
        after.drop_key(booking.user, key);
    }
    after.counts_changed(booking.event);
    Ok(true)
}

/// Books every seat of `booking`; those that it has lost are taken again. `None` when one of them is somebody else's now.
async fn take_seats(
    conn: &mut PgConnection,
    booking: &Held,
    after: &mut AfterCommit,
) -> Result<Option<Vec<(SeatKey, i32)>>> {
    let wanted = sqlx::query!(
        r#"SELECT bs.id, bs.seat_id, bs.event_seat_type_id, bs.seat_label, (bs.price_paid * 100)::bigint AS "price!"
           FROM booking_seats bs WHERE bs.booking_id = $1 ORDER BY bs.id"#,
        booking.id.0,
    )
    .fetch_all(&mut *conn)
    .await?;
    // The Node service deleted seats of live bookings without a trace: what is left must be what the total is for.
    if wanted.is_empty() || wanted.iter().map(|seat| seat.price).sum::<i64>() != booking.total.get() {
        return Ok(None);
    }
    let mut lost = (Vec::new(), Vec::new(), Vec::new());
    let mut types = Vec::with_capacity(wanted.len());
    for seat in &wanted {
        let (Some(seat_type), Some(label)) = (seat.event_seat_type_id, &seat.seat_label) else {
            return Ok(None);
        };
        types.push(SeatTypeId(seat_type));
        if seat.seat_id.is_none() {
            lost.0.push(seat.id);
            lost.1.push(seat_type);
            lost.2.push(label.clone());
        }
    }
    if !lost.0.is_empty() && !take_again(conn, booking, &lost, &types, after).await? {
        return Ok(None);
    }
    let booked = sqlx::query!(
        "UPDATE seats s SET status = 'booked', booked_at = now(), updated_at = now()
         FROM booking_seats bs, event_seat_types t
         WHERE bs.booking_id = $1 AND s.id = bs.seat_id AND t.id = s.event_seat_type_id
         RETURNING s.event_seat_type_id, s.seat_label, t.available_quantity",
        booking.id.0,
    )
    .fetch_all(conn)
    .await?;
    Ok(Some(
        booked
            .into_iter()
            .map(|row| {
                let key = SeatKey {
                    event: booking.event,
                    seat_type: SeatTypeId(row.event_seat_type_id),
                    label: SeatLabel::from_db(row.seat_label),
                };
                (key, row.available_quantity)
            })
            .collect(),
    ))
}

/// Takes seats that the booking has lost, if all are free. Either every seat is taken, or none.
async fn take_again(
    conn: &mut PgConnection,
    booking: &Held,
    (links, types, labels): &(Vec<i32>, Vec<i32>, Vec<String>),
    all_types: &[SeatTypeId],
    after: &mut AfterCommit,
) -> Result<bool> {
    // Somebody else's expired lock is no obstacle. The booking's own seats never are expired here: those rows are in `seat_id`, and an
    // overdue booking's remaining seats are freed and taken again with the rest.
    sqlx::query!(
        "UPDATE seats SET expires_at = greatest(expires_at, now() + interval '1 minute')
         WHERE id IN (SELECT seat_id FROM booking_seats WHERE booking_id = $1) AND status = 'locked'",
        booking.id.0,
    )
    .execute(&mut *conn)
    .await?;
    let freed = seats::free_expired(conn, all_types).await?;
    after.freed(freed, UnlockReason::Expired);

    let mut attempt = conn.begin().await?;
    let taken = sqlx::query!(
        "INSERT INTO seats (event_id, event_seat_type_id, seat_label, user_id, status, locked_at, expires_at)
         SELECT $1, t.id, seat.label, $2, 'locked', now(), now() + interval '1 minute'
         FROM unnest($3::int[], $4::text[]) AS seat (seat_type, label) JOIN event_seat_types t ON t.id = seat.seat_type
         ON CONFLICT (event_seat_type_id, seat_label) DO NOTHING
         RETURNING event_seat_type_id",
        booking.event.0,
        booking.user.0,
        types,
        labels,
    )
    .fetch_all(&mut *attempt)
    .await?;
    let type_ids: Vec<i32> = taken.iter().map(|row| row.event_seat_type_id).collect();
    let counted = sqlx::query!(
        "UPDATE event_seat_types t SET available_quantity = available_quantity - taken.n
         FROM (SELECT id, count(*)::integer AS n FROM unnest($1::int[]) id GROUP BY id) taken
         WHERE t.id = taken.id AND t.available_quantity >= taken.n RETURNING taken.n AS \"n!\"",
        &type_ids,
    )
    .fetch_all(&mut *attempt)
    .await?;
    let complete =
        taken.len() == links.len() && counted.iter().map(|row| row.n).sum::<i32>() as usize == links.len();
    if !complete {
        attempt.rollback().await?;
        return Ok(false);
    }
    sqlx::query!(
        "UPDATE booking_seats bs SET seat_id = s.id FROM seats s
         WHERE bs.id = ANY ($1) AND s.event_seat_type_id = bs.event_seat_type_id AND s.seat_label = bs.seat_label",
        links,
    )
    .execute(&mut *attempt)
    .await?;
    attempt.commit().await?;
    Ok(true)
}

/// Frees what the booking still has.
pub(super) async fn free_seats(
    conn: &mut PgConnection,
    booking: &Held,
    reason: UnlockReason,
    after: &mut AfterCommit,
) -> Result<()> {
    let seats = sqlx::query_scalar!(
        r#"SELECT seat_id AS "seat_id!" FROM booking_seats WHERE booking_id = $1 AND seat_id IS NOT NULL"#,
        booking.id.0
    )
    .fetch_all(&mut *conn)
    .await?;
    let freed = seats::free(conn, &seats).await?;
    after.freed(freed, reason);
    Ok(())
}

/// Expires an unpaid booking whose deadline has passed, and frees its seats. False when it was paid or cancelled meanwhile.
pub async fn expire(conn: &mut PgConnection, id: BookingId, after: &mut AfterCommit) -> Result<bool> {
    let Some(booking) = hold(conn, id).await? else { return Ok(false) };
    if booking_states::next(booking.state(), BookingEvent::DeadlineCheck) != BookingStep::Expire {
        return Ok(false);
    }
    sqlx::query!("UPDATE bookings SET status = 'expired', payment_status = 'cancelled' WHERE id = $1", id.0)
        .execute(&mut *conn)
        .await?;
    free_seats(conn, &booking, UnlockReason::Expired, after).await?;
    Ok(true)
}

/// Unpaid bookings past their deadline, the oldest first.
pub async fn overdue(conn: &mut PgConnection, limit: i64) -> Result<Vec<BookingId>> {
    let ids = sqlx::query_scalar!(
        "SELECT id FROM bookings WHERE status = 'pending' AND expires_at <= now() ORDER BY expires_at LIMIT $1",
        limit,
    )
    .fetch_all(conn)
    .await?;
    Ok(ids.into_iter().map(BookingId).collect())
}

/// When the next lock or unpaid booking runs out, if there is one.
pub async fn next_deadline(conn: &mut PgConnection) -> Result<Option<Duration>> {
    let next = sqlx::query_scalar!(
        "SELECT extract(epoch FROM least((SELECT min(expires_at) FROM seats WHERE status = 'locked'),
                                         (SELECT min(expires_at) FROM bookings WHERE status = 'pending')) - clock_timestamp())::float8"
    )
    .fetch_one(conn)
    .await?;
    Ok(next.map(|seconds| Duration::try_from_secs_f64(seconds.max(0.0)).unwrap_or(Duration::MAX)))
}

/// Seat types, by event, with locks that have run out.
pub async fn expired_locks(conn: &mut PgConnection) -> Result<Vec<(EventId, Vec<SeatTypeId>)>> {
    let rows = sqlx::query!(
        r#"SELECT event_id, array_agg(DISTINCT event_seat_type_id) AS "types!" FROM seats
           WHERE status = 'locked' AND expires_at <= now() GROUP BY event_id ORDER BY event_id"#
    )
    .fetch_all(conn)
    .await?;
    Ok(rows
        .into_iter()
        .map(|row| (EventId(row.event_id), row.types.into_iter().map(SeatTypeId).collect()))
        .collect())
}
