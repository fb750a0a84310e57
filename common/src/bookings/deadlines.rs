//! Deadlines that have passed, for whoever tidies up, and the next one that will. Nobody else looks
//! here: every query takes what has run out for free.

use std::time::Duration;

use sqlx::PgConnection;

use crate::{
    error::Result,
    types::ids::{BookingId, EventId, SeatTypeId},
};

/// What is passed over, because it could not be served a moment ago.
#[derive(Debug, Default)]
#[allow(missing_docs)]
pub struct Except {
    pub events: Vec<i32>,
    pub bookings: Vec<i32>,
    /// Of which no locks are freed.
    pub seat_types: Vec<i32>,
}

/// Unpaid bookings past their deadline, the oldest first.
pub async fn overdue_bookings(
    conn: &mut PgConnection,
    except: &Except,
    limit: i64,
) -> Result<Vec<(EventId, BookingId)>> {
    let rows = sqlx::query!(
        "SELECT id, event_id FROM bookings
         WHERE status = 'pending' AND expires_at <= now() AND event_id <> ALL ($1) AND id <> ALL ($2)
         ORDER BY expires_at LIMIT $3",
        &except.events,
        &except.bookings,
        limit,
    )
    .fetch_all(conn)
    .await?;
    Ok(rows.into_iter().map(|row| (EventId(row.event_id), BookingId(row.id))).collect())
}

/// The seat types of the locks that have run out first, of so many as `limit`.
pub async fn expired_locks(
    conn: &mut PgConnection,
    except: &Except,
    limit: i64,
) -> Result<Vec<(EventId, SeatTypeId)>> {
    let rows = sqlx::query!(
        "SELECT DISTINCT event_id, event_seat_type_id FROM (
             SELECT event_id, event_seat_type_id FROM seats
             WHERE status = 'locked' AND expires_at <= now() AND event_id <> ALL ($1) AND event_seat_type_id <> ALL ($2)
             ORDER BY expires_at LIMIT $3) oldest
         ORDER BY event_id, event_seat_type_id",
        &except.events,
        &except.seat_types,
        limit,
    )
    .fetch_all(conn)
    .await?;
    Ok(rows
        .into_iter()
        .map(|row| (EventId(row.event_id), SeatTypeId(row.event_seat_type_id)))
        .collect())
}

/// How long until the next lock or unpaid booking runs out, if there is one.
pub async fn next(conn: &mut PgConnection, except: &Except) -> Result<Option<Duration>> {
    let next = sqlx::query_scalar!(
        "SELECT extract(epoch FROM least(
             (SELECT min(expires_at) FROM seats
              WHERE status = 'locked' AND event_id <> ALL ($1) AND event_seat_type_id <> ALL ($3)),
             (SELECT min(expires_at) FROM bookings
              WHERE status = 'pending' AND event_id <> ALL ($1) AND id <> ALL ($2))) - clock_timestamp())::float8",
        &except.events,
        &except.bookings,
        &except.seat_types,
    )
    .fetch_one(conn)
    .await?;
    Ok(next.map(|seconds| Duration::try_from_secs_f64(seconds.max(0.0)).unwrap_or(Duration::MAX)))
}
