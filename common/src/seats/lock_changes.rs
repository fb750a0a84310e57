//! What the holder of a lock may do with it before booking: give it back, or keep it longer.
//! [`locks`](super::locks) grants locks.

use std::time::Duration;

use sqlx::PgConnection;

use super::{
    freeing::{self, Freed},
    lock::Lock,
    unpaid::End,
};
use crate::{
    error::{Error, Result},
    events::inventory,
    storage::postgres,
    types::{
        ids::{SeatId, UserId},
        seats::SeatKey,
        statuses::SeatStatus,
        time::Timestamp,
    },
};

/// The longest time that a seat stays locked, however often its holder extends the lock.
pub const LONGEST: Duration = Duration::from_secs(20 * 60);

/// Gives back one of `user`'s locks.
pub async fn release(conn: &mut PgConnection, user: UserId, seat: &SeatKey) -> Result<Freed> {
    let OwnLock { id, .. } = own_lock(conn, user, seat).await?;
    let freed = freeing::free(conn, &[id], End::Released).await?;
    freed.into_iter().next().ok_or_else(|| Error::internal("a lock vanished while it was released"))
}

/// Extends one of `user`'s locks to `valid` from now, within [`LONGEST`]; also returns the new
/// deadline.
pub async fn extend(
    conn: &mut PgConnection,
    user: UserId,
    seat: &SeatKey,
    valid: Duration,
) -> Result<(Lock, Timestamp)> {
    let OwnLock { id, on_sale } = own_lock(conn, user, seat).await?;
    if !on_sale {
        return Err(Error::EventNotOnSale);
    }
    let row = sqlx::query!(
        r#"UPDATE seats SET expires_at = greatest(expires_at, least(clock_timestamp() + $2::interval, locked_at + $3::interval)),
                  updated_at = now()
           WHERE id = $1 AND expires_at < locked_at + $3::interval
           RETURNING locked_at AS "locked_at!", expires_at AS "expires_at!", clock_timestamp() AS "now!""#,
        id as _,
        postgres::interval(valid)?,
        postgres::interval(LONGEST)?,
    )
    .fetch_optional(conn)
    .await?
    .ok_or_else(|| Error::LockLimit(seat.label.to_string()))?;
    let lock = Lock {
        id,
        event_id: seat.event,
        event_seat_type_id: seat.seat_type,
        seat_label: seat.label.clone(),
        user_id: user,
        status: SeatStatus::Locked,
        locked_at: row.locked_at.into(),
        expires_at: row.expires_at.into(),
    };
    Ok((lock, row.now.into()))
}

/// A user's live lock.
struct OwnLock {
    id: SeatId,
    /// Its event is published, and has not started: the seat can still be booked.
    on_sale: bool,
}

/// A live lock of `user` that no booking has taken over, with the event's inventory locked and the
/// row locked.
async fn own_lock(conn: &mut PgConnection, user: UserId, seat: &SeatKey) -> Result<OwnLock> {
    inventory::lock_inventory(conn, &[seat.event]).await?;
    // Lock the row first, which a transaction that creates a booking holds, and look second: a
    // single statement would decide by what it saw before the wait.
    let id = sqlx::query_scalar!(
        r#"SELECT id AS "id: SeatId" FROM seats
           WHERE event_id = $1 AND event_seat_type_id = $2 AND seat_label = $3 AND user_id = $4 FOR UPDATE"#,
        seat.event as _,
        seat.seat_type as _,
        &seat.label as _,
        user as _,
    )
    .fetch_optional(&mut *conn)
    .await?
    .ok_or_else(|| Error::LockNotFound(seat.label.to_string()))?;
    let row = sqlx::query!(
        r#"SELECT s.status = 'booked' OR EXISTS (SELECT 1 FROM booking_seats bs WHERE bs.seat_id = s.id) AS "in_booking!",
                  s.expires_at <= clock_timestamp() AS "expired!",
                  e.status = 'published' AND e.taken_down_at IS NULL AND e.start_date > clock_timestamp() AS "on_sale!"
           FROM seats s JOIN events e ON e.id = s.event_id WHERE s.id = $1"#,
        id as _,
    )
    .fetch_one(conn)
    .await?;
    if row.in_booking {
        Err(Error::SeatInBooking(seat.label.to_string()))
    } else if row.expired {
        Err(Error::LockExpired)
    } else {
        Ok(OwnLock { id, on_sale: row.on_sale })
    }
}
