//! The deadlines that have passed, and the next one, for the expiry worker. Other queries do not
//! need this module: they treat expired locks as free seats.

use std::time::Duration;

use sqlx::PgConnection;

use crate::{
    error::Result,
    types::ids::{BookingId, EventId, SeatTypeId},
};

/// What the worker passes over because it could not serve it a moment ago.
#[derive(Debug, Default)]
pub struct Except {
    pub events: Vec<EventId>,
    pub bookings: Vec<BookingId>,
    /// Seat types whose locks are not freed.
    pub seat_types: Vec<SeatTypeId>,
}

/// Unpaid bookings past their deadline, the oldest first.
pub async fn overdue_bookings(
    conn: &mut PgConnection,
    except: &Except,
    limit: i64,
) -> Result<Vec<(EventId, BookingId)>> {
    let rows = sqlx::query!(
        r#"SELECT id AS "id: BookingId", event_id AS "event_id: EventId" FROM bookings
           WHERE status = 'pending' AND expires_at <= now() AND event_id <> ALL ($1) AND id <> ALL ($2)
           ORDER BY expires_at LIMIT $3"#,
        &except.events as _,
        &except.bookings as _,
        limit,
    )
    .fetch_all(conn)
    .await?;
    Ok(rows.into_iter().map(|row| (row.event_id, row.id)).collect())
}

/// Up to `limit` seat types, those whose locks expired first.
pub async fn expired_locks(
    conn: &mut PgConnection,
    except: &Except,
    limit: i64,
) -> Result<Vec<(EventId, SeatTypeId)>> {
    let rows = sqlx::query!(
        r#"SELECT DISTINCT event_id AS "event_id: EventId", event_seat_type_id AS "seat_type: SeatTypeId" FROM (
               SELECT event_id, event_seat_type_id FROM seats
               WHERE status = 'locked' AND expires_at <= now() AND event_id <> ALL ($1) AND event_seat_type_id <> ALL ($2)
               ORDER BY expires_at LIMIT $3) oldest
           ORDER BY 1, 2"#,
        &except.events as _,
        &except.seat_types as _,
        limit,
    )
    .fetch_all(conn)
    .await?;
    Ok(rows.into_iter().map(|row| (row.event_id, row.seat_type)).collect())
}

/// How long until the next lock or unpaid booking expires; `None` if there is none.
pub async fn next(conn: &mut PgConnection, except: &Except) -> Result<Option<Duration>> {
    let next = sqlx::query_scalar!(
        "SELECT extract(epoch FROM least(
             (SELECT min(expires_at) FROM seats
              WHERE status = 'locked' AND event_id <> ALL ($1) AND event_seat_type_id <> ALL ($3)),
             (SELECT min(expires_at) FROM bookings
              WHERE status = 'pending' AND event_id <> ALL ($1) AND id <> ALL ($2))) - clock_timestamp())::float8",
        &except.events as _,
        &except.bookings as _,
        &except.seat_types as _,
    )
    .fetch_one(conn)
    .await?;
    Ok(next.map(|seconds| Duration::try_from_secs_f64(seconds.max(0.0)).unwrap_or(Duration::MAX)))
}
