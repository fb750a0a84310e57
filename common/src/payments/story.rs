//! The story of a payment, for operators: what our books have of it, its order and its booking, in
//! the order of events. `nexus-jobs payment` and `/admin/payments` show it.

use chrono::{DateTime, Utc};
use serde::Serialize;
use sqlx::PgConnection;

use crate::{
    error::Result,
    jobs::{
        Job, JobId,
        bookings::FinaliseBooking,
        notifications::{
            EmailCancellation, EmailRefund, EmailTickets, SmsCancellation, SmsRefund, SmsTickets,
        },
        payments::{ConfirmFreeBooking, ProcessWebhook, RefundPayment},
    },
    types::{
        ids::{BookingId, RefundId, WebhookId},
        money::{CURRENCY, Paise, written},
    },
};

/// Everything about one payment, or about the payments of one booking.
#[derive(Debug, Default, Serialize)]
pub struct Story {
    /// `bookings.id`, even if the booking was deleted with its event.
    pub booking_id: Option<BookingId>,
    /// `BKG-…`, while the booking exists.
    pub booking_reference: Option<String>,
    /// Razorpay's ids, `order_…`.
    pub orders: Vec<String>,
    /// Razorpay's ids, `pay_…`.
    pub payments: Vec<String>,
    /// What happened, the earliest first.
    pub entries: Vec<Entry>,
}

/// An entry of the story.
#[derive(Debug, Serialize)]
pub struct Entry {
    pub at: DateTime<Utc>,
    /// Its kind: `booking`, `order`, `webhook`, `ledger`, `refund`, `dispute`, `job`, `alert`.
    pub what: &'static str,
    /// Its id: the provider's where it has one.
    pub id: String,
    /// What it says.
    pub says: String,
    /// The job, if it is one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub job_id: Option<JobId>,
}

/// More payments than any booking has.
const MOST: i64 = 100;
/// Webhooks that one story shows: an operator may have replayed them a thousand times.
const MOST_WEBHOOKS: i64 = 500;

/// The story behind the id of a payment, an order, a refund or a dispute, or behind a booking's
/// reference or number. `webhook 7`, `refund 7` and `booking 7`, as alerts and jobs name them, also
/// work. `None` when our books know nothing of it.
pub async fn tell(conn: &mut PgConnection, about: &str) -> Result<Option<Story>> {
    // PostgreSQL accepts no text with NUL.
    if about.contains('\0') {
        return Ok(None);
    }
    let about = seed(conn, about.trim()).await?;
    let mut story = Story { booking_id: booking(conn, &about).await?, ..Story::default() };
    find_ids(conn, &mut story, &about).await?;
    if let Some(id) = story.booking_id {
        tell_booking(conn, &mut story, id).await?;
    }
    tell_orders(conn, &mut story).await?;
    let webhooks = tell_webhooks(conn, &mut story).await?;
    tell_ledger(conn, &mut story).await?;
    let refunds = tell_refunds(conn, &mut story).await?;
    let disputes = tell_disputes(conn, &mut story).await?;
    tell_jobs(conn, &mut story, &webhooks, &refunds).await?;
    tell_alerts(conn, &mut story, &webhooks, &disputes).await?;
    // A stable sort: entries of one moment stay in the order of cause and effect.
    story.entries.sort_by_key(|entry| entry.at);
    Ok(Some(story).filter(|story| !story.entries.is_empty()))
}

/// The provider's id, or a booking's reference or number, behind a name that alerts and jobs use.
async fn seed(conn: &mut PgConnection, about: &str) -> Result<String> {
    let Some((what, id)) = about.split_once(' ') else { return Ok(about.to_owned()) };
    let Ok(id) = id.parse::<i64>() else { return Ok(about.to_owned()) };
    let found = match what {
        "webhook" => sqlx::query_scalar!(
            r#"SELECT coalesce(nullif(payment_id, ''), order_id) AS "id?" FROM webhook_events WHERE id = $1"#,
            id
        )
        .fetch_optional(conn)
        .await?
        .flatten(),
        "refund" => {
            sqlx::query_scalar!("SELECT payment_id FROM refunds WHERE id = $1", id)
                .fetch_optional(conn)
                .await?
        }
        "booking" => Some(id.to_string()),
        _ => None,
    };
    Ok(found.unwrap_or_else(|| about.to_owned()))
}

async fn booking(conn: &mut PgConnection, about: &str) -> Result<Option<BookingId>> {
    let id = sqlx::query_scalar!(
        r#"SELECT id AS "id!: BookingId" FROM bookings WHERE booking_reference = $1
           UNION ALL SELECT id FROM bookings WHERE id = $2
           UNION ALL SELECT booking_id FROM payment_orders WHERE order_id = $1
           UNION ALL SELECT booking_id FROM payments WHERE payment_id = $1 AND booking_id IS NOT NULL
           UNION ALL SELECT booking_id FROM refunds WHERE payment_id = $1 AND booking_id IS NOT NULL
           UNION ALL SELECT p.booking_id FROM provider_refunds made JOIN payments p ON p.payment_id = made.payment_id
                     WHERE made.refund_id = $1 AND p.booking_id IS NOT NULL
           UNION ALL SELECT p.booking_id FROM disputes d JOIN payments p ON p.payment_id = d.payment_id
                     WHERE d.dispute_id = $1 AND p.booking_id IS NOT NULL
           UNION ALL SELECT id FROM bookings WHERE payment_id = $1
           UNION ALL SELECT o.booking_id FROM webhook_events w JOIN payment_orders o ON o.order_id = w.order_id WHERE w.payment_id = $1
           LIMIT 1"#,
        about,
        about.parse::<i32>().ok(),
    )
    .fetch_optional(conn)
    .await?;
    Ok(id)
}

/// Finds every order and payment of the story.
async fn find_ids(conn: &mut PgConnection, story: &mut Story, about: &str) -> Result<()> {
    story.orders = sqlx::query_scalar!(
        r#"SELECT order_id AS "id!" FROM payment_orders WHERE booking_id = $1
           UNION SELECT order_id FROM payments WHERE payment_id = $2 AND order_id <> ''
           UNION SELECT order_id FROM webhook_events WHERE payment_id = $2 AND order_id <> ''
           UNION SELECT $2 WHERE starts_with($2, 'order_') LIMIT $3"#,
        story.booking_id as _,
        about,
        MOST,
    )
    .fetch_all(&mut *conn)
    .await?;
    story.payments = sqlx::query_scalar!(
        r#"SELECT payment_id AS "id!" FROM payments WHERE booking_id = $1
           UNION SELECT payment_id FROM payments WHERE order_id = ANY ($2)
           UNION SELECT payment_id FROM refunds WHERE booking_id = $1
           UNION SELECT payment_id FROM provider_refunds WHERE refund_id = $3
           UNION SELECT payment_id FROM disputes WHERE dispute_id = $3
           UNION SELECT payment_id FROM bookings WHERE id = $1 AND starts_with(payment_id, 'pay_')
           UNION SELECT payment_id FROM webhook_events WHERE order_id = ANY ($2) AND payment_id <> ''
           UNION SELECT $3 WHERE starts_with($3, 'pay_') LIMIT $4"#,
        story.booking_id as _,
        &story.orders,
        about,
        MOST,
    )
    .fetch_all(conn)
    .await?;
    Ok(())
}

impl Story {
    fn add(&mut self, at: DateTime<Utc>, what: &'static str, id: impl ToString, says: String) {
        self.entries.push(Entry { at, what, id: id.to_string(), says, job_id: None });
    }
}

async fn tell_booking(conn: &mut PgConnection, story: &mut Story, id: BookingId) -> Result<()> {
    let row = sqlx::query!(
        r#"SELECT booking_reference, total_amount AS "total: Paise", booked_at AS "booked_at!", confirmed_at, cancelled_at,
                  cancellation_reason, status, payment_status, mail_refused_at
           FROM bookings WHERE id = $1"#,
        id as _,
    )
    .fetch_optional(conn)
    .await?;
    let Some(row) = row else { return Ok(()) };
    let made = format!(
        "made, {}; now {}, its payment {}",
        row.total.written(),
        row.status,
        row.payment_status
    );
    story.add(row.booked_at, "booking", &row.booking_reference, made);
    if let Some(at) = row.confirmed_at {
        story.add(at, "booking", &row.booking_reference, "confirmed".into());
    }
    if let Some(at) = row.cancelled_at {
        let reason =
            row.cancellation_reason.map(|reason| format!(": {reason}")).unwrap_or_default();
        story.add(at, "booking", &row.booking_reference, format!("cancelled{reason}"));
    }
    if let Some(at) = row.mail_refused_at {
        story.add(at, "booking", &row.booking_reference, "a mail to its buyer was refused".into());
    }
    story.booking_reference = Some(row.booking_reference);
    Ok(())
}

async fn tell_orders(conn: &mut PgConnection, story: &mut Story) -> Result<()> {
    let rows = sqlx::query!(
        "SELECT order_id, amount_paise, currency, created_at, superseded_at FROM payment_orders WHERE order_id = ANY ($1)",
        &story.orders,
    )
    .fetch_all(&mut *conn)
    .await?;
    for row in rows {
        let amount = written(row.amount_paise, &row.currency);
        story.add(row.created_at, "order", &row.order_id, format!("for {amount}"));
        if let Some(at) = row.superseded_at {
            story.add(at, "order", &row.order_id, "superseded".into());
        }
    }
    // A payment without an order is noted by its own id.
    let ids = [story.orders.as_slice(), story.payments.as_slice()].concat();
    let foreign = sqlx::query!(
        "SELECT order_id, noticed_at FROM foreign_orders WHERE order_id = ANY ($1)",
        &ids
    )
    .fetch_all(conn)
    .await?;
    for row in foreign {
        story.add(row.noticed_at, "order", &row.order_id, "not in our books: left alone".into());
    }
    Ok(())
}

/// Returns the webhooks' numbers.
async fn tell_webhooks(conn: &mut PgConnection, story: &mut Story) -> Result<Vec<WebhookId>> {
    let rows = sqlx::query!(
        r#"SELECT id AS "id: WebhookId", event_id, event_type, received_at, processed_at, outcome FROM webhook_events
           WHERE payment_id = ANY ($1) OR order_id = ANY ($2) ORDER BY id LIMIT $3"#,
        &story.payments,
        &story.orders,
        MOST_WEBHOOKS,
    )
    .fetch_all(conn)
    .await?;
    for row in &rows {
        let outcome = match (row.processed_at, &row.outcome) {
            (Some(at), Some(outcome)) => {
                let took = (at - row.received_at).num_milliseconds().max(0);
                format!("{outcome}, after {}.{:03} s", took / 1000, took % 1000)
            }
            (Some(_), None) => "done".into(),
            (None, _) => "waits".into(),
        };
        story.add(
            row.received_at,
            "webhook",
            &row.event_id,
            format!("{}: {outcome}", row.event_type),
        );
    }
    Ok(rows.into_iter().map(|row| row.id).collect())
}

async fn tell_ledger(conn: &mut PgConnection, story: &mut Story) -> Result<()> {
    let rows = sqlx::query!(
        "SELECT id, kind, payment_id, amount_paise, currency, created_at FROM payments WHERE payment_id = ANY ($1) ORDER BY id",
        &story.payments,
    )
    .fetch_all(conn)
    .await?;
    for row in rows {
        let amount = written(row.amount_paise, &row.currency);
        story.add(row.created_at, "ledger", row.payment_id, format!("{} {amount}", row.kind));
    }
    Ok(())
}

/// Returns the refunds' numbers.
async fn tell_refunds(conn: &mut PgConnection, story: &mut Story) -> Result<Vec<RefundId>> {
    let rows = sqlx::query!(
        r#"SELECT id AS "id: RefundId", payment_id, refund_id, amount_paise, currency, reason, status, failed_ids, created_at, updated_at
           FROM refunds WHERE payment_id = ANY ($1) ORDER BY id"#,
        &story.payments,
    )
    .fetch_all(&mut *conn)
    .await?;
    for row in &rows {
        let amount = written(row.amount_paise, &row.currency);
        story.add(
            row.created_at,
            "refund",
            &row.payment_id,
            format!("{amount} owed: {}", row.reason),
        );
        if row.status != "pending" {
            let id = row.refund_id.as_ref().unwrap_or(&row.payment_id);
            let failed = match row.failed_ids.len() {
                0 => String::new(),
                times => format!(
                    "; the bank could not make it {times} times: {}",
                    row.failed_ids.join(", ")
                ),
            };
            story.add(row.updated_at, "refund", id, format!("{}{failed}", row.status));
        }
    }
    let made = sqlx::query!(
        "SELECT refund_id, amount_paise, status, ours, updated_at FROM provider_refunds WHERE payment_id = ANY ($1) ORDER BY refund_id",
        &story.payments,
    )
    .fetch_all(conn)
    .await?;
    for row in made {
        let amount = written(row.amount_paise, CURRENCY);
        let whose = if row.ours { "asked for by us" } else { "made by hand" };
        story.add(
            row.updated_at,
            "refund",
            &row.refund_id,
            format!("{amount} {whose}: {}", row.status),
        );
    }
    Ok(rows.into_iter().map(|row| row.id).collect())
}

/// Returns the disputes' ids.
async fn tell_disputes(conn: &mut PgConnection, story: &mut Story) -> Result<Vec<String>> {
    let rows = sqlx::query!(
        "SELECT dispute_id, amount_paise, currency, taken_paise, phase, reason_code, status, respond_by, created_at, updated_at
         FROM disputes WHERE payment_id = ANY ($1) ORDER BY created_at, dispute_id",
        &story.payments,
    )
    .fetch_all(conn)
    .await?;
    for row in &rows {
        let amount = written(row.amount_paise, &row.currency);
        let until = row
            .respond_by
            .map(|at| format!("; to be answered before {} UTC", at.format("%Y-%m-%d %H:%M")))
            .unwrap_or_default();
        let opened = format!("{amount} disputed: {}, {}{until}", row.phase, row.reason_code);
        story.add(row.created_at, "dispute", &row.dispute_id, opened);
        let taken = match row.taken_paise {
            0 => String::new(),
            taken => format!("; the bank has {}", written(taken, &row.currency)),
        };
        story.add(row.updated_at, "dispute", &row.dispute_id, format!("{}{taken}", row.status));
    }
    Ok(rows.into_iter().map(|row| row.dispute_id).collect())
}

/// Live jobs and dead letters; the effects of finished jobs say enough.
async fn tell_jobs(
    conn: &mut PgConnection,
    story: &mut Story,
    webhooks: &[WebhookId],
    refunds: &[RefundId],
) -> Result<()> {
    let mut keys: Vec<String> = webhooks.iter().map(ProcessWebhook::key).collect();
    for id in refunds {
        keys.extend([RefundPayment::key(id), EmailRefund::key(id), SmsRefund::key(id)]);
    }
    if let Some(id) = story.booking_id {
        keys.extend([
            ConfirmFreeBooking::key(id),
            FinaliseBooking::key(id),
            EmailTickets::key(id),
            SmsTickets::key(id),
            EmailCancellation::key(id),
            SmsCancellation::key(id),
        ]);
    }
    let rows = sqlx::query!(
        r#"SELECT id AS "id!", kind AS "kind!", state::text AS "state!", attempt AS "attempt!", last_error, created_at AS "created_at!"
           FROM open_jobs WHERE unique_key = ANY ($1)"#,
        &keys,
    )
    .fetch_all(conn)
    .await?;
    for row in rows {
        let error = row.last_error.map(|error| format!(": {error}")).unwrap_or_default();
        let says = format!("{} is {}, attempt {}{error}", row.kind, row.state, row.attempt);
        story.add(row.created_at, "job", row.id, says);
        if let Some(entry) = story.entries.last_mut() {
            entry.job_id = Some(row.id);
        }
    }
    Ok(())
}

async fn tell_alerts(
    conn: &mut PgConnection,
    story: &mut Story,
    webhooks: &[WebhookId],
    disputes: &[String],
) -> Result<()> {
    let mut subjects = story.payments.clone();
    subjects.extend(disputes.iter().cloned());
    subjects.extend(story.orders.iter().cloned());
    subjects.extend(webhooks.iter().map(|id| format!("webhook {id}")));
    let rows = sqlx::query!(
        "SELECT id, reason, details, created_at, closed_at, acted_by FROM payment_alerts
         WHERE subject = ANY ($1) OR booking_id = $2 ORDER BY id",
        &subjects,
        story.booking_id as _,
    )
    .fetch_all(conn)
    .await?;
    for row in rows {
        let state = match (row.closed_at, row.acted_by) {
            (None, _) => "open".to_owned(),
            (Some(_), None) => "closed".to_owned(),
            (Some(_), Some(by)) => format!("closed by {by}"),
        };
        story.add(
            row.created_at,
            "alert",
            row.id,
            format!("{}, {state}: {}", row.reason, row.details),
        );
    }
    Ok(())
}
