//! What a webhook leads to. Whatever needs Razorpay is left to the caller, who asks outside any
//! transaction and comes back; everything else is done here, in the caller's transaction.

use sqlx::PgConnection;

use super::{
    disputes, orders, refund_updates,
    settlement::{self, Settled},
    webhooks::Told,
};
use crate::{
    error::Result,
    ledger::{
        alerts,
        entries::{self, Captured},
        payment_states::{self, PaymentEvent, PaymentStep},
    },
    realtime::AfterCommit,
    types::{
        alert_reason::AlertReason,
        ids::{EventId, WebhookId},
    },
};

/// What came of a webhook.
#[derive(Debug)]
pub enum Acted {
    /// It has been dealt with; as the inbox remembers it.
    Done(&'static str),
    /// Razorpay has to capture this first; then it is to be settled.
    Capture(Captured),
    /// Our books do not have the payment's order. Razorpay may say whose it is: see
    /// [`installation`](super::installation).
    FindOrder(Captured),
}

/// The event whose inventory a webhook may need, if it is about a booking of ours.
pub async fn event(conn: &mut PgConnection, told: &Told) -> Result<Option<EventId>> {
    let (order_id, payment_id) = match told {
        Told::Payment(_, money) => (money.order_id.as_str(), &money.payment_id),
        Told::Refund(_, refund) => ("", &refund.payment.payment_id),
        Told::Dispute(dispute) => ("", &dispute.payment_id),
        Told::Unreadable | Told::Nothing => return Ok(None),
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
    told: Told,
    after: &mut AfterCommit,
) -> Result<Acted> {
    match told {
        Told::Payment(event, money) => payment(conn, event, money, after).await,
        Told::Refund(status, refund) => {
            let payment = &refund.payment;
            // The reconciler finds it, should our books have its payment later.
            if !settlement::is_ours(conn, &payment.payment_id, &payment.order_id).await? {
                return Ok(Acted::Done("not_ours"));
            }
            refund_updates::follow(conn, &refund, status, after).await?;
            Ok(Acted::Done("refund_followed"))
        }
        Told::Dispute(dispute) => {
            let order_id = dispute.payment.as_ref().map_or("", |payment| &payment.order_id);
            // Should our books have its payment later, the reconciler finds the dispute.
            if !settlement::is_ours(conn, &dispute.payment_id, order_id).await? {
                return Ok(Acted::Done("not_ours"));
            }
            let news = disputes::follow(conn, &dispute, after).await?;
            Ok(Acted::Done(if news { "dispute_followed" } else { "known_before" }))
        }
        Told::Unreadable => {
            let (subject, details) = (format!("webhook {inbox_id}"), "see webhook_events");
            alerts::raise(conn, AlertReason::Unreadable, &subject, None, details).await?;
            Ok(Acted::Done("unreadable"))
        }
        Told::Nothing => Ok(Acted::Done("ignored")),
    }
}

async fn payment(
    conn: &mut PgConnection,
    event: PaymentEvent,
    money: Captured,
    after: &mut AfterCommit,
) -> Result<Acted> {
    // A look: whoever settles looks again, with the payment held.
    let step = payment_states::next(entries::state(conn, &money.payment_id).await?, event);
    match step {
        PaymentStep::NoteFailure => {
            settlement::note_failure(conn, &money.order_id).await?;
            return Ok(Acted::Done("failure_noted"));
        }
        PaymentStep::Capture | PaymentStep::Settle | PaymentStep::SettleReturned => {}
        _ => return Ok(Acted::Done("settled_before")),
    }
    if orders::booking(conn, &money.order_id).await?.is_none() {
        return Ok(Acted::FindOrder(money));
    }
    if step == PaymentStep::Capture {
        return Ok(Acted::Capture(money));
    }
    settle(conn, &money, after).await.map(Acted::Done)
}

/// Settles captured money; as the inbox remembers it.
pub async fn settle(
    conn: &mut PgConnection,
    money: &Captured,
    after: &mut AfterCommit,
) -> Result<&'static str> {
    Ok(match settlement::settle(conn, money, after).await? {
        Settled::Confirmed => "confirmed",
        Settled::Already => "settled_before",
        Settled::Refunded(reason) => reason.name(),
    })
}
