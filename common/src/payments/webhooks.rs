//! The inbox: stores Razorpay's webhooks byte for byte, together with the job that acts on them,
//! and reads them.

use std::{collections::HashMap, sync::Arc};

use serde::Deserialize;
use serde_json::Value;
use sha2::{Digest, Sha256};
use sqlx::{PgConnection, PgPool};

use super::{
    disputes::{Dispute, DisputeStatus},
    provider_refunds::{ProviderRefund, ProviderRefundStatus},
};
use crate::{
    error::Result,
    jobs::{self, payments::ProcessWebhook, wakeups},
    ledger::{entries::ProviderPayment, payment_states::PaymentEvent, refunds},
    providers::razorpay,
    storage::{groups::Groups, postgres::begin},
    types::{ids::WebhookId, money::CURRENCY, text::remove_nul},
};

/// A webhook whose signature has been checked.
#[derive(Clone, Debug)]
pub struct Incoming {
    /// `x-razorpay-event-id`, the same for every delivery of one event.
    pub event_id: Option<String>,
    /// The headers that tell where it comes from, by name.
    pub headers: Value,
    /// The signed bytes.
    pub body: Arc<[u8]>,
    /// The delivery's trace context.
    pub trace: Option<String>,
}

impl Incoming {
    /// What the inbox knows it by.
    fn key(&self) -> String {
        self.event_id.clone().unwrap_or_else(|| {
            let digest = Sha256::digest(&self.body);
            let hash = digest.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
            format!("sha256:{hash}")
        })
    }
}

/// The inbox: stores webhooks, many in one transaction, each together with the job that acts on
/// it. Says whether each is new.
pub fn inbox(db: PgPool) -> Groups<Incoming, bool> {
    Groups::new(move |incoming| {
        let db = db.clone();
        async move {
            let mut tx = begin(&db).await?;
            let new = receive(&mut tx, &incoming).await?;
            tx.commit().await?;
            wakeups::committed();
            Ok(new.into_iter().map(Ok).collect())
        }
    })
}

async fn receive(conn: &mut PgConnection, incoming: &[Incoming]) -> Result<Vec<bool>> {
    let keys: Vec<String> = incoming.iter().map(Incoming::key).collect();
    let (mut types, mut payments, mut orders) = (Vec::new(), Vec::new(), Vec::new());
    for webhook in incoming.iter().map(|incoming| Webhook::parse(&incoming.body)) {
        let (payment, order) = webhook.as_ref().map(Webhook::about).unwrap_or_default();
        payments.push(payment);
        orders.push(order);
        types.push(webhook.map_or_else(|| "unreadable".to_owned(), |webhook| webhook.event_type));
    }
    let headers: Vec<Value> = incoming.iter().map(|one| one.headers.clone()).collect();
    let bodies: Vec<&[u8]> = incoming.iter().map(|one| one.body.as_ref()).collect();
    // Of two deliveries of one event, the first is stored.
    let stored = sqlx::query!(
        r#"INSERT INTO webhook_events (event_id, event_type, headers, body, payment_id, order_id)
           SELECT * FROM unnest($1::text[], $2::text[], $3::jsonb[], $4::bytea[], $5::text[], $6::text[])
               AS incoming (event_id, event_type, headers, body, payment_id, order_id)
           ORDER BY event_id
           ON CONFLICT ON CONSTRAINT webhook_events_event_key DO NOTHING RETURNING id AS "id: WebhookId", event_id"#,
        &keys,
        &types,
        &headers,
        &bodies as &[&[u8]],
        &payments,
        &orders,
    )
    .fetch_all(&mut *conn)
    .await?;
    let mut stored: HashMap<String, WebhookId> =
        stored.into_iter().map(|row| (row.event_id, row.id)).collect();
    let mut jobs = Vec::with_capacity(stored.len());
    let mut new = Vec::with_capacity(incoming.len());
    for (key, incoming) in keys.iter().zip(incoming) {
        let id = stored.remove(key);
        new.push(id.is_some());
        jobs.extend(
            id.map(|webhook_event_id| {
                (ProcessWebhook { webhook_event_id }, incoming.trace.clone())
            }),
        );
    }
    jobs::enqueue_all(conn, &jobs).await?;
    Ok(new)
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

/// The bodies of those of several stored webhooks that have not been dealt with.
pub(super) async fn open_all(
    conn: &mut PgConnection,
    ids: &[WebhookId],
) -> Result<HashMap<WebhookId, Vec<u8>>> {
    let rows = sqlx::query!(
        r#"SELECT id AS "id: WebhookId", body FROM webhook_events WHERE id = ANY ($1) AND processed_at IS NULL"#,
        ids as _,
    )
    .fetch_all(conn)
    .await?;
    Ok(rows.into_iter().map(|row| (row.id, row.body)).collect())
}

/// Records what several webhooks led to.
pub(super) async fn close_all(
    conn: &mut PgConnection,
    outcomes: &[(WebhookId, &'static str)],
) -> Result<()> {
    let (ids, outcomes): (Vec<WebhookId>, Vec<&str>) = outcomes.iter().copied().unzip();
    sqlx::query!(
        "UPDATE webhook_events w SET processed_at = now(), outcome = closed.outcome
         FROM unnest($1::bigint[], $2::text[]) AS closed (id, outcome) WHERE w.id = closed.id",
        &ids as _,
        &outcomes as &[&str],
    )
    .execute(conn)
    .await?;
    Ok(())
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
