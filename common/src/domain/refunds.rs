//! Refunds: money that goes back, from the decision to what Razorpay says of it.

use sqlx::PgConnection;

use super::{
    booking_changes::Held,
    ids::BookingId,
    money::Paise,
    payment_orders::CURRENCY,
    payments::{Captured, Movement, record},
};
use crate::{
    error::Result,
    jobs::{self, payments::RefundPayment},
};

/// Why money goes back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum RefundReason {
    AmountMismatch,
    AlreadyPaid,
    SeatsGone,
    EventOver,
    BookingGone,
    Cancelled,
}

impl RefundReason {
    /// As stored.
    pub fn name(self) -> &'static str {
        match self {
            RefundReason::AmountMismatch => "amount_mismatch",
            RefundReason::AlreadyPaid => "already_paid",
            RefundReason::SeatsGone => "seats_gone",
            RefundReason::EventOver => "event_over",
            RefundReason::BookingGone => "booking_gone",
            RefundReason::Cancelled => "cancelled",
        }
    }
}

/// Takes back the sale of a confirmed booking that is being cancelled, and owes its money. A booking that cost nothing owes nothing.
pub async fn reverse_sale(conn: &mut PgConnection, booking: &Held) -> Result<()> {
    let sale = sqlx::query!(
        r#"SELECT payment_id, coalesce(order_id, '') AS "order_id!", amount_paise, currency FROM payments
           WHERE booking_id = $1 AND kind = 'sale'"#,
        booking.id.0,
    )
    .fetch_optional(&mut *conn)
    .await?;
    let money = match (sale, &booking.payment_id) {
        (Some(sale), _) => Captured {
            payment_id: sale.payment_id,
            order_id: sale.order_id,
            amount_paise: -sale.amount_paise,
            currency: sale.currency,
        },
        // Confirmed by the Node service, which kept no ledger: both sides of its payment are written now.
        (None, Some(payment_id)) if payment_id.starts_with("pay_") && booking.total > Paise::ZERO => {
            let money = Captured {
                payment_id: payment_id.clone(),
                order_id: String::new(),
                amount_paise: booking.total.get(),
                currency: CURRENCY.into(),
            };
            record(conn, Movement::Capture, Some(booking.id), &money).await?;
            record(conn, Movement::Sale, Some(booking.id), &money).await?;
            money
        }
        (None, _) => return Ok(()),
    };
    record(conn, Movement::SaleReversal, Some(booking.id), &money).await?;
    owe_refund(conn, &money, Some(booking.id), RefundReason::Cancelled).await
}

/// Owes the whole payment back. Once per payment.
pub(super) async fn owe_refund(
    conn: &mut PgConnection,
    money: &Captured,
    booking: Option<BookingId>,
    reason: RefundReason,
) -> Result<()> {
    let refund_id = sqlx::query_scalar!(
        "INSERT INTO refunds (payment_id, booking_id, amount_paise, currency, reason) VALUES ($1, $2, $3, $4, $5)
         ON CONFLICT ON CONSTRAINT refunds_payment_key DO NOTHING RETURNING id",
        money.payment_id,
        booking.map(|id| id.0),
        money.amount_paise,
        money.currency,
        reason.name(),
    )
    .fetch_optional(&mut *conn)
    .await?;
    if let Some(refund_id) = refund_id {
        jobs::enqueue(conn, &RefundPayment { refund_id }).await?;
    }
    Ok(())
}

/// A refund that we owe.
#[derive(Debug)]
#[allow(missing_docs)] // columns of `refunds`
pub struct Refund {
    pub payment_id: String,
    pub booking: Option<BookingId>,
    pub amount_paise: i64,
    pub reason: String,
    pub status: String,
}

/// A refund by its row id.
pub async fn get(conn: &mut PgConnection, id: i64) -> Result<Option<Refund>> {
    let row = sqlx::query!(
        "SELECT payment_id, booking_id, amount_paise, reason, status FROM refunds WHERE id = $1",
        id
    )
    .fetch_optional(conn)
    .await?;
    Ok(row.map(|row| Refund {
        payment_id: row.payment_id,
        booking: row.booking_id.map(BookingId),
        amount_paise: row.amount_paise,
        reason: row.reason,
        status: row.status,
    }))
}

/// What Razorpay says of a refund.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum RefundStatus {
    Requested,
    Processed,
    Failed,
}

/// Follows a refund of `payment_id`: once processed it is in the ledger, and a cancelled booking says `refunded`. A refund that somebody made
/// by hand is recorded, too.
pub async fn follow(
    conn: &mut PgConnection,
    payment_id: &str,
    refund_id: &str,
    status: RefundStatus,
) -> Result<()> {
    let status_name = match status {
        RefundStatus::Requested => "requested",
        RefundStatus::Processed => "processed",
        RefundStatus::Failed => "failed",
    };
    // Webhooks come in any order: what is processed stays so.
    let row = sqlx::query!(
        "UPDATE refunds SET status = $3, refund_id = coalesce(refund_id, $2), updated_at = now()
         WHERE payment_id = $1 AND status <> 'processed' AND NOT (status = 'failed' AND $3 = 'requested')
         RETURNING booking_id, amount_paise, currency",
        payment_id,
        refund_id,
        status_name,
    )
    .fetch_optional(&mut *conn)
    .await?;
    let Some(row) = row else { return Ok(()) };
    if status != RefundStatus::Processed {
        return Ok(());
    }
    let money = Captured {
        payment_id: payment_id.to_owned(),
        order_id: String::new(),
        amount_paise: row.amount_paise,
        currency: row.currency,
    };
    record(conn, Movement::Refund, row.booking_id.map(BookingId), &money).await?;
    sqlx::query!(
        "UPDATE bookings SET payment_status = 'refunded'
         WHERE id = $1 AND status IN ('cancelled', 'expired')",
        row.booking_id,
    )
    .execute(conn)
    .await?;
    Ok(())
}
