//! Whose a phone number is. An account may claim any number; it is its own once a one-time password
//! that was sent there has been given for it, and from then on no other account's. What is only
//! claimed blocks nobody, and gets no messages about bookings (`docs/authorisation.md`).
//!
//! The first proof is the moment at which an account may change hands: a stranger can have
//! registered with somebody's number, and wait for its owner, or have mistyped their own. So unless
//! the caller is logged in to the account, all that its former user could come back with ends; and
//! somewhere where nobody has logged in to the account before, what its former user can still get at
//! without the phone is not given away if it is worth something, and nothing is with what they said
//! about themselves.

use sqlx::PgConnection;

use super::{
    erasure,
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

/// A password that was set with a phone.
pub struct PhoneReset {
    pub user: UserId,
    /// Whether the account has proved the phone only now.
    pub is_proof: bool,
}

/// A phone that has become an account's own, or was already.
pub struct PhoneSet {
    /// Whether the account has proved it only now.
    pub is_proof: bool,
    /// The proved number that the account had before, if that was another.
    pub replaced: Option<String>,
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
            Owner::Claims(Claimant { user, at_home }) => {
                let ended = match prover.session == Some(user) {
                    true => None,
                    false => Some(hand_over(conn, user, at_home).await?),
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
) -> Result<PhoneReset> {
    let (user, is_proof) = match owner(conn, phone, prover).await? {
        Owner::Proved(user) => (user, false),
        Owner::Claims(Claimant { user, at_home }) => {
            // The e-mail address and the name stay, because who sets another password knows of the
            // account and goes on to log in with them; the address gets nothing until it is proved.
            forget_former_user(conn, user).await?;
            if !at_home {
                forget_whereabouts(conn, user).await?;
            }
            give(conn, user, phone).await?;
            (user, true)
        }
        Owner::Nobody => return Err(Error::PhoneUnknown),
    };
    users::set_password(conn, user, hash).await?;
    Ok(PhoneReset { user, is_proof })
}

/// Makes a phone that a one-time password has just proved that of the account to which its owner is
/// logged in. [`Error::UserExists`] if another account has proved it.
pub async fn set(conn: &mut PgConnection, user: UserId, phone: &Phone) -> Result<PhoneSet> {
    let prover = Prover { session: Some(user), network: "" };
    if let Owner::Proved(owner) = owner(conn, phone, &prover).await? {
        let same = PhoneSet { is_proof: false, replaced: None };
        return if owner == user { Ok(same) } else { Err(Error::UserExists) };
    }
    let before = sqlx::query_scalar!(
        "SELECT phone FROM users WHERE id = $1 AND phone_verified_at IS NOT NULL",
        user as _,
    );
    let replaced = before.fetch_optional(&mut *conn).await?.flatten();
    give(conn, user, phone).await?;
    Ok(PhoneSet { is_proof: true, replaced })
}

/// Whose a phone is.
enum Owner {
    /// An account has proved it before.
    Proved(UserId),
    /// Of those that claim it, this account may become its owner's.
    Claims(Claimant),
    Nobody,
}

/// An account that claims a phone.
#[derive(Clone, Copy)]
struct Claimant {
    user: UserId,
    /// Whether it was used in the network of who proves the phone.
    at_home: bool,
}

/// Locks the accounts that have the phone or claim it, and the caller's own, and says whose it is.
///
/// An account with a proved e-mail address has an owner already, whose the phone need not be; one
/// that is suspended is nobody's, and must not take the phone with it; one with a role is not for
/// whoever has a phone, nor are events; and tickets are their buyer's, who may have mistyped the
/// number, and logs in with their address and password. Whose only way in is the phone has hardly
/// mistyped it, and would lose all without it. Who comes from a network in which the account was
/// used is taken for that person. Of the others, the caller's own counts before one that has paid
/// for tickets, which others who claim the number would have to, too; then one that was used in the
/// caller's network, and then the oldest.
async fn owner(conn: &mut PgConnection, phone: &Phone, prover: &Prover<'_>) -> Result<Owner> {
    users::lock_contacts(conn, &[phone.as_str()]).await?;
    sqlx::query!(
        "SELECT id FROM users WHERE phone = $1 OR claimed_phone = $1 OR id = $2 ORDER BY id FOR UPDATE",
        phone.as_str(),
        prover.session as _,
    )
    .fetch_all(&mut *conn)
    .await?;
    // After the locks, so that this sees a booking that they have waited for.
    let accounts = sqlx::query!(
        r#"SELECT u.id AS "id: UserId", phone IS NOT NULL AND phone_verified_at IS NOT NULL AS "proved!",
                  (email IS NOT NULL AND email_verified_at IS NOT NULL AND email_verified_at > '-infinity') OR role <> 'user' OR suspended_at IS NOT NULL AS "is_taken!",
                  EXISTS (SELECT 1 FROM events e WHERE e.organizer_id = u.id) OR password IS NOT NULL AND coalesce(email, claimed_email) IS NOT NULL
                      AND EXISTS (SELECT 1 FROM bookings b WHERE b.user_id = u.id) AS "is_others!",
                  EXISTS (SELECT 1 FROM bookings b WHERE b.user_id = u.id AND b.status = 'confirmed' AND b.total_amount > 0) AS "has_paid!",
                  EXISTS (SELECT 1 FROM login_networks n WHERE n.user_id = u.id AND n.network = $2) AS "at_home!"
           FROM users u WHERE phone = $1 OR claimed_phone = $1 ORDER BY u.id"#,
        phone.as_str(),
        prover.network,
    )
    .fetch_all(conn)
    .await?;
    if let Some(account) = accounts.iter().find(|account| account.proved) {
        return Ok(Owner::Proved(account.id));
    }
    let own = accounts.iter().find(|account| prover.session == Some(account.id));
    let free = || accounts.iter().filter(|account| !account.is_taken);
    let given = || free().filter(|account| account.at_home || !account.is_others);
    let found = own
        .or_else(|| given().find(|account| account.has_paid))
        .or_else(|| given().find(|account| account.at_home))
        .or_else(|| given().next());
    Ok(found.map_or(Owner::Nobody, |account| {
        Owner::Claims(Claimant { user: account.id, at_home: account.at_home })
    }))
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
/// e-mail address that it has not proved. Unless they seem to be the same person, the next user
/// does not learn who it was.
async fn hand_over(conn: &mut PgConnection, user: UserId, at_home: bool) -> Result<EndedSessions> {
    let ended = sessions::end_sessions(conn, user).await?;
    sqlx::query!(
        "UPDATE users SET password = NULL, email = NULL, claimed_email = NULL WHERE id = $1",
        user as _,
    )
    .execute(&mut *conn)
    .await?;
    if !at_home {
        sqlx::query!("UPDATE users SET username = NULL, name = NULL WHERE id = $1", user as _)
            .execute(&mut *conn)
            .await?;
        forget_whereabouts(conn, user).await?;
    }
    forget_former_user(conn, user).await?;
    Ok(ended)
}

/// Forgets where somebody lives, what they logged in with, and what they have held and not paid for:
/// it is not held against the next user.
async fn forget_whereabouts(conn: &mut PgConnection, user: UserId) -> Result<()> {
    erasure::forget_holder(conn, user).await?;
    sqlx::query!(
        "UPDATE users SET address = NULL, city = NULL, state = NULL, zip = NULL, country = NULL WHERE id = $1",
        user as _,
    )
    .execute(&mut *conn)
    .await?;
    sqlx::query!(
        "UPDATE sessions SET user_agent = NULL, network = '' WHERE user_id = $1",
        user as _
    )
    .execute(conn)
    .await?;
    Ok(())
}

/// Forgets the mails that the former user has asked for, and the networks that were theirs.
async fn forget_former_user(conn: &mut PgConnection, user: UserId) -> Result<()> {
    sqlx::query!("DELETE FROM email_proofs WHERE user_id = $1", user as _)
        .execute(&mut *conn)
        .await?;
    sqlx::query!("DELETE FROM login_networks WHERE user_id = $1", user as _).execute(conn).await?;
    Ok(())
}
