//! The handler of the payments queue that refunds payments.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use nexus_common::{
    Error,
    bookings::changes,
    jobs::payments::RefundPayment,
    ledger::refunds,
    payments::{
        installation::{self, Owner},
        provider_refunds::{self, ProviderRefund, ProviderRefundStatus},
    },
    providers::{CallError, razorpay::Refund},
    realtime::AfterCommit,
    types::statuses::RefundStatus,
};

use super::{outward, payments::Payments};
use crate::{Attempt, Context, JobFailure};

/// How long the job waits when another transaction has changed the refund between two looks: no job
/// spins.
const CHANGED_MEANWHILE: Duration = Duration::from_secs(1);

/// How long a held refund waits; the operator who releases refunds makes it due.
const UNTIL_RELEASED: Duration = Duration::from_secs(600);

/// See [`RefundPayment`].
pub async fn refund_payment(
    cx: Arc<Context<Payments>>,
    job: RefundPayment,
    attempt: Attempt,
) -> Result<(), JobFailure> {
    let refund = refunds::get(&mut *cx.db.acquire().await?, job.refund_id).await?;
    let Some(refund) = refund else {
        return Err(JobFailure::Discard("there is no such refund".into()));
    };
    refund_left(&cx, &job, &attempt, refund).await
}

/// Asks Razorpay to refund the rest of a payment, and asks again for the new rest whenever a manual
/// refund was made, or has failed, meanwhile.
async fn refund_left(
    cx: &Context<Payments>,
    job: &RefundPayment,
    attempt: &Attempt,
    mut refund: refunds::Refund,
) -> Result<(), JobFailure> {
    loop {
        match refund.status {
            RefundStatus::Pending | RefundStatus::Failed => {}
            RefundStatus::Requested | RefundStatus::Processed => return Ok(()),
        }
        if installation::refunds_are_held(&mut *cx.db.acquire().await?).await? {
            return Err(JobFailure::Snooze(UNTIL_RELEASED));
        }
        // The installation that owns the payment refunds it. The refund waits here in case our id
        // was changed by mistake.
        if let Some(other) = &refund.other_installation {
            let owner = Owner::OtherInstallation(other.clone());
            let mut tx = cx.db.begin().await?;
            installation::note_foreign(&mut tx, &refund.payment(), &owner).await?;
            tx.commit().await?;
            return Err(JobFailure::Snooze(UNTIL_RELEASED));
        }
        if refund.tries_left == 0 {
            refunds::grant_tries(&mut *cx.db.acquire().await?, job.refund_id).await?;
            return Err(JobFailure::Discard(format!(
                "Razorpay has failed {} times to make the refund",
                refund.failures
            )));
        }
        if refund.is_too_little() {
            let mut tx = cx.db.begin().await?;
            if !provider_refunds::leave(&mut tx, job.refund_id, &refund.payment_id).await? {
                return Err(JobFailure::Snooze(CHANGED_MEANWHILE));
            }
            attempt.lease.complete(&mut tx).await?;
            return Ok(tx.commit().await?);
        }
        let (made, refused) = ask(cx, &refund).await?;
        let now = follow_all(cx, job, attempt, &refund, &made).await?;
        let Some(now) = now else { return Ok(()) };
        match refused {
            // No other refund stood in the way, so the refusal has another cause.
            Some(refused) if !now.has_moved_since(&refund) => return Err(outward(refused)),
            _ if now.failures == refund.failures && now.has_moved_since(&refund) => refund = now,
            // The webhook may have told us of the failure before Razorpay's response did. This job
            // is still alive, so it is the one that asks again.
            _ => {
                let message = "Razorpay could not make the refund".into();
                return Err(Error::Provider { message, source: None }.into());
            }
        }
    }
}

/// Asks Razorpay for the rest of the payment and returns the refund that it makes. If Razorpay
/// refuses, returns every refund of the payment that it has made, and the refusal.
async fn ask(
    cx: &Context<Payments>,
    refund: &refunds::Refund,
) -> Result<(Vec<Refund>, Option<CallError>), JobFailure> {
    let mut notes = BTreeMap::from([("reason", refund.reason.clone())]);
    if let Some(booking) = refund.booking {
        notes.insert("booking_id", booking.to_string());
    }
    let razorpay = cx.razorpay()?;
    match razorpay.refund(&refund.payment_id, refund.left_paise, &refund.key(), &notes).await {
        Ok(made) => Ok((vec![made], None)),
        Err(refused @ CallError::Refused { .. }) => {
            let made = razorpay.refunds_of_payment(&refund.payment_id).await.map_err(outward)?;
            Ok((made, Some(refused)))
        }
        Err(error) => Err(outward(error)),
    }
}

/// Writes down what Razorpay says; returns the refund if there is more to ask for, and otherwise
/// completes the job.
async fn follow_all(
    cx: &Context<Payments>,
    job: &RefundPayment,
    attempt: &Attempt,
    refund: &refunds::Refund,
    made: &[Refund],
) -> Result<Option<refunds::Refund>, JobFailure> {
    let event = match refund.booking {
        Some(booking) => changes::event(&mut *cx.db.acquire().await?, booking).await?,
        None => None,
    };
    let mut after = AfterCommit::default();
    let following = async {
        let mut tx = cx.db.begin().await?;
        for made in made {
            let told = ProviderRefund {
                refund_id: made.id.clone(),
                amount_paise: made.amount,
                ours: refunds::is_ours(&refund.payment_id, made.receipt.as_deref()),
                payment: refund.payment(),
            };
            provider_refunds::follow(
                &mut tx,
                &told,
                ProviderRefundStatus::of(&made.status),
                &mut after,
            )
            .await?;
        }
        let now = refunds::get(&mut tx, job.refund_id).await?;
        match now {
            Some(now) if matches!(now.status, RefundStatus::Pending | RefundStatus::Failed) => {
                tx.commit().await?;
                Ok(Some(now))
            }
            _ => {
                attempt.lease.complete(&mut tx).await?;
                tx.commit().await?;
                Ok(None)
            }
        }
    };
    Ok(cx.in_turn(event, following).await?)
}
