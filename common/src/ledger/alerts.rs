//! Alerts: money that is not as it should be, for operators to see or decide. An alert is a row of
//! `payment_alerts`, a line in the log at error level and a count for Prometheus. A provider that
//! refuses our key also raises one, because then no money moves.

use std::time::Duration;

use chrono::{DateTime, Utc};
use serde::Serialize;
use serde_json::json;
use sqlx::{PgConnection, PgPool};

use crate::{
    audit::{self, Action, Operator, Subject, SubjectKind},
    error::Result,
    observability::metrics,
    providers::{Key, Standing},
    types::{alert_reason::AlertReason, ids::BookingId},
};

/// Raises an alert about `subject`, for instance a payment's id; raises it again only after
/// operators have closed the first. Logged before the caller's commit: better twice than never.
pub async fn raise(
    conn: &mut PgConnection,
    reason: AlertReason,
    subject: &str,
    booking: Option<BookingId>,
    details: &str,
) -> Result<()> {
    let raised = sqlx::query!(
        "INSERT INTO payment_alerts AS known (reason, subject, booking_id, details) VALUES ($1, $2, $3, $4)
         ON CONFLICT ON CONSTRAINT payment_alerts_subject_key
         DO UPDATE SET details = EXCLUDED.details, created_at = now(), closed_at = NULL, acted_by = NULL WHERE known.closed_at IS NOT NULL",
        reason as _,
        subject,
        booking as _,
        details,
    )
    .execute(conn)
    .await?;
    if raised.rows_affected() == 1 {
        tell(reason, subject, booking, details);
    }
    Ok(())
}

/// The same for something that recurs: while its alert is open, the alert counts the cases and has
/// the details of the newest.
pub async fn count(
    conn: &mut PgConnection,
    reason: AlertReason,
    subject: &str,
    details: &str,
) -> Result<()> {
    let cases = sqlx::query_scalar!(
        "INSERT INTO payment_alerts AS known (reason, subject, details) VALUES ($1, $2, $3)
         ON CONFLICT ON CONSTRAINT payment_alerts_subject_key
         DO UPDATE SET details = EXCLUDED.details, closed_at = NULL, acted_by = NULL,
             cases = CASE WHEN known.closed_at IS NULL THEN known.cases + 1 ELSE 1 END,
             created_at = CASE WHEN known.closed_at IS NULL THEN known.created_at ELSE now() END
         RETURNING cases",
        reason as _,
        subject,
        details,
    )
    .fetch_one(conn)
    .await?;
    if cases == 1 {
        tell(reason, subject, None, details);
    }
    Ok(())
}

fn tell(reason: AlertReason, subject: &str, booking: Option<BookingId>, details: &str) {
    let booking = booking.map(|id| id.0);
    tracing::error!(reason = reason.name(), subject, booking, details, "payment alert");
    metrics::payment_alert(reason.name());
}

/// Raises an alert when a provider refuses our key, once for all processes and jobs that need it,
/// and settles it when the key works. Runs for as long as the process lives.
pub async fn watch_key(db: PgPool, key: Key) {
    let mut standing = key.standing();
    while standing.changed().await.is_ok() {
        while let Err(error) = {
            let changed = standing.borrow_and_update().clone();
            tell_standing(&db, &key, changed).await
        } {
            tracing::warn!(
                provider = key.provider,
                error = error.details(),
                "an alert could not be written"
            );
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
    }
}

async fn tell_standing(db: &PgPool, key: &Key, standing: Option<Standing>) -> Result<()> {
    let reason = AlertReason::ProviderRefusesKey;
    match standing {
        None => {}
        Some(Standing::Refused(response)) => {
            let details = format!(
                "it answers {response}; what needs it waits until {} is right",
                key.settings
            );
            raise(&mut *db.acquire().await?, reason, key.provider, None, &details).await?;
        }
        Some(Standing::Accepted) => {
            let accepted_again = settle(&mut *db.acquire().await?, reason, key.provider).await?;
            if accepted_again {
                tracing::info!(provider = key.provider, "our key is accepted again");
            }
        }
    }
    Ok(())
}

/// Settles an alert whose subject is in order again; false when none was open.
pub async fn settle(conn: &mut PgConnection, reason: AlertReason, subject: &str) -> Result<bool> {
    let closed = sqlx::query!(
        "UPDATE payment_alerts SET closed_at = now() WHERE reason = $1 AND subject = $2 AND closed_at IS NULL",
        reason as _,
        subject,
    )
    .execute(conn)
    .await?;
    Ok(closed.rows_affected() == 1)
}

/// An alert as operators see it.
#[derive(Debug, Serialize)]
pub struct AlertRow {
    pub id: i64,
    pub reason: String,
    pub subject: String,
    pub booking_id: Option<i32>,
    pub details: String,
    pub created_at: DateTime<Utc>,
}

/// Open alerts, the newest first.
pub async fn open(db: &PgPool, limit: i64) -> Result<Vec<AlertRow>> {
    let rows = sqlx::query_as!(
        AlertRow,
        r#"SELECT id, reason, subject, booking_id, created_at,
                  CASE WHEN cases > 1 THEN cases || ' in all, the newest: ' ELSE '' END || details AS "details!"
           FROM payment_alerts WHERE closed_at IS NULL ORDER BY created_at DESC, id DESC LIMIT $1"#,
        limit,
    )
    .fetch_all(db)
    .await?;
    Ok(rows)
}

/// Closes an alert that an operator has dealt with; false when it is not open, or waits for an
/// operator to release the held refunds.
pub async fn close(db: &PgPool, id: i64, by: Operator) -> Result<bool> {
    let mut tx = db.begin().await?;
    let closed = sqlx::query!(
        "UPDATE payment_alerts SET closed_at = now(), acted_by = coalesce('user ' || $3::int, session_user) WHERE id = $1 AND closed_at IS NULL
             AND NOT (reason = $2 AND (SELECT refunds_held_at IS NOT NULL FROM installation))",
        id,
        AlertReason::RefundsHeld as _,
        by.user() as _,
    )
    .execute(&mut *tx)
    .await?;
    if closed.rows_affected() == 0 {
        return Ok(false);
    }
    let alert = Subject::of(SubjectKind::Alert, id);
    audit::record(&mut tx, Action::AlertClosed, by.user(), alert, json!({})).await?;
    tx.commit().await?;
    Ok(true)
}
