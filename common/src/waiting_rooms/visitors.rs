//! Visitors: accounts that have joined a waiting room, and where they are in it.

use std::collections::{BTreeSet, HashMap};

use serde::Serialize;
use sqlx::{PgConnection, PgPool};
use utoipa::ToSchema;

use crate::{
    error::{Error, Result},
    storage::{groups::Groups, postgres::promptly},
    types::{
        ids::{EventId, UserId, VisitorId},
        statuses::RoomState,
        time::Timestamp,
    },
};

/// A visitor, as the account sees it.
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
pub struct Visitor {
    /// By which the visitor is known in the draw.
    pub id: VisitorId,
    pub joined_at: Timestamp,
    /// Null before the draw.
    pub position: Option<i64>,
    /// Null while the visitor waits.
    pub called_at: Option<Timestamp>,
    /// Until when the visitor may lock seats.
    pub window_ends_at: Option<Timestamp>,
    /// When the visitor left, or had bought.
    pub ended_at: Option<Timestamp>,
}

impl Visitor {
    /// Whether the visit goes on: it has not ended, nor has its window.
    pub fn is_live(&self) -> bool {
        self.ended_at.is_none() && self.window_ends_at.is_none_or(|end| end > Timestamp::now())
    }

    /// Whether the visitor may lock seats now.
    pub fn is_called(&self) -> bool {
        self.called_at.is_some() && self.is_live()
    }
}

/// Which account asks about which event's room.
pub type Asked = (EventId, UserId);

/// Joins waiting rooms. Whoever is there stays where they are; who had left, or has let their window
/// pass, begins again behind all others.
pub fn joining(db: PgPool) -> Groups<Asked, Visitor> {
    Groups::new(move |asked: Vec<Asked>| {
        let db = db.clone();
        async move {
            promptly(async {
                let mut tx = db.begin().await?;
                let joined = join(&mut tx, &asked).await?;
                tx.commit().await?;
                Ok(joined)
            })
            .await
        }
    })
}

/// Looks visitors up.
pub fn looking(db: PgPool) -> Groups<Asked, Option<Visitor>> {
    Groups::new(move |asked: Vec<Asked>| {
        let db = db.clone();
        async move {
            promptly(async {
                let found = find(&mut *db.acquire().await?, &asked).await?;
                Ok(asked.iter().map(|asked| Ok(found.get(asked).cloned())).collect())
            })
            .await
        }
    })
}

async fn join(conn: &mut PgConnection, asked: &[Asked]) -> Result<Vec<Result<Visitor>>> {
    let events: BTreeSet<EventId> = asked.iter().map(|(event, _)| *event).collect();
    let events: Vec<EventId> = events.into_iter().collect();
    // Positions are given under the room's lock, so that whoever has the later one came later.
    let rooms = sqlx::query!(
        r#"SELECT event_id AS "event: EventId", state AS "state: RoomState" FROM waiting_rooms
           WHERE event_id = ANY ($1) ORDER BY event_id FOR NO KEY UPDATE"#,
        &events as _,
    );
    let rooms: HashMap<EventId, RoomState> =
        rooms.fetch_all(&mut *conn).await?.into_iter().map(|row| (row.event, row.state)).collect();
    let is_open =
        |event: &EventId| rooms.get(event).is_some_and(|state| *state != RoomState::Closed);
    let mut seen = BTreeSet::new();
    let (events, users): (Vec<EventId>, Vec<UserId>) =
        asked.iter().copied().filter(|asked| is_open(&asked.0) && seen.insert(*asked)).unzip();
    sqlx::query!(
        "WITH new AS (
             SELECT asked.event_id, asked.user_id, number, CASE WHEN r.needs_phone THEN u.phone END AS phone
             FROM unnest($1::int[], $2::int[]) WITH ORDINALITY AS asked (event_id, user_id, number)
             JOIN waiting_rooms r ON r.event_id = asked.event_id
             JOIN users u ON u.id = asked.user_id AND erased_at IS NULL
                  AND (phone IS NOT NULL AND phone_verified_at IS NOT NULL OR NOT needs_phone AND email IS NOT NULL AND email_verified_at IS NOT NULL)
             WHERE NOT EXISTS (SELECT 1 FROM waiting_room_visitors v WHERE v.event_id = asked.event_id AND v.user_id = asked.user_id
                                   AND v.ended_at IS NULL AND (v.window_ends_at IS NULL OR v.window_ends_at > now()))
         ), asked AS (
             SELECT event_id, user_id, phone, row_number() OVER (PARTITION BY event_id ORDER BY number) AS number FROM new
             WHERE NOT EXISTS (SELECT 1 FROM waiting_room_visitors v WHERE v.event_id = new.event_id AND v.phone = new.phone AND v.user_id <> new.user_id)
         ), counted AS (
             UPDATE waiting_rooms r SET early = early + CASE WHEN drawn_at IS NULL THEN new.n ELSE 0 END,
                    last_position = last_position + CASE WHEN drawn_at IS NULL THEN 0 ELSE new.n END
             FROM (SELECT event_id, count(*) AS n FROM asked GROUP BY event_id) new
             WHERE r.event_id = new.event_id
             RETURNING r.event_id, CASE WHEN drawn_at IS NOT NULL THEN last_position - new.n END AS before
         )
         INSERT INTO waiting_room_visitors (event_id, user_id, phone, position)
         SELECT asked.event_id, asked.user_id, asked.phone, counted.before + asked.number FROM asked JOIN counted USING (event_id)
         ON CONFLICT (event_id, user_id) DO UPDATE
             SET id = excluded.id, joined_at = excluded.joined_at, phone = excluded.phone, position = excluded.position,
                 called_at = NULL, window_ends_at = NULL, ended_at = NULL",
        &events as _,
        &users as _,
    )
    .execute(&mut *conn)
    .await?;
    let found = find(&mut *conn, asked).await?;
    let mut joined = Vec::new();
    for asked in asked {
        joined.push(match (rooms.get(&asked.0), found.get(asked)) {
            (None, _) => Err(Error::WaitingRoomNotFound),
            (Some(RoomState::Closed), _) => Err(Error::WaitingRoomIs(RoomState::Closed)),
            (Some(_), Some(found)) if found.is_live() => Ok(found.clone()),
            (Some(_), _) => Err(refusal(&mut *conn, *asked).await?),
        });
    }
    Ok(joined)
}

/// Why an account has no place in a room that is not closed.
async fn refusal(conn: &mut PgConnection, (event, user): Asked) -> Result<Error> {
    let room = sqlx::query!(
        r#"SELECT needs_phone,
                  EXISTS (SELECT 1 FROM users u JOIN waiting_room_visitors v ON v.event_id = r.event_id AND v.phone = u.phone AND v.user_id <> u.id
                          WHERE u.id = $2 AND u.phone_verified_at IS NOT NULL) AS "is_taken!"
           FROM waiting_rooms r WHERE event_id = $1"#,
        event as _,
        user as _,
    );
    let room = room.fetch_one(conn).await?;
    Ok(match (room.needs_phone, room.is_taken) {
        (true, true) => Error::PhoneHasPlace,
        (true, false) => Error::PhoneNotVerified,
        (false, _) => Error::ContactNotVerified,
    })
}

async fn find(conn: &mut PgConnection, asked: &[Asked]) -> Result<HashMap<Asked, Visitor>> {
    let (events, users): (Vec<EventId>, Vec<UserId>) = asked.iter().copied().unzip();
    let rows = sqlx::query!(
        r#"SELECT v.event_id AS "event: EventId", v.user_id AS "user: UserId", v.id AS "id: VisitorId", joined_at AS "joined_at: Timestamp", position,
                  called_at AS "called_at: Timestamp", window_ends_at AS "window_ends_at: Timestamp", ended_at AS "ended_at: Timestamp"
           FROM unnest($1::int[], $2::int[]) AS asked (event_id, user_id)
           JOIN waiting_room_visitors v ON v.event_id = asked.event_id AND v.user_id = asked.user_id"#,
        &events as _,
        &users as _,
    );
    let found = rows.fetch_all(conn).await?.into_iter().map(|row| {
        let visitor = Visitor {
            id: row.id,
            joined_at: row.joined_at,
            position: row.position,
            called_at: row.called_at,
            window_ends_at: row.window_ends_at,
            ended_at: row.ended_at,
        };
        ((row.event, row.user), visitor)
    });
    Ok(found.collect())
}

/// Ends an account's visit: its position, or its window, is somebody else's. [`None`] if it is not
/// there.
pub async fn leave(
    conn: &mut PgConnection,
    event: EventId,
    user: UserId,
) -> Result<Option<Visitor>> {
    sqlx::query!(
        "UPDATE waiting_room_visitors SET ended_at = now(), phone = NULL WHERE event_id = $1 AND user_id = $2 AND ended_at IS NULL",
        event as _,
        user as _,
    )
    .execute(&mut *conn)
    .await?;
    Ok(find(conn, &[(event, user)]).await?.remove(&(event, user)))
}
