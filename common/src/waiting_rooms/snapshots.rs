//! What a process knows of all waiting rooms, looked up once a second, so that however many ask, one
//! statement answers.

use serde::Serialize;
use sqlx::PgConnection;
use utoipa::ToSchema;

use crate::{
    error::Result,
    types::{ids::EventId, statuses::RoomState, time::Timestamp, visibility::Visibility},
};

/// A waiting room, as everybody sees it.
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
pub struct Snapshot {
    pub event_id: EventId,
    pub state: RoomState,
    pub opens_at: Timestamp,
    /// The SHA-256 of the seed of the draw, in hexadecimal.
    pub commitment: String,
    pub drawn_at: Option<Timestamp>,
    /// How many wait, those who have left meanwhile included.
    pub waiting: i64,
    /// Whoever has this position or one before it has been called.
    pub called: i64,
    /// How many visitors are called in a minute at most, at present.
    pub calls_per_minute: i64,
    /// When seats of bookings that have ended are free again, if there are any: not before.
    pub seats_return_at: Option<Timestamp>,
    /// Whether there is no seat left that could still become free without a cancellation.
    pub sold_out: bool,
    #[serde(skip)]
    #[schema(ignore)]
    pub visibility: Visibility,
    /// How many may lock seats now.
    #[serde(skip)]
    #[schema(ignore)]
    pub shoppers: i64,
}

/// All rooms that are not closed, by event.
pub async fn snapshots(conn: &mut PgConnection) -> Result<Vec<Snapshot>> {
    let rows = sqlx::query!(
        r#"SELECT r.event_id AS "event: EventId", state AS "state: RoomState", opens_at AS "opens_at: Timestamp",
                  encode(commitment, 'hex') AS "commitment!", drawn_at AS "drawn_at: Timestamp", called,
                  CASE WHEN drawn_at IS NULL THEN early ELSE last_position - called END AS "waiting!", pace,
                  seats.free = 0 AND NOT EXISTS (
                      SELECT 1 FROM event_seat_types t JOIN seats s ON s.event_seat_type_id = t.id AND s.status = 'locked' WHERE t.event_id = r.event_id) AS "sold_out!",
                  (SELECT min(s.expires_at) FROM event_seat_types t JOIN seats s ON s.event_seat_type_id = t.id AND s.status = 'locked' AND s.user_id IS NULL
                   WHERE t.event_id = r.event_id) AS "seats_return_at: Timestamp",
                  shoppers.n AS "shoppers!", event_visibility(e) AS "visibility!: sqlx::types::Json<Visibility>"
           FROM waiting_rooms r JOIN events e ON e.id = r.event_id
           CROSS JOIN LATERAL (SELECT coalesce(sum(available_quantity), 0) AS free FROM event_seat_types t WHERE t.event_id = r.event_id) seats
           CROSS JOIN LATERAL (
               SELECT count(*) AS n FROM waiting_room_visitors v
               WHERE v.event_id = r.event_id AND called_at IS NOT NULL AND ended_at IS NULL AND window_ends_at > now()
           ) shoppers
           WHERE state <> 'closed'"#
    );
    let rooms = rows.fetch_all(conn).await?.into_iter().map(|row| Snapshot {
        event_id: row.event,
        state: row.state,
        opens_at: row.opens_at,
        commitment: row.commitment,
        drawn_at: row.drawn_at,
        waiting: row.waiting,
        called: row.called,
        calls_per_minute: row.pace.round() as i64,
        seats_return_at: row.seats_return_at,
        sold_out: row.sold_out,
        visibility: row.visibility.0,
        shoppers: row.shoppers,
    });
    Ok(rooms.collect())
}
