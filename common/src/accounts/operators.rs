//! Operators: what opens their pages, and for how long. A session of theirs is none of the API's: it
//! takes the password and a code of an authenticator, whose secret only the command line sets, so
//! that who learns a password cannot choose one. A trigger ends the sessions of who gets another role
//! or is suspended, and those of an account all of whose sessions end.

use std::time::Duration;

use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
use chrono::{DateTime, Utc};
use serde_json::json;
use sha2::{Digest, Sha256};
use sqlx::PgConnection;

use super::{roles::Role, totp::TotpSecret};
use crate::{
    audit::{self, Action},
    error::{Error, Result},
    storage::postgres::interval,
    types::ids::UserId,
};

/// How long a session lasts at most.
pub const LONGEST: Duration = Duration::from_secs(8 * 60 * 60);
/// How long it lasts while its operator asks for nothing.
pub const IDLE: Duration = Duration::from_secs(30 * 60);
/// How long a code counts for what needs a fresh one.
pub const FRESH: Duration = Duration::from_secs(5 * 60);

/// An operator whose session is open.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OpenSession {
    pub user: UserId,
    /// An admin or an auditor.
    pub role: Role,
    /// Whether a code was given a moment ago.
    pub is_fresh: bool,
}

/// A new session's token, for a cookie.
pub fn new_token() -> String {
    BASE64_URL_SAFE_NO_PAD.encode(rand::random::<[u8; 32]>())
}

fn hashed(token: &str) -> Vec<u8> {
    Sha256::digest(token).to_vec()
}

/// Gives an account a secret for its authenticator; `None` if it has one that is not to be replaced.
/// Its sessions on the pages end.
pub async fn set_totp(
    conn: &mut PgConnection,
    user: UserId,
    replace: bool,
) -> Result<Option<TotpSecret>> {
    let secret = TotpSecret::generate();
    let set = sqlx::query!(
        "INSERT INTO operator_totps (user_id, secret) VALUES ($1, $2)
         ON CONFLICT (user_id) DO UPDATE SET secret = excluded.secret, last_step = 0, created_at = now() WHERE $3",
        user as _,
        secret.bytes(),
        replace,
    )
    .execute(&mut *conn)
    .await?;
    if set.rows_affected() == 0 {
        return Ok(None);
    }
    sqlx::query!("DELETE FROM operator_sessions WHERE user_id = $1", user as _)
        .execute(&mut *conn)
        .await?;
    audit::record(conn, Action::OperatorTotpSet, None, user, json!({})).await?;
    Ok(Some(secret))
}

/// Whether a code is that of the operator's authenticator now. It is good once.
pub async fn check_code(conn: &mut PgConnection, user: UserId, code: &str) -> Result<bool> {
    let stored =
        sqlx::query_scalar!("SELECT secret FROM operator_totps WHERE user_id = $1", user as _)
            .fetch_optional(&mut *conn)
            .await?;
    let Some(secret) = stored.as_deref().and_then(TotpSecret::from_bytes) else {
        return Ok(false);
    };
    let Some(step) = secret.step_of(code, Utc::now().timestamp())? else { return Ok(false) };
    let used = sqlx::query!(
        "UPDATE operator_totps SET last_step = $2 WHERE user_id = $1 AND last_step < $2 AND secret = $3",
        user as _,
        step,
        secret.bytes(),
    )
    .execute(conn)
    .await?;
    Ok(used.rows_affected() == 1)
}

/// Opens a session for an operator whose password and code were checked after `since`.
/// [`Error::Forbidden`] for who is no operator, or whose sessions were ended meanwhile.
pub async fn open(
    conn: &mut PgConnection,
    user: UserId,
    token: &str,
    since: DateTime<Utc>,
) -> Result<()> {
    let opened = sqlx::query!(
        "WITH operator AS (
             SELECT id FROM users
             WHERE id = $1 AND role IN ('auditor', 'admin') AND suspended_at IS NULL
               AND (sessions_valid_from IS NULL OR sessions_valid_from <= $3) FOR SHARE
         )
         INSERT INTO operator_sessions (token_hash, user_id, expires_at) SELECT $2, id, now() + $4::interval FROM operator",
        user as _,
        hashed(token),
        since,
        interval(LONGEST)?,
    )
    .execute(&mut *conn)
    .await?;
    if opened.rows_affected() == 0 {
        return Err(Error::Forbidden("operate this installation"));
    }
    audit::record(conn, Action::OperatorSignedIn, Some(user), user, json!({})).await
}

/// The session of a cookie, if it is open. Unless the browser asks by itself, that keeps it open.
pub async fn look(
    conn: &mut PgConnection,
    token: &str,
    by_itself: bool,
) -> Result<Option<OpenSession>> {
    let found = sqlx::query!(
        r#"SELECT s.user_id AS "user: UserId", u.role AS "role: Role", s.proved_at > now() - $3::interval AS "is_fresh!",
                  s.last_used_at < now() - interval '1 minute' AS "is_stale!"
           FROM operator_sessions s JOIN users u ON u.id = s.user_id
           WHERE s.token_hash = $1 AND s.expires_at > now() AND s.last_used_at > now() - $2::interval
             AND u.role IN ('auditor', 'admin') AND u.suspended_at IS NULL"#,
        hashed(token),
        interval(IDLE)?,
        interval(FRESH)?,
    )
    .fetch_optional(&mut *conn)
    .await?;
    let Some(found) = found else { return Ok(None) };
    if found.is_stale && !by_itself {
        sqlx::query!(
            "UPDATE operator_sessions SET last_used_at = now() WHERE token_hash = $1",
            hashed(token)
        )
        .execute(conn)
        .await?;
    }
    Ok(Some(OpenSession { user: found.user, role: found.role, is_fresh: found.is_fresh }))
}

/// Notes that the operator has given a code again.
pub async fn prove(conn: &mut PgConnection, token: &str) -> Result<()> {
    sqlx::query!(
        "UPDATE operator_sessions SET proved_at = now() WHERE token_hash = $1",
        hashed(token)
    )
    .execute(conn)
    .await?;
    Ok(())
}

/// Ends a session.
pub async fn close(conn: &mut PgConnection, user: UserId, token: &str) -> Result<()> {
    sqlx::query!("DELETE FROM operator_sessions WHERE token_hash = $1", hashed(token))
        .execute(&mut *conn)
        .await?;
    audit::record(conn, Action::OperatorSignedOut, Some(user), user, json!({})).await
}
