//! The gates of an event: entrances, each for all seat types or for some.

use serde::Serialize;
use sqlx::PgConnection;
use utoipa::ToSchema;

use super::access::{Door, take_turns};
use crate::{
    error::{Error, Result, violated_constraint},
    events::event::require_organizer,
    types::ids::{EventId, GateId, SeatTypeId, UserId},
};

/// An entrance.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub struct Gate {
    pub id: GateId,
    pub name: String,
    /// The seat types that come in here; null: all of them.
    pub seat_type_ids: Option<Vec<SeatTypeId>>,
}

impl Gate {
    /// Whether people with seats of that type come in here.
    pub fn admits(&self, seat_type: Option<SeatTypeId>) -> bool {
        match (&self.seat_type_ids, seat_type) {
            (None, _) => true,
            (Some(types), Some(seat_type)) => types.contains(&seat_type),
            (Some(_), None) => false,
        }
    }
}

/// What an organiser says of a gate.
#[derive(Debug, Default)]
pub struct GateChanges {
    pub name: Option<String>,
    /// `Some(None)`: it is for all.
    pub seat_types: Option<Option<Vec<SeatTypeId>>>,
}

/// No event has more.
pub const MOST: i64 = 200;

pub const MANAGE: &str = "manage the gates of this event";

/// The gates of an event, in the order of their names.
pub async fn of(conn: &mut PgConnection, event: EventId) -> Result<Vec<Gate>> {
    let gates = sqlx::query_as!(
        Gate,
        r#"SELECT id AS "id: _", name, seat_type_ids AS "seat_type_ids: _" FROM gates WHERE event_id = $1 ORDER BY name, id"#,
        event as _,
    );
    Ok(gates.fetch_all(conn).await?)
}

/// The gate at which somebody says they are, if there is one; a scanner is where its key says.
pub async fn at(
    conn: &mut PgConnection,
    door: &Door,
    said: Option<GateId>,
) -> Result<Option<Gate>> {
    let Some(gate) = door.keeper.scanner().and_then(|scanner| scanner.gate).or(said) else {
        return Ok(None);
    };
    let gate = sqlx::query_as!(
        Gate,
        r#"SELECT id AS "id: _", name, seat_type_ids AS "seat_type_ids: _" FROM gates WHERE id = $1 AND event_id = $2"#,
        gate as _,
        door.event as _,
    );
    Ok(gate.fetch_optional(conn).await?)
}

/// Adds a gate, for the event's organiser.
pub async fn create(
    conn: &mut PgConnection,
    event: EventId,
    organiser: UserId,
    name: &str,
    seat_types: Option<&[SeatTypeId]>,
) -> Result<Gate> {
    require_organizer(conn, event, organiser, MANAGE).await?.audience()?;
    take_turns(conn, event).await?;
    require_types(conn, event, seat_types).await?;
    let created = sqlx::query_as!(
        Gate,
        r#"INSERT INTO gates (event_id, name, seat_type_ids)
           SELECT $1, $2, $3 WHERE (SELECT count(*) FROM gates WHERE event_id = $1) < $4
           RETURNING id AS "id: _", name, seat_type_ids AS "seat_type_ids: _""#,
        event as _,
        name,
        seat_types as _,
        MOST,
    );
    let created = created.fetch_optional(conn).await.map_err(failure)?;
    created.ok_or_else(|| Error::invalid(format!("An event can have at most {MOST} gates")))
}

/// Changes a gate, for the event's organiser.
pub async fn update(
    conn: &mut PgConnection,
    event: EventId,
    gate: GateId,
    organiser: UserId,
    changes: &GateChanges,
) -> Result<Gate> {
    require_organizer(conn, event, organiser, MANAGE).await?.audience()?;
    let types = changes.seat_types.as_ref().map(Option::as_deref);
    require_types(conn, event, types.flatten()).await?;
    let updated = sqlx::query_as!(
        Gate,
        r#"UPDATE gates SET changed_by = pg_current_xact_id(), name = coalesce($3, name), seat_type_ids = CASE WHEN $4 THEN $5 ELSE seat_type_ids END
           WHERE id = $1 AND event_id = $2 RETURNING id AS "id: _", name, seat_type_ids AS "seat_type_ids: _""#,
        gate as _,
        event as _,
        changes.name,
        types.is_some(),
        types.flatten() as _,
    );
    updated.fetch_optional(conn).await.map_err(failure)?.ok_or(Error::GateNotFound)
}

/// Deletes a gate at which nobody has come in and for which there is no door key, for the event's
/// organiser.
pub async fn delete(
    conn: &mut PgConnection,
    event: EventId,
    gate: GateId,
    organiser: UserId,
) -> Result<()> {
    require_organizer(conn, event, organiser, MANAGE).await?;
    let deleted =
        sqlx::query!("DELETE FROM gates WHERE id = $1 AND event_id = $2", gate as _, event as _,);
    match deleted.execute(conn).await.map_err(failure)?.rows_affected() {
        0 => Err(Error::GateNotFound),
        _ => Ok(()),
    }
}

/// Refuses seat types that the event does not have.
async fn require_types(
    conn: &mut PgConnection,
    event: EventId,
    types: Option<&[SeatTypeId]>,
) -> Result<()> {
    let Some(types) = types else { return Ok(()) };
    let known = sqlx::query_scalar!(
        r#"SELECT id AS "id: SeatTypeId" FROM event_seat_types WHERE event_id = $1 AND id = ANY ($2)"#,
        event as _,
        types as _,
    )
    .fetch_all(conn)
    .await?;
    match types.iter().all(|one| known.contains(one)) {
        true => Ok(()),
        false => Err(Error::SeatTypeNotFound),
    }
}

fn failure(error: sqlx::Error) -> Error {
    match violated_constraint(&error) {
        Some("gates_name_key") => Error::GateExists,
        Some("door_keys_gate_id_fkey" | "check_ins_gate_id_fkey") => Error::GateInUse,
        Some("gates_event_id_fkey") => Error::EventNotFound,
        _ => error.into(),
    }
}
