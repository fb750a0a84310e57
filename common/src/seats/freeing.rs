//! How seats become free: their rows are deleted, and the `available_quantity` of their types
//! counts them again.
//!
//! Every change of an event's inventory begins with
//! [`lock_inventory`](crate::events::inventory::lock_inventory), which makes one transaction at a
//! time the owner of its counts. How a lock is won is in [`locks`](super::locks).

use std::collections::{BTreeMap, HashMap, HashSet};

use sqlx::{PgConnection, types::Json};

use super::unpaid::End;
use crate::{
    error::{Error, Result},
    types::{
        ids::{BookingId, EventId, NetworkHash, SeatId, SeatTypeId, UserId},
        seats::{SeatKey, SeatLabel},
        visibility::Visibility,
    },
};

/// A seat that was freed.
#[derive(Clone, Debug)]
pub struct Freed {
    pub key: SeatKey,
    pub holder: Option<UserId>,
    /// The seat type's count now.
    pub available_quantity: i32,
    /// The version of the event's counts now.
    pub version: i64,
    /// Who may know of the event.
    pub visibility: Visibility,
}

/// Frees seats whose lock has expired: those that are `named`, and of each seat type the longest
/// expired, as many as `room` says. Never more, however many have expired: the expiry worker
/// handles the rest, and their bookings. The caller has locked the inventory.
///
/// A seat whose row another transaction has locked is being booked or extended: it stays until the
/// next call.
pub async fn free_expired(
    conn: &mut PgConnection,
    named: &[(SeatTypeId, SeatLabel)],
    room: &BTreeMap<SeatTypeId, usize>,
) -> Result<Vec<Freed>> {
    let (named_types, labels): (Vec<SeatTypeId>, Vec<&SeatLabel>) =
        named.iter().map(|(seat_type, label)| (*seat_type, label)).unzip();
    let (types, counts): (Vec<SeatTypeId>, Vec<i64>) =
        room.iter().map(|(id, count)| (*id, *count as i64)).unzip();
    // The statement's time: the transaction's may lie seconds back, before it waited for the
    // inventory.
    let gone = sqlx::query_as!(
        Gone,
        r#"WITH named AS (
             SELECT s.id FROM unnest($1::int[], $2::text[]) AS wanted (seat_type, label)
             JOIN seats s ON s.event_seat_type_id = wanted.seat_type AND s.seat_label = wanted.label
             WHERE s.status = 'locked' AND s.expires_at <= statement_timestamp()
             FOR UPDATE OF s SKIP LOCKED
         ), longest AS (
             SELECT expired.id FROM unnest($3::int[], $4::bigint[]) AS room (seat_type, count), LATERAL (
                 SELECT id FROM seats
                 WHERE event_seat_type_id = room.seat_type AND status = 'locked' AND expires_at <= statement_timestamp()
                 ORDER BY expires_at LIMIT room.count
                 FOR UPDATE SKIP LOCKED) expired
         )
         DELETE FROM seats
         WHERE id IN (SELECT id FROM named UNION ALL SELECT id FROM longest)
           AND status = 'locked' AND expires_at <= statement_timestamp()
         RETURNING event_id, event_seat_type_id, seat_label AS "seat_label: _", user_id AS "user_id: _", network AS "network: _",
                   extract(epoch FROM expires_at - locked_at)::bigint AS unpaid_seconds,
                   (SELECT booking_id FROM booking_seats bs WHERE bs.seat_id = seats.id) AS "booking_id: _", FALSE AS "is_kept_back!""#,
        &named_types as _,
        &labels as _,
        &types as _,
        &counts,
    )
    .fetch_all(&mut *conn)
    .await?;
    count_freed(conn, gone, End::Unpaid).await
}

/// Frees seats by row id. The caller has locked the inventory, and holds the rows that decide about
/// these seats: their own, or their booking's.
pub async fn free(conn: &mut PgConnection, seats: &[SeatId], end: End) -> Result<Vec<Freed>> {
    let gone = delete(conn, seats).await?;
    count_freed(conn, gone, end).await
}

/// The same for the seats of a booking that has ended. Where the event has a waiting room that is
/// open, they stay locked, by nobody, until the next moment at which its seats return: nobody gains
/// by asking for them all the time. The expiry worker frees them then.
pub async fn give_back(conn: &mut PgConnection, seats: &[SeatId], end: End) -> Result<Vec<Freed>> {
    let mut gone = delete(conn, seats).await?;
    let later = keep_back(conn, &gone).await?;
    for seat in &mut gone {
        let place = (seat.event_seat_type_id, seat.seat_label.clone());
        seat.is_kept_back = later.contains(&place);
    }
    count_freed(conn, gone, end).await
}

/// Locks, for nobody, those of the seats that return later.
async fn keep_back(
    conn: &mut PgConnection,
    gone: &[Gone],
) -> Result<HashSet<(SeatTypeId, SeatLabel)>> {
    let events: Vec<EventId> = gone.iter().map(|seat| seat.event_id).collect();
    let types: Vec<SeatTypeId> = gone.iter().map(|seat| seat.event_seat_type_id).collect();
    let labels: Vec<&SeatLabel> = gone.iter().map(|seat| &seat.seat_label).collect();
    let later = sqlx::query!(
        r#"INSERT INTO seats (event_id, event_seat_type_id, seat_label, status, locked_at, expires_at)
           SELECT gone.event_id, gone.seat_type, gone.label, 'locked', clock_timestamp(),
                  to_timestamp(ceil(extract(epoch FROM clock_timestamp()) / returns_every_seconds) * returns_every_seconds)
           FROM unnest($1::int[], $2::int[], $3::text[]) AS gone (event_id, seat_type, label)
           JOIN waiting_rooms r ON r.event_id = gone.event_id AND r.state IN ('open', 'paused') AND returns_every_seconds > 0
           RETURNING event_seat_type_id AS "seat_type: SeatTypeId", seat_label AS "label: SeatLabel""#,
        &events as _,
        &types as _,
        &labels as _,
    );
    let later = later.fetch_all(conn).await?.into_iter();
    Ok(later.map(|seat| (seat.seat_type, seat.label)).collect())
}

/// Frees those of the seats, wherever they are locked by nobody until they return.
pub async fn free_kept_back(
    conn: &mut PgConnection,
    seats: &[(SeatTypeId, SeatLabel)],
) -> Result<Vec<Freed>> {
    let (types, labels): (Vec<SeatTypeId>, Vec<&SeatLabel>) =
        seats.iter().map(|(seat_type, label)| (*seat_type, label)).unzip();
    let kept = sqlx::query_scalar!(
        r#"SELECT s.id AS "id: SeatId" FROM unnest($1::int[], $2::text[]) AS wanted (seat_type, label)
           JOIN seats s ON s.event_seat_type_id = wanted.seat_type AND s.seat_label = wanted.label
           WHERE s.status = 'locked' AND s.user_id IS NULL"#,
        &types as _,
        &labels as _,
    );
    let kept = kept.fetch_all(&mut *conn).await?;
    free(conn, &kept, End::Excused).await
}

async fn delete(conn: &mut PgConnection, seats: &[SeatId]) -> Result<Vec<Gone>> {
    let gone = sqlx::query_as!(
        Gone,
        r#"DELETE FROM seats WHERE id IN (SELECT id FROM seats WHERE id = ANY ($1) ORDER BY id FOR UPDATE)
           RETURNING event_id, event_seat_type_id, seat_label AS "seat_label: _", user_id AS "user_id: _", network AS "network: _",
                     CASE status WHEN 'locked' THEN extract(epoch FROM least(expires_at, clock_timestamp()) - locked_at)::bigint END AS unpaid_seconds,
                     (SELECT booking_id FROM booking_seats bs WHERE bs.seat_id = seats.id) AS "booking_id: _", FALSE AS "is_kept_back!""#,
        seats as _,
    );
    Ok(gone.fetch_all(conn).await?)
}

/// Frees all locked seats of an event, but no booked ones. The caller has locked the inventory.
pub async fn free_locked(conn: &mut PgConnection, event: EventId) -> Result<Vec<Freed>> {
    let gone = sqlx::query_as!(
        Gone,
        r#"DELETE FROM seats WHERE event_id = $1 AND status = 'locked'
           RETURNING event_id, event_seat_type_id, seat_label AS "seat_label: _", user_id AS "user_id: _", network AS "network: _",
                     NULL::bigint AS unpaid_seconds, NULL::integer AS "booking_id: _", FALSE AS "is_kept_back!""#,
        event as _,
    )
    .fetch_all(&mut *conn)
    .await?;
    count_freed(conn, gone, End::Excused).await
}

/// A row of `seats` that has been deleted.
struct Gone {
    event_id: EventId,
    event_seat_type_id: SeatTypeId,
    seat_label: SeatLabel,
    user_id: Option<UserId>,
    network: Option<NetworkHash>,
    /// How long it was held, unless it was paid for.
    unpaid_seconds: Option<i64>,
    /// The booking that it was in.
    booking_id: Option<BookingId>,
    /// Whether it is locked again, by nobody, and not free.
    is_kept_back: bool,
}

/// The least that a seat counts for its user which was held and not paid for. It bounds the rows of
/// who locks and releases without end: see [`unpaid`](super::unpaid).
const LEAST_SECONDS: i64 = 60;

/// Adds deleted seats to the counts again, but for those that return later, and to what their holders have not paid for.
async fn count_freed(conn: &mut PgConnection, gone: Vec<Gone>, end: End) -> Result<Vec<Freed>> {
    if gone.is_empty() {
        return Ok(vec![]);
    }
    let free = gone.iter().filter(|seat| !seat.is_kept_back);
    let types: Vec<SeatTypeId> = free.map(|seat| seat.event_seat_type_id).collect();
    let unpaid = gone
        .iter()
        .filter(|_| !matches!(end, End::Excused))
        .filter_map(|seat| Some((seat.user_id?, seat, seat.unpaid_seconds?)));
    let unpaid: Vec<_> = unpaid.collect();
    let holders: Vec<UserId> = unpaid.iter().map(|(holder, ..)| *holder).collect();
    let events: Vec<EventId> = unpaid.iter().map(|(_, seat, _)| seat.event_id).collect();
    let bookings: Vec<Option<BookingId>> =
        unpaid.iter().map(|(_, seat, _)| seat.booking_id).collect();
    let networks: Vec<Option<NetworkHash>> =
        unpaid.iter().map(|(_, seat, _)| seat.network).collect();
    let seconds: Vec<i64> = unpaid.iter().map(|(.., seconds)| *seconds).collect();
    // A booking ends once, whoever takes its seats away, and so do locks that run out one after the
    // other, because their holder has gone. Who cannot pay, because the organiser or an operator has
    // taken the event off sale, is not blamed for that.
    let counts = sqlx::query!(
        r#"WITH unpaid AS (
               INSERT INTO unpaid_holds (user_id, booking_id, network, held_seconds, seat_seconds, is_ending)
               SELECT held.user_id, held.booking_id, held.network, sum(held.seconds), sum(greatest(held.seconds, $8)),
                      $5 AND row_number() OVER (PARTITION BY held.user_id, held.booking_id) = 1 AND NOT EXISTS (
                   SELECT 1 FROM unpaid_holds earlier WHERE earlier.user_id = held.user_id AND earlier.is_ending
                       AND CASE WHEN held.booking_id IS NULL THEN earlier.ended_at > clock_timestamp() - interval '10 minutes'
                                ELSE earlier.booking_id = held.booking_id END)
               FROM unnest($2::int[], $3::int[], $4::bigint[], $6::int[], $7::bigint[]) AS held (user_id, booking_id, seconds, event_id, network)
               JOIN events e ON e.id = held.event_id AND e.status = 'published' AND e.taken_down_at IS NULL
               GROUP BY held.user_id, held.booking_id, held.network
           )
           UPDATE event_seat_types t SET available_quantity = available_quantity + freed.n, updated_at = now()
           FROM (SELECT id, count(*)::integer AS n FROM unnest($1::int[]) id GROUP BY id) freed
           WHERE t.id = freed.id
           RETURNING t.id AS "id: SeatTypeId", t.available_quantity,
                     (SELECT version FROM event_inventory i WHERE i.event_id = t.event_id) AS "version!",
                     (SELECT event_visibility(e) FROM events e WHERE e.id = t.event_id) AS "visibility!: Json<Visibility>""#,
        &types as _,
        &holders as _,
        &bookings as _,
        &seconds,
        matches!(end, End::Unpaid),
        &events as _,
        &networks as _,
        LEAST_SECONDS,
    )
    .fetch_all(conn)
    .await?;
    let counts: HashMap<SeatTypeId, _> = counts.into_iter().map(|row| (row.id, row)).collect();
    let free = gone.into_iter().filter(|seat| !seat.is_kept_back);
    let freed = free.map(|seat| {
        let counted = counts.get(&seat.event_seat_type_id);
        let counted = counted.ok_or_else(|| Error::internal("a freed seat has no type"))?;
        Ok(Freed {
            available_quantity: counted.available_quantity,
            version: counted.version,
            visibility: counted.visibility.0,
            key: SeatKey {
                event: seat.event_id,
                seat_type: seat.event_seat_type_id,
                label: seat.seat_label,
            },
            holder: seat.user_id,
        })
    });
    let mut freed = freed.collect::<Result<Vec<_>>>()?;
    freed.sort_by(|a, b| a.key.cmp(&b.key));
    Ok(freed)
}

/// Whether a user holds or has booked the seat now.
pub async fn is_taken(conn: &mut PgConnection, seat: &SeatKey) -> Result<bool> {
    let taken = sqlx::query_scalar!(
        r#"SELECT EXISTS (
               SELECT 1 FROM seats WHERE event_seat_type_id = $1 AND seat_label = $2 AND (status = 'booked' OR expires_at > now())
           ) AS "taken!""#,
        seat.seat_type as _,
        &seat.label as _,
    )
    .fetch_one(conn)
    .await?;
    Ok(taken)
}
