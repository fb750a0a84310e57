//! Settling payments: captured money becomes a sale or a refund (docs/architecture.md#payments).
//! Orders are in [`orders`], webhooks in [`webhooks`](super::webhooks), refunds in
//! [`refunds`](crate::ledger::refunds). [`payment_states`] and [`booking_states`] say what to do in
//! which state; this module does it.
//!
//! Nothing here calls Razorpay; amounts and ids come from signed webhooks or from the caller, who
//! has fetched them. Every decision commits together with its ledger entries and the jobs that
//! follow from it.

use sqlx::PgConnection;

use super::{orders, refund_notices};
use crate::{
    bookings::{
        booking_states::{self, BookingEvent, BookingState, BookingStep},
        changes::{self, LockedBooking},
        sale,
    },
    error::{Error, Result},
    ledger::{
        alerts,
        entries::{self, LedgerEntry, ProviderPayment, lock_payment, record, record_all},
        payment_states::{self, PaymentEvent, PaymentStep},
        refunds::{owe_refund, settle_returned},
    },
    realtime::AfterCommit,
    types::{
        alert_reason::AlertReason,
        ids::BookingId,
        money::{CURRENCY, written},
        refund_reason::RefundReason,
    },
};

/// What a captured payment became.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Settled {
    /// The booking is confirmed.
    Confirmed,
    /// A refund, for this reason.
    Refunded(RefundReason),
    /// Nothing new: it was settled before.
    Already,
}

/// Whether our books have a payment, or the order that it is on: other shops and installations may
/// use our account at Razorpay.
pub async fn is_ours(conn: &mut PgConnection, payment_id: &str, order_id: &str) -> Result<bool> {
    let ours = sqlx::query_scalar!(
        r#"SELECT NOT EXISTS (SELECT 1 FROM copied_payments WHERE payment_id = $1) AND (
                   EXISTS (SELECT 1 FROM payments WHERE payment_id = $1)
                   OR EXISTS (SELECT 1 FROM bookings WHERE payment_id = $1 AND installation = (SELECT id FROM installation))
                   OR EXISTS (SELECT 1 FROM own_orders WHERE order_id = $2)) AS "ours!""#,
        payment_id,
        order_id,
    )
    .fetch_one(conn)
    .await?;
    Ok(ours)
}

/// Turns captured money into a confirmed booking, or owes it back: once per payment, whatever the
/// webhooks say, and however often.
pub async fn settle(
    conn: &mut PgConnection,
    money: &ProviderPayment,
    after: &mut AfterCommit,
) -> Result<Settled> {
    let order = sqlx::query!(
        r#"SELECT booking_id AS "booking_id!: BookingId", amount_paise AS "amount_paise!", currency AS "currency!" FROM own_orders
           WHERE order_id = $1"#,
        money.order_id
    )
    .fetch_optional(&mut *conn)
    .await?
    .ok_or(Error::OrderNotFound)?;
    let id = order.booking_id;
    // The booking first, so that two payments of one booking queue up here rather than at the
    // ledger.
    let booking = sale::lock_for_update(conn, id, Some(&money.payment_id)).await?;
    let state = entries::state(conn, &money.payment_id).await?;
    match payment_states::next(state, PaymentEvent::Captured) {
        PaymentStep::Settle => {}
        PaymentStep::SettleReturned => {
            let (refund, reason) = settle_returned(conn, money, id).await?;
            orders::supersede(conn, &money.order_id).await?;
            // A buyer whose sale was cancelled because of it has been told.
            if !booking.as_ref().is_some_and(|booking| booking.was_sold_with(&money.payment_id)) {
                refund_notices::announce(conn, refund, money, id, reason, after).await?;
            }
            return Ok(Settled::Refunded(reason));
        }
        _ => return Ok(Settled::Already),
    }
    // The Node service, which keeps no ledger, confirmed the booking with this very payment: only
    // its sale is left to write.
    if booking.as_ref().is_some_and(|booking| booking.is_confirmed_with(&money.payment_id)) {
        record_all(conn, &[LedgerEntry::Capture, LedgerEntry::Sale], Some(id), money).await?;
        return Ok(Settled::Already);
    }
    let as_ordered = is_as_ordered(money, order.amount_paise, &order.currency);
    let Some(reason) = sell(conn, booking.as_ref(), as_ordered, money, after).await? else {
        record_all(conn, &[LedgerEntry::Capture, LedgerEntry::Sale], Some(id), money).await?;
        return Ok(Settled::Confirmed);
    };
    record(conn, LedgerEntry::Capture, Some(id), money).await?;
    if reason == RefundReason::AmountMismatch {
        let details = format!(
            "{} paid on order {} of {}",
            money.written(),
            money.order_id,
            written(order.amount_paise, &order.currency)
        );
        alerts::raise(conn, AlertReason::AmountMismatch, &money.payment_id, Some(id), &details)
            .await?;
    }
    orders::supersede(conn, &money.order_id).await?;
    if let Some(refund) = owe_refund(conn, money, Some(id), reason).await? {
        refund_notices::announce(conn, refund, money, id, reason, after).await?;
    }
    Ok(Settled::Refunded(reason))
}

/// Owes back money that was paid for a booking that our books do not have, on an operator's word.
/// False when it was settled before.
pub async fn return_lost(conn: &mut PgConnection, money: &ProviderPayment) -> Result<bool> {
    let state = lock_payment(conn, &money.payment_id).await?;
    if payment_states::next(state, PaymentEvent::Captured) != PaymentStep::Settle {
        return Ok(false);
    }
    record(conn, LedgerEntry::Capture, None, money).await?;
    owe_refund(conn, money, None, RefundReason::BookingGone).await?;
    Ok(true)
}

/// Confirms the booking with money that has arrived for it, or returns why the money goes back.
async fn sell(
    conn: &mut PgConnection,
    booking: Option<&LockedBooking>,
    as_ordered: bool,
    money: &ProviderPayment,
    after: &mut AfterCommit,
) -> Result<Option<RefundReason>> {
    let state = booking.map_or(BookingState::Gone, LockedBooking::state);
    let event = event_of(booking, as_ordered, money);
    let step = booking_states::next(state, event);
    let (BookingStep::Confirm, Some(booking)) = (step, booking) else {
        return refund_reason(step).map(Some);
    };
    let Some(obstacle) = sale::confirm(conn, booking, Some(&money.payment_id), after).await? else {
        return Ok(None);
    };
    let step = booking_states::next(state, obstacle);
    if let BookingStep::ExpireAndRefund(_) = step {
        changes::expire(conn, booking.id, after).await?;
    }
    refund_reason(step).map(Some)
}

/// Whether money is what an order asked for. (Clients used to choose an order's currency:
/// docs/contract.md#change-6.)
pub(super) fn is_as_ordered(money: &ProviderPayment, amount_paise: i64, currency: &str) -> bool {
    money.amount_paise == amount_paise && money.currency == currency && money.currency == CURRENCY
}

/// What captured money means for its booking.
pub(super) fn event_of(
    booking: Option<&LockedBooking>,
    as_ordered: bool,
    money: &ProviderPayment,
) -> BookingEvent {
    match booking {
        Some(booking) if !as_ordered || money.amount_paise != booking.total.get() => {
            BookingEvent::PaidWrongly
        }
        Some(booking) if !booking.event_on_sale => BookingEvent::PaidOffSale,
        Some(booking) if booking.event_started => BookingEvent::PaidAfterStart,
        _ => BookingEvent::Paid,
    }
}

fn refund_reason(step: BookingStep) -> Result<RefundReason> {
    match step {
        BookingStep::Refund(reason) | BookingStep::ExpireAndRefund(reason) => Ok(reason),
        // No money leads there: see the table's tests.
        other => Err(Error::internal(format!("money that arrives leads to {other:?}"))),
    }
}

/// A payment attempt failed. The buyer may try again on the same order until the booking's
/// deadline.
pub async fn note_failure(conn: &mut PgConnection, order_id: &str) -> Result<()> {
    let Some(id) = orders::booking(conn, order_id).await? else { return Ok(()) };
    let state = changes::state(conn, id).await?;
    if booking_states::next(state, BookingEvent::PaymentFailed) != BookingStep::NoteFailure {
        return Ok(());
    }
    // The booking may have been confirmed since the look.
    sqlx::query!(
        "UPDATE bookings SET payment_status = 'failed' WHERE id = $1 AND status = 'pending' AND payment_status = 'pending'",
        id as _,
    )
    .execute(conn)
    .await?;
    Ok(())
}
