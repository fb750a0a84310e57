//! Accounts and sessions: the SQL behind registration, login, one-time passwords and logout. The
//! rules of what may be entered are in [`credentials`](super::credentials), hashing in
//! [`passwords`](super::passwords), tokens in [`tokens`](super::tokens).

use chrono::{DateTime, Utc};
use serde::Serialize;
use sqlx::PgConnection;
use utoipa::ToSchema;

use super::{
    credentials::{Email, Login, Phone, Registration},
    ids::UserId,
    time::Timestamp,
    tokens::{Keeping, Verified, either_way},
};
use crate::error::{Error, Result, violated_constraint};

/// A user as the API shows one.
#[derive(Debug, Serialize, ToSchema)]
#[allow(missing_docs)] // columns of `users`
pub struct User {
    pub id: UserId,
    pub username: Option<String>,
    pub name: Option<String>,
    pub email: Option<String>,
    pub phone: Option<String>,
    /// Only shown to whoever has just registered, and by `me`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub created_at: Option<Timestamp>,
}

/// A user and the stored hash of their password, if they have one.
#[derive(Debug)]
pub struct Account {
    /// What may be shown.
    pub user: User,
    /// bcrypt or Argon2id.
    pub password_hash: Option<String>,
}

/// Creates an account. [`Error::UserExists`] when its username, e-mail or phone is taken.
pub async fn register(
    conn: &mut PgConnection,
    new: &Registration,
    password_hash: &str,
) -> Result<User> {
    let inserted = sqlx::query!(
        r#"INSERT INTO users (username, name, email, phone, password, address, city, state, zip, country)
           SELECT $1, $2, $3, $4, $5, $6, $7, $8, $9, $10
           WHERE NOT EXISTS (SELECT 1 FROM users WHERE email = ANY ($11))
           RETURNING id, created_at AS "created_at!""#,
        new.username,
        new.name,
        new.email.as_ref().map(|email| email.as_str()),
        new.phone.as_ref().map(|phone| phone.as_str()),
        password_hash,
        new.address,
        new.city,
        new.state,
        new.zip,
        new.country,
        &new.email.as_ref().map(Email::spellings).unwrap_or_default(),
    )
    .fetch_optional(conn)
    .await;
    let row = taken_or(inserted)?.ok_or(Error::UserExists)?;
    Ok(User {
        id: UserId(row.id),
        username: new.username.clone(),
        name: new.name.clone(),
        email: new.email.as_ref().map(|email| email.as_str().to_owned()),
        phone: new.phone.as_ref().map(|phone| phone.as_str().to_owned()),
        created_at: Some(row.created_at.into()),
    })
}

/// [`Error::UserExists`] if somebody else has what was to be stored.
fn taken_or<T>(stored: Result<T, sqlx::Error>) -> Result<T> {
    stored.map_err(|error| match violated_constraint(&error) {
        Some(name) if name.starts_with("users_") => Error::UserExists,
        _ => error.into(),
    })
}

/// Gives an account another e-mail address; returns the one before. [`Error::UserExists`] when
/// somebody else has it.
pub async fn set_email(
    conn: &mut PgConnection,
    user: UserId,
    email: &Email,
) -> Result<Option<String>> {
    let changed = sqlx::query_scalar!(
        "UPDATE users u SET email = $2, updated_at = now()
         FROM (SELECT id, email FROM users WHERE id = $1 FOR UPDATE) before
         WHERE u.id = before.id AND NOT EXISTS (SELECT 1 FROM users WHERE email = ANY ($3) AND id <> $1)
         RETURNING before.email",
        user.0,
        email.as_str(),
        &email.spellings(),
    )
    .fetch_optional(conn)
    .await;
    taken_or(changed)?.ok_or(Error::UserExists)
}

/// The account that logs in so.
pub async fn find(conn: &mut PgConnection, login: &Login) -> Result<Option<Account>> {
    let (email, phone) = login.columns();
    let row = sqlx::query!(
        "SELECT id, username, name, email, phone, password FROM users WHERE email = ANY ($1) OR phone = ANY ($2)
         ORDER BY array_position($1, email::text), array_position($2, phone::text) LIMIT 1",
        email,
        phone,
    )
    .fetch_optional(conn)
    .await?;
    Ok(row.map(|row| Account {
        user: User {
            id: UserId(row.id),
            username: row.username,
            name: row.name,
            email: row.email,
            phone: row.phone,
            created_at: None,
        },
        password_hash: row.password,
    }))
}

/// A user who has logged in, by id.
pub async fn get(conn: &mut PgConnection, user: UserId) -> Result<Option<User>> {
    let row = sqlx::query!(
        r#"SELECT id, username, name, email, phone, created_at AS "created_at!" FROM users WHERE id = $1"#,
        user.0
    )
    .fetch_optional(conn)
    .await?;
    Ok(row.map(|row| User {
        id: UserId(row.id),
        username: row.username,
        name: row.name,
        email: row.email,
        phone: row.phone,
        created_at: Some(row.created_at.into()),
    }))
}

/// The user of a phone that a one-time password has just proved, created if there is none; true
/// when it was.
pub async fn find_or_create_by_phone(
    conn: &mut PgConnection,
    phone: &Phone,
) -> Result<(User, bool)> {
    // A row that was there, and not only now inserted, has been locked by this.
    let created = sqlx::query_scalar!(
        r#"INSERT INTO users AS known (phone, phone_verified_at) VALUES ($1, now())
           ON CONFLICT (phone) DO UPDATE SET phone_verified_at = now() WHERE known.phone_verified_at IS NULL
           RETURNING xmax = 0 AS "created!""#,
        phone.as_str()
    )
    .fetch_optional(&mut *conn)
    .await?
    .unwrap_or(false);
    let account = find(conn, &Login::from(phone)).await?;
    let account = account.ok_or_else(|| Error::internal("a user vanished while logging in"))?;
    Ok((account.user, created))
}

/// Replaces a password's hash by another of the same password.
pub async fn rehash(conn: &mut PgConnection, user: UserId, old: &str, new: &str) -> Result<()> {
    sqlx::query!(
        "UPDATE users SET password = $3 WHERE id = $1 AND password = $2",
        user.0,
        old,
        new
    )
    .execute(conn)
    .await?;
    Ok(())
}

/// Whether a username is free.
pub async fn username_is_available(conn: &mut PgConnection, username: &str) -> Result<bool> {
    let taken = sqlx::query_scalar!(
        r#"SELECT EXISTS (SELECT 1 FROM users WHERE username = $1) AS "taken!""#,
        username
    )
    .fetch_one(conn)
    .await?;
    Ok(!taken)
}

/// Remembers the refresh token of a session whose credentials were looked at after `since`.
/// [`Error::BadCredentials`] when the account has gone, or all its sessions were ended, meanwhile.
pub async fn keep_refresh_token(
    conn: &mut PgConnection,
    user: UserId,
    token: &str,
    keeping: Keeping,
    since: DateTime<Utc>,
    expires_at: DateTime<Utc>,
) -> Result<()> {
    // The row's lock makes this wait for whoever is ending the user's sessions, and them for this.
    let inserted = sqlx::query!(
        "INSERT INTO refresh_tokens (user_id, token, expires_at)
         SELECT id, $2, $4 FROM users WHERE id = $1 AND (sessions_valid_from IS NULL OR sessions_valid_from <= $3) FOR SHARE",
        user.0,
        keeping.kept(token),
        since,
        expires_at,
    )
    .execute(conn)
    .await?;
    if inserted.rows_affected() == 0 { Err(Error::BadCredentials) } else { Ok(()) }
}

/// Sets the password of the account with that phone number, which a one-time password has just
/// proved; it must be followed by [`end_sessions`] in the same transaction.
pub async fn set_password(conn: &mut PgConnection, phone: &Phone, hash: &str) -> Result<UserId> {
    let id = sqlx::query_scalar!(
        "UPDATE users SET password = $2, phone_verified_at = coalesce(phone_verified_at, now()), updated_at = now()
         WHERE phone = $1 RETURNING id",
        phone.as_str(),
        hash,
    )
    .fetch_optional(conn)
    .await?;
    id.map(UserId).ok_or(Error::PhoneUnknown)
}

/// Ended sessions of a user.
#[derive(Debug)]
pub struct EndedSessions {
    /// Access tokens that were issued before are revoked.
    pub from: DateTime<Utc>,
    /// The refresh tokens that were revoked, as they were kept; each of them is a session.
    pub refresh_tokens: Vec<String>,
}

/// Ends every session of `user`: all access and refresh tokens that have been issued are revoked.
pub async fn end_sessions(conn: &mut PgConnection, user: UserId) -> Result<EndedSessions> {
    sqlx::query!("SELECT id FROM users WHERE id = $1 FOR UPDATE", user.0)
        .fetch_optional(&mut *conn)
        .await?;
    // This process's clock, as for the tokens, and read only now that nobody can open a session
    // meanwhile.
    let from = Utc::now();
    sqlx::query!("UPDATE users SET sessions_valid_from = $2 WHERE id = $1", user.0, from)
        .execute(&mut *conn)
        .await?;
    let refresh_tokens = sqlx::query_scalar!(
        "UPDATE refresh_tokens SET is_revoked = TRUE, updated_at = now()
         WHERE user_id = $1 AND is_revoked IS NOT TRUE AND expires_at > now() RETURNING token",
        user.0,
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
        user.0
    )
    .fetch_one(conn)
    .await?;
    Ok(open)
}

/// Whether a refresh token of `user` is known and not revoked. What it buys must have been issued
/// before this is asked: then whoever ends the user's sessions either is waited for here, or
/// revokes that, too.
pub async fn check_refresh_token(conn: &mut PgConnection, user: UserId, token: &str) -> Result<()> {
    // The user first, as whoever ends the sessions does, and the look in a statement of its own, so
    // that it sees what was waited for.
    sqlx::query!("SELECT id FROM users WHERE id = $1 FOR SHARE", user.0)
        .fetch_optional(&mut *conn)
        .await?;
    let revoked = sqlx::query_scalar!(
        r#"SELECT coalesce(is_revoked, FALSE) AS "revoked!" FROM refresh_tokens
           WHERE token = ANY ($1) AND user_id = $2 ORDER BY 1 DESC LIMIT 1"#,
        &either_way(token)[..],
        user.0,
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
        user.0,
    )
    .execute(conn)
    .await?;
    Ok(revoked.rows_affected() > 0)
}

/// Revokes an access token until it would have ended anyway.
pub async fn revoke_access_token(
    conn: &mut PgConnection,
    user: UserId,
    token: &str,
    keeping: Keeping,
    expires_at: DateTime<Utc>,
) -> Result<()> {
    sqlx::query!(
        "INSERT INTO blacklisted_tokens (token, user_id, expires_at)
         SELECT $1, (SELECT id FROM users WHERE id = $2), $3 ON CONFLICT (token) DO NOTHING",
        keeping.kept(token),
        user.0,
        expires_at,
    )
    .execute(&mut *conn)
    .await?;
    tell_processes(conn, user).await
}

/// The channel on which every API process hears whose tokens have been revoked, by the time the
/// transaction has committed: see `api/src/revocations.rs`.
pub const REVOCATIONS: &str = "nexus_revocations";

async fn tell_processes(conn: &mut PgConnection, user: UserId) -> Result<()> {
    sqlx::query!("SELECT pg_notify($1, $2)", REVOCATIONS, user.to_string()).execute(conn).await?;
    Ok(())
}

/// Whether an access token has been revoked, alone or with all of its user's.
pub async fn is_revoked(conn: &mut PgConnection, token: &str, verified: &Verified) -> Result<bool> {
    let revoked = sqlx::query_scalar!(
        r#"SELECT EXISTS (SELECT 1 FROM blacklisted_tokens WHERE token = ANY ($1))
               OR EXISTS (SELECT 1 FROM users WHERE id = $2 AND sessions_valid_from > $3) AS "revoked!""#,
        &either_way(token)[..],
        verified.user.0,
        verified.issued_at,
    )
    .fetch_one(conn)
    .await?;
    Ok(revoked)
}
