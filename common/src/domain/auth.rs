//! Accounts and sessions: the SQL behind registration, login, one-time passwords and logout. The rules of what may be entered are in
//! [`credentials`](super::credentials), hashing in [`passwords`](super::passwords), tokens in [`tokens`](super::tokens).

use chrono::{DateTime, Utc};
use serde::Serialize;
use sqlx::PgConnection;

use super::{
    credentials::{Login, Phone, Registration},
    ids::UserId,
    time::Timestamp,
};
use crate::error::{Error, Result, violated_constraint};

/// A user as the API shows one.
#[derive(Debug, Serialize)]
#[allow(missing_docs)] // columns of `users`
pub struct User {
    pub id: UserId,
    pub username: Option<String>,
    pub name: Option<String>,
    pub email: Option<String>,
    pub phone: Option<String>,
    /// Only shown to whoever has just registered.
    #[serde(skip_serializing_if = "Option::is_none")]
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
pub async fn register(conn: &mut PgConnection, new: &Registration, password_hash: &str) -> Result<User> {
    let inserted = sqlx::query!(
        r#"INSERT INTO users (username, name, email, phone, password, address, city, state, zip, country)
           VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)
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
    )
    .fetch_one(conn)
    .await;
    let row = match inserted {
        Err(error) if violated_constraint(&error).is_some_and(|name| name.starts_with("users_")) => {
            return Err(Error::UserExists);
        }
        other => other?,
    };
    Ok(User {
        id: UserId(row.id),
        username: new.username.clone(),
        name: new.name.clone(),
        email: new.email.as_ref().map(|email| email.as_str().to_owned()),
        phone: new.phone.as_ref().map(|phone| phone.as_str().to_owned()),
        created_at: Some(row.created_at.into()),
    })
}

/// The account that logs in so.
pub async fn find(conn: &mut PgConnection, login: &Login) -> Result<Option<Account>> {
    let (email, phone) = match login {
        Login::Email(email) => (Some(email.as_str()), None),
        Login::Phone(phone) => (None, Some(phone.as_str())),
    };
    let row = sqlx::query!(
        "SELECT id, username, name, email, phone, password FROM users WHERE email = $1 OR phone = $2",
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

/// The user of that phone, created if there is none; true when it was.
pub async fn find_or_create_by_phone(conn: &mut PgConnection, phone: &Phone) -> Result<(User, bool)> {
    let created =
        sqlx::query!("INSERT INTO users (phone) VALUES ($1) ON CONFLICT (phone) DO NOTHING", phone.as_str())
            .execute(&mut *conn)
            .await?
            .rows_affected()
            == 1;
    let account = find(conn, &Login::Phone(phone.clone())).await?;
    let account = account.ok_or_else(|| Error::internal("a user vanished while logging in"))?;
    Ok((account.user, created))
}

/// Replaces a password's hash by another of the same password.
pub async fn rehash(conn: &mut PgConnection, user: UserId, old: &str, new: &str) -> Result<()> {
    sqlx::query!("UPDATE users SET password = $3 WHERE id = $1 AND password = $2", user.0, old, new)
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

/// Remembers a refresh token.
pub async fn keep_refresh_token(
    conn: &mut PgConnection,
    user: UserId,
    token: &str,
    expires_at: DateTime<Utc>,
) -> Result<()> {
    let inserted = sqlx::query!(
        "INSERT INTO refresh_tokens (user_id, token, expires_at) VALUES ($1, $2, $3)",
        user.0,
        token,
        expires_at,
    )
    .execute(conn)
    .await;
    match inserted {
        // Deleted between authentication and here.
        Err(error) if violated_constraint(&error) == Some("refresh_tokens_user_id_fkey") => {
            Err(Error::BadCredentials)
        }
        other => other.map(|_| ()).map_err(Error::from),
    }
}

/// Whether a refresh token of `user` is known and not revoked.
pub async fn check_refresh_token(conn: &mut PgConnection, user: UserId, token: &str) -> Result<()> {
    let revoked = sqlx::query_scalar!(
        r#"SELECT coalesce(is_revoked, FALSE) AS "revoked!" FROM refresh_tokens WHERE token = $1 AND user_id = $2"#,
        token,
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
pub async fn revoke_refresh_token(conn: &mut PgConnection, user: UserId, token: &str) -> Result<bool> {
    let revoked = sqlx::query!(
        "UPDATE refresh_tokens SET is_revoked = TRUE, updated_at = now() WHERE token = $1 AND user_id = $2",
        token,
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
    expires_at: DateTime<Utc>,
) -> Result<()> {
    sqlx::query!(
        "INSERT INTO blacklisted_tokens (token, user_id, expires_at)
         SELECT $1, (SELECT id FROM users WHERE id = $2), $3 ON CONFLICT (token) DO NOTHING",
        token,
        user.0,
        expires_at,
    )
    .execute(conn)
    .await?;
    Ok(())
}

/// Whether an access token has been revoked.
pub async fn is_revoked(conn: &mut PgConnection, token: &str) -> Result<bool> {
    let revoked = sqlx::query_scalar!(
        r#"SELECT EXISTS (SELECT 1 FROM blacklisted_tokens WHERE token = $1) AS "revoked!""#,
        token
    )
    .fetch_one(conn)
    .await?;
    Ok(revoked)
}
