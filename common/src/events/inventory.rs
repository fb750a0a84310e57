//! An event's inventory: the row that makes one transaction at a time the owner of its counts, and
//! the counts themselves.

use std::collections::{BTreeSet, HashMap};

use serde::Serialize;
use sqlx::{PgConnection, PgPool, types::Json};
use utoipa::ToSchema;

use crate::{
    error::{Error, Result},
    realtime::{Listeners, Payload},
    storage::{groups::Groups, postgres::promptly_from},
    types::{
        ids::{EventId, SeatTypeId},
        visibility::{Viewer, Visibility},
    },
};

/// The counts of an event's seat types, with the version that orders them.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct SeatCounts {
    pub event_id: EventId,
    pub version: i64,
    pub seat_types: Vec<SeatCount>,
}

impl Payload for SeatCounts {
    const EVENT: &'static str = "event:seats-update";
    const LISTENERS: Listeners = Listeners::Viewers;
}

/// The count of one seat type.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct SeatCount {
    pub seat_type_id: SeatTypeId,
    pub quantity: i32,
    pub available_quantity: i32,
}

/// The counts of an event's seat types at their version: one version always has the same counts. So
/// an expired lock counts until it is freed, which makes a new version. Also returns who may know
/// of them.
pub async fn seat_counts(
    conn: &mut PgConnection,
    event: EventId,
) -> Result<(SeatCounts, Visibility)> {
    // One statement, so counts and version belong together.
    let rows = sqlx::query!(
        r#"SELECT i.version, event_visibility(e) AS "visibility!: Json<Visibility>",
                  t.id AS "id?: SeatTypeId", t.quantity AS "quantity?", t.available_quantity AS "available?"
           FROM event_inventory i JOIN events e ON e.id = i.event_id LEFT JOIN event_seat_types t ON t.event_id = i.event_id
           WHERE i.event_id = $1 ORDER BY t.id"#,
        event as _,
    )
    .fetch_all(conn)
    .await?;
    let first = rows.first().ok_or(Error::EventNotFound)?;
    let (version, visibility) = (first.version, first.visibility.0);
    let count = |id, quantity, available_quantity| {
        Some(SeatCount {
            seat_type_id: id?,
            quantity: quantity?,
            available_quantity: available_quantity?,
        })
    };
    let seat_types =
        rows.iter().filter_map(|row| count(row.id, row.quantity, row.available)).collect();
    Ok((SeatCounts { event_id: event, version, seat_types }, visibility))
}

/// Makes this transaction the only one that changes the inventory of `events` until it ends, and
/// gives the counts that it leaves a new version. Always call it first, and for all events at once:
/// then no two transactions can wait for each other in a circle.
///
/// An event has an inventory for as long as it exists. A transaction that waited here while the
/// event was deleted has nothing left to change, and must look to find that out.
pub async fn lock_inventory(conn: &mut PgConnection, events: &[EventId]) -> Result<()> {
    sqlx::query!(
        "WITH held AS (SELECT event_id FROM event_inventory WHERE event_id = ANY ($1) ORDER BY event_id FOR UPDATE)
         UPDATE event_inventory SET version = version + 1 WHERE event_id IN (SELECT event_id FROM held)",
        events as _,
    )
    .execute(conn)
    .await?;
    Ok(())
}

/// Like [`lock_inventory`], but does not wait: false when another transaction has it, or the event
/// is gone.
pub async fn try_lock_inventory(conn: &mut PgConnection, event: EventId) -> Result<bool> {
    let opened = sqlx::query!(
        "WITH held AS (SELECT event_id FROM event_inventory WHERE event_id = $1 FOR UPDATE SKIP LOCKED)
         UPDATE event_inventory SET version = version + 1 WHERE event_id IN (SELECT event_id FROM held)",
        event as _,
    )
    .execute(conn)
    .await?;
    Ok(opened.rows_affected() == 1)
}

/// A moment of the database: what was committed before it, PostgreSQL can tell from what came after.
#[derive(Clone, Copy, Debug)]
pub struct Moment(i64);

/// Now.
pub async fn moment(conn: &mut PgConnection) -> Result<Moment> {
    let oldest_running = sqlx::query_scalar!(
        r#"SELECT pg_snapshot_xmin(pg_current_snapshot())::text::bigint AS "moment!""#
    );
    Ok(Moment(oldest_running.fetch_one(conn).await?))
}

/// The most events that are told after a gap: more have not changed in a few minutes.
const MOST_CHANGED: i64 = 1_000;

/// The events whose counts may have changed since then, last first. It reads the row of every
/// event: a row knows the transaction that wrote it, and no index has that.
pub async fn changed_since(conn: &mut PgConnection, since: Moment) -> Result<Vec<EventId>> {
    let events = sqlx::query_scalar!(
        r#"SELECT event_id AS "event: EventId" FROM event_inventory
           WHERE age(xmin) BETWEEN 0 AND age($1::bigint::text::xid8::xid) ORDER BY age(xmin) LIMIT $2"#,
        since.0,
        MOST_CHANGED,
    );
    Ok(events.fetch_all(conn).await?)
}

/// The versions of events, many together: ten thousand clients may come back at once. None for
/// events that there are not, to that viewer.
pub fn versions(db: PgPool) -> Groups<(EventId, Viewer), Option<i64>> {
    Groups::new(move |asked: Vec<(EventId, Viewer)>| {
        let db = db.clone();
        async move {
            promptly_from(&db, async { versions_of(&mut *db.acquire().await?, &asked).await }).await
        }
    })
}

async fn versions_of(
    conn: &mut PgConnection,
    asked: &[(EventId, Viewer)],
) -> Result<Vec<Result<Option<i64>>>> {
    let events: BTreeSet<EventId> = asked.iter().map(|(event, _)| *event).collect();
    let events = Vec::from_iter(events);
    let rows = sqlx::query!(
        r#"SELECT i.event_id AS "event: EventId", i.version, event_visibility(e) AS "visibility!: Json<Visibility>"
           FROM event_inventory i JOIN events e ON e.id = i.event_id WHERE i.event_id = ANY ($1)"#,
        &events as _,
    );
    let rows = rows.fetch_all(conn).await?.into_iter();
    let versions: HashMap<EventId, _> =
        rows.map(|row| (row.event, (row.version, row.visibility.0))).collect();
    let seen = |(event, viewer): &(EventId, Viewer)| {
        let (version, visibility) = versions.get(event)?;
        visibility.is_open_to(*viewer).then_some(*version)
    };
    Ok(asked.iter().map(seen).map(Ok).collect())
}
