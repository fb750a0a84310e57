//! Which pages may call: CORS for HTTP, and the same rule for all of Socket.IO. Browsers do not
//! check websocket upgrades, and would let any page open sessions over polling, even though it
//! could not read them.

use std::sync::Arc;

use axum::{
    extract::Request,
    response::{IntoResponse, Response},
};
use http::{HeaderValue, Method, StatusCode, header, request::Parts};
use tower_http::cors::{AllowHeaders, AllowOrigin, CorsLayer};

use super::{
    layers::{Answer, Layer},
    rate_limits,
    request_log::REQUEST_ID,
};
use crate::{http::api_error::ApiError, router::REPLAYED};

/// The origins of FRONTEND_URL.
pub(crate) type Origins = Arc<Vec<HeaderValue>>;

/// Reads the origins; the settings have checked their syntax.
pub(crate) fn origins(frontends: &[String]) -> Origins {
    Arc::new(frontends.iter().filter_map(|origin| HeaderValue::from_str(origin).ok()).collect())
}

/// Our own pages, which belong to operators and to the owners of accounts: no script reads them, not
/// even one of the frontend's.
const PAGES: [&str; 2] = ["/admin", "/account"];

fn is_page(path: &str) -> bool {
    let below =
        |page| path.strip_prefix(page).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'));
    PAGES.into_iter().any(below)
}

/// CORS with credentials, for these origins only.
pub(crate) fn cors(origins: &Origins) -> CorsLayer {
    let origins = origins.clone();
    let may_read = move |origin: &HeaderValue, request: &Parts| {
        origins.contains(origin) && !is_page(request.uri.path())
    };
    CorsLayer::new()
        .allow_origin(AllowOrigin::predicate(may_read))
        .allow_credentials(true)
        .allow_methods([
            Method::GET,
            Method::HEAD,
            Method::PUT,
            Method::PATCH,
            Method::POST,
            Method::DELETE,
        ])
        .allow_headers(AllowHeaders::mirror_request())
        .expose_headers([
            REQUEST_ID.clone(),
            REPLAYED.clone(),
            header::RETRY_AFTER,
            rate_limits::LIMIT.clone(),
            rate_limits::REMAINING.clone(),
            rate_limits::RESET.clone(),
        ])
}

/// Answers preflights with 204, as Express did: there is nothing to read.
pub(crate) struct EmptyPreflight;

impl Layer for EmptyPreflight {
    async fn around(&self, request: Request, inner: &impl Answer) -> Response {
        let preflight = request.method() == Method::OPTIONS
            && request.headers().contains_key(header::ACCESS_CONTROL_REQUEST_METHOD);
        let mut response = inner.answer(request).await;
        if preflight && response.status() == StatusCode::OK {
            *response.status_mut() = StatusCode::NO_CONTENT;
        }
        response
    }
}

/// Refuses Socket.IO to pages of other origins. Programs send no Origin and are welcome.
pub(crate) struct GuardSockets(pub(crate) Origins);

impl Layer for GuardSockets {
    async fn around(&self, request: Request, inner: &impl Answer) -> Response {
        let is_socket = request.uri().path().starts_with("/socket.io");
        match request.headers().get(header::ORIGIN) {
            Some(origin) if is_socket && !self.0.contains(origin) => {
                ApiError::http(StatusCode::FORBIDDEN, "origin_not_allowed", "Origin not allowed")
                    .into_response()
            }
            _ => inner.answer(request).await,
        }
    }
}
