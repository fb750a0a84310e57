//! Payments: what captured money leads to, and the ledger (ARCHITECTURE.md, "nobody pays for nothing"). Orders are in
//! [`payment_orders`](super::payment_orders), webhooks in [`webhooks`](super::webhooks), money that goes back in [`refunds`](super::refunds).
//!
//! Nothing here calls Razorpay; amounts and ids come from signed webhooks or from what the caller fetched, and every decision commits
//! together with its ledger rows and the jobs that follow from it.

use sqlx::PgConnection;

use super::{
    after_commit::AfterCommit,
    booking_changes,
    ids::BookingId,
    payment_orders::CURRENCY,
    refunds::{RefundReason, owe_refund},
};
use crate::error::{Error, Result};

/// Money that has arrived.
#[derive(Debug, Clone)]
#[allow(missing_docs)] // Razorpay's payment entity
pub struct Captured {
    pub payment_id: String,
    pub order_id: String,
    pub amount_paise: i64,
    pub currency: String,
}

/// What a captured payment led to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Settled {
    /// The booking is confirmed.
    Confirmed,
    /// It goes back, because …
    Refunded(RefundReason),
    /// It had been settled before.
    Already,
}

/// Turns captured money into a confirmed booking, or owes it back. Whatever the webhooks say, and however often: once per payment.
pub async fn settle(conn: &mut PgConnection, money: &Captured, after: &mut AfterCommit) -> Result<Settled> {
    let order = sqlx::query!(
        "SELECT booking_id, amount_paise, currency FROM payment_orders WHERE order_id = $1",
        money.order_id
    )
    .fetch_optional(&mut *conn)
    .await?
    .ok_or(Error::OrderNotFound)?;
    let id = BookingId(order.booking_id);
    // The inventory comes first, so that two payments of one booking queue up here rather than at the ledger.
    let booking = booking_changes::hold(conn, id).await?;
    if !record(conn, Movement::Capture, Some(id), money).await? {
        return Ok(Settled::Already);
    }
    // Confirmed with this very payment by the Node service, which keeps no ledger: nothing is left but to write its sale down.
    if booking.as_ref().is_some_and(|booking| booking.is_confirmed_with(&money.payment_id)) {
        record(conn, Movement::Sale, Some(id), money).await?;
        return Ok(Settled::Already);
    }
    // The currency of an order used to be the client's choice (CONTRACT.md, section 10, row 6).
    let as_ordered = money.amount_paise == order.amount_paise
        && money.currency == order.currency
        && money.currency == CURRENCY;
    let refusal = match &booking {
        None => Some(RefundReason::BookingGone),
        Some(booking) if !as_ordered || money.amount_paise != booking.total.get() => {
            Some(RefundReason::AmountMismatch)
        }
        Some(booking) if booking.status == "confirmed" => Some(RefundReason::AlreadyPaid),
        Some(booking) if !booking.event_on_sale => Some(RefundReason::EventOver),
        Some(booking) if booking.event_started && (booking.overdue || booking.status != "pending") => {
            Some(RefundReason::EventOver)
        }
        // A booking is sold once; after a sale and its cancellation, money goes back.
        Some(_) if has_sale(conn, id).await? => Some(RefundReason::Cancelled),
        Some(booking) => {
            if booking_changes::confirm(conn, booking, Some(&money.payment_id), after).await? {
                None
            } else {
                booking_changes::expire(conn, id, after).await?;
                Some(RefundReason::SeatsGone)
            }
        }
    };
    match refusal {
        None => {
            record(conn, Movement::Sale, Some(id), money).await?;
            Ok(Settled::Confirmed)
        }
        Some(reason) => {
            owe_refund(conn, money, Some(id), reason).await?;
            Ok(Settled::Refunded(reason))
        }
    }
}

async fn has_sale(conn: &mut PgConnection, id: BookingId) -> Result<bool> {
    let sold = sqlx::query_scalar!(
        r#"SELECT EXISTS (SELECT 1 FROM payments WHERE booking_id = $1 AND kind = 'sale') AS "sold!""#,
        id.0
    )
    .fetch_one(conn)
    .await?;
    Ok(sold)
}

/// A payment attempt failed. The buyer may try again on the same order until the booking's deadline.
pub async fn note_failure(conn: &mut PgConnection, order_id: &str) -> Result<()> {
    sqlx::query!(
        "UPDATE bookings SET payment_status = 'failed'
         WHERE id = (SELECT booking_id FROM payment_orders WHERE order_id = $1) AND status = 'pending' AND payment_status = 'pending'",
        order_id,
    )
    .execute(conn)
    .await?;
    Ok(())
}

/// A kind of row in the ledger.
#[derive(Clone, Copy)]
pub(super) enum Movement {
    Capture,
    Sale,
    SaleReversal,
    Refund,
}

/// Adds a row to the ledger; false when this payment has moved so before.
pub(super) async fn record(
    conn: &mut PgConnection,
    movement: Movement,
    booking: Option<BookingId>,
    money: &Captured,
) -> Result<bool> {
    let (kind, sign) = match movement {
        Movement::Capture => ("capture", 1),
        Movement::Sale => ("sale", -1),
        Movement::SaleReversal => ("sale_reversal", 1),
        Movement::Refund => ("refund", -1),
    };
    let recorded = sqlx::query!(
        "INSERT INTO payments (kind, booking_id, order_id, payment_id, amount_paise, currency) VALUES ($1, $2, $3, $4, $5, $6)
         ON CONFLICT ON CONSTRAINT payments_movement_key DO NOTHING",
        kind,
        booking.map(|id| id.0),
        money.order_id,
        money.payment_id,
        money.amount_paise * sign,
        money.currency,
    )
    .execute(conn)
    .await?;
    Ok(recorded.rows_affected() == 1)
}
