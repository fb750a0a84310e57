//! Seat types: a name, a price and a number of seats (docs/contract.md#seats). Counts change only
//! with the event's inventory locked.

use serde::Serialize;
use serde_json::{Value, json};
use sqlx::{PgConnection, types::Json};
use utoipa::ToSchema;

use super::{
    event::require_organizer,
    inventory,
    stamps::{INCOMPLETE, Known, Look, split},
};
use crate::{
    config::Chargeable,
    error::{Error, Result, violated_constraint},
    realtime::Audience,
    types::{
        ids::{EventId, SeatTypeId, UserId},
        money::Paise,
        time::Timestamp,
        visibility::Visibility,
    },
};

#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct SeatType {
    pub id: SeatTypeId,
    pub event_id: EventId,
    pub name: String,
    pub description: Option<String>,
    pub price: Paise,
    pub quantity: i32,
    pub available_quantity: i32,
    pub display_order: i32,
    pub created_at: Timestamp,
    pub updated_at: Timestamp,
}

/// A new seat type; every rule is checked.
#[derive(Debug)]
pub struct NewSeatType {
    pub name: String,
    pub description: Option<String>,
    pub price: Paise,
    pub quantity: i32,
}

/// The fields of a seat type that a request changes.
#[derive(Debug)]
pub struct SeatTypeChanges {
    pub name: Option<String>,
    /// `Some(None)` removes it.
    pub description: Option<Option<String>>,
    pub price: Option<Paise>,
    pub quantity: Option<i32>,
}

impl SeatTypeChanges {
    /// Which fields it changes, and the new numbers.
    pub fn fields(&self) -> Value {
        let changed = [("name", self.name.is_some()), ("description", self.description.is_some())];
        let fields =
            changed.into_iter().filter_map(|(name, is_changed)| is_changed.then_some(name));
        json!({
            "fields": fields.collect::<Vec<_>>(),
            "price": self.price,
            "quantity": self.quantity,
        })
    }
}

/// The seat types of an event, in the organiser's order, and who may see them.
#[derive(Debug)]
pub struct EventSeatTypes {
    pub visibility: Visibility,
    pub types: Vec<SeatType>,
}

/// Looks at the seat types of events again: those of events that still are what the caller knows
/// of them are not read. All at one moment.
pub async fn of_events(
    conn: &mut PgConnection,
    known: &[Known],
) -> Result<Vec<Look<EventSeatTypes>>> {
    let (ids, stamps) = split(known);
    // OFFSET keeps the planner from reading every type before it compares the stamps.
    let rows = sqlx::query!(
        r#"SELECT s.event_id AS "event!: EventId", s.stamp AS "stamp!", s.stamp IS DISTINCT FROM known.stamp AS "is_changed!",
                  event_visibility(e) AS "visibility!: Json<Visibility>",
                  changed.id AS "id?: SeatTypeId", changed.name AS "name?", changed.description AS "description?",
                  price AS "price?: Paise", quantity AS "quantity?", available AS "available?", display_order AS "display_order?",
                  changed.created_at AS "created_at?: Timestamp", changed.updated_at AS "updated_at?: Timestamp"
           FROM unnest($1::int[], $2::bigint[]) AS known (id, stamp)
           JOIN event_stamps s ON s.event_id = known.id
           JOIN events e ON e.id = s.event_id
           LEFT JOIN LATERAL (
               SELECT t.id, name, description, price, t.quantity, available, display_order, created_at, updated_at
               FROM event_seat_types t JOIN seat_availability a ON a.seat_type_id = t.id
               WHERE t.event_id = s.event_id AND s.stamp IS DISTINCT FROM known.stamp OFFSET 0
           ) changed ON TRUE
           ORDER BY s.event_id, display_order, changed.id"#,
        &ids as _,
        &stamps as _,
    )
    .fetch_all(conn)
    .await?;
    let mut looks: Vec<Look<EventSeatTypes>> = Vec::new();
    for row in rows {
        if looks.last().is_none_or(|look| look.event != row.event) {
            let seat_types = EventSeatTypes { visibility: row.visibility.0, types: vec![] };
            looks.push(Look {
                event: row.event,
                stamp: row.stamp.into(),
                changed: row.is_changed.then_some(seat_types),
            });
        }
        let seat_type = || {
            Some(SeatType {
                id: row.id?,
                event_id: row.event,
                name: row.name?,
                description: row.description,
                price: row.price?,
                quantity: row.quantity?,
                available_quantity: row.available?,
                display_order: row.display_order.unwrap_or(0),
                created_at: row.created_at?,
                updated_at: row.updated_at?,
            })
        };
        if let Some(changed) = looks.last_mut().and_then(|look| look.changed.as_mut())
            && row.id.is_some()
        {
            changed.types.push(seat_type().ok_or_else(|| Error::internal(INCOMPLETE))?);
        }
    }
    Ok(looks)
}

/// The most seat types of an event: each is part of all its counts.
pub const MOST_TYPES: usize = 100;

/// The message for more.
pub const TOO_MANY_TYPES: &str = "An event can have at most 100 seat types";

const MANAGE: &str = "manage seat types for this event";

/// Creates a seat type, for the event's organiser. Also returns its audience.
pub async fn create(
    conn: &mut PgConnection,
    event: EventId,
    user: UserId,
    new: &NewSeatType,
) -> Result<(SeatType, Audience)> {
    let audience = require_organizer(conn, event, user, MANAGE).await?.audience()?;
    // The counts grow, which makes a new version.
    inventory::lock_inventory(conn, &[event]).await?;
    let types = sqlx::query_scalar!(
        r#"SELECT count(*) AS "count!" FROM event_seat_types WHERE event_id = $1"#,
        event as _,
    )
    .fetch_one(&mut *conn)
    .await?;
    if types >= MOST_TYPES as i64 {
        return Err(Error::invalid(TOO_MANY_TYPES));
    }
    Ok((insert(conn, event, new).await?, audience))
}

/// Stores a seat type as the last of its event.
pub async fn insert(
    conn: &mut PgConnection,
    event: EventId,
    new: &NewSeatType,
) -> Result<SeatType> {
    let inserted = sqlx::query_as!(
        SeatType,
        r#"INSERT INTO event_seat_types (event_id, name, description, price, quantity, available_quantity, display_order)
           SELECT $1, $2, $3, $4, $5, $5, coalesce(max(display_order), 0) + 1
           FROM event_seat_types WHERE event_id = $1
           RETURNING id, event_id, name, description, price AS "price: _", quantity, available_quantity,
                     display_order AS "display_order!", created_at AS "created_at!", updated_at AS "updated_at!""#,
        event as _,
        new.name,
        new.description,
        new.price as _,
        new.quantity,
    )
    .fetch_one(conn)
    .await;
    match inserted {
        // The event was deleted since we looked.
        Err(error) if violated_constraint(&error) == Some("event_seat_types_event_id_fkey") => {
            Err(Error::EventNotFound)
        }
        other => Ok(other?),
    }
}

/// Changes a seat type, for the event's organiser. Locked and booked seats stay so: a quantity
/// below their number is [`Error::QuantityBelowTaken`] (docs/contract.md#change-5). A client may
/// send the present price again, whether or not it is chargeable.
pub async fn update(
    conn: &mut PgConnection,
    event: EventId,
    id: SeatTypeId,
    user: UserId,
    changes: &SeatTypeChanges,
    chargeable: Chargeable,
) -> Result<(SeatType, Audience)> {
    let audience = require_organizer(conn, event, user, MANAGE).await?.audience()?;
    inventory::lock_inventory(conn, &[event]).await?;
    let now = sqlx::query!(
        r#"SELECT (quantity - available_quantity)::bigint AS "taken!", price AS "price: Paise"
           FROM event_seat_types WHERE id = $1 AND event_id = $2"#,
        id as _,
        event as _,
    )
    .fetch_optional(&mut *conn)
    .await?
    .ok_or(Error::SeatTypeNotFound)?;
    if changes.quantity.is_some_and(|quantity| i64::from(quantity) < now.taken) {
        return Err(Error::QuantityBelowTaken(now.taken));
    }
    if let Some(price) = changes.price.filter(|price| *price != now.price) {
        chargeable.check_price(price)?;
    }
    let seat_type = sqlx::query_as!(
        SeatType,
        r#"UPDATE event_seat_types SET
               name = coalesce($2, name),
               description = CASE WHEN $3 THEN $4 ELSE description END,
               price = coalesce($5, price),
               available_quantity = available_quantity + coalesce($6, quantity) - quantity,
               quantity = coalesce($6, quantity),
               updated_at = now()
           WHERE id = $1
           RETURNING id, event_id, name, description, price AS "price: _", quantity, available_quantity,
                     coalesce(display_order, 0) AS "display_order!", created_at AS "created_at!", updated_at AS "updated_at!""#,
        id as _,
        changes.name,
        changes.description.is_some(),
        changes.description.clone().flatten(),
        changes.price as _,
        changes.quantity,
    )
    .fetch_one(conn)
    .await?;
    Ok((seat_type, audience))
}

/// Deletes a seat type, for the event's organiser; returns its name. Refuses while its seats are
/// booked or being paid for.
pub async fn delete(
    conn: &mut PgConnection,
    event: EventId,
    id: SeatTypeId,
    user: UserId,
) -> Result<(String, Audience)> {
    let audience = require_organizer(conn, event, user, MANAGE).await?.audience()?;
    inventory::lock_inventory(conn, &[event]).await?;
    // Waits for transactions that create or confirm bookings of it.
    sqlx::query!("SELECT id FROM event_seat_types WHERE id = $1 FOR UPDATE", id as _)
        .fetch_optional(&mut *conn)
        .await?;
    sqlx::query!(
        "SELECT id FROM seats WHERE event_seat_type_id = $1 AND status = 'locked' ORDER BY id FOR UPDATE",
        id as _,
    )
    .fetch_all(&mut *conn)
    .await?;
    let booked = sqlx::query_scalar!(
        r#"SELECT count(*) AS "booked!" FROM seats s
           WHERE s.event_seat_type_id = $1
             AND (s.status = 'booked'
                  OR (s.expires_at > now() AND EXISTS (SELECT 1 FROM booking_seats bs WHERE bs.seat_id = s.id)))"#,
        id as _,
    )
    .fetch_one(&mut *conn)
    .await?;
    if booked > 0 {
        return Err(Error::SeatTypeHasBookings(booked));
    }
    let name = sqlx::query_scalar!(
        "DELETE FROM event_seat_types WHERE id = $1 AND event_id = $2 RETURNING name",
        id as _,
        event as _,
    )
    .fetch_optional(conn)
    .await?
    .ok_or(Error::SeatTypeNotFound)?;
    Ok((name, audience))
}
