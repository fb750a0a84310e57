//! What the cleanup job does: it removes rows that are no longer needed, and hashes tokens. Every
//! step is bounded, so that a long backlog never becomes one long transaction.

use sqlx::{Connection, PgConnection};

use crate::{
    config::Retention,
    error::Result,
    jobs::{
        Job, Queue,
        notifications::{EmailCancellation, SmsCancellation},
    },
    storage::postgres::interval,
};

#[derive(Debug, Default, PartialEq, Eq)]
pub struct Removed {
    pub sessions: u64,
    pub operator_sessions: u64,
    pub refresh_tokens: u64,
    pub revoked_tokens: u64,
    pub idempotency_keys: u64,
    pub idempotent_requests: u64,
    pub login_networks: u64,
    pub email_proofs: u64,
    pub cancellation_notices: u64,
    pub event_notices: u64,
    pub foreign_orders: u64,
    pub webhooks: u64,
    pub webhook_bodies: u64,
    pub alerts: u64,
    pub dead_messages: u64,
    pub audit_log: u64,
    pub unpaid_holds: u64,
    pub offers: u64,
    pub holders: u64,
    pub visitors: u64,
    pub waiting_rooms: u64,
}

/// Removes expired tokens, keys, networks, proofs and notices, old orders of others, webhooks,
/// unpaid holds, alerts, messages that could not be sent and rows of the audit log, empties the
/// bodies of old webhooks, ends offers of tickets that nobody has accepted in time, and removes
/// waiting rooms of events that are long over, at most 10,000 of each per call. Where a row can be used anew between the look and the lock, the
/// statement repeats its condition, so that the row stays.
pub async fn remove_expired(conn: &mut PgConnection, retention: &Retention) -> Result<Removed> {
    let sessions = sqlx::query!(
        // The last access token may outlive the last refresh token, and must not outlive this row.
        "DELETE FROM sessions WHERE expires_at < now() - interval '1 hour'
             AND id IN (SELECT id FROM sessions WHERE expires_at < now() - interval '1 hour' LIMIT 10000)"
    )
    .execute(&mut *conn)
    .await?;
    let operator_sessions = sqlx::query!(
        "DELETE FROM operator_sessions WHERE expires_at < now()
             AND token_hash IN (SELECT token_hash FROM operator_sessions WHERE expires_at < now() LIMIT 10000)"
    )
    .execute(&mut *conn)
    .await?;
    let refresh_tokens = sqlx::query!(
        "DELETE FROM refresh_tokens WHERE expires_at < now()
             AND id IN (SELECT id FROM refresh_tokens WHERE expires_at < now() LIMIT 10000)"
    )
    .execute(&mut *conn)
    .await?;
    let revoked_tokens = sqlx::query!(
        "DELETE FROM blacklisted_tokens WHERE expires_at < now()
             AND id IN (SELECT id FROM blacklisted_tokens WHERE expires_at < now() LIMIT 10000)"
    )
    .execute(&mut *conn)
    .await?;
    let idempotency_keys = sqlx::query!(
        "DELETE FROM idempotency_keys WHERE expires_at < now()
             AND id IN (SELECT id FROM idempotency_keys WHERE expires_at < now() LIMIT 10000)"
    )
    .execute(&mut *conn)
    .await?;
    let idempotent_requests = sqlx::query!(
        "DELETE FROM idempotent_requests WHERE expires_at < now() AND (user_id, route, key) IN
             (SELECT user_id, route, key FROM idempotent_requests WHERE expires_at < now() LIMIT 10000)"
    )
    .execute(&mut *conn)
    .await?;
    let login_networks = sqlx::query!(
        "DELETE FROM login_networks WHERE last_login_at < now() - interval '90 days' AND (user_id, network) IN
             (SELECT user_id, network FROM login_networks WHERE last_login_at < now() - interval '90 days' LIMIT 10000)"
    )
    .execute(&mut *conn)
    .await?;
    let email_proofs = sqlx::query!(
        "DELETE FROM email_proofs WHERE expires_at < now() AND (user_id, purpose) IN
             (SELECT user_id, purpose FROM email_proofs WHERE expires_at < now() LIMIT 10000)"
    )
    .execute(&mut *conn)
    .await?;
    let cancellation_notices = sqlx::query!(
        "DELETE FROM cancellation_notices WHERE booking_id IN
             (SELECT booking_id FROM cancellation_notices n WHERE kept_at < now() - interval '90 days'
                  AND NOT EXISTS (SELECT 1 FROM open_jobs
                      WHERE unique_key = ANY (ARRAY[job_key($1, n.booking_id), job_key($2, n.booking_id)])) LIMIT 10000)",
        EmailCancellation::KIND,
        SmsCancellation::KIND,
    )
    .execute(&mut *conn)
    .await?;
    let event_notices = sqlx::query!(
        "DELETE FROM event_notices WHERE id = ANY (ARRAY(
             SELECT id FROM event_notices WHERE finished_at < now() - interval '90 days' AND start_date < now() LIMIT 10000))"
    )
    .execute(&mut *conn)
    .await?;
    let foreign_orders = sqlx::query!(
        "DELETE FROM foreign_orders WHERE order_id = ANY (ARRAY(
             SELECT order_id FROM foreign_orders WHERE noticed_at < now() - interval '90 days' LIMIT 10000))"
    )
    .execute(&mut *conn)
    .await?;
    // Webhooks that were never acted on stay, however old, and so do unreadable ones, to which
    // their alert points. Razorpay repeats a webhook for a day; if one comes later still, acting on
    // it once more moves no money.
    let webhooks = sqlx::query!(
        "DELETE FROM webhook_events WHERE processed_at IS NOT NULL AND id = ANY (ARRAY(
             SELECT id FROM webhook_events
             WHERE processed_at < now() - $1::interval AND outcome IS DISTINCT FROM 'unreadable' ORDER BY processed_at LIMIT 2000))",
        interval(retention.webhooks)?,
    )
    .execute(&mut *conn)
    .await?;
    // What they said has been acted on, and names the buyer's contacts.
    let webhook_bodies = sqlx::query!(
        "UPDATE webhook_events SET body = '', has_body = FALSE WHERE processed_at IS NOT NULL AND has_body AND id = ANY (ARRAY(
             SELECT id FROM webhook_events
             WHERE processed_at < now() - $1::interval AND has_body AND outcome IS DISTINCT FROM 'unreadable'
             ORDER BY processed_at LIMIT 2000))",
        interval(retention.webhook_bodies)?,
    )
    .execute(&mut *conn)
    .await?;
    // The body of one that could not be read stays for as long as its alert is open.
    let unreadable_bodies = sqlx::query!(
        "UPDATE webhook_events SET body = '', has_body = FALSE WHERE processed_at IS NOT NULL AND has_body AND id = ANY (ARRAY(
             SELECT id FROM webhook_events w
             WHERE processed_at < now() - $1::interval AND has_body AND outcome = 'unreadable'
                 AND NOT EXISTS (SELECT 1 FROM payment_alerts
                     WHERE reason = 'unreadable' AND subject = 'webhook ' || w.id AND closed_at IS NULL)
             LIMIT 100))",
        interval(retention.webhook_bodies)?,
    )
    .execute(&mut *conn)
    .await?;
    // Nobody wants a message of months ago, which names a contact at times. Dead letters of other
    // queues stand for something that is owed to somebody, and stay until an operator decides.
    let dead_messages = sqlx::query!(
        "DELETE FROM jobs WHERE state = 'dead' AND id = ANY (ARRAY(
             SELECT id FROM jobs WHERE state = 'dead' AND finished_at < now() - $1::interval AND queue = ANY ($2)
             ORDER BY finished_at LIMIT 10000))",
        interval(retention.dead_messages)?,
        &[Queue::Otp.name().to_owned(), Queue::Notifications.name().to_owned()],
    )
    .execute(&mut *conn)
    .await?;
    let alerts = sqlx::query!(
        "DELETE FROM payment_alerts WHERE closed_at < now() - $1::interval AND id = ANY (ARRAY(
             SELECT id FROM payment_alerts WHERE closed_at < now() - $1::interval ORDER BY closed_at LIMIT 10000))",
        interval(retention.alerts)?,
    )
    .execute(&mut *conn)
    .await?;
    // As long as they count.
    let unpaid_holds = sqlx::query!(
        "DELETE FROM unpaid_holds WHERE id = ANY (ARRAY(
             SELECT id FROM unpaid_holds WHERE ended_at < now() - interval '1 day' ORDER BY ended_at LIMIT 10000))"
    )
    .execute(&mut *conn)
    .await?;
    // They name an address that nobody needs any more.
    let offers = sqlx::query!(
        "UPDATE ticket_transfers SET status = 'expired', to_email = NULL, ended_at = now() WHERE status = 'offered' AND id = ANY (ARRAY(
             SELECT id FROM ticket_transfers WHERE status = 'offered' AND expires_at < now() ORDER BY expires_at LIMIT 10000))"
    )
    .execute(&mut *conn)
    .await?;
    let holders = forget_holders(conn).await?;
    let visitors = sqlx::query!(
        "WITH old AS MATERIALIZED (
             SELECT r.event_id FROM waiting_rooms r CROSS JOIN LATERAL (SELECT end_date FROM events WHERE id = r.event_id OFFSET 0) e
             WHERE e.end_date < now() - interval '30 days' AND EXISTS (SELECT 1 FROM waiting_room_visitors v WHERE v.event_id = r.event_id) LIMIT 1)
         DELETE FROM waiting_room_visitors WHERE event_id = (SELECT event_id FROM old)
             AND user_id = ANY (ARRAY(SELECT user_id FROM waiting_room_visitors WHERE event_id = (SELECT event_id FROM old) LIMIT 10000))"
    )
    .execute(&mut *conn)
    .await?;
    let waiting_rooms = sqlx::query!(
        "DELETE FROM waiting_rooms r USING events e WHERE e.id = r.event_id AND e.end_date < now() - interval '30 days'
             AND NOT EXISTS (SELECT 1 FROM waiting_room_visitors v WHERE v.event_id = r.event_id)"
    )
    .execute(&mut *conn)
    .await?;
    // The schema lets only such a transaction remove rows.
    let mut tx = conn.begin().await?;
    sqlx::query!("SELECT set_config('nexus.audit_retention', 'on', TRUE)")
        .fetch_one(&mut *tx)
        .await?;
    let audit_log = sqlx::query!(
        "DELETE FROM audit_log WHERE id = ANY (ARRAY(
             SELECT id FROM audit_log WHERE at < now() - $1::interval ORDER BY at, id LIMIT 10000))",
        interval(retention.audit)?,
    )
    .execute(&mut *tx)
    .await?;
    tx.commit().await?;
    Ok(Removed {
        sessions: sessions.rows_affected(),
        operator_sessions: operator_sessions.rows_affected(),
        refresh_tokens: refresh_tokens.rows_affected(),
        revoked_tokens: revoked_tokens.rows_affected(),
        idempotency_keys: idempotency_keys.rows_affected(),
        idempotent_requests: idempotent_requests.rows_affected(),
        login_networks: login_networks.rows_affected(),
        email_proofs: email_proofs.rows_affected(),
        cancellation_notices: cancellation_notices.rows_affected(),
        event_notices: event_notices.rows_affected(),
        foreign_orders: foreign_orders.rows_affected(),
        webhooks: webhooks.rows_affected(),
        webhook_bodies: webhook_bodies.rows_affected() + unreadable_bodies.rows_affected(),
        alerts: alerts.rows_affected(),
        dead_messages: dead_messages.rows_affected(),
        audit_log: audit_log.rows_affected(),
        unpaid_holds: unpaid_holds.rows_affected(),
        offers: offers.rows_affected(),
        holders,
        visitors: visitors.rows_affected(),
        waiting_rooms: waiting_rooms.rows_affected(),
    })
}

/// Forgets who came to the events that have started ninety days ago, those of one moment per call, and
/// of at most 10,000 seats. Returns how many there were, and one more as long as there may be others.
async fn forget_holders(conn: &mut PgConnection) -> Result<u64> {
    let next = sqlx::query_scalar!(
        "SELECT min(start_date) FROM events WHERE start_date > (SELECT through FROM holders_forgotten) AND start_date < now() - interval '90 days'"
    );
    let Some(moment) = next.fetch_one(&mut *conn).await? else { return Ok(0) };
    // The events first, whatever the planner thinks of seats: hence OFFSET.
    let forgotten = sqlx::query!(
        "UPDATE booking_seats SET holder_name = NULL, holder_details = NULL WHERE id = ANY (ARRAY(
             SELECT s.id FROM events e
             CROSS JOIN LATERAL (SELECT id FROM bookings WHERE event_id = e.id OFFSET 0) b
             CROSS JOIN LATERAL (SELECT id FROM booking_seats
                                 WHERE booking_id = b.id AND (holder_name IS NOT NULL OR holder_details IS NOT NULL) OFFSET 0) s
             WHERE e.start_date = $1 LIMIT 10000))",
        moment,
    );
    let forgotten = forgotten.execute(&mut *conn).await?.rows_affected();
    if forgotten < 10_000 {
        sqlx::query!("UPDATE holders_forgotten SET through = $1", moment).execute(conn).await?;
    }
    Ok(forgotten + 1)
}

/// Hashes the tokens that the Node service left behind, at most 10,000 of each kind per call; see
/// [`tokens::hashed`](crate::accounts::tokens::hashed). Returns the refresh tokens among them, and
/// the number of tokens of both kinds.
pub async fn hash_tokens(conn: &mut PgConnection) -> Result<(Vec<String>, u64)> {
    let refresh_tokens = sqlx::query_scalar!(
        "WITH raw AS MATERIALIZED (SELECT id, token FROM refresh_tokens WHERE token NOT LIKE 'sha256:%' LIMIT 10000 FOR UPDATE)
         UPDATE refresh_tokens t SET token = 'sha256:' || encode(sha256(convert_to(t.token, 'UTF8')), 'hex')
         FROM raw WHERE t.id = raw.id RETURNING raw.token"
    )
    .fetch_all(&mut *conn)
    .await?;
    // A token that is listed in both forms keeps one row.
    let revoked_tokens = sqlx::query_scalar!(
        r#"WITH raw AS (
             DELETE FROM blacklisted_tokens WHERE id IN (SELECT id FROM blacklisted_tokens WHERE token NOT LIKE 'sha256:%' LIMIT 10000)
             RETURNING token, user_id, expires_at, created_at),
         hashed AS (
             INSERT INTO blacklisted_tokens (token, user_id, expires_at, created_at)
             SELECT 'sha256:' || encode(sha256(convert_to(token, 'UTF8')), 'hex'), user_id, expires_at, created_at FROM raw
             ON CONFLICT (token) DO NOTHING)
         SELECT count(*) AS "n!" FROM raw"#
    )
    .fetch_one(conn)
    .await?;
    let hashed = refresh_tokens.len() as u64 + revoked_tokens as u64;
    Ok((refresh_tokens, hashed))
}
