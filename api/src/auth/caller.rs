//! Who calls, and from where: an authenticated user, a possible user, or anyone.

use std::{
    convert::Infallible,
    net::{IpAddr, Ipv4Addr, SocketAddr},
};

use axum::extract::{ConnectInfo, FromRequestParts};
use http::{HeaderMap, StatusCode, header, request::Parts};
use nexus_common::{
    Error,
    door::access::{Keeper, Scanner},
    types::ids::UserId,
};

use crate::{
    app::App,
    http::{api_error::ApiError, client_ip::ClientIp},
};

/// A caller of whom nothing is known.
pub(crate) struct Anybody;

impl FromRequestParts<App> for Anybody {
    type Rejection = Infallible;

    async fn from_request_parts(_: &mut Parts, _: &App) -> Result<Self, Infallible> {
        Ok(Anybody)
    }
}

/// The user of the request's access token, looked up once.
#[derive(Clone)]
pub(crate) struct Identity(pub(crate) Result<UserId, ApiError>);

impl FromRequestParts<App> for ClientIp {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, Infallible> {
        let peer = parts.extensions.get::<ConnectInfo<SocketAddr>>();
        // Every connection has a peer; this address stands in for none, and is no proxy of ours.
        let peer = peer.map_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED), |ConnectInfo(peer)| peer.ip());
        Ok(ClientIp::of(peer, &parts.headers, &app.settings.http.proxies))
    }
}

/// From where somebody comes who is about to log in, and with which client.
pub(crate) struct Device {
    pub(crate) address: ClientIp,
    /// What the client calls itself.
    pub(crate) user_agent: Option<String>,
}

/// The most characters that are kept of it.
const LONGEST_USER_AGENT: usize = 200;

impl FromRequestParts<App> for Device {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, Infallible> {
        let sent = parts.headers.get(header::USER_AGENT).and_then(|agent| agent.to_str().ok());
        let user_agent = sent.map(|agent| agent.chars().take(LONGEST_USER_AGENT).collect());
        Ok(Device { address: ClientIp::from_request_parts(parts, app).await?, user_agent })
    }
}

/// An authenticated caller.
pub(crate) struct Caller {
    pub(crate) user: UserId,
    /// The access token, for logout.
    pub(crate) token: String,
}

impl FromRequestParts<App> for Caller {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, ApiError> {
        let token = bearer(&parts.headers).ok_or(Error::TokenMissing)?;
        let user = match parts.extensions.get::<Identity>() {
            Some(Identity(user)) => user.clone()?,
            None => app.authenticate(token).await?,
        };
        Ok(Caller { user, token: token.to_owned() })
    }
}

/// The scanner of the request's door key, looked up once; only of requests that have one.
#[derive(Clone)]
pub(crate) struct AtDoor(pub(crate) Result<Scanner, ApiError>);

/// An authenticated caller, or a scanner.
pub(crate) struct DoorCaller(pub(crate) Keeper);

impl FromRequestParts<App> for DoorCaller {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, ApiError> {
        match parts.extensions.get::<AtDoor>() {
            Some(AtDoor(scanner)) => Ok(DoorCaller(Keeper::Scanner(scanner.clone()?))),
            None => {
                let caller = Caller::from_request_parts(parts, app).await?;
                Ok(DoorCaller(Keeper::Account(caller.user)))
            }
        }
    }
}

/// The caller of a route that is open to all; an unusable token counts as none.
pub(crate) struct MaybeCaller(pub(crate) Option<UserId>);

impl FromRequestParts<App> for MaybeCaller {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, ApiError> {
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
