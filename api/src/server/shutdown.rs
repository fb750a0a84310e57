//! Lets go of Socket.IO's long polls when the process stops. It drops its connections rather than
//! close them in the protocol's way: to python-socketio a closed connection is one that the server
//! does not want, to which it does not return. Every client returns to a dropped one.

use axum::{
    extract::{Request, State},
    middleware::Next,
    response::{IntoResponse, Response},
};
use http::{Method, StatusCode};
use tokio_util::sync::CancellationToken;

use crate::http::failure::Failure;

/// Answers polls that would go on waiting.
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
            Failure::http(StatusCode::SERVICE_UNAVAILABLE, "restarting", message).into_response()
        }
    }
}
