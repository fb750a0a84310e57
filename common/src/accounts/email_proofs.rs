//! Whose an e-mail address is. An account may claim any address; it is its own once a code or a
//! link that was mailed there has come back, and from then on no other account's. What is only
//! claimed blocks nobody, resets no password, and gets no mail about bookings
//! (`docs/authorisation.md`).
//!
//! A code counts for who is logged in to the account, and a link for who knows its password:
//! reading a mail does not make an account that somebody else has registered one's own. Only
//! the mail has the code and the link; what is kept are hashes.

use std::time::Duration;

use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
use rand::RngExt;
use sha2::{Digest, Sha256};
use sqlx::PgConnection;

use super::users;
use crate::{
    error::{Error, Result},
    jobs::{self, notifications::VerifyEmail},
    storage::postgres::interval,
    types::{contacts::Email, ids::UserId, text_enum::text_enum},
};

text_enum! {
    /// What a mail is for.
    pub enum Purpose {
        /// The address becomes the account's own.
        Verify = "verify",
        /// The owner of a proved address sets another password.
        Recover = "recover",
    }
}

impl Purpose {
    /// How long its link and its code are good.
    pub fn valid(self) -> Duration {
        match self {
            Purpose::Verify => Duration::from_secs(24 * 3600),
            Purpose::Recover => Duration::from_secs(30 * 60),
        }
    }
}

/// How often a code can be tried; then the right one is worth nothing, either.
const ATTEMPTS: i16 = 5;

/// Begins to prove that `email` is the account's: enqueues the mail.
pub async fn begin(conn: &mut PgConnection, user: UserId, email: &str) -> Result<()> {
    sqlx::query!(
        "INSERT INTO email_proofs (user_id, purpose, email, expires_at) VALUES ($1, $2, $3, now() + $4::interval)
         ON CONFLICT (user_id, purpose) DO UPDATE
         SET email = excluded.email, expires_at = excluded.expires_at, link_hash = NULL, code_hash = NULL, attempts = 0",
        user as _,
        Purpose::Verify as _,
        email,
        interval(Purpose::Verify.valid())?,
    )
    .execute(&mut *conn)
    .await?;
    jobs::enqueue(conn, &VerifyEmail { user_id: user }).await?;
    Ok(())
}

/// The address that the account has yet to prove, whether or not a mail is under way.
pub async fn unproved(conn: &mut PgConnection, user: UserId) -> Result<Option<String>> {
    let email = sqlx::query_scalar!(
        "SELECT coalesce(p.email, u.claimed_email, CASE WHEN u.email_verified_at IS NULL THEN u.email END)
         FROM users u LEFT JOIN email_proofs p ON p.user_id = u.id AND p.purpose = 'verify' WHERE u.id = $1",
        user as _,
    );
    Ok(email.fetch_optional(conn).await?.flatten())
}

/// What a mail says that proves an address. Nothing of what its account says: no stranger writes to
/// others in our name.
#[derive(Debug)]
pub struct Verification {
    pub to: String,
    /// Ends the link; only for accounts that have a password.
    pub link: Option<String>,
    /// For who is logged in.
    pub code: String,
}

/// What a mail says with which the owner of a proved address sets another password.
#[derive(Debug)]
pub struct Recovery {
    pub to: String,
    pub name: Option<String>,
    /// Ends the link.
    pub link: String,
}

/// Makes a link and a code for the mail that [`begin`] has announced; those of earlier mails are
/// worth nothing any more. `None` if there is nothing left to prove.
pub async fn verification(conn: &mut PgConnection, user: UserId) -> Result<Option<Verification>> {
    let (link, code) = (new_link(), new_code());
    let row = sqlx::query!(
        r#"UPDATE email_proofs p SET link_hash = $2, code_hash = $3, attempts = 0 FROM users u
           WHERE u.id = p.user_id AND p.user_id = $1 AND p.purpose = 'verify' AND p.expires_at > now()
           RETURNING p.email, u.password IS NOT NULL AS "has_password!""#,
        user as _,
        &hashed(&link),
        &hashed(&code),
    )
    .fetch_optional(conn)
    .await?;
    Ok(row.map(|row| Verification { to: row.email, link: row.has_password.then_some(link), code }))
}

/// Makes a link with which the owner of a proved address sets another password. `None` if no
/// account has proved the address.
pub async fn recovery(conn: &mut PgConnection, email: &Email) -> Result<Option<Recovery>> {
    let link = new_link();
    let row = sqlx::query!(
        r#"WITH owner AS (
               SELECT id, name, email FROM users WHERE email = ANY ($1) AND email_verified_at IS NOT NULL LIMIT 1 FOR SHARE
           ), kept AS (
               INSERT INTO email_proofs (user_id, purpose, email, link_hash, expires_at)
               SELECT id, $2, email, $3, now() + $4::interval FROM owner
               ON CONFLICT (user_id, purpose) DO UPDATE
               SET email = excluded.email, link_hash = excluded.link_hash, expires_at = excluded.expires_at
           )
           SELECT email AS "email!", name FROM owner"#,
        &email.spellings(),
        Purpose::Recover as _,
        &hashed(&link),
        interval(Purpose::Recover.valid())?,
    )
    .fetch_optional(conn)
    .await?;
    Ok(row.map(|row| Recovery { to: row.email, name: row.name, link }))
}

/// Whom a link was mailed to.
#[derive(Debug)]
pub struct Addressee {
    pub user: UserId,
    pub email: String,
}

/// Whom a link was mailed to, if it is good. Whoever acts on it [spends](spend) it in the same
/// transaction, after they have locked the account.
pub async fn addressee(conn: &mut PgConnection, purpose: Purpose, link: &str) -> Result<Addressee> {
    let found = sqlx::query_as!(
        Addressee,
        r#"SELECT user_id AS "user: _", email FROM email_proofs WHERE link_hash = $1 AND purpose = $2 AND expires_at > now()"#,
        &hashed(link),
        purpose as _,
    );
    found.fetch_optional(conn).await?.ok_or(Error::LinkExpired)
}

/// Counts an attempt, and says whether the code is that of the account's newest mail.
pub async fn check_code(conn: &mut PgConnection, user: UserId, code: &str) -> Result<Addressee> {
    let row = sqlx::query!(
        r#"UPDATE email_proofs SET attempts = least(attempts, $3) + 1
           WHERE user_id = $1 AND purpose = 'verify' AND expires_at > now() AND code_hash IS NOT NULL
           RETURNING email, code_hash = $2 AS "right!", attempts <= $3 AS "counts!""#,
        user as _,
        &hashed(code),
        ATTEMPTS,
    )
    .fetch_optional(conn)
    .await?;
    match row {
        None => Err(Error::OtpExpired),
        Some(row) if !row.counts => Err(Error::OtpAttempts),
        Some(row) if !row.right => Err(Error::OtpWrong),
        Some(row) => Ok(Addressee { user, email: row.email }),
    }
}

/// Ends what was mailed for a purpose; [`Error::LinkExpired`] if another request has done so first,
/// or another address is to be proved meanwhile.
pub async fn spend(conn: &mut PgConnection, purpose: Purpose, proof: &Addressee) -> Result<()> {
    let spent = sqlx::query!(
        "DELETE FROM email_proofs WHERE user_id = $1 AND purpose = $2 AND email = $3",
        proof.user as _,
        purpose as _,
        proof.email,
    )
    .execute(conn)
    .await?;
    if spent.rows_affected() == 0 { Err(Error::LinkExpired) } else { Ok(()) }
}

/// Makes an address that is proved that of the account, and no other account's; returns the proved
/// address that it had before, if that was another. [`Error::UserExists`] if another account has
/// proved it.
pub async fn set(conn: &mut PgConnection, user: UserId, email: &Email) -> Result<Option<String>> {
    let spellings = email.spellings();
    users::lock_contacts(conn, &[email.as_str()]).await?;
    // All at once and in one order, so that two who prove the same address wait for each other.
    let accounts = sqlx::query!(
        r#"SELECT id AS "id: UserId", email, email IS NOT NULL AND email_verified_at IS NOT NULL AS "proved!"
           FROM users WHERE id = $1 OR email = ANY ($2) OR claimed_email = ANY ($2) ORDER BY id FOR UPDATE"#,
        user as _,
        &spellings,
    )
    .fetch_all(&mut *conn)
    .await?;
    if accounts.iter().any(|account| account.id != user && account.proved) {
        return Err(Error::UserExists);
    }
    sqlx::query!(
        "UPDATE users SET email = NULL, claimed_email = NULL, updated_at = now()
         WHERE (email = ANY ($2) OR claimed_email = ANY ($2)) AND id <> $1",
        user as _,
        &spellings,
    )
    .execute(&mut *conn)
    .await?;
    sqlx::query!(
        "DELETE FROM email_proofs WHERE (email = ANY ($2) AND user_id <> $1)
             OR (user_id = $1 AND email <> ALL ($2))",
        user as _,
        &spellings,
    )
    .execute(&mut *conn)
    .await?;
    sqlx::query!(
        "UPDATE users SET email = $2, claimed_email = NULL, email_verified_at = clock_timestamp(), updated_at = now()
         WHERE id = $1",
        user as _,
        email.as_str(),
    )
    .execute(conn)
    .await?;
    let own = accounts.into_iter().find(|account| account.id == user && account.proved);
    Ok(own.and_then(|own| own.email).filter(|before| !spellings.contains(before)))
}

/// 128 random bits.
fn new_link() -> String {
    BASE64_URL_SAFE_NO_PAD.encode(rand::random::<[u8; 16]>())
}

/// Eight digits: with the few wrong ones that a mail bears, and the few mails that an address gets,
/// too many to guess.
fn new_code() -> String {
    format!("{:08}", rand::rng().random_range(0..100_000_000))
}

fn hashed(secret: &str) -> Vec<u8> {
    Sha256::digest(secret).to_vec()
}
