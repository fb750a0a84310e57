//! Razorpay's webhooks, and asking whether a payment has arrived (docs/contract.md#payments).

use std::time::Duration;

use axum::{Json, body::Body, extract::State};
use http::{HeaderMap, StatusCode};
use nexus_common::{
    Error,
    payments::{
        orders,
        webhooks::{self, Incoming},
    },
    providers::razorpay::webhook_is_signed,
};
use serde_json::{Map, Value, json};

use crate::{
    answers::{WebhookRefused, WebhookStored},
    app::App,
    error::Outcome,
    extract::{Caller, Fields, read},
};

/// `GET /payments/verify/:orderId`
pub(crate) async fn verify(
    State(app): State<App>,
    caller: Caller,
    Fields(path): Fields,
) -> Outcome<Json<Value>> {
    let order_id = path.text("order_id").unwrap_or_default();
    let mut conn = app.db.acquire().await?;
    let state = orders::state(&mut conn, order_id, caller.user).await?;
    Ok(Json(json!({ "success": true, "data": state })))
}

/// Razorpay hangs up after 5 s (docs/providers.md#razorpay); a 503 before that says more. Should
/// the webhook have been stored after all, the next delivery finds it.
const PATIENCE: Duration = Duration::from_secs(4);

/// `POST /payments/webhook`: stored together with the job that acts on it, then 200. Anything but
/// 200 makes Razorpay try again, so only forgeries and our own failure to store are refused.
pub(crate) async fn webhook(
    State(app): State<App>,
    headers: HeaderMap,
    body: Body,
) -> Result<Json<WebhookStored>, (StatusCode, Json<WebhookRefused>)> {
    let refuse = |status, error: &str| {
        Err((status, Json(WebhookRefused { success: false, error: error.to_owned() })))
    };
    if app.settings.webhook_secrets.is_empty() {
        // Nobody can tell whose it is; perhaps the secret is set by the time it comes again.
        return refuse(StatusCode::SERVICE_UNAVAILABLE, "Webhooks are not available here");
    }
    let Some(signature) = headers.get("x-razorpay-signature") else {
        return refuse(StatusCode::BAD_REQUEST, "Missing Razorpay signature header");
    };
    let body = match read(&headers, body).await {
        Ok(body) => body,
        Err(failure) => return refuse(failure.status, &failure.message),
    };
    let signed = signature
        .to_str()
        .is_ok_and(|signature| webhook_is_signed(&app.settings.webhook_secrets, &body, signature));
    if !signed {
        tracing::warn!("a webhook without a valid signature was refused");
        return refuse(StatusCode::BAD_REQUEST, "Invalid webhook signature");
    }
    let event_id = headers
        .get("x-razorpay-event-id")
        .and_then(|value| value.to_str().ok())
        .filter(|id| (1..=200).contains(&id.len()));
    let incoming = Incoming { event_id, headers: kept(&headers), body: &body };
    let stored = tokio::time::timeout(PATIENCE, store(&app, &incoming)).await;
    match stored
        .unwrap_or_else(|_| Err(Error::Unavailable("storing a webhook took too long".into())))
    {
        Ok(new) => {
            tracing::debug!(event_id, new, "webhook stored");
            Ok(Json(WebhookStored { success: true, message: "Webhook processed successfully" }))
        }
        Err(error) => {
            tracing::error!(event_id, error = error.details(), "a webhook could not be stored");
            refuse(StatusCode::SERVICE_UNAVAILABLE, "Webhook could not be stored")
        }
    }
}

async fn store(app: &App, incoming: &Incoming<'_>) -> nexus_common::Result<bool> {
    let mut tx = app.db.begin().await?;
    let new = webhooks::receive(&mut tx, incoming).await?;
    tx.commit().await?;
    Ok(new)
}

/// Headers that tell where a webhook comes from; everything else is the way it took.
const KEPT: [&str; 4] =
    ["x-razorpay-signature", "x-razorpay-event-id", "content-type", "user-agent"];

fn kept(headers: &HeaderMap) -> Value {
    let text =
        |name: &str| Some(headers.get(name)?.to_str().ok()?.chars().take(500).collect::<String>());
    let kept = KEPT.iter().filter_map(|name| Some(((*name).to_owned(), text(name)?.into())));
    Value::Object(kept.collect::<Map<_, _>>())
}
