//! Paths as Express read them: a trailing slash and letter case make no difference
//! (docs/contract.md#transport). Ids keep their case.

use axum::{extract::Request, response::Response};
use http::{Uri, uri::PathAndQuery};

use super::layers::{Answer, Layer};
use crate::http::policy::Policies;

/// Rewrites a request's path to the form that the router knows.
pub(crate) struct NormalizePath(pub(crate) Policies);

impl Layer for NormalizePath {
    async fn around(&self, mut request: Request, inner: &impl Answer) -> Response {
        if let Some(uri) = normalized(request.uri(), &self.0) {
            *request.uri_mut() = uri;
        }
        inner.answer(request).await
    }
}

fn normalized(uri: &Uri, policies: &Policies) -> Option<Uri> {
    let path = uri.path();
    // Nearly all.
    if !path.ends_with('/') && !path.bytes().any(|byte| byte.is_ascii_uppercase()) {
        return None;
    }
    let trimmed = if path.len() > 1 { path.trim_end_matches('/') } else { path };
    let lower = trimmed.to_ascii_lowercase();
    let plain = match trimmed.rsplit_once('/') {
        Some((before, id)) if policies.keeps_case_behind(&lower[..before.len()]) => {
            format!("{}/{id}", &lower[..before.len()])
        }
        _ => lower,
    };
    let plain = match plain {
        empty if empty.is_empty() => "/".to_owned(),
        plain => plain,
    };
    if plain == path {
        return None;
    }
    let with_query = match uri.query() {
        Some(query) => format!("{plain}?{query}"),
        None => plain,
    };
    let mut parts = uri.clone().into_parts();
    parts.path_and_query = Some(with_query.parse::<PathAndQuery>().ok()?);
    Uri::from_parts(parts).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn case_and_trailing_slash_make_no_difference_but_ids_keep_theirs() {
        let policies =
            Policies::new(vec![], vec![], vec![], vec!["/api/v1/payments/verify".to_owned()]);
        let read = |uri: &str| {
            let uri: Uri = uri.parse().unwrap();
            normalized(&uri, &policies).unwrap_or(uri).to_string()
        };
        assert_eq!(read("/API/V1/EVENTS/"), "/api/v1/events");
        assert_eq!(read("/api/v1/events/?limit=2"), "/api/v1/events?limit=2");
        assert_eq!(read("/api/v1/Payments/VERIFY/order_AbC"), "/api/v1/payments/verify/order_AbC");
        assert_eq!(read("/"), "/");
        assert_eq!(read("//"), "/");
    }
}
