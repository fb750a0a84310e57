//! A request's fields: query parameters, JSON body and path segments as one struct.

use axum::{
    body::Body,
    extract::{FromRequest, FromRequestParts, Query, RawPathParams, Request},
};
use http::{Method, header, request::Parts};
use nexus_common::Error;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};
use sha2::{Digest, Sha256};

use super::{api_error::ApiError, body_limits::read};

/// The header that makes a repeated request one request.
pub(crate) const IDEMPOTENCY_KEY: &str = "idempotency-key";

/// Query parameters, JSON body and path segments; of two with the same name, the path's wins, then
/// the body's.
pub(crate) struct Fields<T> {
    pub(crate) request: T,
    /// Distinguishes it from other requests of its kind: SHA-256 of its fields in sorted order.
    /// `None` without an `Idempotency-Key`, because then it is compared with none.
    pub(crate) digest: Option<Vec<u8>>,
}

impl<T: DeserializeOwned, S: Send + Sync> FromRequest<S> for Fields<T> {
    type Rejection = ApiError;

    async fn from_request(request: Request, state: &S) -> Result<Self, ApiError> {
        let (mut parts, body) = request.into_parts();
        let mut fields = Map::new();
        // Some proxies drop the bodies of DELETE requests.
        if matches!(parts.method, Method::GET | Method::DELETE) {
            let query = Query::<Vec<(String, String)>>::from_request_parts(&mut parts, state).await;
            // A query that does not parse has no parameters, as in the Node service.
            for (name, value) in query.map(|Query(pairs)| pairs).unwrap_or_default() {
                fields.insert(name, Value::String(value));
            }
        }
        if parts.method != Method::GET {
            fields.extend(json(&parts, body).await?);
        }
        if let Ok(path) = RawPathParams::from_request_parts(&mut parts, state).await {
            for (name, value) in &path {
                fields.insert(name.to_owned(), Value::String(value.to_owned()));
            }
        }
        let fields = Value::Object(fields);
        let digest = parts.headers.contains_key(IDEMPOTENCY_KEY).then(|| digest(&fields));
        let request = serde_json::from_value(fields).map_err(Error::internal)?;
        Ok(Fields { request, digest })
    }
}

/// The map of fields is sorted, so that their order does not matter.
fn digest(fields: &Value) -> Vec<u8> {
    Sha256::digest(fields.to_string()).to_vec()
}

/// The fields of a request's JSON body; an absent one counts as `{}`.
async fn json(parts: &Parts, body: Body) -> Result<Map<String, Value>, ApiError> {
    let bytes = read(&parts.headers, body).await?;
    if bytes.is_empty() {
        return Ok(Map::new());
    }
    let is_json = parts
        .headers
        .get(header::CONTENT_TYPE)
        .and_then(|value| value.to_str().ok())
        .and_then(|value| value.split(';').next())
        .is_some_and(|mime| {
            let mime = mime.trim().to_ascii_lowercase();
            mime == "application/json"
                || (mime.starts_with("application/") && mime.ends_with("+json"))
        });
    if !is_json {
        return Err(ApiError::unsupported_media_type());
    }
    match serde_json::from_slice(&bytes) {
        Ok(Value::Object(fields)) => Ok(fields),
        Ok(_) => Err(ApiError::not_an_object()),
        Err(_) => Err(ApiError::malformed_json()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_order_of_fields_makes_no_other_request() {
        let digest_of = |body| digest(&serde_json::from_str(body).unwrap());
        let request = digest_of(r#"{"eventId": 1, "seat": {"a": 1, "b": 2}}"#);
        assert_eq!(request, digest_of(r#"{"seat": {"b": 2, "a": 1}, "eventId": 1}"#));
        assert_ne!(request, digest_of(r#"{"eventId": "1", "seat": {"a": 1, "b": 2}}"#));
    }
}
