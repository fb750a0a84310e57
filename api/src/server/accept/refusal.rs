//! Answers to requests that never reach a route: they are unreadable, arrive too slowly, or exceed
//! the number of connections.

use axum::{
    body::Bytes,
    response::{IntoResponse, Response},
};
use chrono::Utc;
use http::{HeaderValue, StatusCode, header};
use nexus_common::Error;
use uuid::Uuid;

use crate::{http::api_error::ApiError, server::headers};

/// There are too many connections already.
pub(super) fn busy() -> Bytes {
    written(&Error::overloaded().into())
}

/// The request's head did not arrive in time.
pub(super) fn too_slow() -> Bytes {
    written(&ApiError::request_timeout())
}

/// Refuses a request that hyper can read, and HTTP forbids, as hyper refuses what it cannot read:
/// [`instead_of`] words both.
pub(super) fn unreadable() -> Response {
    let mut response = StatusCode::BAD_REQUEST.into_response();
    response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
    response
}

/// The response to send instead of hyper's when it cannot read a request: hyper's has the right
/// status and nothing more, and all of ours have a request id.
pub(super) fn instead_of(head: &[u8]) -> Option<Bytes> {
    let failure = match head.get(8..13)? {
        b" 400 " => ApiError::http(
            StatusCode::BAD_REQUEST,
            "malformed_request",
            "Request is not valid HTTP",
        ),
        b" 414 " => ApiError::uri_too_long(),
        b" 431 " => ApiError::headers_too_large(),
        _ => return None,
    };
    let is_hypers = head.starts_with(b"HTTP/1.")
        && head.ends_with(b"\r\n\r\n")
        && !head.windows(ID.len()).any(|part| part.eq_ignore_ascii_case(ID));
    is_hypers.then(|| written(&failure))
}

const ID: &[u8] = b"x-request-id";

fn written(failure: &ApiError) -> Bytes {
    let id = Uuid::now_v7().to_string();
    let body = failure.body(&id, false).to_string();
    let mut text = format!(
        "HTTP/1.1 {}\r\ndate: {}\r\nconnection: close\r\ncontent-type: application/json\r\ncontent-length: {}\r\nx-request-id: {id}\r\n",
        failure.status,
        Utc::now().format("%a, %d %b %Y %H:%M:%S GMT"),
        body.len()
    );
    for (name, value) in headers::OF_EVERY_RESPONSE {
        text += &format!("{name}: {value}\r\n");
    }
    if let Some(seconds) = failure.retry_after() {
        text += &format!("retry-after: {seconds}\r\n");
    }
    (text + "cache-control: no-store\r\n\r\n" + &body).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hypers_responses_are_told_from_ours() {
        let said = |head: &str| instead_of(head.as_bytes());
        assert!(
            said("HTTP/1.1 431 Request Header Fields Too Large\r\nconnection: close\r\n\r\n")
                .is_some()
        );
        assert!(said("HTTP/1.1 400 Bad Request\r\nx-request-id: 1\r\n\r\n").is_none());
        assert!(said("HTTP/1.1 404 Not Found\r\n\r\n").is_none());
        assert!(said("").is_none());
    }
}
