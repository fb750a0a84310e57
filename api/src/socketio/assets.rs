//! What a Socket.IO server does over plain HTTP besides the protocol: it serves the browser's
//! client to pages, and forbids caches to keep a poll.

use axum::{
    extract::Request,
    response::{IntoResponse, Response},
};
use http::{HeaderValue, Method, StatusCode, header};

use crate::{
    http::api_error::ApiError,
    server::{
        headers::RESOURCE_POLICY,
        layers::{Answer, Layer},
    },
};

/// The browser's client, as npm's socket.io-client has it.
const CLIENT: &str = include_str!("../../assets/socket.io.min.js");

/// Serves the client, and marks the responses to polls.
pub(crate) struct Assets;

impl Layer for Assets {
    async fn around(&self, request: Request, inner: &impl Answer) -> Response {
        let path = request.uri().path();
        let is_client = matches!(path, "/socket.io/socket.io.js" | "/socket.io/socket.io.min.js");
        if is_client && matches!(*request.method(), Method::GET | Method::HEAD) {
            let headers = [
                (header::CONTENT_TYPE, "application/javascript; charset=utf-8"),
                (header::CACHE_CONTROL, "public, max-age=0"),
                // Frontends of any origin load it from here.
                (RESOURCE_POLICY, "cross-origin"),
            ];
            return (headers, CLIENT).into_response();
        }
        let is_poll = path.starts_with("/socket.io");
        let mut response = inner.answer(request).await;
        match response.status() {
            StatusCode::OK if is_poll => {
                response
                    .headers_mut()
                    .insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
            }
            // The library's status for requests that do not follow the protocol.
            StatusCode::INTERNAL_SERVER_ERROR
                if is_poll && response.extensions().get::<ApiError>().is_none() =>
            {
                return ApiError::of_status(StatusCode::BAD_REQUEST).into_response();
            }
            _ => {}
        }
        response
    }
}
