//! The networks from which a user has logged in; limits treat them as the user's own
//! (`docs/limits.md`).

use sqlx::PgConnection;

use super::credentials::Login;
use crate::{error::Result, types::ids::UserId};

/// Whether the account that has proved the contact of `login` has logged in from `network` in the last
/// 90 days, or is the one that `session` is logged in to. To claim a contact makes nobody at home:
/// anybody can.
pub async fn is_own(
    conn: &mut PgConnection,
    login: &Login,
    network: &str,
    session: Option<UserId>,
) -> Result<bool> {
    let (email, phone) = login.columns();
    let own = sqlx::query_scalar!(
        r#"SELECT EXISTS (
               SELECT 1 FROM users u
               WHERE ((email = ANY ($1) AND email_verified_at IS NOT NULL) OR (phone = ANY ($2) AND phone_verified_at IS NOT NULL))
                   AND (u.id = $4 OR EXISTS (
                       SELECT 1 FROM login_networks n
                       WHERE n.user_id = u.id AND network = $3 AND last_login_at > now() - interval '90 days'))
           ) AS "own!""#,
        email,
        phone,
        network,
        session as _,
    )
    .fetch_one(conn)
    .await?;
    Ok(own)
}

/// Whether `user` has logged in from `network` in the last 90 days.
pub async fn knows(conn: &mut PgConnection, user: UserId, network: &str) -> Result<bool> {
    let known = sqlx::query_scalar!(
        r#"SELECT EXISTS (
               SELECT 1 FROM login_networks
               WHERE user_id = $1 AND network = $2 AND last_login_at > now() - interval '90 days'
           ) AS "known!""#,
        user as _,
        network,
    );
    Ok(known.fetch_one(conn).await?)
}

/// Remembers that `user` has logged in from `network`; keeps the 20 newest networks.
pub async fn remember(conn: &mut PgConnection, user: UserId, network: &str) -> Result<()> {
    sqlx::query!(
        "WITH newest AS (
             INSERT INTO login_networks (user_id, network) SELECT id, $2 FROM users WHERE id = $1
             ON CONFLICT (user_id, network) DO UPDATE SET last_login_at = now()
         )
         DELETE FROM login_networks WHERE user_id = $1 AND network IN (
             SELECT network FROM login_networks WHERE user_id = $1 AND network <> $2
             ORDER BY last_login_at DESC OFFSET 19
         )",
        user as _,
        network,
    )
    .execute(conn)
    .await?;
    Ok(())
}
