//! What Razorpay says of refunds: of those that we have asked for, and of those that somebody made at Razorpay.

use std::time::Duration;

use sqlx::PgConnection;

use super::{
    after_commit::AfterCommit,
    alerts::{self, AlertReason},
    booking_cancellation,
    booking_changes::{self, Held},
    booking_states::BookingEvent,
    ids::BookingId,
    payment_states::{self, PaymentEvent, PaymentState, PaymentStep},
    payments::{Captured, Movement, hold_state, record},
    refunds::RefundReason,
};
use crate::{
    error::Result,
    jobs::{self, Job, payments::RefundPayment},
};

/// How far a refund is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum RefundStatus {
    Requested,
    Processed,
    Failed,
}

impl RefundStatus {
    fn event(self) -> PaymentEvent {
        match self {
            RefundStatus::Requested => PaymentEvent::RefundCreated,
            RefundStatus::Processed => PaymentEvent::RefundProcessed,
            RefundStatus::Failed => PaymentEvent::RefundFailed,
        }
    }
}

/// Follows a refund of the whole of `payment`: once processed it is in the ledger, and a cancelled booking says `refunded`; one that failed is
/// asked for again; one that we have not asked for cancels the booking. Returns what was done.
pub async fn follow(
    conn: &mut PgConnection,
    payment: &Captured,
    refund_id: &str,
    status: RefundStatus,
    after: &mut AfterCommit,
) -> Result<PaymentStep> {
    let payment_id = &payment.payment_id;
    let mut booking = hold_booking(conn, payment_id).await?;
    let state = hold_state(conn, payment_id).await?;
    if booking.is_none() && state == PaymentState::Sold {
        // It was sold between these two. Out of order, the booking may have to be asked for again, by the caller's next try.
        booking = hold_booking(conn, payment_id).await?;
    }
    let heard_before = sqlx::query_scalar!(
        r#"SELECT EXISTS (SELECT 1 FROM refunds WHERE payment_id = $1 AND $2 = ANY (failed_ids)) AS "failed!""#,
        payment_id,
        refund_id,
    )
    .fetch_one(&mut *conn)
    .await?;
    // Webhooks come in any order: what Razorpay has failed to make stays so, whatever is heard of its beginning.
    if heard_before && status != RefundStatus::Processed {
        return Ok(PaymentStep::Nothing);
    }
    let step = payment_states::next(state, status.event());
    match step {
        PaymentStep::FollowRefund => {
            sqlx::query!(
                "UPDATE refunds SET status = 'requested', refund_id = $2, updated_at = now() WHERE payment_id = $1",
                payment_id,
                refund_id,
            )
            .execute(conn)
            .await?;
        }
        PaymentStep::WriteRefund => write(conn, payment_id, refund_id).await?,
        PaymentStep::RetryRefund => try_again(conn, payment_id, refund_id).await?,
        PaymentStep::WriteForeignRefund => {
            write_foreign(conn, payment_id, refund_id).await?;
            cancel_returned(conn, payment_id, refund_id, booking.as_ref(), after).await?;
        }
        PaymentStep::RememberReturn => {
            remember_return(conn, payment, refund_id).await?;
            // Confirmed by the Node service, which keeps no ledger.
            if booking.as_ref().is_some_and(|booking| booking.is_confirmed_with(payment_id)) {
                cancel_returned(conn, payment_id, refund_id, booking.as_ref(), after).await?;
            }
        }
        _ => {}
    }
    Ok(step)
}

/// Takes the booking that the payment is about, if there is one.
async fn hold_booking(conn: &mut PgConnection, payment_id: &str) -> Result<Option<Held>> {
    let booking = sqlx::query_scalar!(
        r#"SELECT booking_id AS "id!" FROM payments WHERE payment_id = $1 AND booking_id IS NOT NULL
           UNION ALL SELECT booking_id FROM refunds WHERE payment_id = $1 AND booking_id IS NOT NULL
           UNION ALL SELECT id FROM bookings WHERE payment_id = $1 AND status = 'confirmed'
           LIMIT 1"#,
        payment_id,
    )
    .fetch_optional(&mut *conn)
    .await?;
    match booking {
        Some(id) => booking_changes::hold(conn, BookingId(id)).await,
        None => Ok(None),
    }
}

/// The money has gone back.
async fn write(conn: &mut PgConnection, payment_id: &str, refund_id: &str) -> Result<()> {
    let row = sqlx::query!(
        "UPDATE refunds SET status = 'processed', refund_id = $2, updated_at = now() WHERE payment_id = $1
         RETURNING booking_id, amount_paise, currency",
        payment_id,
        refund_id,
    )
    .fetch_one(&mut *conn)
    .await?;
    record_refund(conn, payment_id, row.booking_id, row.amount_paise, row.currency).await?;
    sqlx::query!(
        "UPDATE bookings SET payment_status = 'refunded'
         WHERE id = $1 AND status IN ('cancelled', 'expired')",
        row.booking_id,
    )
    .execute(conn)
    .await?;
    Ok(())
}

/// Razorpay could not make the refund: a job asks for another, later each time.
async fn try_again(conn: &mut PgConnection, payment_id: &str, refund_id: &str) -> Result<()> {
    let row = sqlx::query!(
        r#"UPDATE refunds SET status = 'failed', refund_id = NULL, failed_ids = array_append(failed_ids, $2),
                  tries_left = greatest(tries_left - 1, 0), updated_at = now()
           WHERE payment_id = $1 RETURNING id, tries_left, cardinality(failed_ids) AS "failures!""#,
        payment_id,
        refund_id,
    )
    .fetch_one(&mut *conn)
    .await?;
    tracing::warn!(payment_id, refund_id, tries_left = row.tries_left, "Razorpay could not make a refund");
    // The last job finds that no tries are left, and says so by dying.
    let wait =
        if row.tries_left == 0 { Duration::ZERO } else { RefundPayment::RETRY.delay_after(row.failures) };
    jobs::enqueue_in(conn, &RefundPayment { refund_id: row.id }, wait).await?;
    Ok(())
}

/// Somebody has refunded the payment of a sale at Razorpay: the books say so.
async fn write_foreign(conn: &mut PgConnection, payment_id: &str, refund_id: &str) -> Result<()> {
    let row = sqlx::query!(
        "INSERT INTO refunds (payment_id, booking_id, amount_paise, currency, reason, status, refund_id)
         SELECT payment_id, booking_id, amount_paise, currency, $3, 'processed', $2
         FROM payments WHERE payment_id = $1 AND kind = 'capture'
         RETURNING booking_id, amount_paise, currency",
        payment_id,
        refund_id,
        RefundReason::NotOurs.name(),
    )
    .fetch_one(&mut *conn)
    .await?;
    record_refund(conn, payment_id, row.booking_id, row.amount_paise, row.currency).await
}

/// Writes it into the ledger.
async fn record_refund(
    conn: &mut PgConnection,
    payment_id: &str,
    booking_id: Option<i32>,
    amount_paise: i64,
    currency: String,
) -> Result<()> {
    let money =
        Captured { payment_id: payment_id.to_owned(), order_id: String::new(), amount_paise, currency };
    record(conn, Movement::Refund, booking_id.map(BookingId), &money).await?;
    Ok(())
}

/// Cancels the booking whose payment has gone back without us, and tells operators.
async fn cancel_returned(
    conn: &mut PgConnection,
    payment_id: &str,
    refund_id: &str,
    booking: Option<&Held>,
    after: &mut AfterCommit,
) -> Result<()> {
    if let Some(booking) = booking {
        let event = BookingEvent::RefundedByHand;
        booking_cancellation::carry_out(conn, booking, event, None, after).await?;
        sqlx::query!(
            "UPDATE bookings SET payment_status = 'refunded' WHERE id = $1 AND status = 'cancelled'",
            booking.id.0
        )
        .execute(&mut *conn)
        .await?;
    }
    let details = format!("{refund_id} was not asked for by us: the booking is cancelled");
    let booking = booking.map(|booking| booking.id);
    alerts::raise(conn, AlertReason::ForeignRefund, payment_id, booking, &details).await
}

/// A payment that our books do not have has gone back: should its capture be heard of yet, nothing is sold for it.
async fn remember_return(conn: &mut PgConnection, money: &Captured, refund_id: &str) -> Result<()> {
    sqlx::query!(
        "INSERT INTO refunds (payment_id, amount_paise, currency, reason, status, refund_id)
         VALUES ($1, $2, $3, $4, 'processed', $5) ON CONFLICT ON CONSTRAINT refunds_payment_key DO NOTHING",
        money.payment_id,
        money.amount_paise,
        money.currency,
        RefundReason::NotOurs.name(),
        refund_id,
    )
    .execute(conn)
    .await?;
    Ok(())
}
