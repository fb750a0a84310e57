//! Sessions: stored refresh tokens, and revoked tokens.

use chrono::{DateTime, Utc};
use sqlx::{PgConnection, PgPool};

use super::tokens::{Verified, either_way, stored};
use crate::{
    config::TokenStorage,
    error::{Error, Result},
    storage::{groups::Groups, postgres::promptly_from},
    types::ids::UserId,
};

/// Stores the refresh token of a session whose credentials were checked after `since`.
/// [`Error::BadCredentials`] when the account was deleted, or all its sessions were ended,
/// meanwhile.
pub async fn keep_refresh_token(
    conn: &mut PgConnection,
    user: UserId,
    token: &str,
    storage: TokenStorage,
    since: DateTime<Utc>,
    expires_at: DateTime<Utc>,
) -> Result<()> {
    // The row's lock makes this wait for a transaction that ends the user's sessions, and vice
    // versa.
    let inserted = sqlx::query!(
        "INSERT INTO refresh_tokens (user_id, token, expires_at)
         SELECT id, $2, $4 FROM users WHERE id = $1 AND (sessions_valid_from IS NULL OR sessions_valid_from <= $3) FOR SHARE",
        user as _,
        stored(token, storage),
        since,
        expires_at,
    )
    .execute(conn)
    .await?;
    if inserted.rows_affected() == 0 { Err(Error::BadCredentials) } else { Ok(()) }
}

/// Ended sessions of a user.
#[derive(Debug)]
pub struct EndedSessions {
    /// Access tokens that were issued before are revoked.
    pub from: DateTime<Utc>,
    /// The revoked refresh tokens, as they were stored; each is a session.
    pub refresh_tokens: Vec<String>,
}

/// Ends every session of `user`: all access and refresh tokens that have been issued are revoked.
pub async fn end_sessions(conn: &mut PgConnection, user: UserId) -> Result<EndedSessions> {
    sqlx::query!("SELECT id FROM users WHERE id = $1 FOR UPDATE", user as _)
        .fetch_optional(&mut *conn)
        .await?;
    // This process's clock, which the tokens use, too; read only now that no session can be opened
    // meanwhile.
    let from = Utc::now();
    sqlx::query!("UPDATE users SET sessions_valid_from = $2 WHERE id = $1", user as _, from)
        .execute(&mut *conn)
        .await?;
    let refresh_tokens = sqlx::query_scalar!(
        "UPDATE refresh_tokens SET is_revoked = TRUE, updated_at = now()
         WHERE user_id = $1 AND is_revoked IS NOT TRUE AND expires_at > now() RETURNING token",
        user as _,
    )
    .fetch_all(&mut *conn)
    .await?;
    tell_processes(conn, user).await?;
    Ok(EndedSessions { from, refresh_tokens })
}

/// How many sessions of `user` could still be continued.
pub async fn open_sessions(conn: &mut PgConnection, user: UserId) -> Result<i64> {
    let open = sqlx::query_scalar!(
        r#"SELECT count(*) AS "open!" FROM refresh_tokens
           WHERE user_id = $1 AND is_revoked IS NOT TRUE AND expires_at > now()"#,
        user as _,
    )
    .fetch_one(conn)
    .await?;
    Ok(open)
}

/// Whether a refresh token of `user` is known and not revoked. Issue the new access token before
/// this call: then a transaction that ends the user's sessions either is waited for here, or
/// revokes the new token, too.
pub async fn check_refresh_token(conn: &mut PgConnection, user: UserId, token: &str) -> Result<()> {
    // The user first, as where sessions are ended, and the look in a separate statement, so that it
    // sees the changes that it waited for.
    sqlx::query!("SELECT id FROM users WHERE id = $1 FOR SHARE", user as _)
        .fetch_optional(&mut *conn)
        .await?;
    let revoked = sqlx::query_scalar!(
        r#"SELECT coalesce(is_revoked, FALSE) AS "revoked!" FROM refresh_tokens
           WHERE token = ANY ($1) AND user_id = $2 ORDER BY 1 DESC LIMIT 1"#,
        &either_way(token)[..],
        user as _,
    )
    .fetch_optional(conn)
    .await?;
    match revoked {
        None => Err(Error::RefreshUnknown),
        Some(true) => Err(Error::RefreshRevoked),
        Some(false) => Ok(()),
    }
}

/// Revokes a refresh token if it is `user`'s; true when it was.
pub async fn revoke_refresh_token(
    conn: &mut PgConnection,
    user: UserId,
    token: &str,
) -> Result<bool> {
    let revoked = sqlx::query!(
        "UPDATE refresh_tokens SET is_revoked = TRUE, updated_at = now() WHERE token = ANY ($1) AND user_id = $2",
        &either_way(token)[..],
        user as _,
    )
    .execute(conn)
    .await?;
    Ok(revoked.rows_affected() > 0)
}

/// Revokes an access token until it would have expired anyway.
pub async fn revoke_access_token(
    conn: &mut PgConnection,
    user: UserId,
    token: &str,
    storage: TokenStorage,
    expires_at: DateTime<Utc>,
) -> Result<()> {
    sqlx::query!(
        "INSERT INTO blacklisted_tokens (token, user_id, expires_at)
         SELECT $1, (SELECT id FROM users WHERE id = $2), $3 ON CONFLICT (token) DO NOTHING",
        stored(token, storage),
        user as _,
        expires_at,
    )
    .execute(&mut *conn)
    .await?;
    tell_processes(conn, user).await
}

/// The channel on which every API process hears whose tokens were revoked, as the transaction
/// commits: see `api/src/auth/revocations.rs`.
pub const REVOCATIONS: &str = "nexus_revocations";

/// Whether access tokens were revoked, alone or with all of their users', many together: after a
/// crash, ten thousand clients come back at once.
pub fn revocations(db: PgPool) -> Groups<(String, Verified), bool> {
    Groups::new(move |asked| {
        let db = db.clone();
        async move {
            promptly_from(&db, async { are_revoked(&mut *db.acquire().await?, &asked).await }).await
        }
    })
}

async fn are_revoked(
    conn: &mut PgConnection,
    asked: &[(String, Verified)],
) -> Result<Vec<Result<bool>>> {
    let (mut one_way, mut other_way) = (Vec::new(), Vec::new());
    for [one, other] in asked.iter().map(|(token, _)| either_way(token)) {
        one_way.push(one);
        other_way.push(other);
    }
    let users: Vec<UserId> = asked.iter().map(|(_, verified)| verified.user).collect();
    let issued: Vec<_> = asked.iter().map(|(_, verified)| verified.issued_at).collect();
    let revoked = sqlx::query_scalar!(
        r#"SELECT EXISTS (SELECT 1 FROM blacklisted_tokens WHERE token IN (asked.one_way, asked.other_way))
               OR EXISTS (SELECT 1 FROM users WHERE id = asked.user_id AND sessions_valid_from > asked.issued_at) AS "revoked!"
           FROM unnest($1::text[], $2::text[], $3::int[], $4::timestamptz[]) WITH ORDINALITY
               AS asked (one_way, other_way, user_id, issued_at, number)
           ORDER BY number"#,
        &one_way,
        &other_way,
        &users as _,
        &issued,
    );
    Ok(revoked.fetch_all(conn).await?.into_iter().map(Ok).collect())
}

async fn tell_processes(conn: &mut PgConnection, user: UserId) -> Result<()> {
    sqlx::query!("SELECT pg_notify($1, $2)", REVOCATIONS, user.to_string()).execute(conn).await?;
    Ok(())
}
