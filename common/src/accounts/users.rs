//! Accounts and sessions: the SQL behind registration, login, one-time passwords and logout. The
//! rules of what may be entered are in [`credentials`](super::credentials), hashing in
//! [`passwords`](super::passwords), tokens in [`tokens`](super::tokens).

use serde::Serialize;
use sqlx::PgConnection;
use utoipa::ToSchema;

use super::credentials::{Login, Registration};
use crate::{
    error::{Error, Result, violated_constraint},
    types::{
        contacts::{Email, Phone},
        ids::UserId,
        time::Timestamp,
    },
};

/// A user as the API shows one.
#[derive(Debug, Serialize, ToSchema)]
pub struct User {
    pub id: UserId,
    pub username: Option<String>,
    pub name: Option<String>,
    pub email: Option<String>,
    pub phone: Option<String>,
    /// Shown by `register` and `me` only.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub created_at: Option<Timestamp>,
}

/// A user and the stored hash of their password, if they have one.
#[derive(Debug)]
pub struct Account {
    /// The fields that may be shown.
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
    let inserted = sqlx::query_as!(
        User,
        r#"INSERT INTO users (username, name, email, phone, password, address, city, state, zip, country)
           SELECT $1, $2, $3, $4, $5, $6, $7, $8, $9, $10
           WHERE NOT EXISTS (SELECT 1 FROM users WHERE email = ANY ($11))
           RETURNING id, username, name, email, phone, created_at AS "created_at: _""#,
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
    taken_or(inserted)?.ok_or(Error::UserExists)
}

/// [`Error::UserExists`] if another user has one of the values.
fn taken_or<T>(stored: Result<T, sqlx::Error>) -> Result<T> {
    stored.map_err(|error| match violated_constraint(&error) {
        Some(name) if name.starts_with("users_") => Error::UserExists,
        _ => error.into(),
    })
}

/// Gives an account another e-mail address; returns the previous one. [`Error::UserExists`] when
/// another user has it.
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
        user as _,
        email.as_str(),
        &email.spellings(),
    )
    .fetch_optional(conn)
    .await;
    taken_or(changed)?.ok_or(Error::UserExists)
}

/// The account of `login`.
pub async fn find(conn: &mut PgConnection, login: &Login) -> Result<Option<Account>> {
    let (email, phone) = login.columns();
    let row = sqlx::query!(
        r#"SELECT id AS "id: UserId", username, name, email, phone, password FROM users WHERE email = ANY ($1) OR phone = ANY ($2)
           ORDER BY array_position($1, email::text), array_position($2, phone::text) LIMIT 1"#,
        email,
        phone,
    )
    .fetch_optional(conn)
    .await?;
    Ok(row.map(|row| Account {
        user: User {
            id: row.id,
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
    let user = sqlx::query_as!(
        User,
        r#"SELECT id, username, name, email, phone, created_at AS "created_at: _" FROM users WHERE id = $1"#,
        user as _,
    )
    .fetch_optional(conn)
    .await?;
    Ok(user)
}

/// The user of a phone that a one-time password has just proved, created if there is none; true if
/// created.
pub async fn find_or_create_by_phone(
    conn: &mut PgConnection,
    phone: &Phone,
) -> Result<(User, bool)> {
    // This locks a row that existed before the insert.
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

/// Replaces a password's hash by another hash of the same password.
pub async fn rehash(conn: &mut PgConnection, user: UserId, old: &str, new: &str) -> Result<()> {
    sqlx::query!(
        "UPDATE users SET password = $3 WHERE id = $1 AND password = $2",
        user as _,
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

/// Sets the password of the account with that phone number, which a one-time password has just
/// proved; the same transaction must then call
/// [`sessions::end_sessions`](super::sessions::end_sessions).
pub async fn set_password(conn: &mut PgConnection, phone: &Phone, hash: &str) -> Result<UserId> {
    let id = sqlx::query_scalar!(
        "UPDATE users SET password = $2, phone_verified_at = coalesce(phone_verified_at, now()), updated_at = now()
         WHERE phone = $1 RETURNING id AS \"id: UserId\"",
        phone.as_str(),
        hash,
    )
    .fetch_optional(conn)
    .await?;
    id.ok_or(Error::PhoneUnknown)
}
