//! Whose a phone number is. An account may claim any number; it is its own once a one-time password
//! that was sent there has been given for it, and from then on no other account's. What is only
//! claimed blocks nobody, and gets no messages about bookings (`docs/authorisation.md`).
//!
//! The first proof is the moment at which an account may change hands: a stranger can have
//! registered with somebody's number, and wait for its owner. So unless the caller is logged in to
//! the account, all that its former user could come back with ends.

use sqlx::PgConnection;

use super::{
    sessions::{self, EndedSessions},
    users,
};
use crate::{
    error::{Error, Result},
    types::{contacts::Phone, ids::UserId},
};

/// Who gave the one-time password.
pub struct Prover<'a> {
    /// The account to which they are logged in, if any.
    pub session: Option<UserId>,
    /// The network from which they came, as `login_networks` has it.
    pub network: &'a str,
}

/// A login with a phone.
pub struct PhoneLogin {
    pub user: UserId,
    /// Whether the account was made for it.
    pub is_new: bool,
    /// Whether the account has proved the phone only now.
    pub is_proof: bool,
    /// What has ended, if the account may have changed hands.
    pub ended: Option<EndedSessions>,
}

/// The account of a phone that a one-time password has just proved; it is created if there is none.
pub async fn log_in(
    conn: &mut PgConnection,
    phone: &Phone,
    prover: &Prover<'_>,
) -> Result<PhoneLogin> {
    let known = |user| PhoneLogin { user, is_new: false, is_proof: false, ended: None };
    // Again if somebody registers with the number at the same moment.
    for _ in 0..3 {
        match owner(conn, phone, prover).await? {
            Owner::Proved(user) => {
                // Who has claimed it since.
                release(conn, phone, Some(user)).await?;
                return Ok(known(user));
            }
            Owner::Claims(user) => {
                let ended = match prover.session == Some(user) {
                    true => None,
                    false => Some(hand_over(conn, user).await?),
                };
                give(conn, user, phone).await?;
                return Ok(PhoneLogin { is_proof: true, ended, ..known(user) });
            }
            Owner::Nobody => {
                release(conn, phone, None).await?;
                if let Some(user) = create(conn, phone).await? {
                    return Ok(PhoneLogin { is_new: true, ..known(user) });
                }
            }
        }
    }
    Err(Error::internal("a phone number was claimed again and again"))
}

async fn create(conn: &mut PgConnection, phone: &Phone) -> Result<Option<UserId>> {
    let user = sqlx::query_scalar!(
        r#"INSERT INTO users (phone, phone_verified_at) VALUES ($1, now()) ON CONFLICT (phone) DO NOTHING
           RETURNING id AS "id: UserId""#,
        phone.as_str()
    );
    Ok(user.fetch_optional(conn).await?)
}

/// Sets the password of the account of a phone that a one-time password has just proved; the same
/// transaction must then call [`sessions::end_sessions`]. [`Error::PhoneUnknown`] if no account may
/// be had with the phone.
pub async fn reset_password(
    conn: &mut PgConnection,
    phone: &Phone,
    prover: &Prover<'_>,
    hash: &str,
) -> Result<UserId> {
    let user = match owner(conn, phone, prover).await? {
        Owner::Proved(user) => user,
        Owner::Claims(user) => {
            // The address stays, because people go on logging in with it; it gets nothing until it
            // is proved.
            forget_former_user(conn, user).await?;
            give(conn, user, phone).await?;
            user
        }
        Owner::Nobody => return Err(Error::PhoneUnknown),
    };
    users::set_password(conn, user, hash).await?;
    Ok(user)
}

/// Makes a phone that a one-time password has just proved that of the account to which its owner is
/// logged in; returns the proved number that it had before, if that was another.
/// [`Error::UserExists`] if another account has proved it.
pub async fn set(conn: &mut PgConnection, user: UserId, phone: &Phone) -> Result<Option<String>> {
    let prover = Prover { session: Some(user), network: "" };
    if let Owner::Proved(owner) = owner(conn, phone, &prover).await? {
        return if owner == user { Ok(None) } else { Err(Error::UserExists) };
    }
    let before = sqlx::query_scalar!(
        "SELECT phone FROM users WHERE id = $1 AND phone_verified_at IS NOT NULL",
        user as _,
    );
    let before = before.fetch_optional(&mut *conn).await?.flatten();
    give(conn, user, phone).await?;
    Ok(before)
}

/// Whose a phone is.
enum Owner {
    /// An account has proved it before.
    Proved(UserId),
    /// Of those that claim it, this account may become its owner's.
    Claims(UserId),
    Nobody,
}

/// Locks the accounts that have the phone or claim it, and the caller's own, and says whose it is. An
/// account with a proved e-mail address has an owner already, whose the phone need not be; one with a role is not
/// for whoever has a phone. Of the others, the caller's own counts before one that was used in
/// the caller's network, and this before an older one.
async fn owner(conn: &mut PgConnection, phone: &Phone, prover: &Prover<'_>) -> Result<Owner> {
    users::lock_contacts(conn, &[phone.as_str()]).await?;
    let accounts = sqlx::query!(
        r#"SELECT u.id AS "id: UserId", phone IS NOT NULL AND phone_verified_at IS NOT NULL AS "proved!",
                  (email IS NOT NULL AND email_verified_at IS NOT NULL AND email_verified_at > '-infinity') OR role <> 'user' AS "is_taken!",
                  coalesce(phone = $1 OR claimed_phone = $1, FALSE) AS "claims!",
                  EXISTS (SELECT 1 FROM login_networks n WHERE n.user_id = u.id AND n.network = $2) AS "at_home!"
           FROM users u WHERE phone = $1 OR claimed_phone = $1 OR u.id = $3 ORDER BY u.id FOR UPDATE OF u"#,
        phone.as_str(),
        prover.network,
        prover.session as _,
    )
    .fetch_all(conn)
    .await?;
    let accounts: Vec<_> = accounts.into_iter().filter(|account| account.claims).collect();
    if let Some(account) = accounts.iter().find(|account| account.proved) {
        return Ok(Owner::Proved(account.id));
    }
    let own = accounts.iter().find(|account| prover.session == Some(account.id));
    let free = || accounts.iter().filter(|account| !account.is_taken);
    let found = own.or_else(|| free().find(|account| account.at_home)).or_else(|| free().next());
    Ok(found.map_or(Owner::Nobody, |account| Owner::Claims(account.id)))
}

/// Makes the phone that of `user`, and no other account's.
async fn give(conn: &mut PgConnection, user: UserId, phone: &Phone) -> Result<()> {
    release(conn, phone, Some(user)).await?;
    sqlx::query!(
        "UPDATE users SET phone = $2, claimed_phone = NULL, phone_verified_at = clock_timestamp(), updated_at = now() WHERE id = $1",
        user as _,
        phone.as_str(),
    )
    .execute(conn)
    .await?;
    Ok(())
}

/// Takes the phone from all that only claim it, but for `except`.
async fn release(conn: &mut PgConnection, phone: &Phone, except: Option<UserId>) -> Result<()> {
    sqlx::query!(
        "UPDATE users SET phone = NULL, claimed_phone = NULL, updated_at = now()
         WHERE (phone = $1 OR claimed_phone = $1) AND id IS DISTINCT FROM $2",
        phone.as_str(),
        except as _,
    )
    .execute(conn)
    .await?;
    Ok(())
}

/// Ends what the former user of an account could come back with: its sessions, its password, and an
/// e-mail address that it has not proved.
async fn hand_over(conn: &mut PgConnection, user: UserId) -> Result<EndedSessions> {
    let ended = sessions::end_sessions(conn, user).await?;
    sqlx::query!(
        "UPDATE users SET password = NULL, email = NULL, claimed_email = NULL WHERE id = $1",
        user as _,
    )
    .execute(&mut *conn)
    .await?;
    forget_former_user(conn, user).await?;
    Ok(ended)
}

/// Forgets the mails that the former user has asked for, and the networks that were theirs.
async fn forget_former_user(conn: &mut PgConnection, user: UserId) -> Result<()> {
    sqlx::query!("DELETE FROM email_proofs WHERE user_id = $1", user as _)
        .execute(&mut *conn)
        .await?;
    sqlx::query!("DELETE FROM login_networks WHERE user_id = $1", user as _).execute(conn).await?;
    Ok(())
}
