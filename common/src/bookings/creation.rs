//! Creating a booking from locked seats (docs/contract.md#bookings). How it changes after that is
//! in [`changes`](super::changes) and [`cancellation`](super::cancellation); what people see of it
//! is in [`views`](super::views).

use std::{
    collections::{BTreeSet, HashMap, HashSet},
    time::Duration,
};

use rand::RngExt;
use serde::Serialize;
use sqlx::{PgConnection, PgPool};
use utoipa::ToSchema;

use super::broadcasts::BookingCreated;
use crate::{
    config::Chargeable,
    error::{Error, Result, violated_constraint},
    jobs::{self, payments::ConfirmFreeBooking, wakeups},
    observability::traces,
    realtime::{AfterCommit, Parties},
    seats::hints,
    storage::{
        groups::Groups,
        postgres::{self, begin},
    },
    types::{
        ids::{BookingId, EventId, SeatId, SeatTypeId, UserId},
        money::Paise,
        seats::{SeatKey, SeatLabel},
        statuses::{BookingStatus, EventStatus, PaymentStatus},
        time::{Timestamp, in_words},
    },
};

/// A request for a booking; every rule is checked.
#[derive(Clone, Debug)]
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
#[derive(Clone, Debug, Serialize, ToSchema)]
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

/// What every new booking is subject to.
#[derive(Clone, Copy, Debug)]
pub struct Terms {
    /// How long a booking waits for its payment.
    pub valid: Duration,
    /// The totals that buyers can pay.
    pub chargeable: Chargeable,
}

/// A user's request for a booking.
#[derive(Clone, Debug)]
pub struct Wanted {
    pub user: UserId,
    pub new: NewBooking,
    /// The request's trace context.
    pub trace: Option<String>,
}

/// Turns locked seats into bookings, those of many users in one transaction. `None` for a request
/// whose seats its user may not have, or another transaction holds: it is to be [created](create) by
/// itself, so that nobody waits for what others hold.
pub fn creator(db: PgPool, terms: Terms) -> Groups<Wanted, Option<(Created, AfterCommit)>> {
    Groups::new(move |all: Vec<Wanted>| {
        let db = db.clone();
        async move {
            let mut tx = begin(&db).await?;
            let mut held: HashMap<i32, Vec<SeatId>> = HashMap::new();
            for (number, seat) in lock_free(&mut tx, &all).await? {
                held.entry(number).or_default().push(seat);
            }
            let mut now = Vec::new();
            let mut seats = Vec::new();
            let mut ready = Vec::with_capacity(all.len());
            for (number, wanted) in (0..).zip(&all) {
                let own = held.remove(&number).filter(|own| own.len() == wanted.new.seats.len());
                ready.push(own.is_some());
                if let Some(own) = own {
                    let place = i32::try_from(now.len()).map_err(Error::internal)?;
                    seats.extend(own.into_iter().map(|seat| (place, seat)));
                    now.push(wanted.clone());
                }
            }
            let events = booked_events(&mut tx, &now).await?;
            let mut created = create_all(&mut tx, &now, &events, seats, terms).await?.into_iter();
            tx.commit().await?;
            wakeups::committed();
            let result = |is_ready| if is_ready { created.next().transpose() } else { Ok(None) };
            Ok(ready.into_iter().map(result).collect())
        }
    })
}

/// Turns locked seats into a booking that waits for its payment. From now on, booking and seats
/// have the same deadline.
pub async fn create(
    conn: &mut PgConnection,
    user: UserId,
    new: NewBooking,
    terms: Terms,
) -> Result<(Created, AfterCommit)> {
    let wanted = [Wanted { user, new, trace: traces::current() }];
    let events = booked_events(conn, &wanted).await?;
    let held = lock(conn, &wanted).await?;
    let created = create_all(conn, &wanted, &events, held, terms).await?.pop();
    created.unwrap_or_else(|| Err(Error::internal("a booking was not decided")))
}

/// The same for several requests, whose events and seats this transaction has locked; returns one
/// result for each, in order.
async fn create_all(
    conn: &mut PgConnection,
    wanted: &[Wanted],
    events: &HashMap<EventId, EventFacts>,
    held: Vec<Held>,
    terms: Terms,
) -> Result<Vec<Result<(Created, AfterCommit)>>> {
    let mut seats = read_locked(conn, held).await?;
    // Two requests may want the same seat.
    let mut given = HashSet::new();
    let mut decided: Vec<Result<NewRow>> = Vec::with_capacity(wanted.len());
    for (number, wanted) in wanted.iter().enumerate() {
        let seats = seats.remove(&number).unwrap_or_default();
        decided.push(decide(wanted, events, seats, &mut given, terms));
    }
    let rows: Vec<&NewRow> = decided.iter().flatten().collect();
    let mut bookings = insert(conn, &rows, terms.valid).await?;
    link(conn, &rows, &bookings).await?;
    let free: Vec<_> = rows
        .iter()
        .filter(|row| row.total == Paise::ZERO)
        .filter_map(|row| Some((row, bookings.get(&row.reference)?.id)))
        .map(|(row, booking_id)| (ConfirmFreeBooking { booking_id }, row.trace.clone()))
        .collect();
    jobs::enqueue_all(conn, &free).await?;

    let created = decided.into_iter().map(|row| {
        let row = row?;
        let booking = bookings.remove(&row.reference);
        let booking = booking.ok_or_else(|| Error::internal("a booking was not inserted"))?;
        Ok(row.created(booking, terms.valid))
    });
    Ok(created.collect())
}

/// A booking that is about to be inserted.
struct NewRow {
    reference: String,
    user: UserId,
    organiser: UserId,
    event: BookedEvent,
    seats: Vec<CreatedSeat>,
    total: Paise,
    trace: Option<String>,
}

impl NewRow {
    /// The response, and what clients hear.
    fn created(self, booking: CreatedBooking, valid: Duration) -> (Created, AfterCommit) {
        let payment_required = self.total > Paise::ZERO;
        let mut after = AfterCommit::default();
        let event = self.event.id;
        let keys: Vec<SeatKey> = self
            .seats
            .iter()
            .map(|seat| SeatKey {
                event,
                seat_type: seat.seat_type_id,
                label: seat.seat_label.clone(),
            })
            .collect();
        hints::keep(&mut after, &keys, self.user, booking.booked_at, booking.expires_at);
        let full = BookingCreated {
            event_id: event,
            booking_reference: booking.booking_reference.clone(),
            total_amount: Some(self.total),
            status: booking.status,
        };
        let parties = Parties { event, buyer: self.user, organiser: self.organiser };
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
            total_seats: self.seats.len(),
            booking,
            event: self.event,
            seats: self.seats,
            payment_required,
        };
        (created, after)
    }
}

/// An event on which bookings are wanted.
struct EventFacts {
    event: BookedEvent,
    organiser: UserId,
    on_sale: bool,
    started: bool,
}

/// A wanted seat whose row this transaction has locked.
struct LockedSeat {
    seat: CreatedSeat,
    /// Its lock has not run out.
    live: bool,
    /// It is in a booking.
    linked: bool,
}

/// What becomes of a request. The seats that it gets are `given` to no other.
fn decide(
    Wanted { user, new, trace }: &Wanted,
    events: &HashMap<EventId, EventFacts>,
    seats: Vec<LockedSeat>,
    given: &mut HashSet<SeatId>,
    Terms { chargeable, .. }: Terms,
) -> Result<NewRow> {
    let facts = events.get(&new.event).ok_or(Error::EventNotFound)?;
    if facts.started {
        return Err(Error::EventStarted);
    }
    if !facts.on_sale {
        return Err(Error::EventNotOnSale);
    }
    let linked = |seat: &LockedSeat| seat.linked || given.contains(&seat.seat.seat_id);
    if seats.iter().any(|seat| seat.live && linked(seat)) {
        return Err(Error::SeatsLinked);
    }
    if seats.iter().any(|seat| !seat.live) {
        return Err(Error::LockExpired);
    }
    if seats.len() < new.seats.len() {
        return Err(Error::SeatsNotLocked);
    }
    let seats: Vec<CreatedSeat> = seats.into_iter().map(|seat| seat.seat).collect();
    let total = seats
        .iter()
        .try_fold(Paise::ZERO, |sum, seat| sum.checked_add(seat.price))
        .ok_or_else(|| Error::invalid("The booking's total is too large"))?;
    // No buyer is asked for an amount that they could not pay.
    chargeable.check_total(total)?;
    given.extend(seats.iter().map(|seat| seat.seat_id));
    Ok(NewRow {
        reference: reference(Timestamp::now()),
        user: *user,
        organiser: facts.organiser,
        event: facts.event.clone(),
        seats,
        total,
        trace: trace.clone(),
    })
}

/// The events, which cannot be deleted until this transaction ends.
async fn booked_events(
    conn: &mut PgConnection,
    wanted: &[Wanted],
) -> Result<HashMap<EventId, EventFacts>> {
    let ids: BTreeSet<EventId> = wanted.iter().map(|wanted| wanted.new.event).collect();
    let ids = Vec::from_iter(ids);
    let rows = sqlx::query!(
        r#"SELECT id AS "id: EventId", name, description, start_date, end_date, location, venue_name, image_url,
                  organizer_id AS "organizer_id: UserId", status AS "status: EventStatus", start_date <= clock_timestamp() AS "started!"
           FROM events WHERE id = ANY ($1) ORDER BY id FOR KEY SHARE"#,
        &ids as _,
    )
    .fetch_all(conn)
    .await?;
    let facts = rows.into_iter().map(|row| {
        let event = BookedEvent {
            id: row.id,
            name: row.name,
            description: Some(row.description),
            start_date: row.start_date.into(),
            end_date: row.end_date.into(),
            location: row.location,
            venue_name: row.venue_name,
            image_url: row.image_url,
        };
        let facts = EventFacts {
            event,
            organiser: row.organizer_id,
            on_sale: row.status == EventStatus::Published,
            started: row.started,
        };
        (row.id, facts)
    });
    Ok(facts.collect())
}

/// The wanted seats, as PostgreSQL takes them: number of the request, event, user, seat type, label.
type Columns<'a> = (Vec<i32>, Vec<EventId>, Vec<UserId>, Vec<SeatTypeId>, Vec<&'a SeatLabel>);

fn columns(wanted: &[Wanted]) -> Result<Columns<'_>> {
    let mut columns = Columns::default();
    for (number, wanted) in wanted.iter().enumerate() {
        for (seat_type, label) in &wanted.new.seats {
            columns.0.push(i32::try_from(number).map_err(Error::internal)?);
            columns.1.push(wanted.new.event);
            columns.2.push(wanted.user);
            columns.3.push(*seat_type);
            columns.4.push(label);
        }
    }
    Ok(columns)
}

/// The number of a request, and a seat that it wants, whose row this transaction has locked.
type Held = (i32, SeatId);

/// Locks the wanted seats that their users have, and keeps their types from being deleted.
async fn lock(conn: &mut PgConnection, wanted: &[Wanted]) -> Result<Vec<Held>> {
    let (numbers, events, users, types, labels) = columns(wanted)?;
    let held = sqlx::query!(
        r#"SELECT wanted.number AS "number!", s.id AS "id: SeatId"
           FROM unnest($1::int[], $2::int[], $3::int[], $4::int[], $5::text[]) AS wanted (number, event_id, user_id, seat_type, label)
           JOIN seats s ON s.event_seat_type_id = wanted.seat_type AND s.seat_label = wanted.label
           JOIN event_seat_types t ON t.id = s.event_seat_type_id
           WHERE s.event_id = wanted.event_id AND s.user_id = wanted.user_id
           ORDER BY s.id FOR UPDATE OF s FOR KEY SHARE OF t"#,
        &numbers,
        &events as _,
        &users as _,
        &types as _,
        &labels as _,
    )
    .fetch_all(conn)
    .await?;
    Ok(held.into_iter().map(|row| (row.number, row.id)).collect())
}

/// The same for those that no other transaction holds, their events included; waits for nothing.
async fn lock_free(conn: &mut PgConnection, wanted: &[Wanted]) -> Result<Vec<Held>> {
    let (numbers, events, users, types, labels) = columns(wanted)?;
    let held = sqlx::query!(
        r#"SELECT wanted.number AS "number!", s.id AS "id: SeatId"
           FROM unnest($1::int[], $2::int[], $3::int[], $4::int[], $5::text[]) AS wanted (number, event_id, user_id, seat_type, label)
           JOIN seats s ON s.event_seat_type_id = wanted.seat_type AND s.seat_label = wanted.label
           JOIN event_seat_types t ON t.id = s.event_seat_type_id JOIN events e ON e.id = s.event_id
           WHERE s.event_id = wanted.event_id AND s.user_id = wanted.user_id
           ORDER BY s.id FOR UPDATE OF s SKIP LOCKED FOR KEY SHARE OF t, e SKIP LOCKED"#,
        &numbers,
        &events as _,
        &users as _,
        &types as _,
        &labels as _,
    )
    .fetch_all(conn)
    .await?;
    Ok(held.into_iter().map(|row| (row.number, row.id)).collect())
}

/// Reads locked seats, by the number of the request. It comes after the locks, in a statement of its
/// own: a single one would decide by the rows and the time from before it waited for other
/// transactions.
async fn read_locked(
    conn: &mut PgConnection,
    held: Vec<Held>,
) -> Result<HashMap<usize, Vec<LockedSeat>>> {
    let (numbers, ids): (Vec<i32>, Vec<SeatId>) = held.into_iter().unzip();
    let rows = sqlx::query!(
        r#"SELECT held.number AS "number!", s.id AS "seat_id: SeatId", s.seat_label AS "seat_label: SeatLabel",
                  t.id AS "seat_type_id: SeatTypeId", t.name AS seat_type_name, t.price AS "price: Paise",
                  s.status = 'locked' AND s.expires_at > statement_timestamp() AS "live!",
                  EXISTS (SELECT 1 FROM booking_seats bs WHERE bs.seat_id = s.id) AS "linked!"
           FROM unnest($1::int[], $2::int[]) AS held (number, seat_id)
           JOIN seats s ON s.id = held.seat_id JOIN event_seat_types t ON t.id = s.event_seat_type_id
           ORDER BY s.id"#,
        &numbers,
        &ids as _,
    )
    .fetch_all(conn)
    .await?;
    let mut locked: HashMap<usize, Vec<LockedSeat>> = HashMap::new();
    for row in rows {
        let number = usize::try_from(row.number).map_err(Error::internal)?;
        let seat = CreatedSeat {
            seat_id: row.seat_id,
            seat_label: row.seat_label,
            seat_type_id: row.seat_type_id,
            seat_type_name: row.seat_type_name,
            price: row.price,
        };
        let seat = LockedSeat { seat, live: row.live, linked: row.linked };
        locked.entry(number).or_default().push(seat);
    }
    Ok(locked)
}

/// Inserts bookings; returns them by reference.
async fn insert(
    conn: &mut PgConnection,
    rows: &[&NewRow],
    valid: Duration,
) -> Result<HashMap<String, CreatedBooking>> {
    if rows.is_empty() {
        return Ok(HashMap::new());
    }
    let references: Vec<&str> = rows.iter().map(|row| row.reference.as_str()).collect();
    let events: Vec<EventId> = rows.iter().map(|row| row.event.id).collect();
    let users: Vec<UserId> = rows.iter().map(|row| row.user).collect();
    let totals: Vec<Paise> = rows.iter().map(|row| row.total).collect();
    let bookings = sqlx::query_as!(
        CreatedBooking,
        r#"INSERT INTO bookings (booking_reference, event_id, user_id, total_amount, booked_at, expires_at, orders_are_marked)
           SELECT reference, event_id, user_id, total, now(), now() + $5::interval, TRUE
           FROM unnest($1::text[], $2::int[], $3::int[], $4::numeric[]) AS new (reference, event_id, user_id, total)
           RETURNING id, booking_reference, event_id, user_id, total_amount AS "total_amount: _", status AS "status: _",
                     payment_status AS "payment_status: _", booked_at AS "booked_at!", expires_at AS "expires_at!""#,
        &references as &[&str],
        &events as _,
        &users as _,
        &totals as _,
        postgres::interval(valid)?,
    )
    .fetch_all(conn)
    .await?;
    Ok(bookings.into_iter().map(|booking| (booking.booking_reference.clone(), booking)).collect())
}

/// `BKG-YYYY-MMDD-HHMMSS-` and eight random characters: 40 bits, so that references neither collide
/// nor can be guessed.
fn reference(now: Timestamp) -> String {
    const ALPHABET: &[u8; 32] = b"ABCDEFGHJKLMNPQRSTUVWXYZ23456789";
    let tail: String =
        (0..8).map(|_| char::from(ALPHABET[rand::rng().random_range(0..32)])).collect();
    format!("{}-{tail}", now.0.format("BKG-%Y-%m%d-%H%M%S"))
}

/// Links the seats to their bookings and gives them their deadlines.
async fn link(
    conn: &mut PgConnection,
    rows: &[&NewRow],
    bookings: &HashMap<String, CreatedBooking>,
) -> Result<()> {
    let mut columns = (Vec::new(), Vec::new(), Vec::new(), Vec::new(), Vec::new(), Vec::new());
    for row in rows {
        for seat in &row.seats {
            let Some(booking) = bookings.get(&row.reference) else { continue };
            columns.0.push(booking.id);
            columns.1.push(seat.seat_id);
            columns.2.push(seat.price);
            columns.3.push(booking.expires_at);
            columns.4.push(seat.seat_type_id);
            columns.5.push(&seat.seat_label);
        }
    }
    let (ids, seats, prices, deadlines, types, labels) = columns;
    if ids.is_empty() {
        return Ok(());
    }
    sqlx::query!(
        "UPDATE seats s SET expires_at = kept.until, updated_at = now()
         FROM unnest($1::int[], $2::timestamptz[]) AS kept (seat_id, until) WHERE s.id = kept.seat_id",
        &seats as _,
        &deadlines as _,
    )
    .execute(&mut *conn)
    .await?;
    let linked = sqlx::query!(
        "INSERT INTO booking_seats (booking_id, seat_id, price_paid, event_seat_type_id, seat_label)
         SELECT * FROM unnest($1::int[], $2::int[], $3::numeric[], $4::int[], $5::text[])",
        &ids as _,
        &seats as _,
        &prices as _,
        &types as _,
        &labels as _,
    )
    .execute(conn)
    .await;
    match linked {
        // The Node service links seats without holding their rows.
        Err(error) if violated_constraint(&error) == Some("booking_seats_seat_key") => {
            Err(if rows.len() == 1 { Error::SeatsLinked } else { Error::Collision(error.into()) })
        }
        other => Ok(other.map(drop)?),
    }
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
