//! What the cleanup job removes: rows that have no use any more. Everything is bounded, so that a long backlog never becomes one long
//! transaction.

use sqlx::PgConnection;

use crate::error::Result;

/// How many rows went.
#[derive(Debug, Default, PartialEq, Eq)]
#[allow(missing_docs)]
pub struct Removed {
    pub refresh_tokens: u64,
    pub revoked_tokens: u64,
    pub idempotency_keys: u64,
    pub idempotent_requests: u64,
    pub login_networks: u64,
}

/// Removes tokens, keys and networks whose time is over, at most 10,000 of each a call.
pub async fn remove_expired(conn: &mut PgConnection) -> Result<Removed> {
    let refresh_tokens = sqlx::query!(
        "DELETE FROM refresh_tokens WHERE id IN (SELECT id FROM refresh_tokens WHERE expires_at < now() LIMIT 10000)"
    )
    .execute(&mut *conn)
    .await?;
    let revoked_tokens = sqlx::query!(
        "DELETE FROM blacklisted_tokens WHERE id IN (SELECT id FROM blacklisted_tokens WHERE expires_at < now() LIMIT 10000)"
    )
    .execute(&mut *conn)
    .await?;
    let idempotency_keys = sqlx::query!(
        "DELETE FROM idempotency_keys WHERE id IN (SELECT id FROM idempotency_keys WHERE expires_at < now() LIMIT 10000)"
    )
    .execute(&mut *conn)
    .await?;
    let idempotent_requests = sqlx::query!(
        "DELETE FROM idempotent_requests WHERE (user_id, route, key) IN
             (SELECT user_id, route, key FROM idempotent_requests WHERE expires_at < now() LIMIT 10000)"
    )
    .execute(&mut *conn)
    .await?;
    let login_networks = sqlx::query!(
        "DELETE FROM login_networks WHERE (user_id, network) IN
             (SELECT user_id, network FROM login_networks WHERE last_login_at < now() - interval '90 days' LIMIT 10000)"
    )
    .execute(conn)
    .await?;
    Ok(Removed {
        refresh_tokens: refresh_tokens.rows_affected(),
        revoked_tokens: revoked_tokens.rows_affected(),
        idempotency_keys: idempotency_keys.rows_affected(),
        idempotent_requests: idempotent_requests.rows_affected(),
        login_networks: login_networks.rows_affected(),
    })
}
