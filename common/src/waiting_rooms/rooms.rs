//! Rooms, as their operators have them: announced, opened by the draw, paused, closed.

use std::time::Duration;

use chrono::{DateTime, Utc};
use serde::Serialize;
use serde_json::json;
use sqlx::PgConnection;
use utoipa::ToSchema;

use crate::{
    audit::{self, Action, Operator},
    error::{Error, Result, violated_constraint},
    jobs::{admin, expiry::CallVisitors},
    types::{ids::EventId, statuses::RoomState, time::Timestamp},
};

/// A waiting room, as its operators see it.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct Room {
    pub event_id: EventId,
    pub state: RoomState,
    pub opens_at: Timestamp,
    /// The SHA-256 of the seed of the draw, in hexadecimal.
    pub commitment: String,
    pub drawn_at: Option<Timestamp>,
    pub last_position: i64,
    pub called: i64,
    pub window_seconds: i32,
    pub most_shoppers: i32,
    pub most_calls: i32,
    /// Whether whoever joins needs a proved phone, and each phone has one place.
    pub needs_phone: bool,
    pub returns_every_seconds: i32,
    pub pace: f64,
}

/// What an operator decides. `None`: as it is, or usual.
#[derive(Clone, Copy, Debug, Default)]
pub struct Terms {
    pub opens_at: Option<DateTime<Utc>>,
    /// How long a called visitor may lock seats: a minute to an hour; usually ten minutes.
    pub window: Option<Duration>,
    /// How many may at once; usually 500.
    pub most_shoppers: Option<i32>,
    /// How many are called in a minute at most; usually 600.
    pub most_calls: Option<i32>,
    /// Whether whoever joins needs a proved phone; usually so.
    pub needs_phone: Option<bool>,
    /// How often the seats of bookings that have ended return: up to an hour, or zero for at once;
    /// usually five minutes.
    pub returns_every: Option<Duration>,
}

fn seconds(time: Option<Duration>) -> Result<Option<i32>> {
    let seconds = time.map(|time| time.as_secs().try_into());
    seconds.transpose().map_err(|_| Error::invalid(LIMITS))
}

const LIMITS: &str = "A window has 60 to 3600 seconds; seats return at once, or every 1 to 3600 \
                      seconds; 1 to 1000000 visitors shop at once, and as many are called in a minute";

/// Rules that a row of `waiting_rooms` breaks, in words.
fn refused(error: sqlx::Error) -> Error {
    match violated_constraint(&error) {
        Some("waiting_rooms_pkey") => Error::WaitingRoomExists,
        Some("waiting_rooms_event_id_fkey") => Error::EventNotFound,
        Some(_) => Error::invalid(LIMITS),
        None => error.into(),
    }
}

/// What an operator does.
#[derive(Clone, Copy, Debug)]
pub enum Act {
    /// Gives an event a waiting room, whose draw is at its opening.
    Announce(DateTime<Utc>, Terms),
    /// Changes the terms. After the draw, there is no other opening.
    Set(Terms),
    /// Draws now.
    OpenNow,
    /// Has nobody called until the room is resumed.
    Pause,
    /// Goes on where the room was paused.
    Resume,
    /// Sells the event to everybody from now on.
    Close,
}

/// Does that, and has it in the audit log. The caller commits.
pub async fn act(conn: &mut PgConnection, event: EventId, act: Act, by: Operator) -> Result<Room> {
    let room = match act {
        Act::Announce(opens_at, terms) => announce(conn, event, opens_at, terms).await?,
        Act::Set(terms) => change(conn, event, terms).await?,
        Act::OpenNow => {
            let now = Terms { opens_at: Some(Utc::now()), ..Terms::default() };
            change(conn, event, now).await?
        }
        Act::Pause => go(conn, event, RoomState::Open, RoomState::Paused).await?,
        Act::Resume => go(conn, event, RoomState::Paused, RoomState::Open).await?,
        Act::Close => close(conn, event).await?,
    };
    let action = match act {
        Act::Announce(..) => Action::WaitingRoomAnnounced,
        _ => Action::WaitingRoomChanged,
    };
    audit::record(conn, action, by.user(), event, json!(room)).await?;
    Ok(room)
}

/// The seed is made here, and only its hash is seen before the draw.
async fn announce(
    conn: &mut PgConnection,
    event: EventId,
    opens_at: DateTime<Utc>,
    terms: Terms,
) -> Result<Room> {
    let ends = sqlx::query_scalar!(
        "SELECT end_date FROM events WHERE id = $1 AND status IN ('draft', 'published')",
        event as _
    );
    let ends = ends.fetch_optional(&mut *conn).await?.ok_or(Error::EventNotFound)?;
    if opens_at >= ends {
        return Err(Error::invalid("A waiting room opens before its event is over"));
    }
    let seed: [u8; 32] = rand::random();
    sqlx::query!(
        "INSERT INTO waiting_rooms (event_id, opens_at, seed, window_seconds, most_shoppers, most_calls, pace, needs_phone, returns_every_seconds)
         VALUES ($1, $2, $3, coalesce($4, 600), coalesce($5, 500), coalesce($6, 600), coalesce($6, 600), coalesce($7, TRUE), coalesce($8, 300))",
        event as _,
        opens_at,
        &seed,
        seconds(terms.window)?,
        terms.most_shoppers,
        terms.most_calls,
        terms.needs_phone,
        seconds(terms.returns_every)?,
    )
    .execute(&mut *conn)
    .await
    .map_err(refused)?;
    admin::make_due::<CallVisitors>(conn).await?;
    room(conn, event).await
}

async fn change(conn: &mut PgConnection, event: EventId, terms: Terms) -> Result<Room> {
    let changed = sqlx::query!(
        "UPDATE waiting_rooms SET opens_at = CASE WHEN drawn_at IS NULL THEN coalesce($2, opens_at) ELSE opens_at END,
                window_seconds = coalesce($3, window_seconds), most_shoppers = coalesce($4, most_shoppers),
                most_calls = coalesce($5, most_calls), pace = CASE WHEN coalesce($5, most_calls) = most_calls THEN pace ELSE $5 END,
                needs_phone = coalesce($6, needs_phone), returns_every_seconds = coalesce($7, returns_every_seconds)
         WHERE event_id = $1 AND state <> 'closed' AND ($2::timestamptz IS NULL OR drawn_at IS NULL)",
        event as _,
        terms.opens_at,
        seconds(terms.window)?,
        terms.most_shoppers,
        terms.most_calls,
        terms.needs_phone,
        seconds(terms.returns_every)?,
    )
    .execute(&mut *conn)
    .await
    .map_err(refused)?;
    admin::make_due::<CallVisitors>(conn).await?;
    found(conn, event, changed.rows_affected()).await
}

async fn go(
    conn: &mut PgConnection,
    event: EventId,
    from: RoomState,
    to: RoomState,
) -> Result<Room> {
    let changed = sqlx::query!(
        "UPDATE waiting_rooms SET state = $3::text, stepped_at = now(), credit = 0 WHERE event_id = $1 AND state = $2::text",
        event as _,
        from as _,
        to as _,
    )
    .execute(&mut *conn)
    .await?;
    found(conn, event, changed.rows_affected()).await
}

async fn close(conn: &mut PgConnection, event: EventId) -> Result<Room> {
    let changed = sqlx::query!(
        "UPDATE waiting_rooms SET state = 'closed' WHERE event_id = $1 AND state <> 'closed'",
        event as _
    )
    .execute(&mut *conn)
    .await?;
    found(conn, event, changed.rows_affected()).await
}

async fn found(conn: &mut PgConnection, event: EventId, changed: u64) -> Result<Room> {
    let room = room(conn, event).await?;
    match changed {
        0 => Err(Error::WaitingRoomIs(room.state)),
        _ => Ok(room),
    }
}

/// The room of an event.
pub async fn room(conn: &mut PgConnection, event: EventId) -> Result<Room> {
    let room = sqlx::query_as!(
        Room,
        r#"SELECT event_id AS "event_id: _", state AS "state: _", opens_at AS "opens_at: _", encode(commitment, 'hex') AS "commitment!",
                  drawn_at AS "drawn_at: _", last_position, called, window_seconds, most_shoppers, most_calls, needs_phone, returns_every_seconds, pace
           FROM waiting_rooms WHERE event_id = $1"#,
        event as _,
    );
    room.fetch_optional(conn).await?.ok_or(Error::WaitingRoomNotFound)
}

/// How the sale of an event with a waiting room goes.
#[derive(Clone, Debug)]
pub struct Sale {
    pub event: EventId,
    pub name: String,
    pub state: RoomState,
    pub opens_at: Timestamp,
    pub drawn_at: Option<Timestamp>,
    pub waiting: i64,
    pub called: i64,
    /// How many may lock seats now.
    pub shoppers: i64,
    pub free_seats: i64,
    pub window_seconds: i32,
    pub most_shoppers: i32,
    pub most_calls: i32,
    pub needs_phone: bool,
    pub returns_every_seconds: i32,
    pub pace: f64,
}

/// The sale of that event, or all of them: those that are not over first, and the newest.
pub async fn sales(
    conn: &mut PgConnection,
    event: Option<EventId>,
    limit: i64,
) -> Result<Vec<Sale>> {
    let sales = sqlx::query_as!(
        Sale,
        r#"SELECT r.event_id AS "event: _", e.name, r.state AS "state: _", opens_at AS "opens_at: _", drawn_at AS "drawn_at: _",
                  CASE WHEN drawn_at IS NULL THEN early ELSE last_position - called END AS "waiting!", called,
                  (SELECT count(*) FROM waiting_room_visitors v
                   WHERE v.event_id = r.event_id AND called_at IS NOT NULL AND ended_at IS NULL AND window_ends_at > now()) AS "shoppers!",
                  (SELECT coalesce(sum(available_quantity), 0) FROM event_seat_types t WHERE t.event_id = r.event_id) AS "free_seats!",
                  window_seconds, most_shoppers, most_calls, needs_phone, returns_every_seconds, pace
           FROM waiting_rooms r JOIN events e ON e.id = r.event_id
           WHERE $1::int IS NULL OR r.event_id = $1
           ORDER BY r.state = 'closed', opens_at DESC LIMIT $2"#,
        event as _,
        limit,
    );
    Ok(sales.fetch_all(conn).await?)
}
