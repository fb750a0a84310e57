//! Every request: an id, a trace, a deadline, one log line at its end, and the body of its failure.

use std::time::{Duration, Instant};

use axum::{
    Json,
    extract::{MatchedPath, Request},
    middleware::Next,
    response::{IntoResponse, Response},
};
use http::{HeaderName, HeaderValue, StatusCode, header};
use nexus_common::telemetry::TRACE;
use serde_json::json;
use uuid::Uuid;

use crate::error::{Failure, has_success_field};

pub(crate) static REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// No answer takes longer; locks of a database and of a queue are shorter.
const DEADLINE: Duration = Duration::from_secs(30);

/// Serves a request.
pub(crate) async fn serve(request: Request, next: Next) -> Response {
    let started = Instant::now();
    let method = request.method().clone();
    // The pattern, not the path: paths hold ids, and would make every request its own kind.
    let route = request.extensions().get::<MatchedPath>().map(|path| path.as_str().to_owned());
    let path = request.uri().path().to_owned();
    let id = request
        .headers()
        .get(&REQUEST_ID)
        .and_then(|value| value.to_str().ok())
        .filter(|id| {
            (8..=64).contains(&id.len()) && id.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
        })
        .map_or_else(|| Uuid::now_v7().to_string(), str::to_owned);
    let trace = request
        .headers()
        .get("traceparent")
        .and_then(|value| value.to_str().ok())
        .filter(|trace| is_traceparent(trace))
        .map_or_else(new_traceparent, str::to_owned);

    let mut response = match tokio::time::timeout(DEADLINE, TRACE.scope(trace, next.run(request))).await {
        Ok(response) => response,
        Err(_) => Failure::timed_out().into_response(),
    };
    let failure = response.extensions_mut().remove::<Failure>();
    let status = response.status().as_u16();
    let duration_ms = started.elapsed().as_millis() as u64;
    let route = route.as_deref().unwrap_or("-");
    match failure.as_ref().and_then(|failure| failure.details.as_deref()) {
        Some(error) => {
            tracing::error!(request_id = id, %method, route, status, duration_ms, error, "request failed");
        }
        None => tracing::info!(
            request_id = id,
            %method,
            route,
            status,
            duration_ms,
            code = failure.as_ref().map(|failure| failure.code.as_ref()),
            "request"
        ),
    }
    if let Some(failure) = failure {
        write_failure(&mut response, &failure, &path, &id);
    }
    if let Ok(id) = HeaderValue::from_str(&id) {
        response.headers_mut().insert(&REQUEST_ID, id);
    }
    response
}

/// The JSON of a failure (CONTRACT.md, section 9); bookings and payments add `success:false`.
fn write_failure(response: &mut Response, failure: &Failure, path: &str, id: &str) {
    let mut body = json!({ "error": { "message": failure.message, "code": failure.code, "request_id": id } });
    if has_success_field(path) {
        body["success"] = json!(false);
    }
    let mut written = (failure.status, Json(body)).into_response();
    // What inner layers said (Allow, CORS, Vary) stays, except about the body.
    for (name, value) in response.headers() {
        if *name != header::CONTENT_LENGTH && *name != header::CONTENT_TYPE {
            written.headers_mut().append(name, value.clone());
        }
    }
    if failure.status == StatusCode::SERVICE_UNAVAILABLE {
        written.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from_static("2"));
    }
    *response = written;
}

/// `00-<32 hex>-<16 hex>-<2 hex>` (W3C Trace Context).
fn is_traceparent(text: &str) -> bool {
    let parts: Vec<&str> = text.split('-').collect();
    parts.len() == 4
        && parts.iter().zip([2, 32, 16, 2]).all(|(part, length)| {
            part.len() == length && part.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'))
        })
}

fn new_traceparent() -> String {
    let (trace, span) = (Uuid::new_v4().simple().to_string(), Uuid::new_v4().simple().to_string());
    format!("00-{trace}-{}-01", &span[..16])
}
