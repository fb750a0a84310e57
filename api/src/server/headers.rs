//! What every response forbids browsers and caches to do with it.

use axum::{
    extract::{Query, Request},
    response::Response,
};
use http::{HeaderName, HeaderValue, StatusCode, Uri, header};

use super::layers::{Answer, Layer};
use crate::http::policy::Policies;

/// No response may be run, framed or sniffed, nor read by a page of another origin unless CORS,
/// which this does not touch, allows it. Pages declare themselves what more they need.
pub(crate) const OF_EVERY_RESPONSE: [(HeaderName, &str); 5] = [
    (header::CONTENT_SECURITY_POLICY, "default-src 'none'; frame-ancestors 'none'"),
    (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    (header::X_FRAME_OPTIONS, "DENY"),
    (header::REFERRER_POLICY, "no-referrer"),
    (RESOURCE_POLICY, "same-origin"),
];

/// Which pages may load a response as a script or a picture.
pub(crate) const RESOURCE_POLICY: HeaderName =
    HeaderName::from_static("cross-origin-resource-policy");

/// HTTPS only, for two years. Browsers heed it over HTTPS only; in production the proxy in front of
/// us speaks that.
const HTTPS_ONLY: &str = "max-age=63072000; includeSubDomains";

/// Adds the headers that a response does not set itself.
pub(crate) struct Protect {
    pub(crate) policies: Policies,
    pub(crate) production: bool,
}

impl Layer for Protect {
    async fn around(&self, request: Request, inner: &impl Answer) -> Response {
        let is_personal = self.policies.of(request.uri().path()).is_personal;
        // The caller's own, or what a share code opens.
        let is_ones =
            request.headers().contains_key(header::AUTHORIZATION) || has_code(request.uri());
        let mut response = inner.answer(request).await;
        let (status, headers) = (response.status(), response.headers_mut());
        // `no-cache`: caches may keep it, but use it only once we have confirmed it (304). Counts
        // of seats are outdated at once.
        let cache = match () {
            () if is_personal || is_failure(status) => "no-store",
            () if is_ones => "private, no-cache",
            () => "no-cache",
        };
        let https = self.production.then_some((header::STRICT_TRANSPORT_SECURITY, HTTPS_ONLY));
        for (name, value) in
            OF_EVERY_RESPONSE.into_iter().chain([(header::CACHE_CONTROL, cache)]).chain(https)
        {
            headers.entry(name).or_insert(HeaderValue::from_static(value));
        }
        response
    }
}

/// Whether a request shows a share code, however its name is written.
fn has_code(uri: &Uri) -> bool {
    let parameters = Query::<Vec<(String, String)>>::try_from_uri(uri);
    parameters.is_ok_and(|Query(pairs)| pairs.iter().any(|(name, _)| name == "share_code"))
}

fn is_failure(status: StatusCode) -> bool {
    status.is_client_error() || status.is_server_error()
}
