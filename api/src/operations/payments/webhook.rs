//! `POST /payments/webhook`: Razorpay tells us of payments, refunds and disputes
//! (docs/contract.md#payments).

use std::time::Duration;

use axum::{
    Json,
    body::{Body, HttpBody},
    extract::State,
    response::{IntoResponse, Response},
};
use http::{HeaderMap, StatusCode, header};
use nexus_common::{
    Error, observability::traces, payments::webhooks::Incoming,
    providers::razorpay::webhook_is_signed,
};
use serde::Serialize;
use serde_json::{Map, Value};
use tokio::sync::Semaphore;
use utoipa::ToSchema;

use crate::{app::App, http::body_limits::read, spec::operation::Operation};

/// A webhook is stored.
#[derive(Serialize, ToSchema)]
pub(crate) struct WebhookStored {
    success: bool,
    message: &'static str,
}

/// A webhook is refused. Razorpay reads only the status.
#[derive(Serialize, ToSchema)]
pub(crate) struct WebhookRefused {
    success: bool,
    error: String,
}

/// Why, and with which status.
pub(crate) struct Refusal(StatusCode, String);

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let Refusal(status, error) = self;
        let body = Json(WebhookRefused { success: false, error });
        let later = [(header::RETRY_AFTER, "2")];
        match status {
            StatusCode::SERVICE_UNAVAILABLE => (status, later, body).into_response(),
            _ => (status, body).into_response(),
        }
    }
}

/// Razorpay's are a few KB long.
pub(crate) const LONGEST: usize = 256_000;
/// A webhook that may be longer than this takes a place while its body is in memory.
const SMALL: u64 = 16_000;
/// All places; whoever holds them with bodies that never end keeps out none of Razorpay's.
static LARGE: Semaphore = Semaphore::const_new(64);

/// Razorpay hangs up after 5 s (docs/providers.md#razorpay); a 503 before that says more. If the
/// webhook was stored after all, the next delivery finds it.
const STORE_TIMEOUT: Duration = Duration::from_secs(4);

/// Its text in the API documents.
pub(crate) fn spec() -> Operation {
    Operation::open("webhook", "Receive a Razorpay webhook")
        .description("Takes events of any kind, and stores each before it responds; Razorpay retries after anything but 200.")
        .header("X-Razorpay-Signature", true, "HMAC-SHA256 of the body's bytes, in hexadecimal digits.")
        .header("X-Razorpay-Event-Id", false, "The same for every delivery of one event.")
        .plain_response::<WebhookStored>(200, "Stored, now or before.")
        .plain_response::<WebhookRefused>(400, "The signature is missing or wrong.")
        .plain_response::<WebhookRefused>(413, "The body is longer than 256 KB.")
        .plain_response::<WebhookRefused>(415, "The body is compressed.")
        .plain_response::<WebhookRefused>(503, "It could not be stored, there are too many large ones at once, or RAZORPAY_WEBHOOK_SECRET is not set.")
}

/// Stores the webhook together with the job that acts on it, then answers 200. Any other status
/// makes Razorpay try again, so only forgeries and our own failures to store are refused.
pub(crate) async fn webhook(
    State(app): State<App>,
    headers: HeaderMap,
    body: Body,
) -> Result<Json<WebhookStored>, Refusal> {
    let refuse = |status, error: &str| Err(Refusal(status, error.to_owned()));
    if app.settings.webhook_secrets.is_empty() {
        // The signature cannot be checked; the secret may be set by the next delivery.
        return refuse(StatusCode::SERVICE_UNAVAILABLE, "Webhooks are not available here");
    }
    let Some(signature) = headers.get("x-razorpay-signature") else {
        return refuse(StatusCode::BAD_REQUEST, "Missing Razorpay signature header");
    };
    let forged = || {
        tracing::warn!("a webhook without a valid signature was refused");
        refuse(StatusCode::BAD_REQUEST, "Invalid webhook signature")
    };
    let Some(signature) = signature.to_str().ok().filter(|text| is_signature(text)) else {
        return forged();
    };
    let is_small = body.size_hint().upper().is_some_and(|length| length <= SMALL);
    let place = if is_small { None } else { LARGE.try_acquire().ok() };
    if !is_small && place.is_none() {
        return refuse(StatusCode::SERVICE_UNAVAILABLE, "Too many webhooks at once");
    }
    let body = match read(&headers, body).await {
        Ok(body) => body,
        Err(failure) => return refuse(failure.status, &failure.message),
    };
    if !webhook_is_signed(&app.settings.webhook_secrets, &body, signature) {
        return forged();
    }
    let event_id = headers
        .get("x-razorpay-event-id")
        .and_then(|value| value.to_str().ok())
        .filter(|id| (1..=200).contains(&id.len()));
    let incoming = Incoming {
        event_id: event_id.map(str::to_owned),
        headers: kept(&headers),
        body: body.as_ref().into(),
        trace: traces::current(),
    };
    let stored = tokio::time::timeout(STORE_TIMEOUT, app.inbox.call(incoming)).await;
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

/// Whether it can be one at all: nobody's body is read without.
fn is_signature(text: &str) -> bool {
    text.len() == 64 && text.bytes().all(|byte| byte.is_ascii_hexdigit())
}

/// Headers that tell where a webhook comes from; the others only tell its route.
const KEPT: [&str; 4] =
    ["x-razorpay-signature", "x-razorpay-event-id", "content-type", "user-agent"];

fn kept(headers: &HeaderMap) -> Value {
    let text =
        |name: &str| Some(headers.get(name)?.to_str().ok()?.chars().take(500).collect::<String>());
    let kept = KEPT.iter().filter_map(|name| Some(((*name).to_owned(), text(name)?.into())));
    Value::Object(kept.collect::<Map<_, _>>())
}
