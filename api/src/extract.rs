//! What handlers take from a request: who calls, and the input.

use axum::{
    body::{Body, to_bytes},
    extract::{FromRequest, FromRequestParts, MatchedPath, Query, RawPathParams, Request},
};
use http::{HeaderMap, Method, StatusCode, header, request::Parts};
use nexus_common::{
    Error, idempotency,
    types::{ids::UserId, input::Input},
};
use serde_json::{Map, Value};

use crate::{
    app::App,
    error::Failure,
    middleware::{
        limits::{BODY_LIMIT, Excess},
        rate_limits::Identity,
    },
};

/// An authenticated caller.
pub(crate) struct Caller {
    pub(crate) user: UserId,
    /// The access token, for logout.
    pub(crate) token: String,
}

impl FromRequestParts<App> for Caller {
    type Rejection = Failure;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, Failure> {
        let token = bearer(&parts.headers).ok_or(Error::TokenMissing)?;
        let user = match parts.extensions.get::<Identity>() {
            Some(Identity(user)) => user.clone()?,
            None => app.authenticate(token).await?,
        };
        Ok(Caller { user, token: token.to_owned() })
    }
}

/// Who calls, where anybody may: an unusable token counts as none.
pub(crate) struct MaybeCaller(pub(crate) Option<UserId>);

impl FromRequestParts<App> for MaybeCaller {
    type Rejection = Failure;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, Failure> {
        match Caller::from_request_parts(parts, app).await {
            Ok(caller) => Ok(MaybeCaller(Some(caller.user))),
            Err(failure) if failure.status == StatusCode::UNAUTHORIZED => Ok(MaybeCaller(None)),
            Err(failure) => Err(failure),
        }
    }
}

/// The token of an `Authorization: Bearer <token>` header.
pub(crate) fn bearer(headers: &HeaderMap) -> Option<&str> {
    headers.get(header::AUTHORIZATION)?.to_str().ok()?.strip_prefix("Bearer ")
}

/// The `Idempotency-Key` header and the route that it is used on.
pub(crate) struct IdempotencyKey(Option<(String, String)>);

impl FromRequestParts<App> for IdempotencyKey {
    type Rejection = Failure;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, Failure> {
        let Some(key) = parts.headers.get("idempotency-key") else {
            return Ok(IdempotencyKey(None));
        };
        let key = key
            .to_str()
            .ok()
            .filter(|key| (1..=255).contains(&key.len()))
            .ok_or_else(|| {
                Error::invalid("Idempotency-Key must be 1 to 255 visible ASCII characters")
            })?
            .to_owned();
        let path = MatchedPath::from_request_parts(parts, app).await.map_err(Error::internal)?;
        Ok(IdempotencyKey(Some((format!("{} {}", parts.method, path.as_str()), key))))
    }
}

impl IdempotencyKey {
    /// The request that the key stands for.
    pub(crate) fn request(self, user: UserId, input: &Input) -> Option<idempotency::Request> {
        self.0.map(|(route, key)| idempotency::Request { user, route, key, hash: input.digest() })
    }
}

/// Query parameters, JSON body and path segments as one [`Input`]; of two with one name the path's
/// wins, then the body's.
pub(crate) struct Fields(pub(crate) Input);

impl FromRequest<App> for Fields {
    type Rejection = Failure;

    async fn from_request(request: Request, app: &App) -> Result<Self, Failure> {
        let (mut parts, body) = request.into_parts();
        let mut fields = Map::new();
        // Bodies of DELETE are lost on some ways.
        if matches!(parts.method, Method::GET | Method::DELETE) {
            let query = Query::<Vec<(String, String)>>::from_request_parts(&mut parts, app).await;
            // A query that does not parse has no parameters, as in the Node service.
            for (name, value) in query.map(|Query(pairs)| pairs).unwrap_or_default() {
                fields.insert(name, Value::String(value));
            }
        }
        if parts.method != Method::GET
            && let Value::Object(sent) = json(&parts, body).await?
        {
            fields.extend(sent);
        }
        let mut input = Input::from(Value::Object(fields));
        if let Ok(path) = RawPathParams::from_request_parts(&mut parts, app).await {
            for (name, value) in &path {
                input.set(name, value);
            }
        }
        Ok(Fields(input))
    }
}

/// A request's JSON body; an absent one counts as `{}`.
async fn json(parts: &Parts, body: Body) -> Result<Value, Failure> {
    let bytes = read(&parts.headers, body).await?;
    if bytes.is_empty() {
        return Ok(Value::Object(Map::new()));
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
        return Err(Failure::unsupported_media_type());
    }
    match serde_json::from_slice(&bytes) {
        Ok(value @ Value::Object(_)) => Ok(value),
        Ok(_) => Err(Failure::not_an_object()),
        Err(_) => Err(Failure::malformed_json()),
    }
}

/// The whole body, within its limits, as it was sent: one that is compressed is refused.
pub(crate) async fn read(headers: &HeaderMap, body: Body) -> Result<axum::body::Bytes, Failure> {
    if headers
        .get(header::CONTENT_ENCODING)
        .is_some_and(|coding| !coding.as_bytes().eq_ignore_ascii_case(b"identity"))
    {
        return Err(Failure::unsupported_content_encoding());
    }
    let read = to_bytes(body, BODY_LIMIT).await;
    read.map_err(|error| Excess::of(&error).map_or_else(Failure::incomplete_body, Excess::failure))
}
