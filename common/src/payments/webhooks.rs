//! The inbox: stores Razorpay's webhooks byte for byte, together with the job that acts on them,
//! and reads them.

use serde::Deserialize;
use serde_json::Value;
use sha2::{Digest, Sha256};
use sqlx::PgConnection;

use super::{
    disputes::{Dispute, DisputeStatus},
    provider_refunds::{ProviderRefund, ProviderRefundStatus},
};
use crate::{
    error::Result,
    jobs::{self, payments::ProcessWebhook},
    ledger::{entries::ProviderPayment, payment_states::PaymentEvent, refunds},
    providers::razorpay,
    types::{ids::WebhookId, money::CURRENCY, text::remove_nul},
};

/// A webhook whose signature has been checked.
#[derive(Debug)]
pub struct Incoming<'a> {
    /// `x-razorpay-event-id`, the same for every delivery of one event.
    pub event_id: Option<&'a str>,
    /// The headers that tell where it comes from, by name.
    pub headers: Value,
    /// The signed bytes.
    pub body: &'a [u8],
}

/// Stores a webhook and enqueues the job that acts on it. False when it was stored before.
pub async fn receive(conn: &mut PgConnection, incoming: &Incoming<'_>) -> Result<bool> {
    let event_id = match incoming.event_id {
        Some(id) => id.to_owned(),
        None => {
            let digest = Sha256::digest(incoming.body);
            format!(
                "sha256:{}",
                digest.iter().map(|byte| format!("{byte:02x}")).collect::<String>()
            )
        }
    };
    let webhook = Webhook::parse(incoming.body);
    let (payment_id, order_id) = webhook.as_ref().map(Webhook::about).unwrap_or_default();
    let event_type = webhook.map_or_else(|| "unreadable".to_owned(), |webhook| webhook.event_type);
    let stored = sqlx::query_scalar!(
        "INSERT INTO webhook_events (event_id, event_type, headers, body, payment_id, order_id) VALUES ($1, $2, $3, $4, $5, $6)
         ON CONFLICT ON CONSTRAINT webhook_events_event_key DO NOTHING RETURNING id AS \"id: WebhookId\"",
        event_id,
        event_type,
        incoming.headers,
        incoming.body,
        payment_id,
        order_id,
    )
    .fetch_optional(&mut *conn)
    .await?;
    let Some(webhook_event_id) = stored else { return Ok(false) };
    jobs::enqueue(conn, &ProcessWebhook { webhook_event_id }).await?;
    Ok(true)
}

/// The body of a stored webhook that has not been dealt with.
pub async fn open(conn: &mut PgConnection, id: WebhookId) -> Result<Option<Vec<u8>>> {
    let body = sqlx::query_scalar!(
        "SELECT body FROM webhook_events WHERE id = $1 AND processed_at IS NULL",
        id as _,
    )
    .fetch_optional(conn)
    .await?;
    Ok(body)
}

/// Records what a webhook led to.
pub async fn close(conn: &mut PgConnection, id: WebhookId, outcome: &str) -> Result<()> {
    sqlx::query!(
        "UPDATE webhook_events SET processed_at = now(), outcome = $2 WHERE id = $1",
        id as _,
        outcome,
    )
    .execute(conn)
    .await?;
    Ok(())
}

/// The parts of a webhook that we look at.
#[derive(Debug)]
pub struct Webhook {
    /// `payment.captured` and the like.
    pub event_type: String,
    payload: Value,
}

impl Webhook {
    /// Reads a webhook's body; `None` when it is not a JSON object.
    pub fn parse(body: &[u8]) -> Option<Self> {
        let mut body: Value = serde_json::from_slice(body).ok()?;
        remove_nul(&mut body);
        let event_type = body.as_object()?.get("event").and_then(Value::as_str);
        Some(Webhook {
            event_type: event_type.unwrap_or("unknown").to_owned(),
            payload: body["payload"].take(),
        })
    }

    /// What it is about, as far as that is money.
    pub fn event(&self) -> WebhookEvent {
        let payment = |event| self.payment().map(|money| WebhookEvent::Payment(event, money));
        let refund = |status| self.refund().map(|refund| WebhookEvent::Refund(status, refund));
        let dispute = |status| self.dispute(status).map(WebhookEvent::Dispute);
        let event = match self.event_type.as_str() {
            "payment.captured" | "order.paid" => payment(PaymentEvent::Captured),
            "payment.authorized" => payment(PaymentEvent::Authorized),
            "payment.failed" => payment(PaymentEvent::Failed),
            "refund.created" => refund(ProviderRefundStatus::Requested),
            "refund.processed" => refund(ProviderRefundStatus::Processed),
            "refund.failed" => refund(ProviderRefundStatus::Failed),
            "payment.dispute.created" => dispute(None),
            "payment.dispute.under_review" => dispute(Some(DisputeStatus::UnderReview)),
            "payment.dispute.action_required" => dispute(Some(DisputeStatus::ActionRequired)),
            "payment.dispute.won" => dispute(Some(DisputeStatus::Won)),
            "payment.dispute.lost" => dispute(Some(DisputeStatus::Lost)),
            "payment.dispute.closed" => dispute(Some(DisputeStatus::Closed)),
            _ => Some(WebhookEvent::Ignored),
        };
        event.unwrap_or(WebhookEvent::Unreadable)
    }

    /// Its payment's and order's ids, wherever it names them; empty where it names none.
    fn about(&self) -> (String, String) {
        let text = |entity: &str, field: &str| {
            let text = self.entity(entity)?.get(field)?.as_str()?;
            // Longer text is no id, and does not fit into an index.
            Some(text.to_owned()).filter(|text| (1..=200).contains(&text.len()))
        };
        let payment = text("payment", "id")
            .or_else(|| text("refund", "payment_id"))
            .or_else(|| text("dispute", "payment_id"));
        let order = text("payment", "order_id").or_else(|| text("order", "id"));
        (payment.unwrap_or_default(), order.unwrap_or_default())
    }

    /// The entity of that name: wrapped in `entity`, as Razorpay sends it, or bare.
    fn entity(&self, name: &str) -> Option<&Value> {
        let wrapper = self.payload.get(name)?;
        Some(wrapper.get("entity").unwrap_or(wrapper)).filter(|entity| entity.is_object())
    }

    /// Its payment, if it names an amount. We did not ask for a payment without an order.
    fn payment(&self) -> Option<ProviderPayment> {
        let entity = self.entity("payment")?;
        let text = |field: &str| entity.get(field).and_then(Value::as_str).map(str::to_owned);
        Some(ProviderPayment {
            payment_id: text("id")?,
            order_id: text("order_id").unwrap_or_default(),
            amount_paise: entity.get("amount")?.as_i64().filter(|amount| *amount > 0)?,
            currency: text("currency").unwrap_or_else(|| CURRENCY.into()),
        })
    }

    /// Its dispute, if its event is about one.
    fn dispute(&self, status: Option<DisputeStatus>) -> Option<Dispute> {
        let theirs = razorpay::Dispute::deserialize(self.entity("dispute")?).ok()?;
        let dispute = Dispute::of(&theirs)?;
        let status = status.unwrap_or(dispute.status);
        Some(Dispute { status, payment: self.payment(), ..dispute })
    }

    fn refund(&self) -> Option<ProviderRefund> {
        let entity = self.entity("refund")?;
        let text = |field: &str| entity.get(field).and_then(Value::as_str);
        let positive = |entity: &Value| entity.get("amount")?.as_i64().filter(|amount| *amount > 0);
        let payment_id = text("payment_id")?;
        let payment = self.entity("payment");
        // Refunds of a whole payment have come without an amount.
        let whole = payment.and_then(positive);
        let order_id =
            payment.and_then(|payment| payment.get("order_id")?.as_str()).unwrap_or_default();
        let amount_paise = positive(entity).or(whole)?;
        Some(ProviderRefund {
            refund_id: text("id")?.to_owned(),
            amount_paise,
            ours: refunds::is_ours(payment_id, text("receipt")),
            payment: ProviderPayment {
                payment_id: payment_id.to_owned(),
                order_id: order_id.to_owned(),
                amount_paise: whole.unwrap_or(amount_paise),
                currency: text("currency").unwrap_or(CURRENCY).to_owned(),
            },
        })
    }
}

/// What a webhook tells us of.
#[derive(Debug)]
pub enum WebhookEvent {
    /// Something happened to a payment.
    Payment(PaymentEvent, ProviderPayment),
    /// Something happened to a refund.
    Refund(ProviderRefundStatus, ProviderRefund),
    /// Something happened to a dispute.
    Dispute(Dispute),
    /// About money, but not understandable.
    Unreadable,
    /// About nothing that matters here.
    Ignored,
}
