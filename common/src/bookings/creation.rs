//! Creating a booking from locked seats (docs/contract.md#bookings): who gets which. Its rows are in
//! [`new_bookings`](super::new_bookings); how it changes after that is in
//! [`changes`](super::changes) and [`cancellation`](super::cancellation).

use std::{
    collections::{HashMap, HashSet},
    time::Duration,
};

use sqlx::{PgConnection, PgPool};

use super::{
    broadcasts::BookingCreated,
    new_bookings::{
        Created, CreatedBooking, CreatedSeat, EventFacts, Held, LockedSeat, NewBooking, NewRow,
        Terms, Wanted, booked_events, insert, link, lock, lock_free, read_locked, reference,
    },
};
use crate::{
    config::Limit,
    error::{Error, Result},
    events::event::require_visible,
    jobs::{self, payments::ConfirmFreeBooking, wakeups},
    observability::{metrics, traces},
    realtime::{AfterCommit, Parties},
    seats::hints,
    storage::{groups::Groups, postgres::begin},
    types::{
        ids::{EventId, SeatId, UserId},
        money::Paise,
        seats::SeatKey,
        time::{Timestamp, in_words},
        visibility::Viewer,
    },
};

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
    let mut given = Given::default();
    let mut decided: Vec<Result<NewRow>> = Vec::with_capacity(wanted.len());
    for (number, wanted) in wanted.iter().enumerate() {
        let seats = seats.remove(&number).unwrap_or_default();
        decided.push(decide(wanted, events, seats, &mut given, terms));
    }
    let rows: Vec<&NewRow> = decided.iter().flatten().collect();
    let mut bookings = insert(conn, &rows, terms).await?;
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
        Ok(row.created(booking))
    });
    Ok(created.collect())
}

impl NewRow {
    /// The response, and what clients hear.
    fn created(self, booking: CreatedBooking) -> (Created, AfterCommit) {
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
        let parties = Parties {
            event,
            visibility: self.visibility,
            buyer: self.user,
            organiser: self.organiser,
        };
        let masked = full.masked();
        after.tell_of_booking(parties, full, masked);
        let created = Created {
            message: if payment_required {
                format!(
                    "Booking created successfully. Please complete payment within {}.",
                    in_words(valid(&booking))
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

/// The time that a booking's buyer has to pay: whole minutes, unless that is none.
fn valid(booking: &CreatedBooking) -> Duration {
    let valid = (booking.expires_at.0 - booking.booked_at.0).to_std().unwrap_or_default();
    match valid.as_secs() {
        seconds @ ..60 => Duration::from_secs(seconds),
        seconds => Duration::from_secs(seconds - seconds % 60),
    }
}

/// What the requests before have got, of several that are decided together.
#[derive(Default)]
struct Given {
    seats: HashSet<SeatId>,
    unpaid_bookings: HashMap<UserId, i64>,
}

/// What becomes of a request. The seats that it gets are `given` to no other.
fn decide(
    Wanted { user, new, trace }: &Wanted,
    events: &HashMap<EventId, EventFacts>,
    seats: Vec<LockedSeat>,
    given: &mut Given,
    Terms { chargeable, most_unpaid, .. }: Terms,
) -> Result<NewRow> {
    let facts = events.get(&new.event).ok_or(Error::EventNotFound)?;
    // Who has locked one of the seats knew of the event then.
    if seats.is_empty() {
        require_visible(facts.visibility, Viewer { user: Some(*user), code: new.code })?;
    }
    if facts.started {
        return Err(Error::EventStarted);
    }
    if !facts.on_sale {
        return Err(Error::EventNotOnSale);
    }
    if facts.unproved.contains(user) {
        return Err(Error::PhoneNotVerified);
    }
    let linked = |seat: &LockedSeat| seat.linked || given.seats.contains(&seat.seat.seat_id);
    if seats.iter().any(|seat| seat.live && linked(seat)) {
        return Err(Error::SeatsLinked);
    }
    if seats.iter().any(|seat| !seat.live) {
        return Err(Error::LockExpired);
    }
    if seats.len() < new.seats.len() {
        return Err(Error::SeatsNotLocked);
    }
    let first = seats.first().ok_or(Error::SeatsNotLocked)?;
    let unpaid = first.unpaid_bookings;
    let locked_at = seats.iter().map(|seat| seat.locked_at).fold(first.locked_at, Timestamp::min);
    let seats: Vec<CreatedSeat> = seats.into_iter().map(|seat| seat.seat).collect();
    let total = seats
        .iter()
        .try_fold(Paise::ZERO, |sum, seat| sum.checked_add(seat.price))
        .ok_or_else(|| Error::invalid("The booking's total is too large"))?;
    // No buyer is asked for an amount that they could not pay.
    chargeable.check_total(total)?;
    if total > Paise::ZERO {
        let made = given.unpaid_bookings.entry(*user).or_default();
        if unpaid + *made >= i64::from(most_unpaid) {
            metrics::rate_limited(Limit::UnpaidBookings);
            return Err(Error::UnpaidBookings(most_unpaid));
        }
        *made += 1;
    }
    given.seats.extend(seats.iter().map(|seat| seat.seat_id));
    Ok(NewRow {
        reference: reference(Timestamp::now()),
        user: *user,
        organiser: facts.organiser,
        visibility: facts.visibility,
        event: facts.event.clone(),
        seats,
        holders: new.holders.clone(),
        total,
        locked_at,
        trace: trace.clone(),
    })
}
