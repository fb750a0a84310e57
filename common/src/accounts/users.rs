//! Accounts: the SQL behind registration and login. The rules of what may be entered are in
//! [`credentials`](super::credentials), hashing in [`passwords`](super::passwords), who owns a
//! contact in [`phone_proofs`](super::phone_proofs) and [`email_proofs`](super::email_proofs).

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
#[derive(Clone, Debug, Serialize, ToSchema)]
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

/// A user as they see themselves.
#[derive(Debug, Serialize, ToSchema)]
pub struct Profile {
    pub user: User,
    /// Whether the account has proved that the e-mail address is its own. Only then it gets mail
    /// about bookings, and the address is of no other account.
    pub email_verified: bool,
    /// The same of the phone number.
    pub phone_verified: bool,
    /// The address that is to be proved: the account's own, or the one that is to replace it.
    pub pending_email: Option<String>,
}

/// A user and the stored hash of their password, if they have one.
#[derive(Debug)]
pub struct Account {
    /// The fields that may be shown.
    pub user: User,
    /// bcrypt or Argon2id.
    pub password_hash: Option<String>,
    /// Whether the account has proved what it was found by.
    pub proved: bool,
    /// Whether its role opens the operators' pages.
    pub operates: bool,
}

/// The newest account that has or claims a contact of `new`.
pub async fn newest_claimant(
    conn: &mut PgConnection,
    new: &Registration,
) -> Result<Option<UserId>> {
    let newest = sqlx::query_scalar!(
        r#"SELECT max(id) AS "id: UserId" FROM users
           WHERE email = ANY ($1) OR claimed_email = ANY ($1) OR phone = $2 OR claimed_phone = $2"#,
        &new.email.as_ref().map(Email::spellings).unwrap_or_default(),
        new.phone.as_ref().map(|phone| phone.as_str()),
    );
    Ok(newest.fetch_one(conn).await?)
}

/// Lets those who claim or prove the same contacts do so one after the other, each seeing what those
/// before have done, until the transaction ends. Before any account is locked.
pub(super) async fn lock_contacts(conn: &mut PgConnection, contacts: &[&str]) -> Result<()> {
    sqlx::query!(
        "SELECT pg_advisory_xact_lock(hashtextextended(contact, 0)) FROM unnest($1::text[]) contact ORDER BY contact",
        contacts as &[&str],
    )
    .fetch_all(conn)
    .await?;
    Ok(())
}

/// Creates an account. [`Error::UserExists`] when its username is taken, or another account has
/// proved its e-mail address or phone. What others only claim, this account claims, too. `None`:
/// somebody has claimed the same since the caller has seen the `newest` claimant; look again.
pub async fn register(
    conn: &mut PgConnection,
    new: &Registration,
    password_hash: &str,
    newest: Option<UserId>,
) -> Result<Option<User>> {
    let contacts: Vec<&str> =
        [new.email.as_ref().map(Email::as_str), new.phone.as_ref().map(Phone::as_str)]
            .into_iter()
            .flatten()
            .collect();
    lock_contacts(conn, &contacts).await?;
    if newest_claimant(&mut *conn, new).await? != newest {
        return Ok(None);
    }
    let inserted = sqlx::query_as!(
        User,
        r#"INSERT INTO users (username, name, email, claimed_email, phone, claimed_phone, password, address, city, state, zip, country)
           SELECT $1, $2, CASE WHEN NOT other.email THEN $3 END, CASE WHEN other.email THEN $3 END,
                  CASE WHEN NOT other.phone THEN $4 END, CASE WHEN other.phone THEN $4 END, $5, $6, $7, $8, $9, $10
           FROM (SELECT EXISTS (SELECT 1 FROM users WHERE email = ANY ($11)) AS email,
                        EXISTS (SELECT 1 FROM users WHERE phone = $4) AS phone) other
           WHERE NOT EXISTS (SELECT 1 FROM users WHERE email = ANY ($11) AND email_verified_at IS NOT NULL)
               AND NOT EXISTS (SELECT 1 FROM users WHERE phone = $4 AND phone_verified_at IS NOT NULL)
           RETURNING id, username, name, coalesce(email, claimed_email) AS email, coalesce(phone, claimed_phone) AS phone,
                     created_at AS "created_at: _""#,
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
    match inserted {
        Ok(user) => user.ok_or(Error::UserExists).map(Some),
        Err(error) => match violated_constraint(&error) {
            Some(name) if name.contains("username") => Err(Error::UserExists),
            Some(name) if name.starts_with("users_") => Ok(None),
            _ => Err(error.into()),
        },
    }
}

/// The most accounts that one login may mean; each costs a comparison of the password.
const CANDIDATES: i64 = 3;

/// The accounts that `login` may mean: the one that has proved the contact; or of those that claim
/// it the ones that were used in `network`, then those that have paid for something, which
/// strangers who claim somebody's contact to keep them out would have to, and then the oldest.
pub async fn find(conn: &mut PgConnection, login: &Login, network: &str) -> Result<Vec<Account>> {
    let (email, phone) = login.columns();
    let rows = sqlx::query!(
        r#"SELECT id AS "id: UserId", username, name, coalesce(email, claimed_email) AS email, coalesce(phone, claimed_phone) AS phone, password,
                  coalesce(email = ANY ($1) AND email_verified_at IS NOT NULL, FALSE)
                      OR coalesce(phone = ANY ($2) AND phone_verified_at IS NOT NULL, FALSE) AS "proved!",
                  role IN ('auditor', 'admin') AS "operates!"
           FROM users WHERE email = ANY ($1) OR claimed_email = ANY ($1) OR phone = ANY ($2) OR claimed_phone = ANY ($2)
           ORDER BY "proved!" DESC, array_position($1, coalesce(email, claimed_email)::text),
                    array_position($2, coalesce(phone, claimed_phone)::text),
                    EXISTS (SELECT 1 FROM login_networks n WHERE n.user_id = users.id AND n.network = $4) DESC,
                    EXISTS (SELECT 1 FROM bookings b WHERE b.user_id = users.id AND b.status = 'confirmed' AND b.total_amount > 0) DESC, id
           LIMIT $3"#,
        email,
        phone,
        CANDIDATES,
        network,
    )
    .fetch_all(conn)
    .await?;
    let mut accounts: Vec<_> = rows
        .into_iter()
        .map(|row| Account {
            user: User {
                id: row.id,
                username: row.username,
                name: row.name,
                email: row.email,
                phone: row.phone,
                created_at: None,
            },
            password_hash: row.password,
            proved: row.proved,
            operates: row.operates,
        })
        .collect();
    if accounts.first().is_some_and(|account| account.proved) {
        accounts.truncate(1);
    }
    Ok(accounts)
}

/// A user who has logged in, by id.
pub async fn get(conn: &mut PgConnection, user: UserId) -> Result<Option<User>> {
    let user = sqlx::query_as!(
        User,
        r#"SELECT id, username, name, coalesce(email, claimed_email) AS email, coalesce(phone, claimed_phone) AS phone,
                  NULL::timestamptz AS "created_at: _"
           FROM users WHERE id = $1"#,
        user as _,
    )
    .fetch_optional(conn)
    .await?;
    Ok(user)
}

/// What a user sees of themselves.
pub async fn profile(conn: &mut PgConnection, user: UserId) -> Result<Option<Profile>> {
    let row = sqlx::query!(
        r#"SELECT username, name, coalesce(u.email, claimed_email) AS email, coalesce(phone, claimed_phone) AS phone,
                  created_at AS "created_at: Timestamp",
                  u.email IS NOT NULL AND email_verified_at IS NOT NULL AS "email_verified!",
                  phone IS NOT NULL AND phone_verified_at IS NOT NULL AS "phone_verified!", p.email AS "pending_email?"
           FROM users u LEFT JOIN email_proofs p ON p.user_id = u.id AND p.purpose = 'verify' AND p.expires_at > now()
           WHERE u.id = $1"#,
        user as _,
    )
    .fetch_optional(conn)
    .await?;
    Ok(row.map(|row| Profile {
        user: User {
            id: user,
            username: row.username,
            name: row.name,
            email: row.email,
            phone: row.phone,
            created_at: row.created_at,
        },
        email_verified: row.email_verified,
        phone_verified: row.phone_verified,
        pending_email: row.pending_email,
    }))
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

/// What a user can be asked for: the stored hash of their password, and their phone.
pub async fn proofs(
    conn: &mut PgConnection,
    user: UserId,
) -> Result<(Option<String>, Option<String>)> {
    let row = sqlx::query!(
        "SELECT password, coalesce(phone, claimed_phone) AS phone FROM users WHERE id = $1",
        user as _,
    )
    .fetch_optional(conn)
    .await?;
    Ok(row.map_or((None, None), |row| (row.password, row.phone)))
}

/// Where a user can be reached.
pub struct Reachable {
    pub name: Option<String>,
    /// Only a proved address.
    pub email: Option<String>,
    /// Only a proved number.
    pub phone: Option<String>,
}

/// Where a user can be reached about their account.
pub async fn contacts_of(conn: &mut PgConnection, user: UserId) -> Result<Reachable> {
    let row = sqlx::query_as!(
        Reachable,
        "SELECT name, CASE WHEN email_verified_at IS NOT NULL THEN email END AS email,
                CASE WHEN phone_verified_at IS NOT NULL THEN phone END AS phone
         FROM users WHERE id = $1",
        user as _,
    )
    .fetch_optional(conn)
    .await?;
    Ok(row.unwrap_or(Reachable { name: None, email: None, phone: None }))
}

/// Sets another password for who has a link that was mailed to an address, if the account still has
/// it; as [`set_password`].
pub async fn recover_password(
    conn: &mut PgConnection,
    user: UserId,
    email: &str,
    hash: &str,
) -> Result<()> {
    let set = sqlx::query!(
        "UPDATE users SET password = $3, updated_at = now() WHERE id = $1 AND email = $2 AND email_verified_at IS NOT NULL",
        user as _,
        email,
        hash,
    )
    .execute(conn)
    .await?;
    if set.rows_affected() == 0 { Err(Error::LinkExpired) } else { Ok(()) }
}

/// Sets another password, after its owner has proved to be it; the same transaction must then call
/// [`sessions::end_sessions`](super::sessions::end_sessions). A link that was mailed to set one is
/// worth nothing any more: somebody else may have asked for it.
pub async fn set_password(conn: &mut PgConnection, user: UserId, hash: &str) -> Result<()> {
    sqlx::query!(
        "UPDATE users SET password = $2, updated_at = now() WHERE id = $1",
        user as _,
        hash
    )
    .execute(&mut *conn)
    .await?;
    sqlx::query!("DELETE FROM email_proofs WHERE user_id = $1 AND purpose = 'recover'", user as _)
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
