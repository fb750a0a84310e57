//! Handlers of the payments queue. They call Razorpay first, outside any transaction, and then commit what follows from its answer together
//! with the job.

use std::{collections::BTreeMap, sync::Arc};

use nexus_common::{
    Error,
    clients::{CallError, razorpay::Razorpay},
    config::{self, Env},
    domain::{
        after_commit::AfterCommit,
        booking_changes,
        ids::BookingId,
        payment_orders,
        payments::{self, Captured, Settled},
        refunds::{self, RefundReason, RefundStatus},
        webhooks::{self, Webhook},
    },
    jobs::payments::{ConfirmFreeBooking, ProcessWebhook, RefundPayment},
};

use super::outward;
use crate::{Attempt, Build, Context, Failure, reconciler::Pace};

/// What these handlers need beside the common context.
pub struct Payments {
    pub(super) razorpay: Razorpay,
    pub(super) pace: Pace,
    pub(super) reconciliation: config::Reconciliation,
}

impl Payments {
    /// Reads the settings.
    pub fn from_env(env: &mut Env) -> Build<Self> {
        let razorpay = config::Razorpay::from_env(env);
        let reconciliation = config::Reconciliation::from_env(env);
        Box::new(move || {
            let (razorpay, pace) = (Razorpay::new(&razorpay)?, Pace::new(reconciliation.per_second));
            Ok(Payments { razorpay, pace, reconciliation })
        })
    }
}

/// See [`ProcessWebhook`].
pub async fn process_webhook(
    cx: Arc<Context<Payments>>,
    job: ProcessWebhook,
    attempt: Attempt,
) -> Result<(), Failure> {
    let id = job.webhook_event_id;
    let body = webhooks::open(&mut *cx.db.acquire().await?, id).await?;
    let Some(body) = body else { return Ok(()) };
    let Some(webhook) = Webhook::parse(&body) else { return close(&cx, id, attempt, "unreadable").await };
    match (webhook.event.as_str(), webhook.payment()) {
        ("payment.captured" | "order.paid", Some(money)) => settle(&cx, id, attempt, money).await,
        ("payment.authorized", Some(money)) => {
            if !order_is_ours(&cx, &money.order_id).await? {
                return close(&cx, id, attempt, "not_ours").await;
            }
            let captured =
                cx.razorpay.ensure_captured(&money.payment_id, money.amount_paise, &money.currency).await;
            match captured.map_err(outward)? {
                true => settle(&cx, id, attempt, money).await,
                false => close(&cx, id, attempt, "not_capturable").await,
            }
        }
        ("payment.failed", Some(money)) => {
            let mut tx = cx.db.begin().await?;
            payments::note_failure(&mut tx, &money.order_id).await?;
            webhooks::close(&mut tx, id, "failure_noted").await?;
            attempt.lease.complete(&mut tx).await?;
            tx.commit().await?;
            Ok(())
        }
        ("refund.created" | "refund.processed" | "refund.failed", _) => {
            follow_refund(&cx, id, attempt, &webhook).await
        }
        _ => close(&cx, id, attempt, "ignored").await,
    }
}

/// Nothing follows from the webhook but that it has been looked at.
async fn close(cx: &Context<Payments>, id: i64, attempt: Attempt, outcome: &str) -> Result<(), Failure> {
    let mut tx = cx.db.begin().await?;
    webhooks::close(&mut tx, id, outcome).await?;
    attempt.lease.complete(&mut tx).await?;
    tx.commit().await?;
    Ok(())
}

async fn settle(cx: &Context<Payments>, id: i64, attempt: Attempt, money: Captured) -> Result<(), Failure> {
    if !order_is_ours(cx, &money.order_id).await? {
        return close(cx, id, attempt, "not_ours").await;
    }
    let mut after = AfterCommit::default();
    let mut tx = cx.db.begin().await?;
    let settled = payments::settle(&mut tx, &money, &mut after).await?;
    let outcome = match settled {
        Settled::Confirmed => "confirmed",
        Settled::Already => "settled_before",
        Settled::Refunded(reason) => reason.name(),
    };
    webhooks::close(&mut tx, id, outcome).await?;
    attempt.lease.complete(&mut tx).await?;
    tx.commit().await?;
    if settled == Settled::Refunded(RefundReason::AmountMismatch) {
        tracing::error!(
            payment_id = money.payment_id,
            order_id = money.order_id,
            "a payment is not what was ordered: refunding"
        );
    }
    after.run(&cx.cache, &cx.emitter, &cx.seats).await;
    Ok(())
}

/// Whether an order belongs to one of our bookings. One that we do not know may have been created by a process that died before it could
/// remember it: then Razorpay knows its receipt. Payments for anything else on the same Razorpay account are not our business.
async fn order_is_ours(cx: &Context<Payments>, order_id: &str) -> Result<bool, Failure> {
    if payment_orders::is_known(&mut *cx.db.acquire().await?, order_id).await? {
        return Ok(true);
    }
    let order = match cx.razorpay.order(order_id).await {
        Ok(order) => order,
        Err(CallError::Refused { .. }) => return Ok(false),
        Err(error) => return Err(outward(error)),
    };
    let Some(receipt) = order.receipt else { return Ok(false) };
    let mut conn = cx.db.acquire().await?;
    Ok(payment_orders::adopt(&mut conn, order_id, &receipt, order.amount, &order.currency).await?)
}

async fn follow_refund(
    cx: &Context<Payments>,
    id: i64,
    attempt: Attempt,
    webhook: &Webhook,
) -> Result<(), Failure> {
    let refund = webhook.entity("refund");
    let text = |field: &str| refund.and_then(|refund| refund.get(field)).and_then(|value| value.as_str());
    let (Some(refund_id), Some(payment_id)) = (text("id"), text("payment_id")) else {
        return close(cx, id, attempt, "unreadable").await;
    };
    let status = match webhook.event.as_str() {
        "refund.processed" => RefundStatus::Processed,
        "refund.failed" => {
            tracing::error!(payment_id, refund_id, "a refund failed at Razorpay");
            RefundStatus::Failed
        }
        _ => RefundStatus::Requested,
    };
    let mut tx = cx.db.begin().await?;
    refunds::follow(&mut tx, payment_id, refund_id, status).await?;
    webhooks::close(&mut tx, id, "refund_followed").await?;
    attempt.lease.complete(&mut tx).await?;
    tx.commit().await?;
    Ok(())
}

/// See [`ConfirmFreeBooking`].
pub async fn confirm_free_booking(
    cx: Arc<Context<Payments>>,
    job: ConfirmFreeBooking,
    attempt: Attempt,
) -> Result<(), Failure> {
    let mut after = AfterCommit::default();
    let mut tx = cx.db.begin().await?;
    if let Some(booking) = booking_changes::hold(&mut tx, BookingId(job.booking_id)).await?
        && booking.status == "pending"
        && booking.total.get() == 0
    {
        booking_changes::confirm(&mut tx, &booking, None, &mut after).await?;
    }
    attempt.lease.complete(&mut tx).await?;
    tx.commit().await?;
    after.run(&cx.cache, &cx.emitter, &cx.seats).await;
    Ok(())
}

/// See [`RefundPayment`].
pub async fn refund_payment(
    cx: Arc<Context<Payments>>,
    job: RefundPayment,
    attempt: Attempt,
) -> Result<(), Failure> {
    let refund = refunds::get(&mut *cx.db.acquire().await?, job.refund_id).await?;
    let Some(refund) = refund else { return Err(Failure::Discard("there is no such refund".into())) };
    if refund.status == "processed" {
        return Ok(());
    }
    // One refund per payment, so the payment's id makes the key.
    let key = format!("refund-{}", refund.payment_id);
    let mut notes = BTreeMap::from([("reason", refund.reason.clone())]);
    if let Some(booking) = refund.booking {
        notes.insert("booking_id", booking.to_string());
    }
    let (refund_id, status) =
        match cx.razorpay.refund(&refund.payment_id, refund.amount_paise, &key, &notes).await {
            Ok(made) if made.status == "processed" => (made.id, RefundStatus::Processed),
            Ok(made) if made.status == "failed" => {
                return Err(Failure::Retry(Error::Provider {
                    message: "Razorpay could not make the refund".into(),
                    source: None,
                }));
            }
            Ok(made) => (made.id, RefundStatus::Requested),
            Err(error) => return Err(outward(error)),
        };
    let mut tx = cx.db.begin().await?;
    refunds::follow(&mut tx, &refund.payment_id, &refund_id, status).await?;
    attempt.lease.complete(&mut tx).await?;
    tx.commit().await?;
    Ok(())
}
