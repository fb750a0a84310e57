//! The refunds that Razorpay makes: those that we have asked for, and manual ones. [`refunds`] has
//! what we owe.

use std::time::Duration;

use sqlx::PgConnection;

use super::refund_notices;
use crate::{
    bookings::{
        booking_states::BookingEvent,
        cancellation,
        changes::{self, LockedBooking},
    },
    error::Result,
    jobs::{self, Job, payments::RefundPayment},
    ledger::{
        alerts,
        entries::{LedgerEntry, ProviderPayment, lock_payment, record_source},
        payment_states::{self, PaymentEvent, PaymentState, PaymentStep},
        refunds,
    },
    realtime::AfterCommit,
    types::{
        alert_reason::AlertReason,
        ids::{BookingId, RefundId},
        money::written,
        refund_reason::RefundReason,
        statuses::RefundStatus,
        text_enum::text_enum,
    },
};

text_enum! {
    /// The state of a refund that Razorpay makes.
    pub enum ProviderRefundStatus {
        Requested = "requested",
        Processed = "processed",
        Failed = "failed",
    }
}

impl ProviderRefundStatus {
    /// Reads Razorpay's word; until that says that the refund has ended, it is under way.
    pub fn of(status: &str) -> Self {
        status.parse().unwrap_or(ProviderRefundStatus::Requested)
    }
}

/// A refund's state in our books.
pub async fn known(
    conn: &mut PgConnection,
    refund_id: &str,
) -> Result<Option<ProviderRefundStatus>> {
    let status = sqlx::query_scalar!(
        r#"SELECT status AS "status: ProviderRefundStatus" FROM provider_refunds WHERE refund_id = $1"#,
        refund_id,
    )
    .fetch_optional(conn)
    .await?;
    Ok(status)
}

/// A refund as Razorpay tells of it.
#[derive(Debug)]
pub struct ProviderRefund {
    /// Razorpay's id, `rfnd_…`.
    pub refund_id: String,
    /// The amount that goes back by it: the payment, or a part.
    pub amount_paise: i64,
    /// Whether we have asked for it.
    pub ours: bool,
    /// The payment that goes back, with its own amount.
    pub payment: ProviderPayment,
}

/// What has become of a payment's money, by its refunds and by disputes that have taken some.
struct MoneyBack {
    captured: i64,
    /// It has gone back.
    gone: i64,
    /// It is on its way.
    going: i64,
}

impl MoneyBack {
    /// The event that a refund's status means for its payment; `None` when it says nothing about
    /// the whole.
    fn event(&self, status: ProviderRefundStatus) -> Option<PaymentEvent> {
        match status {
            ProviderRefundStatus::Requested => {
                (self.gone + self.going >= self.captured).then_some(PaymentEvent::RefundCreated)
            }
            ProviderRefundStatus::Processed if self.gone >= self.captured => {
                Some(PaymentEvent::RefundProcessed)
            }
            ProviderRefundStatus::Processed => Some(PaymentEvent::PartRefunded),
            ProviderRefundStatus::Failed => Some(PaymentEvent::RefundFailed),
        }
    }
}

/// Follows a refund; only refunds that were made are in the ledger. Once all of a payment has gone
/// back, a cancelled booking becomes `refunded`, and one that is not cancelled yet is cancelled. If
/// we owe a refund that Razorpay could not make, a job asks for it again. Returns the step that was
/// taken.
pub async fn follow(
    conn: &mut PgConnection,
    refund: &ProviderRefund,
    status: ProviderRefundStatus,
    after: &mut AfterCommit,
) -> Result<PaymentStep> {
    let payment_id = &refund.payment.payment_id;
    let mut booking = lock_booking(conn, payment_id).await?;
    let state = lock_payment(conn, payment_id).await?;
    if booking.is_none() && state == PaymentState::Sold {
        // The payment was sold between these two statements. This lock is out of order, so it may
        // fail; then the caller tries again.
        booking = lock_booking(conn, payment_id).await?;
    }
    let Some(back) = remember(conn, refund, status).await? else { return Ok(PaymentStep::Nothing) };
    let Some(event) = back.event(status) else { return Ok(PaymentStep::Nothing) };
    let step = payment_states::next(state, event);
    match step {
        PaymentStep::FollowRefund => {
            sqlx::query!(
                "UPDATE refunds SET status = 'requested', refund_id = $2, updated_at = now() WHERE payment_id = $1",
                payment_id,
                refund.refund_id,
            )
            .execute(conn)
            .await?;
        }
        PaymentStep::WritePart => {
            write_ledger(conn, refund, &[LedgerEntry::Refund]).await?;
            if state == PaymentState::Requested {
                refunds::resume(conn, payment_id).await?;
            }
        }
        PaymentStep::WriteForeignPart => {
            let booking =
                write_ledger(conn, refund, &[LedgerEntry::Refund, LedgerEntry::SaleReversal])
                    .await?;
            let currency = &refund.payment.currency;
            let details = format!(
                "{} of {} were refunded at Razorpay ({}): the booking stands; cancelled, it gets the rest back",
                written(back.gone, currency),
                written(back.captured, currency),
                refund.refund_id,
            );
            alerts::raise(conn, AlertReason::PartialRefund, payment_id, booking, &details).await?;
            refund_notices::announce_part(conn, &refund.refund_id, after).await?;
        }
        PaymentStep::WriteRefund => write(conn, refund).await?,
        PaymentStep::RetryRefund => try_again(conn, refund).await?,
        PaymentStep::WriteForeignRefund => {
            write_foreign(conn, refund).await?;
            cancel_returned(conn, payment_id, &refund.refund_id, booking.as_ref(), after).await?;
        }
        PaymentStep::RememberReturn => {
            remember_return(conn, refund).await?;
            // Confirmed by the Node service, which keeps no ledger.
            if booking.as_ref().is_some_and(|booking| booking.is_confirmed_with(payment_id)) {
                cancel_returned(conn, payment_id, &refund.refund_id, booking.as_ref(), after)
                    .await?;
            }
        }
        _ => {}
    }
    Ok(step)
}

/// Records a refund's state, and adds up what has gone back of its payment; `None` when we had
/// heard that before. Webhooks come in any order: a refund that has failed stays failed, even if
/// news of its beginning comes later.
async fn remember(
    conn: &mut PgConnection,
    refund: &ProviderRefund,
    status: ProviderRefundStatus,
) -> Result<Option<MoneyBack>> {
    let remembered = sqlx::query!(
        "INSERT INTO provider_refunds AS known (refund_id, payment_id, amount_paise, status, ours) VALUES ($1, $2, $3, $4, $5)
         ON CONFLICT (refund_id) DO UPDATE SET status = excluded.status, updated_at = now()
         WHERE known.payment_id = excluded.payment_id AND excluded.status <> 'requested'
           AND known.status NOT IN ('processed', excluded.status)",
        refund.refund_id,
        refund.payment.payment_id,
        refund.amount_paise,
        status as _,
        refund.ours,
    )
    .execute(&mut *conn)
    .await?;
    if remembered.rows_affected() == 0 {
        return Ok(None);
    }
    let back = sqlx::query_as!(
        MoneyBack,
        r#"SELECT coalesce((SELECT amount_paise FROM payments WHERE payment_id = $1 AND kind = 'capture'), $2) AS "captured!",
                  coalesce(sum(paise) FILTER (WHERE is_final), 0)::bigint AS "gone!",
                  coalesce(sum(paise) FILTER (WHERE NOT is_final), 0)::bigint AS "going!"
           FROM money_back WHERE payment_id = $1"#,
        refund.payment.payment_id,
        refund.payment.amount_paise,
    )
    .fetch_one(conn)
    .await?;
    Ok(Some(back))
}

/// Locks the booking of the payment, if there is one.
pub(super) async fn lock_booking(
    conn: &mut PgConnection,
    payment_id: &str,
) -> Result<Option<LockedBooking>> {
    let booking = sqlx::query_scalar!(
        r#"SELECT booking_id AS "id!: BookingId" FROM payments WHERE payment_id = $1 AND booking_id IS NOT NULL
           UNION ALL SELECT booking_id FROM refunds WHERE payment_id = $1 AND booking_id IS NOT NULL
           UNION ALL SELECT id FROM bookings WHERE payment_id = $1 AND status = 'confirmed'
           LIMIT 1"#,
        payment_id,
    )
    .fetch_optional(&mut *conn)
    .await?;
    match booking {
        Some(id) => changes::lock_for_update(conn, id).await,
        None => Ok(None),
    }
}

/// Writes that the money has gone back.
async fn write(conn: &mut PgConnection, refund: &ProviderRefund) -> Result<()> {
    write_ledger(conn, refund, &[LedgerEntry::Refund]).await?;
    let booking_id = sqlx::query_scalar!(
        "UPDATE refunds SET status = 'processed', refund_id = $2, updated_at = now() WHERE payment_id = $1
         RETURNING booking_id",
        refund.payment.payment_id,
        refund.refund_id,
    )
    .fetch_one(&mut *conn)
    .await?;
    sqlx::query!(
        "UPDATE bookings SET payment_status = 'refunded'
         WHERE id = $1 AND status IN ('cancelled', 'expired')",
        booking_id,
    )
    .execute(conn)
    .await?;
    Ok(())
}

/// Razorpay could not make a refund: a job asks for another, later each time. A failed manual
/// refund does not count as one of our tries, but we now owe what it would have returned.
async fn try_again(conn: &mut PgConnection, refund: &ProviderRefund) -> Result<()> {
    let (payment_id, refund_id) = (&refund.payment.payment_id, &refund.refund_id);
    let row = sqlx::query!(
        r#"UPDATE refunds SET status = CASE WHEN $3 THEN 'failed' ELSE 'pending' END, refund_id = NULL,
                  failed_ids = CASE WHEN $3 THEN array_append(failed_ids, $2) ELSE failed_ids END,
                  tries_left = greatest(tries_left - $3::int, 0), updated_at = now()
           WHERE payment_id = $1 RETURNING id AS "id: RefundId", tries_left, cardinality(failed_ids) AS "failures!""#,
        payment_id,
        refund_id,
        refund.ours,
    )
    .fetch_one(&mut *conn)
    .await?;
    tracing::warn!(
        payment_id,
        refund_id,
        tries_left = row.tries_left,
        "Razorpay could not make a refund"
    );
    // The last job finds that no tries are left, and becomes a dead letter to say so.
    let wait = if row.tries_left == 0 || !refund.ours {
        Duration::ZERO
    } else {
        RefundPayment::RETRY.delay_after(row.failures)
    };
    jobs::enqueue_in(conn, &RefundPayment { refund_id: row.id }, wait).await?;
    Ok(())
}

/// Writes that the payment of a sale was refunded manually, by now completely.
async fn write_foreign(conn: &mut PgConnection, refund: &ProviderRefund) -> Result<()> {
    write_ledger(conn, refund, &[LedgerEntry::Refund]).await?;
    sqlx::query!(
        "INSERT INTO refunds (payment_id, booking_id, amount_paise, currency, reason, status, refund_id)
         SELECT payment_id, booking_id, amount_paise, currency, $3, 'processed', $2
         FROM payments WHERE payment_id = $1 AND kind = 'capture'",
        refund.payment.payment_id,
        refund.refund_id,
        RefundReason::NotOurs as _,
    )
    .execute(conn)
    .await?;
    Ok(())
}

/// Writes a completed refund into the ledger, which has its payment's capture already; returns its
/// booking.
async fn write_ledger(
    conn: &mut PgConnection,
    refund: &ProviderRefund,
    entries: &[LedgerEntry],
) -> Result<Option<BookingId>> {
    let capture = sqlx::query!(
        r#"SELECT booking_id AS "booking_id: BookingId", currency FROM payments WHERE payment_id = $1 AND kind = 'capture'"#,
        refund.payment.payment_id,
    )
    .fetch_one(&mut *conn)
    .await?;
    let money = ProviderPayment {
        payment_id: refund.payment.payment_id.clone(),
        order_id: String::new(),
        amount_paise: refund.amount_paise,
        currency: capture.currency,
    };
    record_source(conn, entries, capture.booking_id, &money, &refund.refund_id).await?;
    Ok(capture.booking_id)
}

/// Cancels the booking whose payment was refunded manually, and tells operators.
async fn cancel_returned(
    conn: &mut PgConnection,
    payment_id: &str,
    refund_id: &str,
    booking: Option<&LockedBooking>,
    after: &mut AfterCommit,
) -> Result<()> {
    if let Some(booking) = booking {
        cancel_paid_back(conn, booking, None, after).await?;
    }
    let details = format!("{refund_id} was not asked for by us: the booking is cancelled");
    let booking = booking.map(|booking| booking.id);
    alerts::raise(conn, AlertReason::ForeignRefund, payment_id, booking, &details).await
}

/// Cancels a booking whose payment has gone back.
pub(super) async fn cancel_paid_back(
    conn: &mut PgConnection,
    booking: &LockedBooking,
    said: Option<&str>,
    after: &mut AfterCommit,
) -> Result<()> {
    cancellation::carry_out(conn, booking, BookingEvent::RefundedByHand, said, after).await?;
    sqlx::query!(
        "UPDATE bookings SET payment_status = 'refunded' WHERE id = $1 AND status = 'cancelled'",
        booking.id as _,
    )
    .execute(conn)
    .await?;
    Ok(())
}

/// Records that a payment missing from our books has gone back: if we hear of its capture later,
/// nothing is sold for it.
async fn remember_return(conn: &mut PgConnection, refund: &ProviderRefund) -> Result<()> {
    let money = &refund.payment;
    sqlx::query!(
        "INSERT INTO refunds (payment_id, amount_paise, currency, reason, status, refund_id)
         VALUES ($1, $2, $3, $4, 'processed', $5) ON CONFLICT ON CONSTRAINT refunds_payment_key DO NOTHING",
        money.payment_id,
        money.amount_paise,
        money.currency,
        RefundReason::NotOurs as _,
        refund.refund_id,
    )
    .execute(conn)
    .await?;
    Ok(())
}

/// Gives up a remainder that is [too little](crate::ledger::refunds::Refund::is_too_little) to ask
/// for. While a refund is under way, its end decides what we owe; otherwise the refund is settled,
/// and operators are told what the buyer has not got. False when there is no such remainder.
pub async fn leave(conn: &mut PgConnection, id: RefundId, payment_id: &str) -> Result<bool> {
    lock_booking(conn, payment_id).await?;
    lock_payment(conn, payment_id).await?;
    let Some(refund) = refunds::get(conn, id).await? else { return Ok(false) };
    if !refund.is_too_little() || refund.status == RefundStatus::Processed {
        return Ok(false);
    }
    if refund.under_way {
        sqlx::query!(
            "UPDATE refunds SET status = 'requested', updated_at = now() WHERE id = $1",
            id as _,
        )
        .execute(conn)
        .await?;
        return Ok(true);
    }
    refunds::settle(conn, payment_id).await?;
    if refund.left_paise > 0 {
        let amount = |paise| written(paise, &refund.currency);
        let details = format!(
            "{} of {} are left, less than Razorpay refunds: pay the buyer in another way",
            amount(refund.left_paise),
            amount(refund.captured_paise),
        );
        alerts::raise(conn, AlertReason::RefundRemainder, payment_id, refund.booking, &details)
            .await?;
    }
    Ok(true)
}
