//! Deleting an event, with everything that exists only because of it. The ledger keeps the money
//! that has moved.

use sqlx::PgConnection;

use super::cancellation_notices;
use crate::{
    error::{Error, Result},
    events::{cancellation, event::require_organizer, inventory},
    realtime::Audience,
    types::ids::{EventId, UserId},
};

/// Deletes an event for its organiser; returns its name and its audience. Refuses while a buyer has
/// paid or is about to, and while the event's cancellation sends money back.
pub async fn delete(
    conn: &mut PgConnection,
    id: EventId,
    user: UserId,
) -> Result<(String, Audience)> {
    let audience = require_organizer(conn, id, user, "delete this event").await?.audience()?;
    // Until this transaction ends, no lock can be won, and no booking created or confirmed.
    inventory::lock_inventory(conn, &[id]).await?;
    sqlx::query!("SELECT id FROM events WHERE id = $1 FOR UPDATE", id as _)
        .fetch_optional(&mut *conn)
        .await?;
    sqlx::query!(
        "SELECT id FROM bookings WHERE event_id = $1 AND status = 'pending' ORDER BY id FOR UPDATE",
        id as _,
    )
    .fetch_all(&mut *conn)
    .await?;
    let active = sqlx::query_scalar!(
        r#"SELECT count(*) AS "active!" FROM bookings
           WHERE event_id = $1 AND (status = 'confirmed' OR (status = 'pending' AND expires_at > now()))"#,
        id as _,
    )
    .fetch_one(&mut *conn)
    .await?;
    if active > 0 {
        return Err(Error::EventHasBookings(active));
    }
    let refunds = cancellation::open_refunds(conn, id).await?;
    if refunds > 0 {
        return Err(Error::EventHasRefunds(refunds));
    }
    cancellation_notices::keep(conn, id).await?;
    let name = sqlx::query_scalar!("DELETE FROM events WHERE id = $1 RETURNING name", id as _)
        .fetch_optional(conn)
        .await?
        .ok_or(Error::EventNotFound)?;
    Ok((name, audience))
}
