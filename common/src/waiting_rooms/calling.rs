//! Calling: how many visitors, and who. A worker does it once a second for every open room
//! ([`CallVisitors`](crate::jobs::expiry::CallVisitors)).

use std::time::Duration;

use sqlx::PgConnection;

use super::loads;
use crate::{
    error::Result,
    types::{
        ids::{EventId, UserId},
        statuses::RoomState,
        time::Timestamp,
    },
};

/// How often a room's pace changes.
const PACE_CHANGES: Duration = Duration::from_secs(5);
/// Calls that were not made are made up for, as far as so many seconds had brought.
const MADE_UP: f64 = 5.0;

/// A visitor who may buy from now on.
#[derive(Clone, Debug, PartialEq)]
pub struct Called {
    pub user: UserId,
    pub position: i64,
    pub window_ends_at: Timestamp,
}

/// Rooms that somebody has to look after, and how long the next opening is away.
#[derive(Debug, Default)]
pub struct Due {
    /// Their opening has come.
    pub to_draw: Vec<EventId>,
    pub open: Vec<EventId>,
    pub next: Option<Duration>,
}

/// What is due now.
pub async fn due(conn: &mut PgConnection) -> Result<Due> {
    let rows = sqlx::query!(
        r#"SELECT event_id AS "event: EventId", state AS "state: RoomState", greatest(extract(epoch FROM opens_at - clock_timestamp())::float8, 0) AS "wait!"
           FROM waiting_rooms WHERE state IN ('announced', 'open') ORDER BY event_id"#
    );
    let mut due = Due::default();
    for row in rows.fetch_all(conn).await? {
        match row.state {
            RoomState::Open => due.open.push(row.event),
            _ if row.wait == 0.0 => due.to_draw.push(row.event),
            _ => {
                let wait = Duration::try_from_secs_f64(row.wait).unwrap_or(Duration::MAX);
                due.next = Some(due.next.map_or(wait, |next| next.min(wait)));
            }
        }
    }
    Ok(due)
}

/// Calls the next visitors of an open room, in order of their positions: as many as its pace allows,
/// as may shop at once, and as there are seats that no shopper may still take: nobody is called in
/// vain. Those who have bought since they were called shop no more. The caller commits.
pub async fn step(conn: &mut PgConnection, event: EventId) -> Result<Vec<Called>> {
    let congested = loads::is_congested(conn).await?;
    let room = sqlx::query!(
        r#"SELECT most_shoppers, most_calls, pace, credit, window_seconds,
                  extract(epoch FROM now() - stepped_at)::float8 AS "since_step!", extract(epoch FROM now() - paced_at)::float8 AS "since_pace!"
           FROM waiting_rooms WHERE event_id = $1 AND state = 'open' FOR NO KEY UPDATE"#,
        event as _,
    );
    let Some(room) = room.fetch_optional(&mut *conn).await? else { return Ok(vec![]) };
    // By the user's bookings: those of the event are many, and PostgreSQL does not know it yet.
    sqlx::query!(
        "UPDATE waiting_room_visitors v SET ended_at = now()
         WHERE event_id = $1 AND called_at IS NOT NULL AND ended_at IS NULL AND window_ends_at > now()
           AND EXISTS (SELECT 1 FROM bookings b WHERE b.user_id = v.user_id AND b.event_id + 0 = v.event_id
                           AND b.status = 'confirmed' AND b.booked_at >= v.called_at)",
        event as _,
    )
    .execute(&mut *conn)
    .await?;
    let now = sqlx::query!(
        r#"SELECT (SELECT count(*) FROM waiting_room_visitors
                   WHERE event_id = $1 AND called_at IS NOT NULL AND ended_at IS NULL AND window_ends_at > now()) AS "shoppers!",
                  (SELECT coalesce(sum(available_quantity), 0) FROM event_seat_types WHERE event_id = $1) AS "free!""#,
        event as _,
    )
    .fetch_one(&mut *conn)
    .await?;
    let is_time = room.since_pace >= PACE_CHANGES.as_secs_f64();
    let pace = if is_time { adapted(room.pace, room.most_calls, congested) } else { room.pace };
    let credit = credit(room.credit, pace, room.since_step);
    let most = calls(credit, room.most_shoppers.into(), now.shoppers, now.free);
    // An array, because PostgreSQL may look at a subquery again for each visitor, and finds others then.
    let called = sqlx::query_as!(
        Called,
        r#"UPDATE waiting_room_visitors SET called_at = now(), window_ends_at = now() + make_interval(secs => $3)
           WHERE event_id = $1 AND user_id = ANY (ARRAY(
               SELECT user_id FROM waiting_room_visitors
               WHERE event_id = $1 AND called_at IS NULL AND ended_at IS NULL AND position IS NOT NULL
               ORDER BY position LIMIT $2 FOR NO KEY UPDATE))
           RETURNING user_id AS "user: UserId", position AS "position!", window_ends_at AS "window_ends_at!: Timestamp""#,
        event as _,
        most,
        f64::from(room.window_seconds),
    )
    .fetch_all(&mut *conn)
    .await?;
    let left = credit - called.len() as f64;
    sqlx::query!(
        "UPDATE waiting_rooms SET pace = $2, paced_at = CASE WHEN $3 THEN now() ELSE paced_at END, credit = $4, stepped_at = now(),
                called = greatest(called, $5)
         WHERE event_id = $1",
        event as _,
        pace,
        is_time,
        left,
        called.iter().map(|called| called.position).max().unwrap_or(0),
    )
    .execute(conn)
    .await?;
    Ok(called)
}

/// How many visitors are called in a minute from now on: half as many while buyers are turned away,
/// an eighth more otherwise.
fn adapted(pace: f64, most: i32, congested: bool) -> f64 {
    let pace = if congested { pace / 2.0 } else { pace * 1.125 };
    pace.clamp(1.0, f64::from(most))
}

/// How many are called: as many as there is credit for, as may shop besides those who do, and as
/// there are free seats besides those that shoppers may still take.
pub(super) fn calls(credit: f64, most_shoppers: i64, shoppers: i64, free: i64) -> i64 {
    (credit as i64).min(most_shoppers - shoppers).min(free - shoppers).max(0)
}

/// How many calls may be made after so many seconds, parts included.
pub(super) fn credit(before: f64, pace: f64, seconds: f64) -> f64 {
    let a_second = pace / 60.0;
    (before + a_second * seconds).min((a_second * MADE_UP).max(1.0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_pace_halves_while_buyers_are_turned_away_and_comes_back_afterwards() {
        assert_eq!(adapted(600.0, 600, true), 300.0);
        assert_eq!(adapted(1.0, 600, true), 1.0);
        assert_eq!(adapted(580.0, 600, false), 600.0);
        let mut pace = 1.0;
        (0..60).for_each(|_| pace = adapted(pace, 600, false));
        assert_eq!(pace, 600.0);
    }

    #[test]
    fn no_part_of_a_call_is_lost_and_no_long_pause_is_made_up_for() {
        let mut credit_left = 0.0;
        let mut calls = 0.0_f64;
        for _ in 0..60 {
            let credit = credit(credit_left, 90.0, 1.0);
            calls += credit.floor();
            credit_left = credit.fract();
        }
        assert!((89.0..=90.0).contains(&calls), "{calls}");
        assert_eq!(credit(0.0, 60.0, 3_600.0), 5.0);
        assert_eq!(credit(0.0, 1.0, 3_600.0), 1.0);
    }
}
