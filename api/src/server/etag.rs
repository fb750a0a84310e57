//! Tags responses to GET (`ETag`), so that a client that already has one gets a few bytes instead:
//! 304, as Express did. Responses that many get have been tagged before ([`reads`](crate::reads)).

use std::hash::{DefaultHasher, Hash, Hasher};

use axum::{
    body::{Body, HttpBody, to_bytes},
    extract::Request,
    response::{IntoResponse, Response},
};
use http::{HeaderMap, HeaderValue, Method, StatusCode, header};

use super::{
    encoding::{Encoding, encode},
    layers::{Answer, Layer},
};

/// Longer responses are sent as they are.
const LONGEST: u64 = 1_000_000;

/// Tags the responses to GET, and leaves out a body that the client already has.
pub(crate) struct Tag;

impl Layer for Tag {
    async fn around(&self, request: Request, inner: &impl Answer) -> Response {
        if request.method() != Method::GET {
            return inner.answer(request).await;
        }
        let known = request.headers().get(header::IF_NONE_MATCH).cloned();
        let encoding = Encoding::accepted(request.headers());
        let response = inner.answer(request).await;
        match response.status() {
            StatusCode::OK => encode(tagged(response, known).await, encoding).await,
            _ => response,
        }
    }
}

async fn tagged(response: Response, known: Option<HeaderValue>) -> Response {
    let is_short = response.body().size_hint().exact().is_some_and(|length| length <= LONGEST);
    let is_tagged = response.headers().contains_key(header::ETAG);
    if !is_tagged
        && (!is_short
            || response
                .headers()
                .get(header::CACHE_CONTROL)
                .is_some_and(|value| value == "no-store"))
    {
        return response;
    }
    let (mut head, mut body) = response.into_parts();
    if !is_tagged {
        let Ok(bytes) = to_bytes(body, LONGEST as usize).await else {
            return StatusCode::INTERNAL_SERVER_ERROR.into_response();
        };
        head.headers.extend(tag_of(&bytes).map(|tag| (header::ETAG, tag)));
        body = bytes.into();
    }
    let tag = head.headers.get(header::ETAG).and_then(|tag| tag.to_str().ok());
    let is_known = known.zip(tag).is_some_and(|(known, tag)| holds(&known, tag));
    if !is_known {
        return Response::from_parts(head, body);
    }
    head.status = StatusCode::NOT_MODIFIED;
    without_body(&mut head.headers);
    Response::from_parts(head, Body::empty())
}

/// The tag of a body.
pub(crate) fn tag_of(body: &[u8]) -> Option<HeaderValue> {
    let mut hash = DefaultHasher::new();
    body.hash(&mut hash);
    // Weak: the same content, though perhaps in another encoding.
    let tag = format!("W/\"{:x}-{:016x}\"", body.len(), hash.finish());
    HeaderValue::from_str(&tag).ok()
}

fn without_body(headers: &mut HeaderMap) {
    headers.remove(header::CONTENT_TYPE);
    headers.remove(header::CONTENT_LENGTH);
}

/// Whether an `If-None-Match` lists the tag, weak or strong.
fn holds(known: &HeaderValue, tag: &str) -> bool {
    let plain = |tag: &str| tag.trim().trim_start_matches("W/").to_owned();
    known.to_str().is_ok_and(|known| {
        known.split(',').any(|one| plain(one) == plain(tag) || one.trim() == "*")
    })
}
