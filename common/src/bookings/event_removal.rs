//! Deleting an event, with everything that only exists because of it. What money moved stays in the
//! ledger.

use sqlx::PgConnection;

use super::cancellation_notices;
use crate::{
    error::{Error, Result},
    events::{cancellation, event::require_organizer, inventory},
    realtime::Audience,
    types::ids::{EventId, UserId},
};

/// Deletes an event for its organiser; returns its name and who hears of it. Not while somebody has
/// paid, or is about to, or while its cancellation sends money back.
pub async fn delete(
    conn: &mut PgConnection,
    id: EventId,
    user: UserId,
) -> Result<(String, Audience)> {
    let audience = require_organizer(conn, id, user, "delete this event").await?;
    // No lock can be won, and no booking created or confirmed, until this transaction ends.
    inventory::open_inventory(conn, &[id]).await?;
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
