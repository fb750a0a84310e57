//! Sessions: what a login opens, the refresh tokens that continue it, and revoked tokens.
//!
//! All tokens of a session carry its id, and end with it. Those from before, and those of the Node
//! service, have none: each refresh token is a session by itself.

use std::time::Duration;

use chrono::{DateTime, Utc};
use serde::Serialize;
use serde_json::json;
use sqlx::{PgConnection, PgPool};
use utoipa::ToSchema;
use uuid::Uuid;

use super::tokens::{REFRESH_VALID, Signer, Verified, either_way, stored};
use crate::{
    audit::{self, Action},
    config::TokenStorage,
    error::{Error, Result},
    storage::{
        groups::Groups,
        postgres::{interval, promptly_from},
    },
    types::{
        ids::{SessionId, UserId},
        time::Timestamp,
    },
};

/// A session that a login opens.
pub struct NewSession<'a> {
    pub id: SessionId,
    pub user: UserId,
    pub refresh_token: &'a str,
    pub expires_at: DateTime<Utc>,
    /// What the client calls itself.
    pub user_agent: Option<&'a str>,
    /// As `login_networks` has it.
    pub network: &'a str,
}

/// Opens a session whose credentials were checked after `since`. [`Error::BadCredentials`] when the
/// account was deleted, or all its sessions were ended, meanwhile; [`Error::AccountSuspended`].
pub async fn open(
    conn: &mut PgConnection,
    new: &NewSession<'_>,
    storage: TokenStorage,
    since: DateTime<Utc>,
) -> Result<()> {
    // The row's lock makes this wait for a transaction that ends the user's sessions, and vice
    // versa.
    let inserted = sqlx::query!(
        "WITH owner AS (
             SELECT id FROM users
             WHERE id = $1 AND (sessions_valid_from IS NULL OR sessions_valid_from <= $3) AND suspended_at IS NULL FOR SHARE
         ), opened AS (
             INSERT INTO sessions (id, user_id, expires_at, user_agent, network) SELECT $5, id, $4, $6, $7 FROM owner
             RETURNING id, user_id
         )
         INSERT INTO refresh_tokens (user_id, token, expires_at, session_id) SELECT user_id, $2, $4, id FROM opened",
        new.user as _,
        stored(new.refresh_token, storage),
        since,
        new.expires_at,
        new.id as _,
        new.user_agent,
        new.network,
    )
    .execute(&mut *conn)
    .await?;
    if inserted.rows_affected() == 0 {
        return Err(refused(conn, new.user).await?);
    }
    let details = json!({ "session": new.id });
    audit::record(conn, Action::SignedIn, Some(new.user), new.user, details).await
}

/// Why a user gets no session, although their credentials are right.
async fn refused(conn: &mut PgConnection, user: UserId) -> Result<Error> {
    let suspended = sqlx::query_scalar!(
        r#"SELECT EXISTS (SELECT 1 FROM users WHERE id = $1 AND suspended_at IS NOT NULL) AS "suspended!""#,
        user as _,
    );
    let suspended = suspended.fetch_one(conn).await?;
    Ok(if suspended { Error::AccountSuspended } else { Error::BadCredentials })
}

/// Whether neither the client nor the network is one that the account knows, though it knows some.
/// Phones change their networks, and browsers their versions; who has come with one of them before
/// is not worth a notice.
pub async fn is_new_device(conn: &mut PgConnection, new: &NewSession<'_>) -> Result<bool> {
    let is_new = sqlx::query_scalar!(
        r#"SELECT EXISTS (SELECT 1 FROM login_networks WHERE user_id = $1)
               AND NOT EXISTS (SELECT 1 FROM login_networks WHERE user_id = $1 AND network = $2)
               AND NOT EXISTS (SELECT 1 FROM sessions WHERE user_id = $1 AND user_agent IS NOT DISTINCT FROM $3) AS "new!""#,
        new.user as _,
        new.network,
        new.user_agent,
    );
    Ok(is_new.fetch_one(conn).await?)
}

/// Ended sessions of a user.
#[derive(Debug)]
pub struct EndedSessions {
    /// Access tokens that were issued before are revoked.
    pub from: DateTime<Utc>,
    /// The revoked refresh tokens, as they were stored.
    pub refresh_tokens: Vec<String>,
    /// How many sessions could still have been continued.
    pub count: usize,
}

/// Ends every session of `user`, on the operators' pages, too (a trigger sees to that): all access
/// and refresh tokens that have been issued are revoked.
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
    sqlx::query!(
        "UPDATE sessions SET ended_at = now() WHERE user_id = $1 AND ended_at IS NULL",
        user as _
    )
    .execute(&mut *conn)
    .await?;
    let revoked = sqlx::query!(
        r#"UPDATE refresh_tokens SET is_revoked = TRUE, updated_at = now()
           WHERE user_id = $1 AND is_revoked IS NOT TRUE AND expires_at > now()
           RETURNING token, rotated_at IS NULL AS "continued!""#,
        user as _,
    )
    .fetch_all(&mut *conn)
    .await?;
    tell_processes(conn, user).await?;
    let count = revoked.iter().filter(|row| row.continued).count();
    Ok(EndedSessions {
        from,
        refresh_tokens: revoked.into_iter().map(|row| row.token).collect(),
        count,
    })
}

/// Ends one session of `user`; `None` if there is no such session that could still be continued.
/// Otherwise its refresh tokens, as they were stored.
pub async fn end_session(
    conn: &mut PgConnection,
    user: UserId,
    session: SessionId,
) -> Result<Option<Vec<String>>> {
    lock_user(conn, user).await?;
    let ended = sqlx::query!(
        "UPDATE sessions SET ended_at = now() WHERE id = $1 AND user_id = $2 AND ended_at IS NULL",
        session as _,
        user as _,
    )
    .execute(&mut *conn)
    .await?;
    if ended.rows_affected() == 0 {
        return Ok(None);
    }
    let tokens = sqlx::query_scalar!(
        "UPDATE refresh_tokens SET is_revoked = TRUE, updated_at = now()
         WHERE session_id = $1 AND is_revoked IS NOT TRUE RETURNING token",
        session as _,
    )
    .fetch_all(&mut *conn)
    .await?;
    tell_processes(conn, user).await?;
    Ok(Some(tokens))
}

/// Keeps others from continuing or ending sessions of `user` until the transaction ends.
async fn lock_user(conn: &mut PgConnection, user: UserId) -> Result<()> {
    sqlx::query!("SELECT id FROM users WHERE id = $1 FOR NO KEY UPDATE", user as _)
        .fetch_optional(conn)
        .await?;
    Ok(())
}

/// Locks the account of a token's user for a change that only they may make. Hashing and providers
/// take a while: [`Error::TokenRevoked`] if the token was revoked since it was checked.
pub async fn require(conn: &mut PgConnection, token: &str, verified: Verified) -> Result<()> {
    // First the lock, and then the look, so that it sees what the lock has waited for.
    lock_user(conn, verified.user).await?;
    match are_revoked(conn, &[(token.to_owned(), verified)]).await?.pop() {
        Some(Ok(false)) => Ok(()),
        _ => Err(Error::TokenRevoked),
    }
}

/// A session as its user sees it.
#[derive(Debug, Serialize, ToSchema)]
pub struct Session {
    pub id: SessionId,
    pub created_at: Timestamp,
    /// When it last got tokens.
    pub last_used_at: Timestamp,
    pub expires_at: Timestamp,
    /// What the client calls itself.
    pub user_agent: Option<String>,
    /// An IPv4 address, or the /64 of an IPv6 address.
    pub network: String,
    /// Whether it is the one that asks.
    pub current: bool,
}

/// The newest hundred sessions of `user` that can still be continued.
pub async fn list(
    conn: &mut PgConnection,
    user: UserId,
    current: Option<SessionId>,
) -> Result<Vec<Session>> {
    let sessions = sqlx::query_as!(
        Session,
        r#"SELECT id AS "id: _", created_at AS "created_at: _", last_used_at AS "last_used_at: _", expires_at AS "expires_at: _",
                  user_agent, network, id IS NOT DISTINCT FROM $2 AS "current!"
           FROM sessions WHERE user_id = $1 AND ended_at IS NULL AND expires_at > now()
           ORDER BY last_used_at DESC, id LIMIT 100"#,
        user as _,
        current as _,
    )
    .fetch_all(conn)
    .await?;
    Ok(sessions)
}

/// How many sessions of `user` could still be continued.
pub async fn open_sessions(conn: &mut PgConnection, user: UserId) -> Result<i64> {
    let open = sqlx::query_scalar!(
        r#"SELECT count(*) AS "open!" FROM refresh_tokens
           WHERE user_id = $1 AND is_revoked IS NOT TRUE AND rotated_at IS NULL AND expires_at > now()"#,
        user as _,
    )
    .fetch_one(conn)
    .await?;
    Ok(open)
}

/// How long a refresh token that was just replaced may be used once more: a client that has not had
/// the answer asks again, and its other window asks at the same moment. Each is given the same
/// successor, so that a session never goes on in two lines of tokens.
const USED_AGAIN: Duration = Duration::from_secs(10);

/// What a refresh token may be used for.
#[derive(Debug)]
pub enum Refresh {
    /// It continues the session, if it has one.
    Of(Option<SessionId>),
    /// It was replaced a while ago: somebody has a copy of it, or of its successor. The caller ends
    /// the session.
    Reused(SessionId),
}

/// Looks up a refresh token of `user`, whose session lasts no longer than `longest`. Issue the new
/// access token before this call: then a transaction that ends the user's sessions either is waited
/// for here, or revokes the new token, too.
pub async fn check_refresh_token(
    conn: &mut PgConnection,
    user: UserId,
    token: &str,
    longest: Duration,
) -> Result<Refresh> {
    // The user first, as where sessions are ended, and the look in a separate statement, so that it
    // sees the changes that it waited for.
    sqlx::query!("SELECT id FROM users WHERE id = $1 FOR SHARE", user as _)
        .fetch_optional(&mut *conn)
        .await?;
    let found = sqlx::query!(
        r#"SELECT coalesce(t.is_revoked, FALSE) OR s.ended_at IS NOT NULL AS "revoked!", t.session_id AS "session: SessionId",
                  coalesce(t.rotated_at < now() - $3::interval, FALSE) AS "reused!",
                  coalesce(s.created_at < now() - $4::interval, FALSE) AS "over!"
           FROM refresh_tokens t LEFT JOIN sessions s ON s.id = t.session_id
           WHERE t.token = ANY ($1) AND t.user_id = $2 ORDER BY 1 DESC LIMIT 1"#,
        &either_way(token)[..],
        user as _,
        interval(USED_AGAIN)?,
        interval(longest)?,
    )
    .fetch_optional(conn)
    .await?;
    match found {
        None => Err(Error::RefreshUnknown),
        Some(found) if found.revoked => Err(Error::RefreshRevoked),
        Some(found) if found.over => Err(Error::RefreshInvalid),
        Some(found) => Ok(match found.session {
            Some(session) if found.reused => Refresh::Reused(session),
            session => Refresh::Of(session),
        }),
    }
}

/// Notes that a session was continued.
pub async fn touch(conn: &mut PgConnection, session: SessionId) -> Result<()> {
    sqlx::query!(
        "UPDATE sessions SET last_used_at = now() WHERE id = $1 AND last_used_at < now() - interval '1 minute'",
        session as _,
    )
    .execute(conn)
    .await?;
    Ok(())
}

/// Replaces a refresh token of a session by its successor, which lasts no longer than the session
/// may. Of those who replace one at once, the later wait here, and get what the first got.
pub async fn rotate(
    conn: &mut PgConnection,
    signer: &Signer,
    (user, session): (UserId, SessionId),
    old: &str,
    storage: TokenStorage,
    longest: Duration,
) -> Result<String> {
    // This process's clock, which the tokens use, too.
    let rotated = sqlx::query!(
        r#"UPDATE refresh_tokens t SET rotated_at = coalesce(t.rotated_at, $3), updated_at = now()
           FROM sessions s WHERE t.token = ANY ($1) AND t.user_id = $2 AND s.id = t.session_id
           RETURNING t.rotated_at AS "at!", s.created_at + $4::interval AS "ends_at!""#,
        &either_way(old)[..],
        user as _,
        Utc::now(),
        interval(longest)?,
    )
    .fetch_optional(&mut *conn)
    .await?
    .ok_or(Error::RefreshUnknown)?;
    let expires_at = rotated.ends_at.min(rotated.at + REFRESH_VALID);
    let successor = signer.successor(user, session, old, rotated.at, expires_at)?;
    sqlx::query!(
        "WITH continued AS (UPDATE sessions SET last_used_at = now(), expires_at = greatest(expires_at, $4) WHERE id = $3 RETURNING id)
         INSERT INTO refresh_tokens (user_id, token, expires_at, session_id) SELECT $1, $2, $4, id FROM continued
         WHERE NOT EXISTS (SELECT 1 FROM refresh_tokens WHERE token = $2)",
        user as _,
        stored(&successor, storage),
        session as _,
        expires_at,
    )
    .execute(conn)
    .await?;
    Ok(successor)
}

/// Revokes a refresh token if it is `user`'s, and ends its session. Returns the refresh tokens that
/// were revoked, as they were stored.
pub async fn revoke_refresh_token(
    conn: &mut PgConnection,
    user: UserId,
    token: &str,
) -> Result<Vec<String>> {
    lock_user(conn, user).await?;
    let revoked = sqlx::query!(
        r#"UPDATE refresh_tokens SET is_revoked = TRUE, updated_at = now() WHERE token = ANY ($1) AND user_id = $2
           RETURNING token, session_id AS "session: SessionId""#,
        &either_way(token)[..],
        user as _,
    )
    .fetch_all(&mut *conn)
    .await?;
    let mut tokens = Vec::new();
    for row in revoked {
        tokens.push(row.token);
        if let Some(session) = row.session {
            tokens.extend(end_session(conn, user, session).await?.unwrap_or_default());
        }
    }
    Ok(tokens)
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
    let sessions: Vec<Option<Uuid>> =
        asked.iter().map(|(_, verified)| verified.session.map(|session| session.0)).collect();
    let revoked = sqlx::query_scalar!(
        r#"SELECT EXISTS (SELECT 1 FROM blacklisted_tokens WHERE token IN (asked.one_way, asked.other_way))
               OR EXISTS (SELECT 1 FROM users WHERE id = asked.user_id AND (sessions_valid_from > asked.issued_at OR suspended_at IS NOT NULL))
               OR EXISTS (SELECT 1 FROM sessions WHERE id = asked.session AND ended_at IS NOT NULL) AS "revoked!"
           FROM unnest($1::text[], $2::text[], $3::int[], $4::timestamptz[], $5::uuid[]) WITH ORDINALITY
               AS asked (one_way, other_way, user_id, issued_at, session, number)
           ORDER BY number"#,
        &one_way,
        &other_way,
        &users as _,
        &issued,
        &sessions as &[Option<Uuid>],
    );
    Ok(revoked.fetch_all(conn).await?.into_iter().map(Ok).collect())
}

async fn tell_processes(conn: &mut PgConnection, user: UserId) -> Result<()> {
    sqlx::query!("SELECT pg_notify($1, $2)", REVOCATIONS, user.to_string()).execute(conn).await?;
    Ok(())
}
