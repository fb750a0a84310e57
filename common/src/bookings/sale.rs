//! How a booking is confirmed: its seats become booked, and its tickets will be made.
//! [`booking_states`] says which bookings may be confirmed.
//!
//! Turning a lock into a booked seat changes no count. So a booking that has all its seats, and its
//! deadline well ahead, is confirmed with its own row and the rows of its seats, and leaves the
//! event's inventory to requests that lock and free seats. Only a booking that has lost seats, or
//! is about to, locks the inventory before it locks the booking's row; a look without locks decides
//! which case it is. If the look turns out wrong once the row is locked, everything is undone
//! ([`Error::Collision`]), and the next try looks again: a transaction that has a booking's row
//! never waits for the inventory.
//!
//! Nothing that frees seats ever frees one that is being confirmed, though both may run at once:
//!
//! - a booking that expires, or is cancelled, by its buyer or with its event: needs the booking's
//!   row, so it comes before (and the look was wrong) or after, and then finds a confirmed booking
//! - `free_expired`, of the sweep and of the lock writer: deletes only expired locks, holding the
//!   seat's row, and skips a row that another transaction has
//! - a holder who unlocks or extends: takes the seat's row, and refuses a seat that is in a booking
//! - a seat type that is deleted: takes the rows of its locked seats before it counts those that
//!   are booked
//! - an event that is deleted: takes the rows of its pending bookings before it counts those that
//!   are confirmed
//! - the end of an event's cancellation, which frees every lock: waits until no booking is pending,
//!   and none can be created
//! - another payment of the booking, or its owner's `confirm_booking`: needs the booking's row
//!
//! None of them waits for another in a circle: all take inventory, booking, payment and seats in
//! this order, and seats by their ids.

use std::collections::{BTreeMap, HashMap};

use sqlx::{Connection, PgConnection};

use super::{
    booking_states::{self, BookingEvent, BookingState, BookingStep},
    broadcasts::BookingConfirmed,
    changes::{self, LockedBooking, read_locked},
};
use crate::{
    error::{Error, Result},
    events::inventory,
    jobs::{self, JobId, bookings::FinaliseBooking},
    realtime::AfterCommit,
    seats::{
        broadcasts::{self, SeatBooked, UnlockReason},
        freeing, hints, unpaid,
    },
    types::{
        ids::{BookingId, EventId, SeatTypeId},
        money::Paise,
        seats::{SeatKey, SeatLabel},
        statuses::BookingStatus,
    },
};

/// Locks a booking that may be confirmed, and the payment that is said to be for it; `None` when
/// there is no such booking, but the payment is locked all the same.
pub async fn lock_for_update(
    conn: &mut PgConnection,
    id: BookingId,
    payment_id: Option<&str>,
) -> Result<Option<LockedBooking>> {
    // A minute is longer than the rest of the transaction takes. A booking closer to its deadline
    // may find its seats freed, or its buyer with other seats instead.
    let needed = sqlx::query!(
        r#"SELECT b.event_id AS "event_id: EventId", b.status <> 'confirmed' AND NOT (
                      b.status = 'pending' AND coalesce(b.expires_at > clock_timestamp() + interval '1 minute', TRUE) AND seats.complete
                  ) AS "inventory!"
           FROM bookings b CROSS JOIN LATERAL (
               SELECT coalesce(count(*) = count(seat_id) AND sum(price_paid) = b.total_amount, FALSE) AS complete
               FROM booking_seats WHERE booking_id = b.id
           ) seats WHERE b.id = $1"#,
        id as _,
    )
    .fetch_optional(&mut *conn)
    .await?;
    let inventory = needed.as_ref().is_some_and(|needed| needed.inventory);
    if let Some(needed) = needed.filter(|needed| needed.inventory) {
        inventory::lock_inventory(conn, &[needed.event_id]).await?;
    }
    // The payment is an advisory lock, taken once the row is locked. A separate statement then
    // looks at both, and so sees what other transactions did meanwhile.
    sqlx::query!(
        "WITH held AS (SELECT id FROM bookings WHERE id = $1 FOR UPDATE)
         SELECT pg_advisory_xact_lock(hashtextextended('payment:' || $2::text, 0)) FROM (SELECT count(*) FROM held) AS waited",
        id as _,
        payment_id,
    )
    .execute(&mut *conn)
    .await?;
    read_locked(conn, id, inventory).await
}

/// A booking that waits for its payment, and an order on which it may be paid.
pub(crate) struct Ordered {
    pub(crate) order_id: String,
    pub(crate) amount_paise: i64,
    pub(crate) currency: String,
    pub(crate) booking: LockedBooking,
}

/// Locks the bookings behind some orders with all their seats, as far as nobody else has any of
/// them, they wait for their payment, and their deadline is well ahead; and with each the payment
/// that is said to be for it. Waits for nothing.
pub(crate) async fn lock_waiting(
    conn: &mut PgConnection,
    payments: &[(&str, &str)],
) -> Result<Vec<Ordered>> {
    let (orders, payment_ids): (Vec<&str>, Vec<&str>) = payments.iter().copied().unzip();
    let rows = sqlx::query!(
        r#"WITH held AS MATERIALIZED (
               SELECT id FROM bookings
               WHERE id IN (SELECT booking_id FROM own_orders WHERE order_id = ANY ($1)) AND status = 'pending'
                 AND coalesce(expires_at > clock_timestamp() + interval '1 minute', TRUE)
               ORDER BY id FOR UPDATE SKIP LOCKED
           ), free AS MATERIALIZED (
               SELECT id FROM seats WHERE id IN (SELECT seat_id FROM booking_seats WHERE booking_id IN (SELECT id FROM held))
               ORDER BY id FOR UPDATE SKIP LOCKED
           ), locked AS MATERIALIZED (
               SELECT paid.order_id, held.id, pg_try_advisory_xact_lock(hashtextextended('payment:' || paid.payment_id, 0)) AS free
               FROM unnest($1::text[], $2::text[]) AS paid (order_id, payment_id)
               JOIN own_orders o ON o.order_id = paid.order_id JOIN held ON held.id = o.booking_id
           )
           SELECT locked.order_id AS "order_id!", locked.id AS "booking: BookingId", o.amount_paise, o.currency
           FROM locked JOIN payment_orders o USING (order_id)
           WHERE locked.free AND NOT EXISTS (
               SELECT 1 FROM booking_seats bs LEFT JOIN free ON free.id = bs.seat_id WHERE bs.booking_id = locked.id AND free.id IS NULL)"#,
        &orders as &[&str],
        &payment_ids as &[&str],
    )
    .fetch_all(&mut *conn)
    .await?;
    let ids: Vec<BookingId> = rows.iter().map(|row| row.booking).collect();
    // A separate statement sees what other transactions did before this one had the locks.
    let mut locked: HashMap<BookingId, LockedBooking> = changes::read_all_locked(conn, &ids, false)
        .await?
        .into_iter()
        .map(|booking| (booking.id, booking))
        .collect();
    let ordered = rows.into_iter().filter_map(|row| {
        Some(Ordered {
            order_id: row.order_id,
            amount_paise: row.amount_paise,
            currency: row.currency,
            booking: locked.remove(&row.booking)?,
        })
    });
    Ok(ordered.collect())
}

/// A booking that its payment confirms.
pub(crate) struct Paid<'a> {
    pub(crate) booking: &'a LockedBooking,
    pub(crate) payment_id: &'a str,
    /// The trace context of the payment's news.
    pub(crate) trace: Option<String>,
}

/// Confirms bookings that wait for their payment: all of them, or none when one has lost a seat
/// ([`Error::Collision`]). Returns what follows each.
pub(crate) async fn confirm_all(
    conn: &mut PgConnection,
    paid: &[Paid<'_>],
) -> Result<Vec<AfterCommit>> {
    if paid.is_empty() {
        return Ok(vec![]);
    }
    let finalising: Vec<_> = paid
        .iter()
        .map(|paid| (FinaliseBooking { booking_id: paid.booking.id }, paid.trace.clone()))
        .collect();
    let jobs = jobs::enqueue_all(conn, &finalising).await?;
    let confirmations: Vec<Confirmation<'_>> = paid
        .iter()
        .zip(jobs)
        .map(|(paid, job)| Confirmation {
            booking: paid.booking.id,
            payment_id: Some(paid.payment_id),
            job,
        })
        .collect();
    let mut booked = book(conn, &confirmations).await?;
    let follow = |paid: &Paid<'_>| {
        let mut after = AfterCommit::default();
        let seats = booked.remove(&paid.booking.id).ok_or_else(changed)?;
        tell(paid.booking, seats, &mut after);
        Ok(after)
    };
    paid.iter().map(follow).collect()
}

/// Confirms a booking that costs nothing. False when it no longer needs confirmation, or its seats
/// cannot be had.
pub async fn confirm_free(
    conn: &mut PgConnection,
    booking: &LockedBooking,
    after: &mut AfterCommit,
) -> Result<bool> {
    let step = booking_states::next(booking.state(), BookingEvent::NothingToPay);
    Ok(booking.total == Paise::ZERO
        && step == BookingStep::Confirm
        && confirm(conn, booking, None, after).await?.is_none())
}

/// Confirms a booking: its seats are booked, its tickets will be made. If something prevents that,
/// changes nothing and returns the obstacle. An expired or cancelled booking takes its seats again
/// if they are still free and its buyer may have them.
pub async fn confirm(
    conn: &mut PgConnection,
    booking: &LockedBooking,
    payment_id: Option<&str>,
    after: &mut AfterCommit,
) -> Result<Option<BookingEvent>> {
    if booking.inventory {
        if let Some(obstacle) = complete(conn, booking, after).await? {
            return Ok(Some(obstacle));
        }
    } else if booking.state() != BookingState::Pending {
        return Err(changed());
    }
    let job = jobs::enqueue(conn, &FinaliseBooking { booking_id: booking.id }).await?;
    let confirmation = Confirmation { booking: booking.id, payment_id, job };
    let mut booked = book(conn, &[confirmation]).await?;
    tell(booking, booked.remove(&booking.id).ok_or_else(changed)?, after);
    if booking.inventory {
        after.counts_changed(booking.event);
    }
    Ok(None)
}

fn changed() -> Error {
    Error::Collision("the booking has changed while it was being confirmed".into())
}

/// Collects what clients hear of a confirmation.
fn tell(booking: &LockedBooking, booked: Vec<SeatBooked>, after: &mut AfterCommit) {
    let full = BookingConfirmed {
        booking_id: booking.id,
        booking_reference: booking.reference.clone(),
        event_id: booking.event,
        total_tickets: booked.len(),
        status: BookingStatus::Confirmed,
    };
    let masked = full.masked();
    after.tell_of_booking(booking.parties(), full, masked);
    let sold: Vec<SeatKey> = booked
        .iter()
        .map(|seat| SeatKey {
            event: seat.event_id,
            seat_type: seat.seat_type_id,
            label: seat.seat_label.clone(),
        })
        .collect();
    hints::drop_keys(after, sold.iter().map(|seat| (booking.user, seat)));
    broadcasts::booked(after, booking.event, booking.visibility, booked);
}

/// What a confirmation writes into its booking.
struct Confirmation<'a> {
    booking: BookingId,
    payment_id: Option<&'a str>,
    /// Makes the tickets.
    job: Option<JobId>,
}

/// Books bookings and all their seats with one statement, and returns those seats; leaves a booking
/// out when one of its seats is missing.
async fn book(
    conn: &mut PgConnection,
    confirmations: &[Confirmation<'_>],
) -> Result<HashMap<BookingId, Vec<SeatBooked>>> {
    let ids: Vec<BookingId> = confirmations.iter().map(|one| one.booking).collect();
    let payments: Vec<Option<&str>> = confirmations.iter().map(|one| one.payment_id).collect();
    let jobs: Vec<Option<JobId>> = confirmations.iter().map(|one| one.job).collect();
    let rows = sqlx::query!(
        r#"WITH wanted AS MATERIALIZED (
               SELECT booking_id, seat_id, price_paid FROM booking_seats WHERE booking_id = ANY ($1)
           ), held AS MATERIALIZED (
               SELECT id FROM seats WHERE id IN (SELECT seat_id FROM wanted) ORDER BY id FOR UPDATE
           ), complete AS (
               SELECT booking_id, sum(price_paid) AS total FROM wanted LEFT JOIN held ON held.id = wanted.seat_id
               GROUP BY booking_id HAVING count(*) = count(held.id)
           ), confirmed AS (
               UPDATE bookings b
               SET status = 'confirmed', payment_status = 'completed', payment_id = coalesce(one.payment_id, b.payment_id),
                   payment_gateway = CASE WHEN one.payment_id IS NULL THEN b.payment_gateway ELSE 'razorpay' END, confirmed_at = now(),
                   cancelled_at = NULL, cancellation_reason = NULL, finalisation_job = coalesce(one.job, b.finalisation_job)
               FROM unnest($1::int[], $2::text[], $3::uuid[]) AS one (booking_id, payment_id, job)
               JOIN complete USING (booking_id)
               WHERE b.id = one.booking_id AND b.total_amount = complete.total
               RETURNING b.id
           ), booked AS (
               UPDATE seats s SET status = 'booked', network = NULL, booked_at = now(), updated_at = now()
               FROM wanted JOIN confirmed ON confirmed.id = wanted.booking_id
               WHERE s.id = wanted.seat_id RETURNING s.id, s.event_seat_type_id, s.seat_label, wanted.booking_id
           )
           SELECT booked.booking_id AS "booking!: BookingId", t.event_id AS "event!: EventId", t.id AS "seat_type!: SeatTypeId",
                  booked.seat_label AS "label!: SeatLabel", t.available_quantity AS "available!",
                  (SELECT version FROM event_inventory WHERE event_id = t.event_id) AS "version!"
           FROM booked JOIN event_seat_types t ON t.id = booked.event_seat_type_id ORDER BY booked.id"#,
        &ids as _,
        &payments as &[Option<&str>],
        &jobs as &[Option<JobId>],
    )
    .fetch_all(conn)
    .await?;
    let mut booked: HashMap<BookingId, Vec<SeatBooked>> = HashMap::new();
    for row in rows {
        booked.entry(row.booking).or_default().push(SeatBooked {
            event_id: row.event,
            seat_type_id: row.seat_type,
            seat_label: row.label,
            available_quantity: row.available,
            version: row.version,
        });
    }
    Ok(booked)
}

/// Seats that a booking has lost.
#[derive(Default)]
struct Lost {
    /// Their rows in `booking_seats`.
    links: Vec<i32>,
    seats: Vec<(SeatTypeId, SeatLabel)>,
}

/// Makes sure that a booking has all its seats, with the inventory locked, or returns why it
/// cannot.
async fn complete(
    conn: &mut PgConnection,
    booking: &LockedBooking,
    after: &mut AfterCommit,
) -> Result<Option<BookingEvent>> {
    let wanted = sqlx::query!(
        r#"SELECT id, seat_id, event_seat_type_id AS "seat_type: SeatTypeId", seat_label AS "label: SeatLabel", price_paid AS "price: Paise"
           FROM booking_seats WHERE booking_id = $1 ORDER BY id"#,
        booking.id as _,
    )
    .fetch_all(&mut *conn)
    .await?;
    // The Node service deleted seats of live bookings without a trace: the remaining seats must add
    // up to the total.
    let price: i64 = wanted.iter().map(|seat| seat.price.get()).sum();
    if wanted.is_empty() || price != booking.total.get() {
        return Ok(Some(BookingEvent::SeatsLost));
    }
    let count = wanted.len() as i64;
    let mut lost = Lost::default();
    for seat in wanted.into_iter().filter(|seat| seat.seat_id.is_none()) {
        let (Some(seat_type), Some(label)) = (seat.seat_type, seat.label) else {
            return Ok(Some(BookingEvent::SeatsLost));
        };
        lost.links.push(seat.id);
        lost.seats.push((seat_type, label));
    }
    if lost.links.is_empty() && booking.state() == BookingState::Pending {
        return Ok(None);
    }
    // While these seats were free or expired, their buyer could take others.
    if exceeds_limit(conn, booking, count).await? {
        return Ok(Some(BookingEvent::OverLimit));
    }
    if lost.links.is_empty() || take_again(conn, booking, &lost, after).await? {
        return Ok(None);
    }
    Ok(Some(BookingEvent::SeatsLost))
}

/// Whether its buyer, with the `count` seats of this booking, would exceed the event's limit
/// (docs/contract.md#change-7).
async fn exceeds_limit(
    conn: &mut PgConnection,
    booking: &LockedBooking,
    count: i64,
) -> Result<bool> {
    let exceeds = sqlx::query_scalar!(
        r#"SELECT $4 + (
               SELECT count(*) FROM seats s
               WHERE s.event_id = $1 AND s.user_id = $2 AND (s.status = 'booked' OR s.expires_at > statement_timestamp())
                 AND NOT EXISTS (SELECT 1 FROM booking_seats bs WHERE bs.seat_id = s.id AND bs.booking_id = $3)
           ) > coalesce(max_tickets_per_user, 10) AS "exceeds!" FROM events WHERE id = $1"#,
        booking.event as _,
        booking.user as _,
        booking.id as _,
        count,
    )
    .fetch_one(conn)
    .await?;
    Ok(exceeds)
}

/// Takes again the seats that the booking has lost: all of them if all are free, otherwise none.
async fn take_again(
    conn: &mut PgConnection,
    booking: &LockedBooking,
    Lost { links, seats }: &Lost,
    after: &mut AfterCommit,
) -> Result<bool> {
    // Another user's expired lock is no obstacle. The booking's own seats are never expired here:
    // their rows are in `seat_id`, and an overdue booking's remaining seats are freed and taken
    // again with the rest.
    sqlx::query!(
        "UPDATE seats SET expires_at = greatest(expires_at, now() + interval '1 minute')
         WHERE id IN (SELECT seat_id FROM booking_seats WHERE booking_id = $1) AND status = 'locked'",
        booking.id as _,
    )
    .execute(&mut *conn)
    .await?;
    let mut room = BTreeMap::new();
    for (seat_type, _) in seats {
        *room.entry(*seat_type).or_insert(0) += 1;
    }
    let freed = freeing::free_expired(conn, seats, &room).await?;
    broadcasts::freed(after, freed, UnlockReason::Expired);
    // What nobody has yet may go back to whoever has paid for it.
    let freed = freeing::free_kept_back(conn, seats).await?;
    broadcasts::freed(after, freed, UnlockReason::Expired);

    let mut attempt = conn.begin().await?;
    let (types, labels): (Vec<SeatTypeId>, Vec<&SeatLabel>) =
        seats.iter().map(|(seat_type, label)| (*seat_type, label)).unzip();
    let taken = sqlx::query_scalar!(
        "INSERT INTO seats (event_id, event_seat_type_id, seat_label, user_id, status, locked_at, expires_at)
         SELECT $1, t.id, seat.label, $2, 'locked', now(), now() + interval '1 minute'
         FROM unnest($3::int[], $4::text[]) AS seat (seat_type, label) JOIN event_seat_types t ON t.id = seat.seat_type
         ON CONFLICT (event_seat_type_id, seat_label) DO NOTHING
         RETURNING event_seat_type_id",
        booking.event as _,
        booking.user as _,
        &types as _,
        &labels as _,
    )
    .fetch_all(&mut *attempt)
    .await?;
    let counted = sqlx::query_scalar!(
        "UPDATE event_seat_types t SET available_quantity = available_quantity - taken.n
         FROM (SELECT id, count(*)::integer AS n FROM unnest($1::int[]) id GROUP BY id) taken
         WHERE t.id = taken.id AND t.available_quantity >= taken.n RETURNING taken.n AS \"n!\"",
        &taken,
    )
    .fetch_all(&mut *attempt)
    .await?;
    let complete =
        taken.len() == links.len() && counted.iter().sum::<i32>() as usize == links.len();
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
    unpaid::forgive(&mut attempt, booking.user, booking.id).await?;
    attempt.commit().await?;
    Ok(true)
}
