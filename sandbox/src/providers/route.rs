//! [`route`] is the frame around every provider's HTTP route: recorded, faulty on demand,
//! authenticated.

use std::sync::Arc;

use axum::Json;
use axum::extract::{Request, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use axum::routing::MethodRouter;
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use chrono::Utc;
use serde_json::{Value, json};

use super::calls::Call;
use super::provider_state::ProviderState;
use super::razorpay::Refusal;
use super::server::{HangUp, hang_up};
use super::target::Target;
use super::twilio;

type Handler = MethodRouter<Arc<ProviderState>>;

/// The frame around a provider's route: its calls are recorded, fail on demand, and need
/// credentials.
pub(crate) fn route(state: &Arc<ProviderState>, target: Target, handler: Handler) -> Handler {
    observed(state, target, faulty(state, target, handler))
}

/// The same for a provider that knows no credentials.
pub(crate) fn open_route(state: &Arc<ProviderState>, target: Target, handler: Handler) -> Handler {
    let faulty = handler.layer(from_fn_with_state((state.clone(), target), inject));
    observed(state, target, faulty)
}

/// The outer half of [`route`].
pub(crate) fn observed(state: &Arc<ProviderState>, target: Target, handler: Handler) -> Handler {
    handler.layer(from_fn_with_state((state.clone(), target), observe))
}

/// The inner half of [`route`].
pub(crate) fn faulty(state: &Arc<ProviderState>, target: Target, handler: Handler) -> Handler {
    let state = (state.clone(), target);
    handler
        .layer(from_fn_with_state(state.clone(), authenticate))
        .layer(from_fn_with_state(state, inject))
}

async fn observe(
    State((state, target)): State<(Arc<ProviderState>, Target)>,
    request: Request,
    next: Next,
) -> Response {
    let (at, method, path) = (Utc::now(), request.method().to_string(), request.uri().to_string());
    // A task of its own: a provider finishes what it began even when the caller has given up
    // waiting.
    let work = tokio::spawn(async move {
        let response = next.run(request).await;
        let hung_up = response.extensions().get::<HangUp>().is_some();
        let status = (!hung_up).then(|| response.status().as_u16());
        state.calls.record(Call { at, target, method, path, status });
        response
    });
    work.await.unwrap_or_else(|_| hang_up())
}

/// Makes the call go wrong if a fault waits for it.
async fn inject(
    State((state, target)): State<(Arc<ProviderState>, Target)>,
    request: Request,
    next: Next,
) -> Response {
    let fault = state.faults.take(target, request.uri().path());
    fault.wait_before().await;
    if fault.drop {
        return hang_up();
    }
    if let Some(status) = fault.status {
        return failure(target, status).into_response();
    }
    let response = next.run(request).await;
    fault.wait_after().await;
    if fault.drop_after { hang_up() } else { response }
}

async fn authenticate(
    State((state, target)): State<(Arc<ProviderState>, Target)>,
    request: Request,
    next: Next,
) -> Response {
    let config = &state.config;
    let expected = if target.is_razorpay() {
        format!("{}:{}", config.razorpay_key_id, config.razorpay_key_secret)
    } else {
        format!("{}:{}", config.twilio_account_sid, config.twilio_auth_token)
    };
    if basic_credentials(request.headers()) == Some(expected) {
        next.run(request).await
    } else {
        unauthorised(target)
    }
}

fn basic_credentials(headers: &HeaderMap) -> Option<String> {
    let value = headers.get(header::AUTHORIZATION)?.to_str().ok()?;
    let (scheme, encoded) = value.split_once(' ')?;
    let decoded = BASE64_STANDARD.decode(encoded.trim()).ok()?;
    scheme.eq_ignore_ascii_case("basic").then(|| String::from_utf8(decoded).ok())?
}

/// A failure of the provider's own, in its shape.
fn failure(target: Target, status: u16) -> (StatusCode, Json<Value>) {
    let http = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    if target.is_razorpay() {
        let code = match status {
            502 | 504 => "GATEWAY_ERROR",
            500.. => "SERVER_ERROR",
            _ => "BAD_REQUEST_ERROR",
        };
        let description = match status {
            429 => "Too many requests",
            _ => {
                "We are facing some trouble completing your request at the moment. Please try again shortly."
            }
        };
        return (http, Json(json!({"error": {"code": code, "description": description}})));
    }
    if matches!(target, Target::BreachesRange | Target::CaptchaVerify) {
        return (http, Json(json!({"statusCode": status, "message": "Please try again."})));
    }
    let (code, message) = match status {
        401 => (20003, "Authenticate"),
        403 => (
            60410,
            "The destination phone number has been temporarily blocked by Twilio due to fraud",
        ),
        429 => (20429, "Too Many Requests"),
        _ => (20500, "An internal server error has occurred"),
    };
    (http, Json(twilio::error_body(status, code, message)))
}

fn unauthorised(target: Target) -> Response {
    if target.is_razorpay() {
        return Refusal::unauthorised().into_response();
    }
    failure(target, 401).into_response()
}
