//! Releases Socket.IO's long polls when the process stops, as their clients
//! [leave](crate::socketio::leaving). It fails the polls rather than close the sessions by the
//! protocol: python-socketio takes a closed session as unwanted and does not return. Every client
//! returns after a failed poll.

use std::future::ready;

use axum::{
    body::{Body, to_bytes},
    extract::Request,
    response::{IntoResponse, Response},
};
use http::{Method, StatusCode, header};
use tokio_util::sync::CancellationToken;

use super::layers::{Answer, Layer};
use crate::{
    app::App,
    http::api_error::ApiError,
    socketio::upgrade::{SEPARATOR, session},
};

/// Answers polls that would otherwise go on waiting.
pub(crate) struct DropPolls {
    pub(crate) app: App,
    pub(crate) stopping: CancellationToken,
}

impl Layer for DropPolls {
    async fn around(&self, request: Request, inner: &impl Answer) -> Response {
        let DropPolls { app, stopping } = self;
        if request.method() != Method::GET || !request.uri().path().starts_with("/socket.io") {
            return inner.answer(request).await;
        }
        let sid = session(request.uri());
        let has_left = async {
            stopping.cancelled().await;
            if let Some(sid) = sid {
                app.everyone.listeners.until_left(sid).await;
            }
        };
        let (parts, body) = request.into_parts();
        let again = Request::from_parts(parts.clone(), Body::empty());
        let response = tokio::select! {
            // First, so that an answer that has come is taken.
            biased;
            response = inner.answer(Request::from_parts(parts, body)) => response,
            () = has_left => {
                let message = "The server is restarting. Please try again.";
                return ApiError::http(StatusCode::SERVICE_UNAVAILABLE, "restarting", message)
                    .into_response();
            }
        };
        match sid {
            Some(sid) if stopping.is_cancelled() && response.status() == StatusCode::OK => {
                app.everyone.listeners.until_left(sid).await;
                let more = tokio::select! {
                    biased;
                    more = inner.answer(again) => Some(more),
                    () = ready(()) => None,
                };
                match more.filter(|more| more.status() == StatusCode::OK) {
                    Some(more) => joined(response, more).await,
                    None => response,
                }
            }
            _ => response,
        }
    }
}

/// The packets of two polls: the client cannot come back for the second.
async fn joined(first: Response, second: Response) -> Response {
    let (mut head, body) = first.into_parts();
    let limit = usize::MAX;
    let (Ok(mut packets), Ok(more)) =
        (to_bytes(body, limit).await.map(Vec::from), to_bytes(second.into_body(), limit).await)
    else {
        return StatusCode::INTERNAL_SERVER_ERROR.into_response();
    };
    if !more.is_empty() {
        packets.push(SEPARATOR);
        packets.extend(more);
    }
    head.headers.remove(header::CONTENT_LENGTH);
    Response::from_parts(head, packets.into())
}
