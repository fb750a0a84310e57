//! Our side of the comparison with Razorpay, and when each order and refund has its turn.
//! [`webhook_actions`](super::webhook_actions) and [`provider_refunds`](super::provider_refunds)
//! act on money of which no webhook told us, as if one had. The reconciler, which asks Razorpay, is
//! in the worker crate; nothing here calls out.

use std::{collections::HashMap, time::Duration};

use sqlx::PgConnection;

use crate::{
    error::Result,
    jobs::{self, Job, payments::RefundPayment},
    ledger::entries::ProviderPayment,
    storage::postgres::interval,
    types::{
        ids::{BookingId, RefundId},
        money::{CURRENCY, Paise},
        statuses::RefundStatus,
    },
};

/// A payment in our books.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PaymentRecord {
    /// Its booking, if any.
    pub booking: Option<BookingId>,
    /// Whether the ledger has the money.
    pub captured: bool,
    /// The state of its refund, if we owe one: `refunds.status`.
    pub refund: Option<RefundStatus>,
}

/// Our records of these payments, without those that we have never heard of and, if our books are a
/// copy, without those of the installation that they were copied from.
pub async fn records(
    conn: &mut PgConnection,
    payments: &[String],
) -> Result<HashMap<String, PaymentRecord>> {
    let rows = sqlx::query!(
        r#"SELECT coalesce(p.payment_id, r.payment_id) AS "payment_id!", coalesce(p.booking_id, r.booking_id) AS "booking: BookingId",
                  p.id IS NOT NULL AS "captured!", r.status AS "refund?: RefundStatus"
           FROM (SELECT * FROM payments WHERE payment_id = ANY ($1) AND kind = 'capture') p
           FULL JOIN (SELECT * FROM refunds WHERE payment_id = ANY ($1)) r ON r.payment_id = p.payment_id
           WHERE NOT EXISTS (SELECT 1 FROM copied_payments c WHERE c.payment_id = p.payment_id)"#,
        payments,
    )
    .fetch_all(conn)
    .await?;
    Ok(rows
        .into_iter()
        .map(|row| {
            let ours =
                PaymentRecord { booking: row.booking, captured: row.captured, refund: row.refund };
            (row.payment_id, ours)
        })
        .collect())
}

/// Orders that have been due to be asked about for at least `patience`, the longest waiting first.
/// Orders whose booking has been confirmed meanwhile drop out: further payments on them show in the
/// lists of payments.
pub async fn due_orders(
    conn: &mut PgConnection,
    patience: Duration,
    limit: i64,
) -> Result<Vec<String>> {
    let patience = interval(patience)?;
    sqlx::query!(
        // The planner does not know how many are due, and would read all bookings. Of more than a
        // thousand orders, the rest has its turn later.
        "UPDATE payment_orders o SET look_at = NULL FROM bookings b
         WHERE o.order_id = ANY (ARRAY(
                   SELECT order_id FROM own_orders WHERE look_at <= now() - $1::interval ORDER BY look_at LIMIT 1000))
             AND b.id = o.booking_id AND b.status = 'confirmed'",
        patience,
    )
    .execute(&mut *conn)
    .await?;
    let orders = sqlx::query_scalar!(
        r#"SELECT order_id AS "id!" FROM own_orders WHERE look_at <= now() - $1::interval ORDER BY look_at LIMIT $2"#,
        patience,
        limit,
    )
    .fetch_all(conn)
    .await?;
    Ok(orders)
}

/// Records that Razorpay was asked about an order: it is due again after `first`, then after twice
/// as long each time, twelve hours at most, until it is `last` old.
pub async fn order_asked(
    conn: &mut PgConnection,
    order_id: &str,
    first: Duration,
    last: Duration,
) -> Result<()> {
    sqlx::query!(
        "UPDATE payment_orders SET looks = looks + 1, looked_at = now(),
             look_at = CASE WHEN created_at + $3::interval > now()
                       THEN now() + least($2::interval * 2 ^ least(looks, 20), interval '12 hours') END
         WHERE order_id = $1",
        order_id,
        interval(first)?,
        interval(last)?,
    )
    .execute(conn)
    .await?;
    Ok(())
}

/// A refund that Razorpay has not made, as far as we know.
#[derive(Debug)]
pub struct OpenRefund {
    pub id: RefundId,
    pub payment_id: String,
    pub booking: Option<BookingId>,
    pub amount_paise: i64,
    pub status: RefundStatus,
    /// Whether its job is still trying.
    pub in_work: bool,
    /// Whether its job is a dead letter and waits for an operator.
    pub dead: bool,
}

/// Open refunds that are due to be asked about: `first` after we owed them, then whenever they are
/// twice as old, but at least every twelve hours.
pub async fn due_refunds(
    conn: &mut PgConnection,
    first: Duration,
    limit: i64,
) -> Result<Vec<OpenRefund>> {
    let refunds = sqlx::query_as!(
        OpenRefund,
        r#"SELECT r.id, r.payment_id, r.booking_id AS "booking: _", r.amount_paise, r.status AS "status: _",
                  EXISTS (SELECT 1 FROM jobs WHERE unique_key = job_key($3, r.id) AND job_is_live(state)) AS "in_work!",
                  EXISTS (SELECT 1 FROM jobs WHERE unique_key = job_key($3, r.id) AND state = 'dead') AS "dead!"
           FROM refunds r
           WHERE r.status <> 'processed' AND r.created_at <= now() - $1::interval
             AND (r.looked_at IS NULL OR r.looked_at <= now() - least(greatest(r.looked_at - r.created_at, $1), interval '12 hours'))
             AND NOT EXISTS (SELECT 1 FROM copied_payments c WHERE c.payment_id = r.payment_id)
           ORDER BY r.created_at LIMIT $2"#,
        interval(first)?,
        limit,
        RefundPayment::KIND,
    )
    .fetch_all(conn)
    .await?;
    Ok(refunds)
}

/// Records that Razorpay was asked about a refund.
pub async fn refund_asked(conn: &mut PgConnection, id: RefundId) -> Result<()> {
    sqlx::query!("UPDATE refunds SET looked_at = now() WHERE id = $1", id as _)
        .execute(conn)
        .await?;
    Ok(())
}

/// Enqueues a job for a refund that has none. False when it has one.
pub async fn resume_refund(conn: &mut PgConnection, refund_id: RefundId) -> Result<bool> {
    Ok(jobs::enqueue(conn, &RefundPayment { refund_id }).await?.is_some())
}

/// Whether authorized money would buy what its order is for if it were captured now; otherwise it
/// should lapse rather than be captured and refunded. A look, not a promise: captured money is
/// settled in any case.
pub async fn is_wanted(conn: &mut PgConnection, money: &ProviderPayment) -> Result<bool> {
    let Some(price) = Paise::new(money.amount_paise) else { return Ok(false) };
    let wanted = sqlx::query_scalar!(
        r#"SELECT EXISTS (
             SELECT 1 FROM payment_orders o JOIN bookings b ON b.id = o.booking_id JOIN events e ON e.id = b.event_id
             WHERE o.order_id = $1 AND o.amount_paise = $2 AND o.currency = $3 AND $3 = $4 AND b.total_amount = $5
               AND b.status <> 'confirmed' AND e.status = 'published' AND e.taken_down_at IS NULL
               AND (e.start_date > now() OR (b.status = 'pending' AND b.expires_at > now()))
               AND NOT EXISTS (SELECT 1 FROM payments p WHERE p.booking_id = b.id AND p.kind = 'sale')
               AND NOT EXISTS (
                 SELECT 1 FROM booking_seats bs JOIN seats s
                   ON s.event_seat_type_id = bs.event_seat_type_id AND s.seat_label = bs.seat_label
                 WHERE bs.booking_id = b.id AND bs.seat_id IS NULL AND NOT (s.status = 'locked' AND s.expires_at <= now()))
               AND NOT EXISTS (
                 SELECT 1 FROM (SELECT event_seat_type_id AS id, count(*) AS n FROM booking_seats
                                WHERE booking_id = b.id AND seat_id IS NULL GROUP BY 1) lost
                 LEFT JOIN seat_availability a ON a.seat_type_id = lost.id WHERE a.available IS NULL OR a.available < lost.n)
           ) AS "wanted!""#,
        money.order_id,
        money.amount_paise,
        money.currency,
        CURRENCY,
        price as _,
    )
    .fetch_one(conn)
    .await?;
    Ok(wanted)
}
