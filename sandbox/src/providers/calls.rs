//! Who called what: every call at a provider is counted, and the newest are kept.
//!
//! [`route`] is the frame around every provider route: recorded, faulty on demand, authenticated.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex};

use axum::Json;
use axum::extract::{Request, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use axum::routing::MethodRouter;
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use chrono::{DateTime, Utc};
use serde::Serialize;
use serde_json::{Value, json};

use super::faults::{self, Target};
use super::razorpay::Refusal;
use super::recent;
use super::server::{HangUp, hang_up};
use super::twilio;
use super::world::{World, locked};

const LIMIT: usize = 1_000;

/// One call as the provider saw it.
#[derive(Debug, Clone, Serialize)]
pub struct Call {
    /// When it arrived.
    pub at: DateTime<Utc>,
    /// What kind of call it was.
    pub target: Target,
    /// HTTP method, or `DATA` for SMTP.
    pub method: String,
    /// Path, or the recipients for SMTP.
    pub path: String,
    /// The answer; `None` when the connection was dropped or no answer came.
    pub status: Option<u16>,
}

/// How often a target was called since the start.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Count {
    /// All calls.
    pub calls: u64,
    /// Those answered with 2xx.
    pub succeeded: u64,
}

#[derive(Debug, Default)]
struct Log {
    newest: VecDeque<Call>,
    counts: BTreeMap<Target, Count>,
}

#[derive(Debug, Default)]
pub(crate) struct Calls(Mutex<Log>);

impl Calls {
    pub(crate) fn record(&self, call: Call) {
        let mut log = locked(&self.0);
        let count = log.counts.entry(call.target).or_default();
        count.calls += 1;
        count.succeeded +=
            u64::from(call.status.is_some_and(|status| (200..300).contains(&status)));
        recent::push(&mut log.newest, LIMIT, call);
    }

    pub(crate) fn count(&self, target: Target) -> Count {
        locked(&self.0).counts.get(&target).copied().unwrap_or_default()
    }

    pub(crate) fn newest(&self) -> Vec<Call> {
        locked(&self.0).newest.iter().cloned().collect()
    }

    pub(crate) fn counts(&self) -> BTreeMap<Target, Count> {
        locked(&self.0).counts.clone()
    }

    pub(crate) fn clear(&self) {
        *locked(&self.0) = Log::default();
    }
}

impl Target {
    fn is_razorpay(self) -> bool {
        !matches!(
            self,
            Self::TwilioVerify | Self::TwilioCheck | Self::TwilioSms | Self::Smtp | Self::Webhook
        )
    }

    /// A failure of the provider's own, in its shape.
    pub(crate) fn failure(self, status: u16) -> (StatusCode, Json<Value>) {
        let http = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        if self.is_razorpay() {
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

    fn unauthorised(self) -> Response {
        if self.is_razorpay() {
            return Refusal::unauthorised().into_response();
        }
        self.failure(401).into_response()
    }
}

type Handler = MethodRouter<Arc<World>>;

/// The frame around a provider's route: its calls are recorded, fail on demand, and need
/// credentials.
pub(crate) fn route(world: &Arc<World>, target: Target, handler: Handler) -> Handler {
    observed(world, target, faulty(world, target, handler))
}

/// The outer half of [`route`].
pub(crate) fn observed(world: &Arc<World>, target: Target, handler: Handler) -> Handler {
    handler.layer(from_fn_with_state((world.clone(), target), observe))
}

/// The inner half of [`route`].
pub(crate) fn faulty(world: &Arc<World>, target: Target, handler: Handler) -> Handler {
    let state = (world.clone(), target);
    handler
        .layer(from_fn_with_state(state.clone(), authenticate))
        .layer(from_fn_with_state(state, faults::inject))
}

async fn observe(
    State((world, target)): State<(Arc<World>, Target)>,
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
        world.calls.record(Call { at, target, method, path, status });
        response
    });
    work.await.unwrap_or_else(|_| hang_up())
}

async fn authenticate(
    State((world, target)): State<(Arc<World>, Target)>,
    request: Request,
    next: Next,
) -> Response {
    let config = &world.config;
    let expected = if target.is_razorpay() {
        format!("{}:{}", config.razorpay_key_id, config.razorpay_key_secret)
    } else {
        format!("{}:{}", config.twilio_account_sid, config.twilio_auth_token)
    };
    if basic_credentials(request.headers()) == Some(expected) {
        next.run(request).await
    } else {
        target.unauthorised()
    }
}

fn basic_credentials(headers: &HeaderMap) -> Option<String> {
    let value = headers.get(header::AUTHORIZATION)?.to_str().ok()?;
    let (scheme, encoded) = value.split_once(' ')?;
    let decoded = BASE64_STANDARD.decode(encoded.trim()).ok()?;
    scheme.eq_ignore_ascii_case("basic").then(|| String::from_utf8(decoded).ok())?
}
