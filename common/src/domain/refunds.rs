//! Refunds: money that goes back, always the whole payment. What Razorpay says of them is in [`refund_news`](super::refund_news).

use serde::Serialize;
use sqlx::PgConnection;
use utoipa::ToSchema;

pub use super::refund_news::{RefundStatus, follow};
use super::{
    booking_changes::Held,
    ids::BookingId,
    money::Paise,
    payment_orders::CURRENCY,
    payment_states::{self, PaymentEvent, PaymentState, PaymentStep},
    payments::{Captured, Movement, hold_state, record},
};
use crate::{
    error::Result,
    jobs::{self, payments::RefundPayment},
};

/// Why money goes back.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum RefundReason {
    /// It is not of the amount or currency that was ordered.
    AmountMismatch,
    /// Another payment had confirmed the booking.
    AlreadyPaid,
    /// A seat is somebody else's now.
    SeatsGone,
    /// With these seats its buyer would have more than the event allows.
    TicketLimit,
    /// The event has started, or is not on sale.
    EventOver,
    /// The booking went with its event.
    BookingGone,
    /// The booking has been cancelled.
    Cancelled,
    /// Somebody has refunded it at Razorpay.
    NotOurs,
}

impl RefundReason {
    /// All of them.
    pub const ALL: [RefundReason; 8] = [
        RefundReason::AmountMismatch,
        RefundReason::AlreadyPaid,
        RefundReason::SeatsGone,
        RefundReason::TicketLimit,
        RefundReason::EventOver,
        RefundReason::BookingGone,
        RefundReason::Cancelled,
        RefundReason::NotOurs,
    ];

    /// One that has been stored; `None` for one that only a newer release knows.
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|reason| reason.name() == name)
    }

    /// As its buyer is told.
    pub fn words(self) -> &'static str {
        match self {
            RefundReason::AmountMismatch => "it is not the amount that the booking costs",
            RefundReason::AlreadyPaid => "the booking had been paid before",
            RefundReason::SeatsGone => {
                "it came after the booking had expired, and a seat is somebody else's now"
            }
            RefundReason::TicketLimit => {
                "it came after the booking had expired, and its buyer has as many other tickets as the event allows"
            }
            RefundReason::EventOver => "it came when the event was not on sale any more",
            RefundReason::BookingGone => "the event does not take place here any more",
            RefundReason::Cancelled => "it came after the booking had been cancelled",
            RefundReason::NotOurs => "it has been returned by hand",
        }
    }

    /// As stored.
    pub fn name(self) -> &'static str {
        match self {
            RefundReason::AmountMismatch => "amount_mismatch",
            RefundReason::AlreadyPaid => "already_paid",
            RefundReason::SeatsGone => "seats_gone",
            RefundReason::TicketLimit => "ticket_limit",
            RefundReason::EventOver => "event_over",
            RefundReason::BookingGone => "booking_gone",
            RefundReason::Cancelled => "cancelled",
            RefundReason::NotOurs => "not_ours",
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
            // Somebody may have refunded it at Razorpay before the books knew it.
            let lapsed = hold_state(conn, &money.payment_id).await? == PaymentState::Lapsed;
            record(conn, Movement::Capture, Some(booking.id), &money).await?;
            record(conn, Movement::Sale, Some(booking.id), &money).await?;
            if lapsed {
                settle_returned(conn, &money, booking.id).await?;
            }
            money
        }
        (None, _) => return Ok(()),
    };
    let state = hold_state(conn, &money.payment_id).await?;
    record(conn, Movement::SaleReversal, Some(booking.id), &money).await?;
    match payment_states::next(state, PaymentEvent::SaleReversed) {
        PaymentStep::OweRefund => {
            owe_refund(conn, &money, Some(booking.id), RefundReason::Cancelled).await.map(drop)
        }
        _ => Ok(()),
    }
}

/// Owes the whole payment back, once per payment; returns the new refund.
pub(super) async fn owe_refund(
    conn: &mut PgConnection,
    money: &Captured,
    booking: Option<BookingId>,
    reason: RefundReason,
) -> Result<Option<i64>> {
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
    Ok(refund_id)
}

/// A refund that we owe.
#[derive(Debug)]
#[allow(missing_docs)] // columns of `refunds`
pub struct Refund {
    pub payment_id: String,
    pub booking: Option<BookingId>,
    pub amount_paise: i64,
    pub currency: String,
    pub reason: String,
    pub status: String,
    /// How often Razorpay may still fail to make it before an operator has to decide.
    pub tries_left: i32,
    /// How often it has.
    pub failures: i32,
}

impl Refund {
    /// The payment that goes back.
    pub fn payment(&self) -> Captured {
        Captured {
            payment_id: self.payment_id.clone(),
            order_id: String::new(),
            amount_paise: self.amount_paise,
            currency: self.currency.clone(),
        }
    }

    /// The idempotency key of the try that is due: Razorpay answers a key that it knows with the refund that it has failed to make.
    pub fn key(&self) -> String {
        match self.failures {
            0 => format!("refund-{}", self.payment_id),
            failures => format!("refund-{}-{failures}", self.payment_id),
        }
    }
}

/// A refund by its row id.
pub async fn get(conn: &mut PgConnection, id: i64) -> Result<Option<Refund>> {
    let row = sqlx::query!(
        r#"SELECT payment_id, booking_id, amount_paise, currency, reason, status, tries_left, cardinality(failed_ids) AS "failures!"
           FROM refunds WHERE id = $1"#,
        id
    )
    .fetch_optional(conn)
    .await?;
    Ok(row.map(|row| Refund {
        payment_id: row.payment_id,
        booking: row.booking_id.map(BookingId),
        amount_paise: row.amount_paise,
        currency: row.currency,
        reason: row.reason,
        status: row.status,
        tries_left: row.tries_left,
        failures: row.failures,
    }))
}

/// No tries are left: whoever retries the dead job grants others.
pub async fn grant_tries(conn: &mut PgConnection, id: i64) -> Result<()> {
    sqlx::query!("UPDATE refunds SET tries_left = DEFAULT WHERE id = $1", id).execute(conn).await?;
    Ok(())
}

/// Money that went back before we heard that it had come: both are written, nothing is sold. Returns the refund.
pub(super) async fn settle_returned(
    conn: &mut PgConnection,
    money: &Captured,
    booking: BookingId,
) -> Result<i64> {
    record(conn, Movement::Capture, Some(booking), money).await?;
    record(conn, Movement::Refund, Some(booking), money).await?;
    let refund_id = sqlx::query_scalar!(
        "UPDATE refunds SET booking_id = $2, amount_paise = $3, currency = $4, updated_at = now() WHERE payment_id = $1 RETURNING id",
        money.payment_id,
        booking.0,
        money.amount_paise,
        money.currency,
    )
    .fetch_one(conn)
    .await?;
    Ok(refund_id)
}
