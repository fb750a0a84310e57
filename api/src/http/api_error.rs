//! From failures to HTTP (docs/contract.md#failures). A failure travels as a response extension;
//! [`server::request_log`](crate::server) writes its body, because only that layer knows the
//! request's id, and logs it once.

use std::borrow::Cow;

use axum::response::{IntoResponse, Response};
use http::StatusCode;
use nexus_common::{
    Error,
    error::Kind,
    error::come_again,
    types::{ids::EventId, puzzle::Puzzle, usage::Usage},
};
use serde_json::{Value, json};

/// Why a request was not served.
#[derive(Clone, Debug)]
pub(crate) struct ApiError {
    pub(crate) status: StatusCode,
    pub(crate) code: Cow<'static, str>,
    pub(crate) message: String,
    /// For the log only.
    pub(crate) details: Option<String>,
    /// The state of the limit that refused it.
    pub(crate) usage: Option<Usage>,
    /// When to come again: seconds.
    pub(crate) retry_after: Option<u32>,
    /// What the caller may solve to be let past it.
    pub(crate) way_on: Option<Box<WayOn>>,
}

/// What the caller can do instead.
#[derive(Clone, Debug)]
pub(crate) enum WayOn {
    /// Solve it.
    Puzzle(Puzzle),
    /// Go to this event's waiting room.
    Queue(EventId),
}

/// Where an event's waiting room is.
pub(crate) fn queue(event: EventId) -> String {
    format!("/api/v1/events/{event}/queue")
}

pub(crate) type Outcome<T> = Result<T, ApiError>;

impl ApiError {
    /// A failure that only HTTP knows.
    pub(crate) fn http(
        status: StatusCode,
        code: impl Into<Cow<'static, str>>,
        message: impl Into<String>,
    ) -> Self {
        ApiError {
            status,
            code: code.into(),
            message: message.into(),
            details: None,
            usage: None,
            retry_after: None,
            way_on: None,
        }
    }

    /// A failure that one of our libraries answers without a word: the status must do.
    pub(crate) fn of_status(status: StatusCode) -> Self {
        let words = status.canonical_reason().unwrap_or("Failed");
        Self::http(status, words.to_ascii_lowercase().replace([' ', '-'], "_"), words)
    }

    /// Its JSON (docs/contract.md#failures), with `success` if `with_success`.
    pub(crate) fn body(&self, request_id: &str, with_success: bool) -> Value {
        let mut body = json!({ "error": { "message": self.message, "code": self.code, "request_id": request_id } });
        if let Some(seconds) = self.retry_after {
            body["error"]["retryAfter"] = json!(seconds);
        }
        if let Some(usage) = &self.usage {
            body["error"]["limit"] = json!(usage.limit);
            body["error"]["current"] = json!(usage.used);
        }
        match self.way_on.as_deref() {
            Some(WayOn::Puzzle(puzzle)) => body["error"]["puzzle"] = json!(puzzle),
            Some(WayOn::Queue(event)) => body["error"]["queue"] = json!(queue(*event)),
            None => {}
        }
        if with_success {
            body["success"] = json!(false);
        }
        body
    }

    /// Whether the same request may succeed a little later.
    pub(crate) fn may_pass(&self) -> bool {
        self.status.is_server_error()
            || matches!(self.status, StatusCode::UNAUTHORIZED | StatusCode::TOO_MANY_REQUESTS)
            || self.code == Error::RequestInFlight.code()
    }

    /// When to come again, in seconds, for the header that says it: whatever is away may be back
    /// soon, and must not be met by everybody at once.
    pub(crate) fn retry_after(&self) -> Option<u64> {
        let is_away = self.status == StatusCode::SERVICE_UNAVAILABLE;
        self.retry_after.map(u64::from).or_else(|| is_away.then(|| come_again().as_secs()))
    }

    /// There is no such route.
    pub(crate) fn route_not_found() -> Self {
        Self::http(StatusCode::NOT_FOUND, "route_not_found", "Route not found")
    }

    /// The route has only other methods.
    pub(crate) fn method_not_allowed() -> Self {
        Self::http(StatusCode::METHOD_NOT_ALLOWED, "method_not_allowed", "Method not allowed")
    }

    /// The body is not the JSON that it claims to be.
    pub(crate) fn malformed_json() -> Self {
        Self::http(StatusCode::BAD_REQUEST, "malformed_json", "Request body is not valid JSON")
    }

    /// The body is JSON without fields.
    pub(crate) fn not_an_object() -> Self {
        Self::http(StatusCode::BAD_REQUEST, "not_an_object", "Request body must be a JSON object")
    }

    /// The body ended early.
    pub(crate) fn incomplete_body() -> Self {
        Self::http(StatusCode::BAD_REQUEST, "incomplete_body", "Request body could not be read")
    }

    /// The body is too long.
    pub(crate) fn body_too_large() -> Self {
        Self::http(StatusCode::PAYLOAD_TOO_LARGE, "body_too_large", "Request body is too large")
    }

    /// The body is not JSON.
    pub(crate) fn unsupported_media_type() -> Self {
        let message = "Content-Type must be application/json";
        Self::http(StatusCode::UNSUPPORTED_MEDIA_TYPE, "unsupported_media_type", message)
    }

    /// The body is compressed.
    pub(crate) fn unsupported_content_encoding() -> Self {
        let message = "Content-Encoding is not supported; send the body uncompressed";
        Self::http(StatusCode::UNSUPPORTED_MEDIA_TYPE, "unsupported_content_encoding", message)
    }

    /// The request takes too long to arrive.
    pub(crate) fn request_timeout() -> Self {
        let message = "The request took too long to arrive";
        Self::http(StatusCode::REQUEST_TIMEOUT, "request_timeout", message)
    }

    /// The request's URI is too long.
    pub(crate) fn uri_too_long() -> Self {
        Self::http(StatusCode::URI_TOO_LONG, "uri_too_long", "Request URI is too long")
    }

    /// The request has too many headers, or too much in them.
    pub(crate) fn headers_too_large() -> Self {
        let message = "Request headers are too large";
        Self::http(StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE, "headers_too_large", message)
    }

    /// The request was not answered in time.
    pub(crate) fn timed_out() -> Self {
        Error::Unavailable("the request took too long".into()).into()
    }
}

impl From<Error> for ApiError {
    fn from(error: Error) -> Self {
        let status = match error.kind() {
            Kind::Validation => StatusCode::BAD_REQUEST,
            Kind::Unauthenticated => StatusCode::UNAUTHORIZED,
            Kind::Forbidden => StatusCode::FORBIDDEN,
            Kind::NotFound => StatusCode::NOT_FOUND,
            Kind::Conflict => StatusCode::CONFLICT,
            Kind::Gone => StatusCode::GONE,
            Kind::Mismatch => StatusCode::UNPROCESSABLE_ENTITY,
            Kind::TooMany => StatusCode::TOO_MANY_REQUESTS,
            Kind::Provider => StatusCode::BAD_GATEWAY,
            Kind::Unavailable | Kind::Off => StatusCode::SERVICE_UNAVAILABLE,
            Kind::Internal => StatusCode::INTERNAL_SERVER_ERROR,
        };
        // A feature that is off on purpose is not a defect, nor is it one that many people come.
        let is_defect = status.is_server_error()
            && error.kind() != Kind::Off
            && !matches!(error, Error::Overloaded(_));
        let details = is_defect.then(|| error.details());
        ApiError {
            status,
            code: error.code().into(),
            message: error.to_string(),
            details,
            usage: error.usage(),
            retry_after: error.retry_after(),
            way_on: error
                .puzzle()
                .cloned()
                .map(WayOn::Puzzle)
                .or_else(|| error.queue().map(WayOn::Queue))
                .map(Box::new),
        }
    }
}

impl From<sqlx::Error> for ApiError {
    fn from(error: sqlx::Error) -> Self {
        Error::from(error).into()
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let mut response = self.status.into_response();
        response.extensions_mut().insert(self);
        response
    }
}
