//! The handler of the payments queue that acts on Razorpay's webhooks.

use std::sync::Arc;

use nexus_common::{
    Error,
    jobs::payments::ProcessWebhook,
    ledger::entries::ProviderPayment,
    observability::traces,
    payments::{
        installation,
        sales::Received,
        webhook_actions::{self, WebhookAction},
        webhooks::{self, Webhook, WebhookEvent},
    },
    realtime::AfterCommit,
    types::ids::{EventId, WebhookId},
};
use sqlx::PgTransaction;

use super::{outward, payments::Payments};
use crate::{Attempt, Context, JobFailure, orphaned_orders};

/// See [`ProcessWebhook`].
pub async fn process_webhook(
    cx: Arc<Context<Payments>>,
    job: ProcessWebhook,
    attempt: Attempt,
) -> Result<(), JobFailure> {
    let webhook = job.webhook_event_id;
    let received = Received { webhook, lease: attempt.lease.clone(), trace: traces::current() };
    if let Some(after) = Payments::sell(&cx, received).await? {
        after.run(&cx.cache, &cx.emitter, &cx.seats).await;
        return Ok(());
    }
    act_on_webhook(&cx, webhook, attempt).await
}

async fn act_on_webhook(
    cx: &Context<Payments>,
    id: WebhookId,
    attempt: Attempt,
) -> Result<(), JobFailure> {
    // Twice at most: the first pass puts an orphaned order into our books.
    loop {
        let mut conn = cx.db.acquire().await?;
        let Some(body) = webhooks::open(&mut conn, id).await? else { return Ok(()) };
        let webhook_event =
            Webhook::parse(&body).map_or(WebhookEvent::Unreadable, |webhook| webhook.event());
        let event = webhook_actions::inventory(&mut conn, &webhook_event).await?;
        drop(conn);
        let mut after = AfterCommit::default();
        let acting = async {
            let mut tx = cx.db.begin().await?;
            let action = webhook_actions::act_on(&mut tx, id, webhook_event, &mut after).await?;
            match &action {
                WebhookAction::Done(outcome) => close(tx, id, &attempt, outcome).await?,
                WebhookAction::Capture(_) | WebhookAction::FindOrder(_) => tx.rollback().await?,
            }
            Ok(action)
        };
        match cx.in_turn(event, acting).await? {
            WebhookAction::Done(_) => {
                after.run(&cx.cache, &cx.emitter, &cx.seats).await;
                return Ok(());
            }
            WebhookAction::Capture(money) => return capture(cx, id, &attempt, event, &money).await,
            WebhookAction::FindOrder(money) => {
                let noted =
                    installation::is_foreign(&mut *cx.db.acquire().await?, &money.order_id).await?;
                if noted {
                    return Ok(close(cx.db.begin().await?, id, &attempt, "not_ours").await?);
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
                        return Ok(close(tx, id, &attempt, owner.outcome()).await?);
                    }
                }
            }
        }
    }
}

/// Commits what follows from a webhook, together with its job.
async fn close(
    mut tx: PgTransaction<'_>,
    id: WebhookId,
    attempt: &Attempt,
    outcome: &str,
) -> Result<(), Error> {
    webhooks::close(&mut tx, id, outcome).await?;
    attempt.lease.complete(&mut tx).await?;
    Ok(tx.commit().await?)
}

/// Captures a payment that is only authorized, then settles it. If Razorpay can no longer capture
/// it, the money has gone back by itself.
async fn capture(
    cx: &Context<Payments>,
    id: WebhookId,
    attempt: &Attempt,
    event: Option<EventId>,
    money: &ProviderPayment,
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
