//! Handlers of the payments queue. They call Razorpay first, outside any transaction, and then
//! commit what follows from its answer together with the job.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use nexus_common::{
    Error,
    bookings::{changes, sale},
    config::{self, Env},
    events::turns::Turns,
    jobs::payments::{ConfirmFreeBooking, ProcessWebhook, RefundPayment},
    ledger::{entries::Captured, refunds},
    payments::{
        installation::{self, Owner},
        refund_updates::{self, RefundStatus, RefundTold},
        webhook_actions::{self, Acted},
        webhooks::{self, Told, Webhook},
    },
    providers::{
        CallError, Key,
        razorpay::{Razorpay, Refund},
    },
    realtime::AfterCommit,
    types::ids::{BookingId, EventId},
};
use sqlx::PgTransaction;

use super::{needed, outward};
use crate::{Attempt, Build, Context, JobFailure, orphaned_orders, reconciler::CallRateLimiter};

/// What these handlers need beside the common context.
pub struct Payments {
    razorpay: Option<Razorpay>,
    pub(super) rate: CallRateLimiter,
    pub(super) reconciliation: config::Reconciliation,
    /// Of the jobs of one event, so many at once change its bookings.
    turns: Turns,
}

/// Connections that the jobs of one event may take: fewer than there are, which is 7 unless set.
const AT_ONE_EVENT: usize = 3;
/// A job whose event has no turn for it gives its slot to others after this, and comes again.
const PATIENCE: Duration = Duration::from_millis(250);

/// How long a refund waits that somebody else has changed between two looks: no job spins, whatever
/// the books say.
const CHANGED_MEANWHILE: Duration = Duration::from_secs(1);

/// How long a refund waits that is held; whoever releases it makes it due.
const UNTIL_RELEASED: Duration = Duration::from_secs(600);

impl Payments {
    /// Reads the settings.
    pub fn from_env(env: &mut Env) -> Build<Self> {
        let off = "captures, refunds and reconciliation, which wait; bookings that cost nothing are confirmed";
        let razorpay = config::Razorpay::optional(env, off);
        let reconciliation = config::Reconciliation::from_env(env);
        Box::new(move || {
            let razorpay = razorpay.as_ref().map(Razorpay::new).transpose()?;
            let rate = CallRateLimiter::new(reconciliation.per_second);
            Ok(Payments {
                razorpay,
                rate,
                reconciliation,
                turns: Turns::new(AT_ONE_EVENT, PATIENCE),
            })
        })
    }

    /// What the work depends on.
    pub fn keys(&self) -> Vec<Key> {
        self.razorpay.iter().map(|razorpay| razorpay.key().clone()).collect()
    }

    /// Razorpay, where its credentials are set.
    pub(super) fn razorpay(&self) -> Result<&Razorpay, JobFailure> {
        needed(&self.razorpay)
    }

    /// Does `work` when it is its event's turn; at once if there is no event.
    async fn in_turn<T>(
        &self,
        event: Option<EventId>,
        work: impl Future<Output = Result<T, Error>>,
    ) -> Result<T, Error> {
        match event {
            Some(event) => self.turns.take(event, work).await,
            None => work.await,
        }
    }
}

/// See [`ProcessWebhook`].
pub async fn process_webhook(
    cx: Arc<Context<Payments>>,
    job: ProcessWebhook,
    attempt: Attempt,
) -> Result<(), JobFailure> {
    act_on_webhook(&cx, job.webhook_event_id, attempt).await
}

async fn act_on_webhook(
    cx: &Context<Payments>,
    id: i64,
    attempt: Attempt,
) -> Result<(), JobFailure> {
    // Twice at most: once an order that nobody knew has been found, it is known.
    loop {
        let mut conn = cx.db.acquire().await?;
        let Some(body) = webhooks::open(&mut conn, id).await? else { return Ok(()) };
        let told = Webhook::parse(&body).map_or(Told::Unreadable, |webhook| webhook.told());
        let event = webhook_actions::event(&mut conn, &told).await?;
        drop(conn);
        let mut after = AfterCommit::default();
        let acting = async {
            let mut tx = cx.db.begin().await?;
            let acted = webhook_actions::act_on(&mut tx, id, told, &mut after).await?;
            match &acted {
                Acted::Done(outcome) => close(tx, id, attempt, outcome).await?,
                Acted::Capture(_) | Acted::FindOrder(_) => tx.rollback().await?,
            }
            Ok(acted)
        };
        match cx.in_turn(event, acting).await? {
            Acted::Done(_) => {
                after.run(&cx.cache, &cx.emitter, &cx.seats).await;
                return Ok(());
            }
            Acted::Capture(money) => return capture(cx, id, attempt, event, &money).await,
            Acted::FindOrder(money) => {
                let noted =
                    installation::is_foreign(&mut *cx.db.acquire().await?, &money.order_id).await?;
                if noted {
                    return Ok(close(cx.db.begin().await?, id, attempt, "not_ours").await?);
                }
                let found = orphaned_orders::find(&cx.db, cx.razorpay()?, &money.order_id).await?;
                let mut tx = cx.db.begin().await?;
                match found {
                    Ok(order) => {
                        order.adopt(&mut tx).await?;
                        tx.commit().await?;
                    }
                    Err(owner) => {
                        installation::note_foreign(&mut tx, &money, &owner).await?;
                        return Ok(close(tx, id, attempt, owner.outcome()).await?);
                    }
                }
            }
        }
    }
}

/// Commits what follows from a webhook, together with its job.
async fn close(
    mut tx: PgTransaction<'_>,
    id: i64,
    attempt: Attempt,
    outcome: &str,
) -> Result<(), Error> {
    webhooks::close(&mut tx, id, outcome).await?;
    attempt.lease.complete(&mut tx).await?;
    Ok(tx.commit().await?)
}

/// A payment that is only authorized is captured, then settled. One that cannot be captured any
/// more has gone back by itself.
async fn capture(
    cx: &Context<Payments>,
    id: i64,
    attempt: Attempt,
    event: Option<EventId>,
    money: &Captured,
) -> Result<(), JobFailure> {
    let captured = cx
        .razorpay()?
        .ensure_captured(&money.payment_id, money.amount_paise, &money.currency)
        .await;
    let mut after = AfterCommit::default();
    let captured = captured.map_err(outward)?;
    let settling = async {
        let mut tx = cx.db.begin().await?;
        let outcome = match captured {
            true => webhook_actions::settle(&mut tx, money, &mut after).await?,
            false => "not_capturable",
        };
        close(tx, id, attempt, outcome).await
    };
    cx.in_turn(event, settling).await?;
    after.run(&cx.cache, &cx.emitter, &cx.seats).await;
    Ok(())
}

/// See [`ConfirmFreeBooking`].
pub async fn confirm_free_booking(
    cx: Arc<Context<Payments>>,
    job: ConfirmFreeBooking,
    attempt: Attempt,
) -> Result<(), JobFailure> {
    let booking = BookingId(job.booking_id);
    let event = changes::event(&mut *cx.db.acquire().await?, booking).await?;
    let mut after = AfterCommit::default();
    let confirming = async {
        let mut tx = cx.db.begin().await?;
        if let Some(booking) = sale::hold(&mut tx, booking, None).await? {
            sale::confirm_free(&mut tx, &booking, &mut after).await?;
        }
        attempt.lease.complete(&mut tx).await?;
        Ok(tx.commit().await?)
    };
    cx.in_turn(event, confirming).await?;
    after.run(&cx.cache, &cx.emitter, &cx.seats).await;
    Ok(())
}

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
    refund_left(&cx, &job, attempt, refund).await
}

/// Asks for what is left, and once more for what is left then whenever somebody has refunded a part
/// at Razorpay meanwhile.
async fn refund_left(
    cx: &Context<Payments>,
    job: &RefundPayment,
    attempt: Attempt,
    mut refund: refunds::Refund,
) -> Result<(), JobFailure> {
    loop {
        match refund.status.as_str() {
            "pending" | "failed" => {}
            "requested" | "processed" => return Ok(()),
            unknown => {
                return Err(
                    Error::internal(format!("a refund's status {unknown:?} is not known")).into()
                );
            }
        }
        if installation::refunds_are_held(&mut *cx.db.acquire().await?).await? {
            return Err(JobFailure::Snooze(UNTIL_RELEASED));
        }
        // Whose payment it is returns it; here it waits, should our id have been changed by
        // mistake.
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
            if !refund_updates::leave(&mut tx, job.refund_id, &refund.payment_id).await? {
                return Err(JobFailure::Snooze(CHANGED_MEANWHILE));
            }
            attempt.lease.complete(&mut tx).await?;
            return Ok(tx.commit().await?);
        }
        let (made, refused) = ask(cx, &refund).await?;
        let now = follow_all(cx, job, attempt, &refund, &made).await?;
        let Some(now) = now else { return Ok(()) };
        match refused {
            // Nobody has refunded anything: the refusal is about something else.
            Some(refused) if now.left_paise == refund.left_paise => return Err(outward(refused)),
            _ if now.failures == refund.failures && now.left_paise != refund.left_paise => {
                refund = now
            }
            // Its webhook may have told us of the failure before Razorpay's answer did; this job,
            // being alive, is the one that asks again.
            _ => {
                let message = "Razorpay could not make the refund".into();
                return Err(Error::Provider { message, source: None }.into());
            }
        }
    }
}

/// Asks Razorpay for what is left: the refund that it makes. If it refuses, everything that it has
/// made of the payment, and the refusal.
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

/// Writes down what Razorpay says; returns what is left to ask for, and otherwise completes the
/// job.
async fn follow_all(
    cx: &Context<Payments>,
    job: &RefundPayment,
    attempt: Attempt,
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
            let told = RefundTold {
                refund_id: made.id.clone(),
                amount_paise: made.amount,
                ours: refunds::is_ours(&refund.payment_id, made.receipt.as_deref()),
                payment: refund.payment(),
            };
            refund_updates::follow(&mut tx, &told, RefundStatus::of(&made.status), &mut after)
                .await?;
        }
        let now = refunds::get(&mut tx, job.refund_id).await?;
        match now {
            Some(now) if matches!(now.status.as_str(), "pending" | "failed") => {
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
