//! A connection becomes a websocket, or a session begins: the library gets no more of the request
//! than it needs. What it gets, it keeps as long as the session lives, and hyper's requests are
//! slices of buffers of many kilobytes.

use std::{sync::Arc, time::Duration};

use axum::{
    body::{Body, Bytes, HttpBody, to_bytes},
    extract::{FromRequestParts, Request},
    response::{IntoResponse, Response},
};
use http::{HeaderValue, Method, StatusCode, Uri, header};
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;
use nexus_common::{Error, config::Limit, observability::metrics, types::usage::Usage};
use socketioxide::{TransportType, socket::Sid};
use tokio::time::sleep;
use tower::Service;

use super::{
    connect::ConnectsOnce,
    delivery::Everyone,
    due::{is_broadcast, offset_packet},
    leaving,
    listeners::Listeners,
    posted::Posted,
    recent::Offset,
    recovery::{self, CONNECTED, Pid},
    server::{Library, MAX_MESSAGE},
    wire::{Polled, Transport, Wire},
};
use crate::{
    app::App,
    http::{api_error::ApiError, client_ip::ClientIp, places::Places},
    server::{
        accept::Stream,
        layers::{Answer, Layer},
    },
};

/// How often a session that leaves polling for a websocket is looked at, and how long the library
/// then needs at most to write what waited for the next poll.
const LOOK_EVERY: Duration = Duration::from_millis(100);
/// Longer than the library lets a client take for the upgrade, and for connecting after it.
const MOST_LOOKS: usize = 250;
/// No token of ours is longer.
const LONGEST_AUTHORIZATION: usize = 4096;
/// Engine.IO's separator of packets.
pub(crate) const SEPARATOR: u8 = 0x1e;

/// Lets the library answer requests of the protocol, and gives it websockets in our own form.
pub(crate) struct Upgrade {
    pub(crate) app: App,
    pub(crate) library: Library,
    pub(crate) posted: Posted,
    /// Of sessions, by their clients' addresses.
    pub(crate) per_address: Places,
}

impl Layer for Upgrade {
    async fn around(&self, mut request: Request, inner: &impl Answer) -> Response {
        let Upgrade { app, library, posted, per_address } = self;
        let path = request.uri().path();
        if path != "/socket.io" && !path.starts_with("/socket.io/") {
            return inner.answer(request).await;
        }
        let sid = session(request.uri());
        let is_websocket = first(request.uri(), "transport") == Some("websocket");
        // The library would answer 101 all the same.
        if is_websocket && request.extensions().get::<OnUpgrade>().is_none() {
            return ApiError::of_status(StatusCode::BAD_REQUEST).into_response();
        }
        let mut library = library.clone();
        // The library does not find it, and leaves the connection to us.
        let connection = hyper::upgrade::on(&mut request);
        let mut needed = needed(&request);
        if sid.is_none() {
            let (mut parts, body) = request.into_parts();
            let Ok(address) = ClientIp::from_request_parts(&mut parts, app).await;
            request = Request::from_parts(parts, body);
            let Some(place) = per_address.take(address) else { return no_place(per_address) };
            // The library keeps both as long as the session lives.
            needed.extensions_mut().insert(Arc::new(place));
            needed.extensions_mut().insert(address);
        }
        let is_poll = request.method() == Method::GET && !is_websocket;
        let is_post = request.method() == Method::POST;
        match sid {
            Some(sid) if app.everyone.listeners.is_let_go(sid) => return session_unknown(),
            Some(sid) if is_post && !posted.may(sid, length(request.body())) => {
                return session_unknown();
            }
            None if is_poll => request = needed.clone().map(|()| Body::empty()),
            _ => {}
        }
        let Ok(response) = Service::<Request>::call(&mut library, request).await;
        match (response.status(), sid) {
            (StatusCode::SWITCHING_PROTOCOLS, _) => {
                tokio::spawn(begin(connection, needed, sid, library, app.everyone.clone()));
            }
            // Less is a NOOP, for a client that is about to have a websocket: it has taken nothing.
            (StatusCode::OK, Some(sid)) if is_poll && length(response.body()) > 1 => {
                app.everyone.listeners.polled(sid);
                posted.polled(sid, length(response.body()));
                return completed(response.map(Body::new), sid, &app.everyone).await;
            }
            _ => {}
        }
        response.map(Body::new)
    }
}

/// The answer to a poll, with what only we know: who the client is, when it says that it is
/// connected, and how far it has heard.
async fn completed(response: Response, sid: Sid, everyone: &Everyone) -> Response {
    let (mut head, body) = response.into_parts();
    let Ok(packets) = to_bytes(body, usize::MAX).await else {
        return ApiError::from(Error::internal("a poll has no answer")).into_response();
    };
    let packet = |packet: &[u8]| packets.slice_ref(packet);
    let mut packets: Vec<Bytes> = packets.split(|byte| *byte == SEPARATOR).map(packet).collect();
    if let Some(connected) = packets.iter_mut().find(|packet| packet.starts_with(CONNECTED))
        && let Some(pid) = everyone.listeners.take_pid(sid)
        && let Some(told) = recovery::tell(connected, pid)
    {
        *connected = told.into();
    }
    let broadcasts = packets.iter().filter(|packet| is_broadcast(packet)).count();
    let taken = everyone.listeners.get(sid).and_then(|listener| listener.takes(broadcasts));
    packets.extend(taken.map(|offset| offset_packet(offset).into()));
    head.headers.remove(header::CONTENT_LENGTH);
    Response::from_parts(head, packets.join(&SEPARATOR).into())
}

/// Refuses a session as the limit of new ones does.
fn no_place(per_address: &Places) -> Response {
    metrics::rate_limited(Limit::Connections);
    let most = per_address.most.and_then(|most| most.try_into().ok()).unwrap_or(u32::MAX);
    let until_room = Duration::from_secs(2);
    ApiError::from(Error::RateLimited(Usage { limit: most, used: most, until_room }))
        .into_response()
}

/// To its client, a session that is unknown has broken: it begins another.
fn session_unknown() -> Response {
    ApiError::http(StatusCode::BAD_REQUEST, "session_unknown", "Session ID unknown").into_response()
}

/// How long a body is. No client that we know sends one whose end it does not know.
fn length(body: &impl HttpBody) -> usize {
    let exact = body.size_hint().exact().and_then(|exact| exact.try_into().ok());
    exact.unwrap_or(MAX_MESSAGE / 8).min(MAX_MESSAGE)
}

/// The session that a request belongs to, unless it opens one.
pub(crate) fn session(uri: &Uri) -> Option<Sid> {
    first(uri, "sid")?.parse().ok()
}

/// A parameter of the query; of several, the library takes the first, too.
fn first<'a>(uri: &'a Uri, name: &str) -> Option<&'a str> {
    let mut pairs = uri.query()?.split('&').filter_map(|pair| pair.split_once('='));
    pairs.find(|(named, _)| *named == name).map(|(_, value)| value)
}

/// What the library needs of a request that opens a session, in memory of its own.
fn needed(request: &Request) -> http::Request<()> {
    let mut needed = http::Request::new(());
    let parameters = ["EIO", "transport", "sid"].into_iter();
    let pairs = parameters
        .filter_map(|name| Some(format!("{name}={}", first(request.uri(), name)?)))
        .collect::<Vec<_>>();
    // Nothing but parts of what has been an URI already.
    *needed.uri_mut() = format!("/socket.io/?{}", pairs.join("&")).parse().unwrap_or_default();
    let authorization = request.headers().get(header::AUTHORIZATION);
    if let Some(value) = authorization.filter(|value| value.len() <= LONGEST_AUTHORIZATION)
        && let Ok(copy) = HeaderValue::from_bytes(value.as_bytes())
    {
        needed.headers_mut().insert(header::AUTHORIZATION, copy);
    }
    needed.extensions_mut().insert(ConnectsOnce::default());
    needed
}

/// Gives the connection to the library, and to broadcasts.
async fn begin(
    upgrade: OnUpgrade,
    mut needed: http::Request<()>,
    sid: Option<Sid>,
    mut library: Library,
    everyone: Everyone,
) {
    let Ok(upgraded) = upgrade.await else { return };
    let Ok(parts) = upgraded.downcast::<TokioIo<Stream>>() else {
        tracing::error!("a websocket's connection is not one of ours");
        return;
    };
    let (tcp, head, counted) = parts.io.into_inner().into_tcp();
    let listeners = everyone.listeners.clone();
    let polled = sid.map(|sid| -> Box<dyn Polled> { Box::new(Session { sid, everyone }) });
    let transport = Transport::new(tcp, head, parts.read_buf, polled, counted);
    let wire = transport.wire();
    needed.extensions_mut().insert(Arc::downgrade(&wire));
    // The answer to the request has said whether it is right.
    let _ =
        Service::<(Transport, http::Request<()>)>::call(&mut library, (transport, needed)).await;
    if let Some(sid) = sid {
        switch(sid, &wire, &listeners).await;
    }
}

/// A session that has polled until now.
struct Session {
    sid: Sid,
    everyone: Everyone,
}

impl Polled for Session {
    fn take_pid(&self) -> Option<Pid> {
        self.everyone.listeners.take_pid(self.sid)
    }

    fn takes(&self, broadcasts: usize) -> Option<Offset> {
        self.everyone.listeners.get(self.sid)?.takes(broadcasts)
    }
}

/// A client that polled hears broadcasts over its websocket as soon as the library has written
/// there what waited for the next poll.
async fn switch(sid: Sid, wire: &Arc<Wire>, listeners: &Listeners) {
    for _ in 0..MOST_LOOKS {
        sleep(LOOK_EVERY).await;
        if wire.is_over() {
            return;
        }
        if let Some(listener) = listeners.get(sid)
            && listener.socket.transport_type() == TransportType::Websocket
        {
            listener.has_upgraded(wire.clone());
            sleep(LOOK_EVERY).await;
            wire.upgraded();
            // It may have been told to leave as one that polls.
            leaving::upgraded(listener);
            return;
        }
    }
}
