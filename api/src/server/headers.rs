//! What every response tells browsers not to do with it, and caches not to keep.

use axum::{
    extract::{Request, State},
    middleware::Next,
    response::Response,
};
use http::{HeaderName, HeaderValue, StatusCode, header};

use crate::http::policy::Policies;

/// No response is run, framed or sniffed, nor read by a page of another origin unless CORS allows
/// it, which this does not touch. Pages say themselves what they need beyond that.
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

/// Two years of nothing but HTTPS. Browsers heed it over HTTPS only; in production the proxy before
/// us speaks that.
const HTTPS_ONLY: &str = "max-age=63072000; includeSubDomains";

/// Adds what a response does not say itself.
pub(crate) async fn protect(
    State((policies, production)): State<(Policies, bool)>,
    request: Request,
    next: Next,
) -> Response {
    let is_personal = policies.of(request.uri().path()).is_personal;
    let is_users = request.headers().contains_key(header::AUTHORIZATION);
    let mut response = next.run(request).await;
    let (status, headers) = (response.status(), response.headers_mut());
    // `no-cache`: kept, but only used once we have said that it still holds (304). Counts of seats
    // are old at once.
    let cache = match () {
        () if is_personal || is_failure(status) => "no-store",
        () if is_users => "private, no-cache",
        () => "no-cache",
    };
    let https = production.then_some((header::STRICT_TRANSPORT_SECURITY, HTTPS_ONLY));
    for (name, value) in
        OF_EVERY_RESPONSE.into_iter().chain([(header::CACHE_CONTROL, cache)]).chain(https)
    {
        headers.entry(name).or_insert(HeaderValue::from_static(value));
    }
    response
}

fn is_failure(status: StatusCode) -> bool {
    status.is_client_error() || status.is_server_error()
}
