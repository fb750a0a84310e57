//! Paths as Express read them: a trailing slash and the case of letters make no difference
//! (docs/contract.md#transport). Ids keep their case.

use http::{Request, Uri, uri::PathAndQuery};

/// Segments that are followed by an id whose case matters.
const BEFORE_AN_ID: [&str; 1] = ["verify"];

/// Rewrites the request's path to the form that the router knows.
pub(crate) fn normalise<B>(mut request: Request<B>) -> Request<B> {
    if let Some(uri) = normalised(request.uri()) {
        *request.uri_mut() = uri;
    }
    request
}

fn normalised(uri: &Uri) -> Option<Uri> {
    let path = uri.path();
    let trimmed = if path.len() > 1 { path.trim_end_matches('/') } else { path };
    let mut keep_case = false;
    let segments: Vec<String> = trimmed
        .split('/')
        .map(|segment| {
            let lower = segment.to_ascii_lowercase();
            let is_id = std::mem::replace(&mut keep_case, BEFORE_AN_ID.contains(&lower.as_str()));
            if is_id { segment.to_owned() } else { lower }
        })
        .collect();
    let plain = match segments.join("/") {
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
        let read = |uri: &str| {
            let uri: Uri = uri.parse().unwrap();
            normalised(&uri).unwrap_or(uri).to_string()
        };
        assert_eq!(read("/API/V1/EVENTS/"), "/api/v1/events");
        assert_eq!(read("/api/v1/events/?limit=2"), "/api/v1/events?limit=2");
        assert_eq!(read("/api/v1/Payments/VERIFY/order_AbC"), "/api/v1/payments/verify/order_AbC");
        assert_eq!(read("/"), "/");
        assert_eq!(read("//"), "/");
    }
}
