//! The draw: in which order those are called who were there before the opening. Nobody chooses it:
//! the seed is fixed before anybody joins, and the order depends on everybody who has. Anybody can
//! check it with what is published (`ops/verify-draw.mjs`). PostgreSQL draws, so that a hundred
//! thousand visitors need not leave it.

use serde::Serialize;
use sqlx::PgConnection;
use utoipa::ToSchema;

use crate::{
    error::{Error, Result},
    types::{
        ids::{EventId, VisitorId},
        time::Timestamp,
    },
};

/// Draws a room whose opening has come, and opens it: how many were drawn. `None` if it has been
/// drawn, or is not due. The caller commits.
pub async fn draw(conn: &mut PgConnection, event: EventId) -> Result<Option<i64>> {
    let due = sqlx::query!(
        "SELECT FROM waiting_rooms WHERE event_id = $1 AND state = 'announced' AND opens_at <= now() FOR NO KEY UPDATE",
        event as _,
    );
    if due.fetch_optional(&mut *conn).await?.is_none() {
        return Ok(None);
    }
    prepare(conn).await?;
    let drawn = sqlx::query_scalar!(
        r#"WITH early AS MATERIALIZED (
               SELECT user_id, id FROM waiting_room_visitors WHERE event_id = $1 AND position IS NULL AND ended_at IS NULL
           ), list AS (
               SELECT sha256(coalesce(string_agg(uuid_send(id), '' ORDER BY id), '')) AS digest FROM early
           ), drawn AS MATERIALIZED (
               SELECT user_id, early.id, row_number() OVER (ORDER BY sha256(seed || digest || uuid_send(early.id)), early.id) AS position
               FROM early, list, waiting_rooms r WHERE r.event_id = $1
           ), placed AS (
               UPDATE waiting_room_visitors v SET position = drawn.position FROM drawn WHERE v.event_id = $1 AND v.user_id = drawn.user_id
           ), kept AS (
               INSERT INTO waiting_room_draws (event_id, list_digest, visitors)
               SELECT $1, digest, coalesce((SELECT array_agg(id ORDER BY position) FROM drawn), '{}') FROM list
           )
           UPDATE waiting_rooms SET state = 'open', drawn_at = now(), stepped_at = now(), paced_at = now(),
                  last_position = (SELECT count(*) FROM drawn)
           WHERE event_id = $1 RETURNING last_position"#,
        event as _,
    );
    Ok(Some(drawn.fetch_one(conn).await?))
}

/// A draw happens once in the life of a room, and everybody waits for it. PostgreSQL knows little of
/// a room that has just filled up, and compares each visitor with each other where it expects few.
async fn prepare(conn: &mut PgConnection) -> Result<()> {
    sqlx::query!(
        "SELECT set_config('statement_timeout', '60s', TRUE) AS timeout, set_config('enable_nestloop', 'off', TRUE) AS joins"
    )
    .fetch_one(conn)
    .await?;
    Ok(())
}

/// Draws so many visitors that are not there, as [`draw`] does, and keeps nothing of it.
pub async fn rehearse(conn: &mut PgConnection, visitors: u32) -> Result<()> {
    prepare(conn).await?;
    sqlx::query!(
        r#"WITH early AS MATERIALIZED (SELECT gen_random_uuid() AS id FROM generate_series(1, $1::bigint)),
           list AS (SELECT sha256(string_agg(uuid_send(id), '' ORDER BY id)) AS digest FROM early)
           SELECT count(position) FROM (SELECT row_number() OVER (ORDER BY sha256(digest || uuid_send(id)), id) AS position FROM early, list) drawn"#,
        i64::from(visitors),
    )
    .fetch_one(conn)
    .await?;
    Ok(())
}

/// What a draw can be checked with. Binary values are hexadecimal.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct Draw {
    /// The SHA-256 of the seed, which was published before.
    pub commitment: String,
    pub seed: String,
    /// The SHA-256 of all ids of visitors, in their order.
    pub list_digest: String,
    pub drawn_at: Timestamp,
    /// In the order of their positions, from 1, or from the one after that which was asked for.
    pub visitors: Vec<VisitorId>,
    /// The last position of these, if there are more.
    pub next: Option<i64>,
}

/// How many visitors of a draw are published at once.
const PAGE: i64 = 10_000;

/// What came of an event's draw, and the visitors behind a position.
pub async fn published(conn: &mut PgConnection, event: EventId, after: i64) -> Result<Draw> {
    let after = after.clamp(0, i64::from(i32::MAX) - PAGE);
    let draw = sqlx::query_as!(
        Draw,
        r#"SELECT encode(commitment, 'hex') AS "commitment!", encode(seed, 'hex') AS "seed!", encode(list_digest, 'hex') AS "list_digest!",
                  drawn_at AS "drawn_at!: Timestamp", visitors[$2::bigint + 1 : $2 + $3::bigint] AS "visitors!: Vec<VisitorId>",
                  CASE WHEN cardinality(visitors) > $2 + $3 THEN $2 + $3 END AS next
           FROM waiting_rooms JOIN waiting_room_draws USING (event_id) WHERE event_id = $1"#,
        event as _,
        after,
        PAGE,
    );
    draw.fetch_optional(conn).await?.ok_or(Error::DrawNotFound)
}
