//! Every request to the API and to the operators' pages counts for its user, or for the device whose
//! door key it has, or, without a valid token, for its address; every new Socket.IO connection counts for its address. Razorpay's
//! webhooks are not counted: their signature, which costs less to verify than a budget to look up,
//! tells them from forgeries, and no flood of forgeries may keep a real one out.

use std::time::SystemTime;

use axum::{
    extract::{FromRequestParts, Request, State},
    middleware::Next,
    response::{IntoResponse, Response},
};
use http::{HeaderMap, HeaderName, HeaderValue, Method, request::Parts};
use nexus_common::{
    Error,
    audit::{self, Origin},
    door::keys::Token,
    types::{ids::UserId, usage::Usage},
};

use super::layers::{Answer, Layer};
use crate::{
    admin::session,
    app::App,
    auth::caller::{AtDoor, Identity, bearer},
    http::{api_error::ApiError, client_ip::ClientIp, found::Found, policy::Policies},
};

pub(crate) static LIMIT: HeaderName = HeaderName::from_static("x-ratelimit-limit");
pub(crate) static REMAINING: HeaderName = HeaderName::from_static("x-ratelimit-remaining");
pub(crate) static RESET: HeaderName = HeaderName::from_static("x-ratelimit-reset");

/// Counts a request to the API or to the pages. Within the router, so that its route is known if it is refused.
pub(crate) async fn requests(
    State((app, policies)): State<(App, Policies)>,
    request: Request,
    next: Next,
) -> Response {
    let policy = policies.of(request.uri().path());
    if !policy.is_limited {
        return next.run(request).await;
    }
    let (mut parts, body) = request.into_parts();
    let Ok(address) = ClientIp::from_request_parts(&mut parts, &app).await;
    let door_key = bearer(&parts.headers).and_then(Token::parse);
    let mut counted = None;
    let scanner = match door_key {
        Some(key) if !policy.has_cookie => {
            // Made up, a key costs a look into the database: it counts before that.
            if !app.known_scanners.contains(&key) {
                match app.budgets.anonymous(address).await {
                    Ok(taken) => counted = Some(taken),
                    Err(error) => return ApiError::from(error).into_response(),
                }
            }
            Some(app.scanner(key).await)
        }
        _ => None,
    };
    let identity = match policy.has_cookie {
        true => operator(&app, &mut parts).await,
        false => match bearer(&parts.headers) {
            Some(_) if scanner.is_some() => Err(Error::TokenInvalid),
            Some(token) => app.authenticate(token).await,
            None => Err(Error::TokenMissing),
        },
    };
    let mut request = Request::from_parts(parts, body);
    let taken = match (&scanner, &identity) {
        (Some(Ok(scanner)), _) => app.budgets.scanner(*scanner).await,
        (_, Ok(user)) => app.budgets.user(*user).await,
        (_, Err(_)) => match counted {
            Some(taken) => Ok(taken),
            None => app.budgets.anonymous(address).await,
        },
    };
    let taken = match taken {
        Ok(taken) => taken,
        Err(error) => return ApiError::from(error).into_response(),
    };
    let origin = origin(&app, &request, identity.as_ref().ok().copied(), address);
    request.extensions_mut().insert(Identity(identity.map_err(ApiError::from)));
    if let Some(scanner) = scanner {
        request.extensions_mut().insert(AtDoor(scanner.map_err(ApiError::from)));
    }
    let mut response = audit::coming_from(origin, next.run(request)).await;
    let is_refusal =
        response.extensions().get::<ApiError>().is_some_and(|failure| failure.usage.is_some());
    if let Some(usage) = taken.usage.first()
        && !is_refusal
    {
        tell(response.headers_mut(), usage);
    }
    response
}

/// The operator whose cookie a request has, who is not looked up again.
async fn operator(app: &App, parts: &mut Parts) -> nexus_common::Result<UserId> {
    let looked = session::look(app, parts).await;
    let user = match &looked {
        Ok(Some(session)) => Ok(session.user),
        _ => Err(Error::TokenMissing),
    };
    parts.extensions.insert(session::Looked(looked.map_err(ApiError::from)));
    user
}

/// Where a request comes from, which the log says, too.
fn origin(app: &App, request: &Request, user: Option<UserId>, address: ClientIp) -> Origin {
    let address = app.addresses.hash(address);
    let found = request.extensions().get::<Found>();
    if let Some(found) = found {
        found.caller(user, &address);
    }
    Origin { address: Some(address), request_id: found.map(|found| found.id().to_owned()) }
}

/// Counts new connections: a request without a session asks for one.
pub(crate) struct CountConnections(pub(crate) App);

impl Layer for CountConnections {
    async fn around(&self, request: Request, inner: &impl Answer) -> Response {
        let uri = request.uri();
        let has_session =
            uri.query().is_some_and(|query| query.split('&').any(|pair| pair.starts_with("sid=")));
        let connects = uri.path().starts_with("/socket.io")
            && !has_session
            && request.method() != Method::OPTIONS;
        if !connects {
            return inner.answer(request).await;
        }
        let (mut parts, body) = request.into_parts();
        let Ok(address) = ClientIp::from_request_parts(&mut parts, &self.0).await;
        match self.0.budgets.connection(address).await {
            Ok(_) => inner.answer(Request::from_parts(parts, body)).await,
            Err(error) => ApiError::from(error).into_response(),
        }
    }
}

/// Reports the state of a budget; the reset is the Unix time at which its next use expires.
pub(crate) fn tell(headers: &mut HeaderMap, usage: &Usage) {
    let now = SystemTime::UNIX_EPOCH.elapsed().unwrap_or_default();
    headers.insert(&LIMIT, HeaderValue::from(usage.limit));
    headers.insert(&REMAINING, HeaderValue::from(usage.remaining()));
    headers.insert(&RESET, HeaderValue::from((now + usage.until_room).as_secs() + 1));
}
