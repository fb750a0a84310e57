//! Every request gets an id, a trace, a deadline, one log line and its metrics at its end, and the
//! body of its failure.

use std::time::Instant;

use axum::{
    Json,
    extract::{MatchedPath, Request},
    response::{IntoResponse, Response},
};
use http::{HeaderMap, HeaderName, HeaderValue, Method, header};
use nexus_common::observability::{
    metrics,
    traces::{self, OpenTelemetrySpanExt},
};
use tracing::{Instrument, Span, field};
use uuid::Uuid;

use super::{
    layers::{Answer, Layer},
    rate_limits,
};
use crate::http::{
    api_error::ApiError,
    found::Found,
    policy::{DEADLINE, Envelope, Policies},
};

pub(crate) static REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// Logs requests.
pub(crate) struct Log(pub(crate) Policies);

/// Says which route was found, within the router.
pub(crate) fn name_route(request: Request) -> Request {
    let extensions = request.extensions();
    if let Some(found) = extensions.get::<Found>()
        && let Some(matched) = extensions.get::<MatchedPath>()
    {
        found.set_route(matched.clone());
        name(&Span::current(), request.method(), matched.as_str());
    }
    request
}

impl Layer for Log {
    async fn around(&self, mut request: Request, inner: &impl Answer) -> Response {
        let started = Instant::now();
        let method = request.method().clone();
        let envelope = self.0.of(request.uri().path()).envelope;
        let is_socket = request.uri().path().starts_with(SOCKET_IO);
        let id = request_id(request.headers());
        let found = Found::new(&id);
        request.extensions_mut().insert(found.clone());
        let (span, trace_id) = begin(&request, &id, is_socket);

        let served = inner.answer(request).instrument(span.clone());
        let mut response = match tokio::time::timeout(DEADLINE, served).await {
            Ok(response) => response,
            Err(_) => ApiError::timed_out().into_response(),
        };
        let route = match found.route() {
            Some(matched) => matched.as_str(),
            None if is_socket => SOCKET_IO,
            None => UNMATCHED,
        };
        let failure =
            response.extensions_mut().remove::<ApiError>().or_else(|| unexplained(&response));
        let status = response.status().as_u16();
        let took = started.elapsed();
        metrics::request(method_label(&method), route, status, took);
        if route == UNMATCHED {
            name(&span, &method, route);
        }
        if !is_socket {
            describe(&span, &method, &id, status);
        }
        if status >= 500 {
            traces::failed(&span, failure.as_ref().map_or("", |failure| failure.code.as_ref()));
        }
        let duration_ms = took.as_millis() as u64;
        let (user_id, address) = (found.user().map(|user| user.0), found.address());
        match failure.as_ref().and_then(|failure| failure.details.as_deref()) {
            Some(error) => {
                tracing::error!(request_id = id, trace_id, %method, route, status, duration_ms, user_id, address, error, "request failed");
            }
            None => tracing::info!(
                request_id = id,
                trace_id,
                %method,
                route,
                status,
                duration_ms,
                user_id,
                address,
                code = failure.as_ref().map(|failure| failure.code.as_ref()),
                "request"
            ),
        }
        if let Some(failure) = failure {
            write_failure(&mut response, &failure, envelope, &id);
        }
        if let Ok(id) = HeaderValue::from_str(&id) {
            response.headers_mut().insert(&REQUEST_ID, id);
        }
        response
    }
}

/// The client's, or a new one.
pub(super) fn request_id(headers: &HeaderMap) -> String {
    let sent = headers.get(&REQUEST_ID).and_then(|value| value.to_str().ok()).filter(|id| {
        (8..=64).contains(&id.len()) && id.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
    });
    sent.map_or_else(|| Uuid::now_v7().to_string(), str::to_owned)
}

/// The span of a request, and its trace's id.
fn begin(request: &Request, id: &str, is_socket: bool) -> (Span, Option<String>) {
    if is_socket {
        return (tracing::info_span!(target: traces::UNTRACED, "request", request_id = id), None);
    }
    let span = tracing::info_span!(
        "request",
        otel.kind = "server",
        http.route = field::Empty,
        request_id = id,
        user_id = field::Empty,
        address = field::Empty,
        trace_id = field::Empty,
    );
    let traceparent = request.headers().get("traceparent").and_then(|value| value.to_str().ok());
    let trace_id = traces::begin(&span, traceparent);
    (span, trace_id)
}

/// Names the span of a request, as soon as its route is known.
fn name(span: &Span, method: &Method, route: &str) {
    span.record("http.route", route);
    traces::rename(span, format!("{} {route}", method_label(method)));
}

/// What a trace says of a request at its end.
fn describe(span: &Span, method: &Method, id: &str, status: u16) {
    span.set_attribute("http.request.method", method_label(method).to_owned());
    span.set_attribute("http.response.status_code", i64::from(status));
    span.set_attribute("nexus.request_id", id.to_owned());
}

/// The JSON of a failure (docs/contract.md#failures); bookings and payments add `success:false`.
pub(super) fn write_failure(
    response: &mut Response,
    failure: &ApiError,
    envelope: Envelope,
    id: &str,
) {
    let body = Json(failure.body(id, envelope.has_success()));
    let mut written = (failure.status, body).into_response();
    // Headers that inner layers set (Allow, CORS, Vary) stay, except those about the body.
    for (name, value) in response.headers() {
        if *name != header::CONTENT_LENGTH && *name != header::CONTENT_TYPE {
            written.headers_mut().append(name, value.clone());
        }
    }
    if let Some(usage) = &failure.usage {
        rate_limits::tell(written.headers_mut(), usage);
    }
    if let Some(seconds) = failure.retry_after() {
        written.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(seconds));
    }
    *response = written;
}

/// A refusal by one of our libraries, without a body.
fn unexplained(response: &Response) -> Option<ApiError> {
    let status = response.status();
    let is_failure = status.is_client_error() || status.is_server_error();
    let is_bare = is_failure && !response.headers().contains_key(header::CONTENT_TYPE);
    is_bare.then(|| ApiError::of_status(status))
}

/// Socket.IO's polls wait on purpose: they stay out of the other requests' times, and out of
/// traces.
const SOCKET_IO: &str = "/socket.io";
/// Requests without a route.
const UNMATCHED: &str = "unmatched";

/// One of a few labels: a method can be any word.
fn method_label(method: &Method) -> &str {
    let known = [
        Method::GET,
        Method::HEAD,
        Method::POST,
        Method::PUT,
        Method::PATCH,
        Method::DELETE,
        Method::OPTIONS,
    ];
    if known.contains(method) { method.as_str() } else { "OTHER" }
}
