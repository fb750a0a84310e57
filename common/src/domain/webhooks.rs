//! The inbox: Razorpay's webhooks, stored byte for byte together with the job that acts on them, and how they are read.

use serde_json::Value;
use sha2::{Digest, Sha256};
use sqlx::PgConnection;

use super::{input::remove_nul, payment_orders::CURRENCY, payments::Captured};
use crate::{
    error::Result,
    jobs::{self, payments::ProcessWebhook},
};

/// Stores a webhook and enqueues the job that acts on it. False when it was stored before.
pub async fn receive(
    conn: &mut PgConnection,
    event_id: Option<&str>,
    event_type: &str,
    body: &[u8],
) -> Result<bool> {
    let event_id = match event_id {
        Some(id) => id.to_owned(),
        None => {
            let digest = Sha256::digest(body);
            format!("sha256:{}", digest.iter().map(|byte| format!("{byte:02x}")).collect::<String>())
        }
    };
    let stored = sqlx::query_scalar!(
        "INSERT INTO webhook_events (event_id, event_type, body) VALUES ($1, $2, $3)
         ON CONFLICT ON CONSTRAINT webhook_events_event_key DO NOTHING RETURNING id",
        event_id,
        event_type,
        body,
    )
    .fetch_optional(&mut *conn)
    .await?;
    let Some(webhook_event_id) = stored else { return Ok(false) };
    jobs::enqueue(conn, &ProcessWebhook { webhook_event_id }).await?;
    Ok(true)
}

/// The body of a stored webhook, unless it has been dealt with.
pub async fn open(conn: &mut PgConnection, id: i64) -> Result<Option<Vec<u8>>> {
    let body =
        sqlx::query_scalar!("SELECT body FROM webhook_events WHERE id = $1 AND processed_at IS NULL", id)
            .fetch_optional(conn)
            .await?;
    Ok(body)
}

/// Remembers what a webhook led to.
pub async fn close(conn: &mut PgConnection, id: i64, outcome: &str) -> Result<()> {
    sqlx::query!("UPDATE webhook_events SET processed_at = now(), outcome = $2 WHERE id = $1", id, outcome)
        .execute(conn)
        .await?;
    Ok(())
}

/// The parts of a webhook that its handler looks at.
#[derive(Debug)]
pub struct Webhook {
    /// `payment.captured` and the like.
    pub event: String,
    payload: Value,
}

impl Webhook {
    /// Reads a webhook's body; `None` when it is no JSON object.
    pub fn parse(body: &[u8]) -> Option<Self> {
        let mut body: Value = serde_json::from_slice(body).ok()?;
        remove_nul(&mut body);
        let event = body.as_object()?.get("event").and_then(Value::as_str).unwrap_or("unknown").to_owned();
        Some(Webhook { event, payload: body["payload"].take() })
    }

    /// The entity of that name, wrapped in `entity` as Razorpay sends it, or bare.
    pub fn entity(&self, name: &str) -> Option<&Value> {
        let wrapper = self.payload.get(name)?;
        Some(wrapper.get("entity").unwrap_or(wrapper)).filter(|entity| entity.is_object())
    }

    /// The payment that the webhook is about, if it names its order and amount.
    pub fn payment(&self) -> Option<Captured> {
        let entity = self.entity("payment")?;
        let text = |field: &str| entity.get(field).and_then(Value::as_str).map(str::to_owned);
        Some(Captured {
            payment_id: text("id")?,
            order_id: text("order_id")?,
            amount_paise: entity.get("amount")?.as_i64().filter(|amount| *amount > 0)?,
            currency: text("currency").unwrap_or_else(|| CURRENCY.into()),
        })
    }
}
