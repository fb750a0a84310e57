//! Events that operators have taken down: each is its organiser's alone, as a draft is, and not on
//! sale, whatever its organiser says. Bookings stay.

use chrono::{DateTime, Utc};
use serde_json::json;
use sqlx::PgConnection;

use super::inventory;
use crate::{
    audit::{self, Action, Operator},
    error::Result,
    types::{
        ids::{EventId, UserId},
        statuses::EventStatus,
    },
};

/// An event as operators see it.
#[derive(Debug)]
pub struct Known {
    pub id: EventId,
    pub name: String,
    pub organiser: UserId,
    pub status: EventStatus,
    pub taken_down_at: Option<DateTime<Utc>>,
}

/// An event.
pub async fn look(conn: &mut PgConnection, event: EventId) -> Result<Option<Known>> {
    let known = sqlx::query_as!(
        Known,
        r#"SELECT id AS "id: _", name, organizer_id AS "organiser: _", status AS "status: _", taken_down_at FROM events WHERE id = $1"#,
        event as _,
    );
    Ok(known.fetch_optional(conn).await?)
}

/// Takes an event down; false if there is no such event that is up. Whoever locks or books seats of
/// it has done so before this commits, or learns of it.
pub async fn take_down(
    conn: &mut PgConnection,
    event: EventId,
    reason: &str,
    by: Operator,
) -> Result<bool> {
    inventory::lock_inventory(conn, &[event]).await?;
    let taken = sqlx::query!(
        "UPDATE events SET taken_down_at = now(), updated_at = now() WHERE id = $1 AND taken_down_at IS NULL",
        event as _,
    )
    .execute(&mut *conn)
    .await?;
    if taken.rows_affected() == 0 {
        return Ok(false);
    }
    let details = json!({ "reason": audit::reason(reason) });
    audit::record(conn, Action::EventTakenDown, by.user(), event, details).await?;
    Ok(true)
}

/// Makes an event what its organiser says that it is; false if it is not down.
pub async fn restore(conn: &mut PgConnection, event: EventId, by: Operator) -> Result<bool> {
    let restored = sqlx::query!(
        "UPDATE events SET taken_down_at = NULL, updated_at = now() WHERE id = $1 AND taken_down_at IS NOT NULL",
        event as _,
    )
    .execute(&mut *conn)
    .await?;
    if restored.rows_affected() == 0 {
        return Ok(false);
    }
    audit::record(conn, Action::EventRestored, by.user(), event, json!({})).await?;
    Ok(true)
}
