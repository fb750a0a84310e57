//! Handlers of the payments queue. They call Razorpay first, outside any transaction, and then commit what follows from its answer together
//! with the job.

use std::{collections::BTreeMap, sync::Arc};

use nexus_common::{
    Error,
    clients::{Key, razorpay::Razorpay},
    config::{self, Env},
    domain::{
        after_commit::AfterCommit,
        alerts::{self, AlertReason},
        booking_changes,
        ids::BookingId,
        payment_webhooks::{self, Acted},
        payments::Captured,
        refunds::{self, RefundStatus},
        webhooks::{self, Told, Webhook},
    },
    jobs::payments::{ConfirmFreeBooking, ProcessWebhook, RefundPayment},
};
use sqlx::PgTransaction;

use super::{needed, outward};
use crate::{Attempt, Build, Context, Failure, forgotten_orders, reconciler::Pace};

/// What these handlers need beside the common context.
pub struct Payments {
    razorpay: Option<Razorpay>,
    pub(super) pace: Pace,
    pub(super) reconciliation: config::Reconciliation,
}

impl Payments {
    /// Reads the settings.
    pub fn from_env(env: &mut Env) -> Build<Self> {
        let off =
            "captures, refunds and reconciliation, which wait; bookings that cost nothing are confirmed";
        let razorpay = config::Razorpay::optional(env, off);
        let reconciliation = config::Reconciliation::from_env(env);
        Box::new(move || {
            let razorpay = razorpay.as_ref().map(Razorpay::new).transpose()?;
            Ok(Payments { razorpay, pace: Pace::new(reconciliation.per_second), reconciliation })
        })
    }

    /// What the work depends on.
    pub fn keys(&self) -> Vec<Key> {
        self.razorpay.iter().map(|razorpay| razorpay.key().clone()).collect()
    }

    /// Razorpay, where its credentials are set.
    pub(super) fn razorpay(&self) -> Result<&Razorpay, Failure> {
        needed(&self.razorpay)
    }
}

/// See [`ProcessWebhook`].
pub async fn process_webhook(
    cx: Arc<Context<Payments>>,
    job: ProcessWebhook,
    attempt: Attempt,
) -> Result<(), Failure> {
    let result = act_on_webhook(&cx, job.webhook_event_id, attempt).await;
    let subject = format!("webhook {}", job.webhook_event_id);
    alert_if_final(&cx, attempt, &result, AlertReason::WebhookFailed, &subject, None).await;
    result
}

async fn act_on_webhook(cx: &Context<Payments>, id: i64, attempt: Attempt) -> Result<(), Failure> {
    // Twice at most: once an order that nobody knew has been found, it is known.
    loop {
        let body = webhooks::open(&mut *cx.db.acquire().await?, id).await?;
        let Some(body) = body else { return Ok(()) };
        let told = Webhook::parse(&body).map_or(Told::Unreadable, |webhook| webhook.told());
        let mut after = AfterCommit::default();
        let mut tx = cx.db.begin().await?;
        match payment_webhooks::act_on(&mut tx, id, told, &mut after).await? {
            Acted::Done(outcome) => return close(cx, tx, id, attempt, outcome, after).await,
            Acted::Capture(money) => {
                tx.rollback().await?;
                return capture(cx, id, attempt, &money).await;
            }
            Acted::FindOrder(money) => {
                tx.rollback().await?;
                if let Some(order) = forgotten_orders::find(&cx.db, cx.razorpay()?, &money.order_id).await? {
                    order.remember(&cx.db).await?;
                    continue;
                }
                let mut tx = cx.db.begin().await?;
                payment_webhooks::note_stranger(&mut tx, &money).await?;
                return close(cx, tx, id, attempt, "not_ours", AfterCommit::default()).await;
            }
        }
    }
}

/// Commits what follows from a webhook, together with its job, and does what follows that.
async fn close(
    cx: &Context<Payments>,
    mut tx: PgTransaction<'_>,
    id: i64,
    attempt: Attempt,
    outcome: &str,
    after: AfterCommit,
) -> Result<(), Failure> {
    webhooks::close(&mut tx, id, outcome).await?;
    attempt.lease.complete(&mut tx).await?;
    tx.commit().await?;
    after.run(&cx.cache, &cx.emitter, &cx.seats).await;
    Ok(())
}

/// A payment that is only authorized is captured, then settled. One that cannot be captured any more has gone back by itself.
async fn capture(cx: &Context<Payments>, id: i64, attempt: Attempt, money: &Captured) -> Result<(), Failure> {
    let captured =
        cx.razorpay()?.ensure_captured(&money.payment_id, money.amount_paise, &money.currency).await;
    let mut after = AfterCommit::default();
    let captured = captured.map_err(outward)?;
    let mut tx = cx.db.begin().await?;
    let outcome = match captured {
        true => payment_webhooks::settle(&mut tx, money, &mut after).await?,
        false => "not_capturable",
    };
    close(cx, tx, id, attempt, outcome, after).await
}

/// Tells operators of a job that dies with this attempt. Should that fail, the daily check of the books finds what is left undone.
async fn alert_if_final(
    cx: &Context<Payments>,
    attempt: Attempt,
    result: &Result<(), Failure>,
    reason: AlertReason,
    subject: &str,
    booking: Option<BookingId>,
) {
    let Err(failure) = result else { return };
    let Some(why) = attempt.last_words(failure) else { return };
    let details = format!("job {} is dead: {why}", attempt.job_id);
    let raised = match cx.db.acquire().await {
        Ok(mut conn) => alerts::raise(&mut conn, reason, subject, booking, &details).await,
        Err(error) => Err(error.into()),
    };
    if let Err(error) = raised {
        tracing::error!(error = error.details(), subject, details, "an alert could not be raised");
    }
}

/// See [`ConfirmFreeBooking`].
pub async fn confirm_free_booking(
    cx: Arc<Context<Payments>>,
    job: ConfirmFreeBooking,
    attempt: Attempt,
) -> Result<(), Failure> {
    let mut after = AfterCommit::default();
    let mut tx = cx.db.begin().await?;
    if let Some(booking) = booking_changes::hold(&mut tx, BookingId(job.booking_id)).await? {
        booking_changes::confirm_free(&mut tx, &booking, &mut after).await?;
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
    let result = refund_once(&cx, &job, attempt, &refund).await;
    alert_if_final(&cx, attempt, &result, AlertReason::RefundFailed, &refund.payment_id, refund.booking)
        .await;
    result
}

async fn refund_once(
    cx: &Context<Payments>,
    job: &RefundPayment,
    attempt: Attempt,
    refund: &refunds::Refund,
) -> Result<(), Failure> {
    if matches!(refund.status.as_str(), "requested" | "processed") {
        return Ok(());
    }
    if refund.tries_left == 0 {
        refunds::grant_tries(&mut *cx.db.acquire().await?, job.refund_id).await?;
        return Err(Failure::Discard(format!(
            "Razorpay has failed {} times to make the refund",
            refund.failures
        )));
    }
    let mut notes = BTreeMap::from([("reason", refund.reason.clone())]);
    if let Some(booking) = refund.booking {
        notes.insert("booking_id", booking.to_string());
    }
    let asked = cx.razorpay()?.refund(&refund.payment_id, refund.amount_paise, &refund.key(), &notes).await;
    let made = asked.map_err(outward)?;
    let status = match made.status.as_str() {
        "processed" => RefundStatus::Processed,
        "failed" => RefundStatus::Failed,
        _ => RefundStatus::Requested,
    };
    let mut after = AfterCommit::default();
    let mut tx = cx.db.begin().await?;
    refunds::follow(&mut tx, &refund.payment(), &made.id, status, &mut after).await?;
    // Its webhook may have told us of the failure before Razorpay's answer did; this job, being alive, is the one that asks again.
    let now = refunds::get(&mut tx, job.refund_id).await?;
    if now.is_some_and(|now| now.status == "failed") {
        tx.commit().await?;
        return Err(Failure::Retry(Error::Provider {
            message: "Razorpay could not make the refund".into(),
            source: None,
        }));
    }
    attempt.lease.complete(&mut tx).await?;
    tx.commit().await?;
    Ok(())
}
