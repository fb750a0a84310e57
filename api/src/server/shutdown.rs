//! Releases Socket.IO's long polls when the process stops. It drops their connections rather than
//! close them by the protocol: python-socketio takes a closed connection as unwanted and does not
//! return to it. Every client returns after a dropped one.

use axum::{
    extract::{Request, State},
    middleware::Next,
    response::{IntoResponse, Response},
};
use http::{Method, StatusCode};
use tokio_util::sync::CancellationToken;

use crate::http::api_error::ApiError;

/// Answers polls that would otherwise go on waiting.
pub(crate) async fn drop_polls(
    State(stopping): State<CancellationToken>,
    request: Request,
    next: Next,
) -> Response {
    if request.method() != Method::GET || !request.uri().path().starts_with("/socket.io") {
        return next.run(request).await;
    }
    tokio::select! {
        response = next.run(request) => response,
        () = stopping.cancelled() => {
            let message = "The server is restarting. Please try again.";
            ApiError::http(StatusCode::SERVICE_UNAVAILABLE, "restarting", message).into_response()
        }
    }
}
