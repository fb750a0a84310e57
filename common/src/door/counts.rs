//! How many are in: for the organiser, live as `event:checkin-update`, and for everybody who may let
//! people in.

use std::time::Duration;

use redis::RedisError;
use serde::Serialize;
use sqlx::{PgConnection, PgPool};
use utoipa::ToSchema;

use crate::{
    config::Redis,
    error::{Error, Result},
    realtime::{Audience, Broadcast, Coalesced, Listeners, Payload, Publish},
    types::{
        ids::{EventId, GateId, SeatTypeId, UserId},
        time::Timestamp,
    },
};

/// How many are in, at one moment.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct DoorCounts {
    pub event_id: EventId,
    /// The moment: later counts have a later one.
    pub at: Timestamp,
    /// Seats that are sold.
    pub sold: i64,
    pub checked_in: i64,
    /// Whom scanners that were offline should not have let in.
    pub conflicts: i64,
    pub seat_types: Vec<TypeCount>,
    /// Those at which somebody has come in, and the others; null stands for no gate.
    pub gates: Vec<GateCount>,
}

/// The same of one seat type.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct TypeCount {
    pub seat_type_id: SeatTypeId,
    pub name: String,
    pub sold: i64,
    pub checked_in: i64,
}

/// How many have come in at one gate.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct GateCount {
    pub gate_id: Option<GateId>,
    pub name: Option<String>,
    pub checked_in: i64,
}

impl Payload for DoorCounts {
    const EVENT: &'static str = "event:checkin-update";
    const LISTENERS: Listeners = Listeners::Organiser;
}

/// How often an event's organiser is told.
const EVERY: Duration = Duration::from_millis(500);

/// Broadcasts the counts of events, over `publisher`.
pub fn updates<P: Publish>(
    db: PgPool,
    settings: &Redis,
    publisher: P,
) -> Result<Coalesced<P>, RedisError> {
    Coalesced::new(settings, "checkin_update", EVERY, publisher, move |event: EventId| {
        let db = db.clone();
        Box::pin(async move {
            let (counts, organiser) = of(&mut *db.acquire().await?, event).await?;
            Ok(Broadcast::new(Audience::User(organiser), counts))
        })
    })
}

/// The counts of an event, and its organiser.
pub async fn of(conn: &mut PgConnection, event: EventId) -> Result<(DoorCounts, UserId)> {
    // Seats are sold that are taken and not locked, which an index counts.
    let types = sqlx::query!(
        r#"SELECT e.organizer_id AS "organiser: UserId", clock_timestamp() AS "at!: Timestamp", t.id AS "id?: SeatTypeId", t.name AS "name?",
                  t.quantity - t.available_quantity
                      - (SELECT count(*) FROM seats s WHERE s.event_seat_type_id = t.id AND s.status = 'locked') AS sold
           FROM events e LEFT JOIN event_seat_types t ON t.event_id = e.id WHERE e.id = $1 ORDER BY t.display_order, t.id"#,
        event as _,
    )
    .fetch_all(&mut *conn)
    .await?;
    let first = types.first().ok_or(Error::EventNotFound)?;
    let (organiser, at) = (first.organiser, first.at);
    let inside = sqlx::query!(
        r#"SELECT gate_id AS "gate: GateId", seat_type_id AS "seat_type: SeatTypeId", count(*) AS "count!"
           FROM check_ins WHERE event_id = $1 AND undone_at IS NULL AND conflict IS NULL GROUP BY gate_id, seat_type_id"#,
        event as _,
    )
    .fetch_all(&mut *conn)
    .await?;
    let conflicts = sqlx::query_scalar!(
        r#"SELECT count(*) AS "count!" FROM check_ins WHERE event_id = $1 AND conflict IS NOT NULL AND undone_at IS NULL"#,
        event as _,
    )
    .fetch_one(&mut *conn)
    .await?;
    let gates = super::gates::of(conn, event).await?;
    let count = |matches: &dyn Fn(Option<GateId>, Option<SeatTypeId>) -> bool| {
        let matching = inside.iter().filter(|row| matches(row.gate, row.seat_type));
        matching.map(|row| row.count).sum::<i64>()
    };
    let seat_types: Vec<TypeCount> = types
        .into_iter()
        .filter_map(|row| {
            let checked_in = count(&|_, seat_type| seat_type == row.id);
            let (seat_type_id, name) = (row.id?, row.name?);
            Some(TypeCount { seat_type_id, name, sold: row.sold.unwrap_or_default(), checked_in })
        })
        .collect();
    let at_no_gate =
        GateCount { gate_id: None, name: None, checked_in: count(&|gate, _| gate.is_none()) };
    let gates = gates.into_iter().map(|gate| GateCount {
        checked_in: count(&|at, _| at == Some(gate.id)),
        gate_id: Some(gate.id),
        name: Some(gate.name),
    });
    let counts = DoorCounts {
        event_id: event,
        at,
        sold: seat_types.iter().map(|one| one.sold).sum(),
        checked_in: count(&|_, _| true),
        conflicts,
        seat_types,
        gates: gates.chain(Some(at_no_gate).filter(|none| none.checked_in > 0)).collect(),
    };
    Ok((counts, organiser))
}
