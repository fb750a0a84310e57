//! Refunds: payments that we owe back. If a part of one was refunded manually, we owe and ask for
//! the rest. [`provider_refunds`](crate::payments::provider_refunds) has what Razorpay says of each
//! refund.

use sqlx::PgConnection;

use super::{
    entries::{LedgerEntry, ProviderPayment, lock_payment, record},
    payment_states::{self, PaymentEvent, PaymentState, PaymentStep},
};
use crate::{
    config::Chargeable,
    error::Result,
    jobs::{self, payments::RefundPayment},
    types::{
        ids::{BookingId, RefundId},
        money::{CURRENCY, Paise},
        refund_reason::RefundReason,
        statuses::RefundStatus,
    },
};

/// Takes back the sale of a confirmed booking that is being cancelled, and owes its money. A
/// booking that cost nothing leads to no refund.
pub async fn reverse_sale(
    conn: &mut PgConnection,
    booking: BookingId,
    payment_id: Option<&str>,
    total: Paise,
) -> Result<()> {
    let mut sale = sale_of(conn, booking).await?;
    // The Node service, which kept no ledger, confirmed it: both sides of its payment are written
    // now.
    if let (None, Some(payment_id)) = (&sale, payment_id)
        && payment_id.starts_with("pay_")
        && total > Paise::ZERO
    {
        let money = ProviderPayment {
            payment_id: payment_id.to_owned(),
            order_id: String::new(),
            amount_paise: total.get(),
            currency: CURRENCY.into(),
        };
        // It may have been refunded manually before the books had it.
        let lapsed = lock_payment(conn, &money.payment_id).await? == PaymentState::Lapsed;
        record(conn, LedgerEntry::Capture, Some(booking), &money).await?;
        record(conn, LedgerEntry::Sale, Some(booking), &money).await?;
        if lapsed {
            settle_returned(conn, &money, booking).await?;
        }
        sale = sale_of(conn, booking).await?;
    }
    let Some(Sale { money, left_paise }) = sale else { return Ok(()) };
    let state = lock_payment(conn, &money.payment_id).await?;
    if left_paise > 0 {
        let left = ProviderPayment { amount_paise: left_paise, ..money.clone() };
        record(conn, LedgerEntry::SaleReversal, Some(booking), &left).await?;
    }
    match payment_states::next(state, PaymentEvent::SaleReversed) {
        PaymentStep::OweRefund => {
            owe_refund(conn, &money, Some(booking), RefundReason::Cancelled).await.map(drop)
        }
        _ => Ok(()),
    }
}

/// What a booking was sold for.
struct Sale {
    money: ProviderPayment,
    /// What is left of the sale after refunds of parts of its payment.
    left_paise: i64,
}

async fn sale_of(conn: &mut PgConnection, booking: BookingId) -> Result<Option<Sale>> {
    let row = sqlx::query!(
        r#"SELECT payment_id, coalesce(order_id, '') AS "order_id!", -amount_paise AS "paise!", currency,
                  (SELECT coalesce(sum(r.amount_paise), 0)::bigint FROM payments r
                   WHERE r.payment_id = s.payment_id AND r.kind = 'sale_reversal') AS "reversed!"
           FROM payments s WHERE booking_id = $1 AND kind = 'sale'"#,
        booking as _,
    )
    .fetch_optional(conn)
    .await?;
    Ok(row.map(|row| Sale {
        left_paise: row.paise - row.reversed,
        money: ProviderPayment {
            payment_id: row.payment_id,
            order_id: row.order_id,
            amount_paise: row.paise,
            currency: row.currency,
        },
    }))
}

/// Owes the rest of a payment that has not gone back, once per payment; returns the new refund. A
/// part that is already on its way, by a manual refund, is owed but asked for only if that refund
/// fails.
pub(crate) async fn owe_refund(
    conn: &mut PgConnection,
    money: &ProviderPayment,
    booking: Option<BookingId>,
    reason: RefundReason,
) -> Result<Option<RefundId>> {
    let refund = sqlx::query!(
        r#"INSERT INTO refunds (payment_id, booking_id, amount_paise, currency, reason, status)
           SELECT $1, $2, $3 - back.gone, $4, $5, CASE WHEN $3 > back.gone + back.going THEN 'pending' ELSE 'requested' END
           FROM (SELECT coalesce(sum(paise) FILTER (WHERE is_final), 0)::bigint AS gone,
                        coalesce(sum(paise) FILTER (WHERE NOT is_final), 0)::bigint AS going
                 FROM money_back WHERE payment_id = $1) back
           WHERE $3 > back.gone
           ON CONFLICT ON CONSTRAINT refunds_payment_key DO NOTHING
           RETURNING id AS "id: RefundId", status AS "status: RefundStatus""#,
        money.payment_id,
        booking as _,
        money.amount_paise,
        money.currency,
        reason as _,
    )
    .fetch_optional(&mut *conn)
    .await?;
    let Some(refund) = refund else { return Ok(None) };
    if refund.status == RefundStatus::Pending {
        jobs::enqueue(conn, &RefundPayment { refund_id: refund.id }).await?;
    }
    Ok(Some(refund.id))
}

/// A refund that we owe.
#[derive(Debug)]
pub struct Refund {
    pub payment_id: String,
    pub booking: Option<BookingId>,
    pub captured_paise: i64,
    /// What has neither gone back nor is on its way: the amount to ask for.
    pub left_paise: i64,
    /// Whether some of it is on its way, or disputed.
    pub under_way: bool,
    pub currency: String,
    /// A [`RefundReason`], or one that only a newer release knows.
    pub reason: String,
    pub status: RefundStatus,
    /// How often Razorpay may still fail before an operator has to decide.
    pub tries_left: i32,
    /// How often Razorpay has failed.
    pub failures: i32,
    /// How many refunds of this payment we have asked for, of those that Razorpay has told us
    /// about.
    pub asked: i64,
    /// How many refunds of this payment, ours and manual ones, the bank could not make.
    pub not_made: i64,
    /// The installation that owns the payment, if not ours: see
    /// [`installation`](crate::payments::installation).
    pub other_installation: Option<String>,
}

impl Refund {
    /// The payment that goes back.
    pub fn payment(&self) -> ProviderPayment {
        ProviderPayment {
            payment_id: self.payment_id.clone(),
            order_id: String::new(),
            amount_paise: self.captured_paise,
            currency: self.currency.clone(),
        }
    }

    /// Whether nothing is left to ask for, or less than Razorpay refunds.
    pub fn is_too_little(&self) -> bool {
        self.left_paise < Chargeable::LEAST.get()
    }

    /// Whether there is something to ask for, or to settle, and nothing to wait for.
    pub fn is_stuck(&self) -> bool {
        self.left_paise > 0
            && self.status != RefundStatus::Processed
            && !(self.is_too_little() && self.under_way)
    }

    /// Whether Razorpay would be asked for something else by now, or for the same for a new reason:
    /// another refund was made, or one that stood in the way has failed.
    pub fn has_moved_since(&self, before: &Refund) -> bool {
        self.left_paise != before.left_paise || self.not_made != before.not_made
    }

    /// The idempotency key of the next try. Razorpay answers a key that it knows with the refund
    /// that it made, or failed to make, for that key, and refuses the key with another amount. A
    /// key has at most forty characters.
    pub fn key(&self) -> String {
        let mut key = format!("{OURS}{}", self.payment_id);
        if self.asked > 0 {
            key.push_str(&format!("-{}", self.asked));
        }
        if self.left_paise < self.captured_paise {
            key.push_str(&format!("-p{}", self.left_paise));
        }
        key
    }
}

/// The beginning of our refunds' keys, which are also their receipts.
const OURS: &str = "refund-";

/// Whether we asked for a refund with that receipt.
pub fn is_ours(payment_id: &str, receipt: Option<&str>) -> bool {
    receipt
        .and_then(|receipt| receipt.strip_prefix(OURS))
        .is_some_and(|rest| rest.starts_with(payment_id))
}

/// A refund by its row id.
pub async fn get(conn: &mut PgConnection, id: RefundId) -> Result<Option<Refund>> {
    let refund = sqlx::query_as!(
        Refund,
        r#"SELECT r.payment_id, r.booking_id AS "booking: _", r.currency, r.reason, r.status AS "status: _", r.tries_left,
                  cardinality(r.failed_ids) AS "failures!",
                  coalesce(c.amount_paise, r.amount_paise) AS "captured_paise!",
                  coalesce(c.amount_paise, r.amount_paise) - back.paise AS "left_paise!", back.under_way AS "under_way!",
                  (SELECT count(*) FROM provider_refunds WHERE payment_id = r.payment_id AND ours) AS "asked!",
                  (SELECT count(*) FROM provider_refunds WHERE payment_id = r.payment_id AND status = 'failed') AS "not_made!",
                  (SELECT installation::text FROM copied_payments WHERE payment_id = r.payment_id) AS other_installation
           FROM refunds r LEFT JOIN payments c ON c.payment_id = r.payment_id AND c.kind = 'capture'
           CROSS JOIN LATERAL (
               SELECT coalesce(sum(paise), 0)::bigint AS paise, coalesce(bool_or(NOT is_final), FALSE) AS under_way
               FROM money_back WHERE payment_id = r.payment_id) back
           WHERE r.id = $1"#,
        id as _,
    )
    .fetch_optional(conn)
    .await?;
    Ok(refund)
}

/// What our books know of a payment's refunds.
#[derive(Debug)]
pub struct Back {
    /// The amount that has gone back or is on its way.
    pub paise: i64,
    /// Whether some of it is still on its way.
    pub under_way: bool,
}

pub async fn back(conn: &mut PgConnection, payment_id: &str) -> Result<Back> {
    let back = sqlx::query_as!(
        Back,
        r#"SELECT coalesce(sum(amount_paise), 0)::bigint AS "paise!", coalesce(bool_or(status = 'requested'), FALSE) AS "under_way!"
           FROM provider_refunds WHERE payment_id = $1 AND status <> 'failed'"#,
        payment_id,
    )
    .fetch_one(conn)
    .await?;
    Ok(back)
}

/// The amount that has gone back for good: by refunds, and by disputes that have ended.
pub(crate) async fn gone_for_good(conn: &mut PgConnection, payment_id: &str) -> Result<i64> {
    let paise = sqlx::query_scalar!(
        r#"SELECT coalesce(sum(paise), 0)::bigint AS "paise!" FROM money_back WHERE payment_id = $1 AND is_final"#,
        payment_id,
    )
    .fetch_one(conn)
    .await?;
    Ok(paise)
}

/// Settles what we owe, as when a lost dispute has returned it. Razorpay will report any refund
/// that is on its way.
pub(crate) async fn settle(conn: &mut PgConnection, payment_id: &str) -> Result<()> {
    sqlx::query!(
        "WITH settled AS (
             UPDATE refunds SET status = 'processed', refund_id = NULL, updated_at = now() WHERE payment_id = $1
             RETURNING booking_id)
         UPDATE bookings SET payment_status = 'refunded'
         WHERE id IN (SELECT booking_id FROM settled) AND status IN ('cancelled', 'expired')",
        payment_id,
    )
    .execute(conn)
    .await?;
    Ok(())
}

/// What our refund waited for has ended: asks for the rest.
pub(crate) async fn resume(conn: &mut PgConnection, payment_id: &str) -> Result<()> {
    let resumed = sqlx::query_scalar!(
        "UPDATE refunds SET status = CASE status WHEN 'requested' THEN 'pending' ELSE status END, updated_at = now()
         WHERE payment_id = $1 AND status <> 'processed'
           AND (SELECT amount_paise FROM payments WHERE payment_id = $1 AND kind = 'capture')
               > (SELECT coalesce(sum(paise), 0) FROM money_back WHERE payment_id = $1)
         RETURNING id AS \"id: RefundId\"",
        payment_id,
    )
    .fetch_optional(&mut *conn)
    .await?;
    if let Some(refund_id) = resumed {
        jobs::enqueue(conn, &RefundPayment { refund_id }).await?;
    }
    Ok(())
}

/// Grants new tries, for an operator who retries the job that died without any left.
pub async fn grant_tries(conn: &mut PgConnection, id: RefundId) -> Result<()> {
    sqlx::query!("UPDATE refunds SET tries_left = DEFAULT WHERE id = $1", id as _)
        .execute(conn)
        .await?;
    Ok(())
}

/// Writes money that went back before we heard that it had arrived: the refunds together with the
/// capture; nothing is sold. Returns the refund, and the reason for it.
pub(crate) async fn settle_returned(
    conn: &mut PgConnection,
    money: &ProviderPayment,
    booking: BookingId,
) -> Result<(RefundId, RefundReason)> {
    record(conn, LedgerEntry::Capture, Some(booking), money).await?;
    let refund = sqlx::query!(
        r#"UPDATE refunds SET booking_id = $2, amount_paise = $3, currency = $4, updated_at = now() WHERE payment_id = $1
           RETURNING id AS "id: RefundId", reason"#,
        money.payment_id,
        booking as _,
        money.amount_paise,
        money.currency,
    )
    .fetch_one(conn)
    .await?;
    Ok((refund.id, refund.reason.parse().unwrap_or(RefundReason::NotOurs)))
}
