//! Suspended accounts: nobody can log in to one, and its tokens are worth nothing. What it has paid
//! stays valid, and its events stay as they are ([`takedown`](crate::events::takedown)).

use serde_json::json;
use sqlx::PgConnection;

use super::sessions::{self, EndedSessions};
use crate::{
    audit::{self, Action, Operator},
    error::Result,
    types::ids::UserId,
};

/// Suspends an account, whose sessions all end; `None` if it is suspended already. Bookings that are
/// not paid run out by themselves.
pub async fn suspend(
    conn: &mut PgConnection,
    user: UserId,
    reason: &str,
    by: Operator,
) -> Result<Option<EndedSessions>> {
    let suspended = sqlx::query!(
        "UPDATE users SET suspended_at = now(), updated_at = now() WHERE id = $1 AND suspended_at IS NULL",
        user as _,
    )
    .execute(&mut *conn)
    .await?;
    if suspended.rows_affected() == 0 {
        return Ok(None);
    }
    let ended = sessions::end_sessions(conn, user).await?;
    let details = json!({ "reason": audit::reason(reason), "sessions": ended.count });
    audit::record(conn, Action::AccountSuspended, by.user(), user, details).await?;
    Ok(Some(ended))
}

/// Lets the owner of a suspended account log in again; false if it is not suspended.
pub async fn reinstate(conn: &mut PgConnection, user: UserId, by: Operator) -> Result<bool> {
    let reinstated = sqlx::query!(
        "UPDATE users SET suspended_at = NULL, updated_at = now() WHERE id = $1 AND suspended_at IS NOT NULL",
        user as _,
    )
    .execute(&mut *conn)
    .await?;
    if reinstated.rows_affected() == 0 {
        return Ok(false);
    }
    audit::record(conn, Action::AccountReinstated, by.user(), user, json!({})).await?;
    Ok(true)
}
