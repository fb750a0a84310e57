//! New bookings: what is asked for, what is answered, and their rows. Who gets which seats is
//! decided in [`creation`](super::creation).

use std::{
    collections::{BTreeMap, BTreeSet, HashMap, HashSet},
    time::Duration,
};

use rand::RngExt;
use serde::Serialize;
use sqlx::{PgConnection, types::Json};
use utoipa::ToSchema;

use crate::{
    config::Chargeable,
    error::{Error, Result, violated_constraint},
    seats::unpaid,
    storage::postgres,
    tickets::holders::{Details, Holder},
    types::{
        ids::{BookingId, EventId, SeatId, SeatTypeId, UserId},
        money::Paise,
        seats::SeatLabel,
        statuses::{BookingStatus, PaymentStatus},
        time::Timestamp,
        time_zone::TimeZone,
        visibility::{ShareCode, Visibility},
    },
};

/// A request for a booking; every rule is checked.
#[derive(Clone, Debug)]
pub struct NewBooking {
    pub event: EventId,
    /// The seats; each once.
    pub seats: BTreeSet<(SeatTypeId, SeatLabel)>,
    /// Who sits on some of them.
    pub holders: BTreeMap<(SeatTypeId, SeatLabel), Holder>,
    /// The share code that the user has shown, if the event is private.
    pub code: Option<ShareCode>,
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
    pub time_zone: TimeZone,
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
    /// How long seats can have been locked before without shortening that.
    pub lock: Duration,
    /// The unpaid bookings that a user may have.
    pub most_unpaid: u32,
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

/// A booking that is about to be inserted.
pub(super) struct NewRow {
    pub(super) reference: String,
    pub(super) user: UserId,
    pub(super) organiser: UserId,
    pub(super) visibility: Visibility,
    pub(super) event: BookedEvent,
    pub(super) seats: Vec<CreatedSeat>,
    pub(super) holders: BTreeMap<(SeatTypeId, SeatLabel), Holder>,
    pub(super) total: Paise,
    /// When the first of its seats was locked.
    pub(super) locked_at: Timestamp,
    pub(super) trace: Option<String>,
}

/// An event on which bookings are wanted.
pub(super) struct EventFacts {
    pub(super) event: BookedEvent,
    pub(super) organiser: UserId,
    /// Who may know of it.
    pub(super) visibility: Visibility,
    pub(super) on_sale: bool,
    pub(super) started: bool,
    /// Those who may not book it, because they have proved no phone.
    pub(super) unproved: HashSet<UserId>,
}

/// A wanted seat whose row this transaction has locked.
pub(super) struct LockedSeat {
    pub(super) seat: CreatedSeat,
    /// Its lock has not run out.
    pub(super) live: bool,
    /// It is in a booking.
    pub(super) linked: bool,
    pub(super) locked_at: Timestamp,
    /// The bookings for which its user has still to pay.
    pub(super) unpaid_bookings: i64,
}

/// The events, which cannot be deleted until this transaction ends.
pub(super) async fn booked_events(
    conn: &mut PgConnection,
    wanted: &[Wanted],
) -> Result<HashMap<EventId, EventFacts>> {
    let ids: BTreeSet<EventId> = wanted.iter().map(|wanted| wanted.new.event).collect();
    let ids = Vec::from_iter(ids);
    let users: Vec<UserId> = wanted.iter().map(|wanted| wanted.user).collect();
    let rows = sqlx::query!(
        r#"SELECT id AS "id: EventId", name, description, start_date, end_date, time_zone AS "time_zone: TimeZone", location, venue_name, image_url,
                  organizer_id AS "organizer_id: UserId", status = 'published' AND taken_down_at IS NULL AS "on_sale!", start_date <= clock_timestamp() AS "started!",
                  event_visibility(events) AS "visibility!: Json<Visibility>",
                  ARRAY(SELECT u.id FROM users u WHERE events.require_verified_phone AND u.id = ANY ($2)
                        AND (u.phone IS NULL OR u.phone_verified_at IS NULL)) AS "unproved!: Vec<UserId>"
           FROM events WHERE id = ANY ($1) ORDER BY id FOR KEY SHARE OF events"#,
        &ids as _,
        &users as _,
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
            time_zone: row.time_zone,
            location: row.location,
            venue_name: row.venue_name,
            image_url: row.image_url,
        };
        let facts = EventFacts {
            event,
            organiser: row.organizer_id,
            visibility: row.visibility.0,
            on_sale: row.on_sale,
            started: row.started,
            unproved: row.unproved.into_iter().collect(),
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
pub(super) type Held = (i32, SeatId);

/// Locks the wanted seats that their users have, and keeps their types from being deleted; then the
/// accounts of these users, who book nothing else meanwhile.
pub(super) async fn lock(conn: &mut PgConnection, wanted: &[Wanted]) -> Result<Vec<Held>> {
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
    .fetch_all(&mut *conn)
    .await?;
    unpaid::lock_accounts(conn, &users).await?;
    Ok(held.into_iter().map(|row| (row.number, row.id)).collect())
}

/// The same for those that no other transaction holds, their events included; waits for nothing. Who
/// has locked seats has a row in `seat_holders`, unless the Node service did it.
pub(super) async fn lock_free(conn: &mut PgConnection, wanted: &[Wanted]) -> Result<Vec<Held>> {
    let (numbers, events, users, types, labels) = columns(wanted)?;
    let held = sqlx::query!(
        r#"SELECT wanted.number AS "number!", s.id AS "id: SeatId"
           FROM unnest($1::int[], $2::int[], $3::int[], $4::int[], $5::text[]) AS wanted (number, event_id, user_id, seat_type, label)
           JOIN seats s ON s.event_seat_type_id = wanted.seat_type AND s.seat_label = wanted.label
           JOIN event_seat_types t ON t.id = s.event_seat_type_id JOIN events e ON e.id = s.event_id
           JOIN seat_holders h ON h.user_id = s.user_id
           WHERE s.event_id = wanted.event_id AND s.user_id = wanted.user_id
           ORDER BY s.id FOR UPDATE OF s, h SKIP LOCKED FOR KEY SHARE OF t, e SKIP LOCKED"#,
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
pub(super) async fn read_locked(
    conn: &mut PgConnection,
    held: Vec<Held>,
) -> Result<HashMap<usize, Vec<LockedSeat>>> {
    let (numbers, ids): (Vec<i32>, Vec<SeatId>) = held.into_iter().unzip();
    let rows = sqlx::query!(
        r#"SELECT held.number AS "number!", s.id AS "seat_id: SeatId", s.seat_label AS "seat_label: SeatLabel",
                  t.id AS "seat_type_id: SeatTypeId", t.name AS seat_type_name, t.price AS "price: Paise",
                  s.status = 'locked' AND s.expires_at > statement_timestamp() AS "live!",
                  EXISTS (SELECT 1 FROM booking_seats bs WHERE bs.seat_id = s.id) AS "linked!",
                  coalesce(s.locked_at, statement_timestamp()) AS "locked_at!",
                  (SELECT count(*) FROM bookings b WHERE b.user_id = s.user_id AND b.status NOT IN ('confirmed', 'cancelled', 'expired') AND b.total_amount > 0
                       AND b.expires_at > statement_timestamp()) AS "unpaid_bookings!"
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
        let seat = LockedSeat {
            seat,
            live: row.live,
            linked: row.linked,
            locked_at: row.locked_at.into(),
            unpaid_bookings: row.unpaid_bookings,
        };
        locked.entry(number).or_default().push(seat);
    }
    Ok(locked)
}

/// The least time that a buyer has to pay, however long the seats were locked before.
const LEAST: Duration = Duration::from_secs(5 * 60);

/// Inserts bookings; returns them by reference. A booking has `valid` to be paid, but what its seats
/// were locked for longer than `lock` before is taken off that.
pub(super) async fn insert(
    conn: &mut PgConnection,
    rows: &[&NewRow],
    Terms { valid, lock, .. }: Terms,
) -> Result<HashMap<String, CreatedBooking>> {
    if rows.is_empty() {
        return Ok(HashMap::new());
    }
    let references: Vec<&str> = rows.iter().map(|row| row.reference.as_str()).collect();
    let events: Vec<EventId> = rows.iter().map(|row| row.event.id).collect();
    let users: Vec<UserId> = rows.iter().map(|row| row.user).collect();
    let totals: Vec<Paise> = rows.iter().map(|row| row.total).collect();
    let locked: Vec<Timestamp> = rows.iter().map(|row| row.locked_at).collect();
    let bookings = sqlx::query_as!(
        CreatedBooking,
        r#"INSERT INTO bookings (booking_reference, event_id, user_id, total_amount, booked_at, expires_at, orders_are_marked, installation)
           SELECT reference, event_id, user_id, total, now(), least(now() + $5::interval, greatest(locked_at + $7::interval + $5::interval, now() + $8::interval)),
                  TRUE, (SELECT id FROM installation)
           FROM unnest($1::text[], $2::int[], $3::int[], $4::numeric[], $6::timestamptz[]) AS new (reference, event_id, user_id, total, locked_at)
           RETURNING id, booking_reference, event_id, user_id, total_amount AS "total_amount: _", status AS "status: _",
                     payment_status AS "payment_status: _", booked_at AS "booked_at!", expires_at AS "expires_at!""#,
        &references as &[&str],
        &events as _,
        &users as _,
        &totals as _,
        postgres::interval(valid)?,
        &locked as _,
        postgres::interval(lock)?,
        postgres::interval(LEAST)?,
    )
    .fetch_all(conn)
    .await?;
    Ok(bookings.into_iter().map(|booking| (booking.booking_reference.clone(), booking)).collect())
}

/// `BKG-YYYY-MMDD-HHMMSS-` and eight random characters: 40 bits, so that references neither collide
/// nor can be guessed.
pub(super) fn reference(now: Timestamp) -> String {
    const ALPHABET: &[u8; 32] = b"ABCDEFGHJKLMNPQRSTUVWXYZ23456789";
    let tail: String =
        (0..8).map(|_| char::from(ALPHABET[rand::rng().random_range(0..32)])).collect();
    format!("{}-{tail}", now.0.format("BKG-%Y-%m%d-%H%M%S"))
}

/// Links the seats to their bookings and gives them their deadlines.
pub(super) async fn link(
    conn: &mut PgConnection,
    rows: &[&NewRow],
    bookings: &HashMap<String, CreatedBooking>,
) -> Result<()> {
    let mut columns = (vec![], vec![], vec![], vec![], vec![], vec![], vec![], vec![]);
    for row in rows {
        for seat in &row.seats {
            let Some(booking) = bookings.get(&row.reference) else { continue };
            columns.0.push(booking.id);
            columns.1.push(seat.seat_id);
            columns.2.push(seat.price);
            columns.3.push(booking.expires_at);
            columns.4.push(seat.seat_type_id);
            columns.5.push(&seat.seat_label);
            let key = || (seat.seat_type_id, seat.seat_label.clone());
            let is_named = !row.holders.is_empty();
            let holder = is_named.then(|| row.holders.get(&key())).flatten();
            columns.6.push(holder.and_then(|holder| holder.name.as_deref()));
            columns.7.push(holder.and_then(|holder| holder.details.as_ref()).map(Details::as_json));
        }
    }
    let (ids, seats, prices, deadlines, types, labels, names, details) = columns;
    if ids.is_empty() {
        return Ok(());
    }
    let linked = sqlx::query!(
        "WITH kept AS (
             UPDATE seats s SET expires_at = kept.until, updated_at = now()
             FROM unnest($2::int[], $6::timestamptz[]) AS kept (seat_id, until) WHERE s.id = kept.seat_id
         )
         INSERT INTO booking_seats (booking_id, seat_id, price_paid, event_seat_type_id, seat_label, holder_name, holder_details)
         SELECT booking_id, seat_id, price, type_id, label, holder_name, holder_details::jsonb
         FROM unnest($1::int[], $2::int[], $3::numeric[], $4::int[], $5::text[], $7::text[], $8::text[])
             AS new (booking_id, seat_id, price, type_id, label, holder_name, holder_details)",
        &ids as _,
        &seats as _,
        &prices as _,
        &types as _,
        &labels as _,
        &deadlines as _,
        &names as &[Option<&str>],
        &details as &[Option<&str>],
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
