//! Alerts for jobs that have failed for good. One place for all ways to die: a handler's error, a
//! panic, a time-out, an unreadable payload, a worker that vanished once too often.

use nexus_common::{
    Result,
    error::Kind,
    jobs::{
        Job, JobId,
        payments::{ProcessWebhook, RefundPayment},
    },
    ledger::{alerts, refunds},
    types::alert_reason::AlertReason,
};
use serde_json::Value;
use sqlx::{Connection, PgConnection};

/// Raises the alert of a dead job's kind, if the kind has one, in the transaction that makes the
/// job dead. Returns only transient errors (a lock that another transaction holds, a PostgreSQL
/// that restarts): the caller rolls back and tries both again. Any other error is logged, so that
/// it does not keep the job alive; the daily check of the books finds what is left undone.
pub(crate) async fn alert_operators(
    conn: &mut PgConnection,
    job_id: JobId,
    kind: &str,
    payload: &Value,
    why: &str,
) -> Result<()> {
    // A savepoint, so that a failure here does not take the caller's transaction along.
    let mut tx = conn.begin().await?;
    match raise_alert(&mut tx, job_id, kind, payload, why).await {
        Ok(()) => tx.commit().await?,
        Err(error) if error.kind() == Kind::Unavailable => return Err(error),
        Err(error) => {
            tx.rollback().await?;
            tracing::error!(kind, %job_id, error = error.details(), "an alert could not be raised");
        }
    }
    Ok(())
}

async fn raise_alert(
    conn: &mut PgConnection,
    job_id: JobId,
    kind: &str,
    payload: &Value,
    why: &str,
) -> Result<()> {
    let (reason, (subject, booking)) = match kind {
        ProcessWebhook::KIND => {
            let job = serde_json::from_value(payload.clone()).ok();
            let subject =
                job.map(|ProcessWebhook { webhook_event_id: id }| (format!("webhook {id}"), None));
            (AlertReason::WebhookFailed, subject.unwrap_or_else(|| (format!("job {job_id}"), None)))
        }
        RefundPayment::KIND => {
            let refund = match serde_json::from_value(payload.clone()) {
                Ok(RefundPayment { refund_id }) => refunds::get(conn, refund_id).await?,
                Err(_) => None,
            };
            let subject = refund.map(|refund| (refund.payment_id, refund.booking));
            (AlertReason::RefundFailed, subject.unwrap_or_else(|| (format!("job {job_id}"), None)))
        }
        _ => return Ok(()),
    };
    // While the relay or worker waits here, it may hold up other jobs of its queue.
    sqlx::query("SET LOCAL lock_timeout = '1s'").execute(&mut *conn).await?;
    alerts::raise(conn, reason, &subject, booking, &format!("job {job_id} is dead: {why}")).await
}
