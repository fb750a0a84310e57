//! What a webhook leads to. If that needs Razorpay, the caller asks it outside any transaction and
//! comes back; everything else happens here, in the caller's transaction.

use sqlx::PgConnection;

use super::{
    disputes, orders, provider_refunds,
    settlement::{self, Settled},
    webhooks::WebhookEvent,
};
use crate::{
    error::Result,
    ledger::{
        alerts,
        entries::{self, ProviderPayment},
        payment_states::{self, PaymentEvent, PaymentStep},
    },
    realtime::AfterCommit,
    types::{
        alert_reason::AlertReason,
        ids::{EventId, WebhookId},
    },
};

/// What a webhook leads to.
#[derive(Debug)]
pub enum WebhookAction {
    /// Nothing more: it was dealt with, and this is its outcome for the inbox.
    Done(&'static str),
    /// A capture: Razorpay has to capture this first; then it is to be settled.
    Capture(ProviderPayment),
    /// A search: our books do not have the payment's order. Razorpay may know its owner: see
    /// [`installation`](super::installation).
    FindOrder(ProviderPayment),
}

/// The event whose inventory a webhook may need, if it is about one of our bookings.
pub async fn inventory(conn: &mut PgConnection, event: &WebhookEvent) -> Result<Option<EventId>> {
    let (order_id, payment_id) = match event {
        WebhookEvent::Payment(_, money) => (money.order_id.as_str(), &money.payment_id),
        WebhookEvent::Refund(_, refund) => ("", &refund.payment.payment_id),
        WebhookEvent::Dispute(dispute) => ("", &dispute.payment_id),
        WebhookEvent::Unreadable | WebhookEvent::Ignored => return Ok(None),
    };
    let event = sqlx::query_scalar!(
        r#"SELECT event_id AS "event_id: EventId" FROM bookings WHERE id = coalesce(
               (SELECT booking_id FROM payment_orders WHERE order_id = $1),
               (SELECT booking_id FROM payments WHERE payment_id = $2 LIMIT 1))"#,
        order_id,
        payment_id,
    )
    .fetch_optional(conn)
    .await?;
    Ok(event)
}

/// Acts on a webhook, however late, doubled or early it is. `inbox_id` names it where its content
/// cannot.
pub async fn act_on(
    conn: &mut PgConnection,
    inbox_id: WebhookId,
    event: WebhookEvent,
    after: &mut AfterCommit,
) -> Result<WebhookAction> {
    match event {
        WebhookEvent::Payment(event, money) => payment(conn, event, money, after).await,
        WebhookEvent::Refund(status, refund) => {
            let payment = &refund.payment;
            // If our books have its payment later, the reconciler finds it.
            if !settlement::is_ours(conn, &payment.payment_id, &payment.order_id).await? {
                return Ok(WebhookAction::Done("not_ours"));
            }
            provider_refunds::follow(conn, &refund, status, after).await?;
            Ok(WebhookAction::Done("refund_followed"))
        }
        WebhookEvent::Dispute(dispute) => {
            let order_id = dispute.payment.as_ref().map_or("", |payment| &payment.order_id);
            // If our books have its payment later, the reconciler finds the dispute.
            if !settlement::is_ours(conn, &dispute.payment_id, order_id).await? {
                return Ok(WebhookAction::Done("not_ours"));
            }
            let followed = disputes::follow(conn, &dispute, after).await?;
            Ok(WebhookAction::Done(if followed { "dispute_followed" } else { "known_before" }))
        }
        WebhookEvent::Unreadable => {
            let (subject, details) = (format!("webhook {inbox_id}"), "see webhook_events");
            alerts::raise(conn, AlertReason::Unreadable, &subject, None, details).await?;
            Ok(WebhookAction::Done("unreadable"))
        }
        WebhookEvent::Ignored => Ok(WebhookAction::Done("ignored")),
    }
}

async fn payment(
    conn: &mut PgConnection,
    event: PaymentEvent,
    money: ProviderPayment,
    after: &mut AfterCommit,
) -> Result<WebhookAction> {
    // A look without locks: settling looks again, with the payment locked.
    let step = payment_states::next(entries::state(conn, &money.payment_id).await?, event);
    match step {
        PaymentStep::NoteFailure => {
            settlement::note_failure(conn, &money.order_id).await?;
            return Ok(WebhookAction::Done("failure_noted"));
        }
        PaymentStep::Capture | PaymentStep::Settle | PaymentStep::SettleReturned => {}
        _ => return Ok(WebhookAction::Done("settled_before")),
    }
    if orders::booking(conn, &money.order_id).await?.is_none() {
        return Ok(WebhookAction::FindOrder(money));
    }
    if step == PaymentStep::Capture {
        return Ok(WebhookAction::Capture(money));
    }
    settle(conn, &money, after).await.map(WebhookAction::Done)
}

/// Settles captured money; returns the outcome for the inbox.
pub async fn settle(
    conn: &mut PgConnection,
    money: &ProviderPayment,
    after: &mut AfterCommit,
) -> Result<&'static str> {
    Ok(match settlement::settle(conn, money, after).await? {
        Settled::Confirmed => "confirmed",
        Settled::Already => "settled_before",
        Settled::Refunded(reason) => reason.name(),
    })
}
