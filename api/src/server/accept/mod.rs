//! The connections: each is accepted, counted, served by hyper within its limits, and closed in
//! good order when the process stops. axum's own loop sets none of hyper's limits.

mod refusal;
mod stream;

use std::{convert::Infallible, net::SocketAddr, sync::Arc, time::Duration};

use axum::{
    body::Body,
    extract::{ConnectInfo, Request},
    response::Response,
    serve::Listener,
};
use futures_util::future::BoxFuture;
use http::{StatusCode, Version, header, uri::Authority};
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use nexus_common::{config, observability::metrics};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::Semaphore,
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use self::stream::Serving;
pub(crate) use self::stream::{Counted, Stream};
use super::layers::Answer;
use crate::http::{client_ip::ClientIp, places::Places};

/// A peer that has acknowledged nothing for this long is gone.
const STUCK: Duration = Duration::from_secs(20);
/// The longest head of a request: its line and its headers. Chromium and the proxies in front of us
/// send at most half of it.
const LONGEST_HEAD: usize = 32 * 1024;
/// The most headers of a request.
const MOST_HEADERS: usize = 100;

/// Serves connections until told to stop; open connections then finish their current request.
///
/// Further connections, beyond `HTTP_MAX_CONNECTIONS` or what their address may have, get a 503 at
/// once and cost nothing more: clients and load balancers can try another process, which they could
/// not while they wait.
pub(crate) async fn accept_until_stopped(
    mut listener: TcpListener,
    service: impl Answer + 'static,
    settings: &config::Http,
    per_address: Places,
    stopping: CancellationToken,
) {
    let service = Arc::new(service);
    let mut http = http1::Builder::new();
    http.timer(TokioTimer::new())
        // How long a connection may be idle: hyper's clock starts when it has answered the previous
        // request.
        .header_read_timeout(settings.keep_alive)
        .max_header_size(LONGEST_HEAD)
        .max_headers(MOST_HEADERS)
        .max_buf_size(2 * LONGEST_HEAD)
        // A client that has sent all its requests may close that side and go on reading.
        .half_close(true);
    let slots = Arc::new(Semaphore::new(settings.max_connections));
    let open = TaskTracker::new();
    loop {
        let (tcp, peer) = tokio::select! {
            // First, so that connections accepted before the end are served.
            biased;
            // axum's version waits out temporary failures, such as too many open files.
            accepted = Listener::accept(&mut listener) => accepted,
            () = stopping.cancelled() => break,
        };
        let refuse = |reason| {
            metrics::refused(reason);
            let _ = tcp.try_write(&refusal::busy());
        };
        // Our proxies bring everybody.
        let place = match settings.is_proxy(peer.ip()) {
            true => None,
            false => match per_address.take(ClientIp::peer(peer.ip())) {
                None => {
                    refuse("address");
                    continue;
                }
                place => place,
            },
        };
        let Ok(slot) = slots.clone().try_acquire_owned() else {
            refuse("full");
            continue;
        };
        prepare(&tcp);
        let serving = Serving::default();
        let stream = Stream::new(
            tcp,
            serving.clone(),
            settings.timeout,
            (slot, place, metrics::Connection::open()),
        );
        let answer = answer(service.clone(), peer, serving);
        let connection =
            http.serve_connection(TokioIo::new(stream), service_fn(answer)).with_upgrades();
        let stopping = stopping.clone();
        open.spawn(async move {
            let mut connection = std::pin::pin!(connection);
            let ended = tokio::select! {
                // First, so that a request that has already arrived is not cut off.
                biased;
                ended = connection.as_mut() => ended,
                () = stopping.cancelled() => {
                    connection.as_mut().graceful_shutdown();
                    connection.await
                }
            };
            if let Err(error) = ended {
                tracing::debug!(%error, %peer, "a connection broke");
            }
        });
    }
    drop(listener);
    open.close();
    open.wait().await;
}

/// Answers the requests of a connection one after the other; each knows its peer (`ConnectInfo`).
fn answer(
    service: Arc<impl Answer + 'static>,
    peer: SocketAddr,
    serving: Serving,
) -> impl Fn(http::Request<Incoming>) -> BoxFuture<'static, Result<Response, Infallible>> {
    move |request| {
        serving.begin();
        let mut request = request.map(Body::new);
        request.extensions_mut().insert(ConnectInfo(peer));
        let (service, serving) = (service.clone(), serving.clone());
        Box::pin(async move {
            let response = match names_one_host(&request) {
                true => service.answer(request).await,
                false => refusal::unreadable(),
            };
            match response.status() {
                // It waits for no more requests.
                StatusCode::SWITCHING_PROTOCOLS => serving.switch(),
                _ => serving.end(),
            }
            Ok(response)
        })
    }
}

/// Whether a request names its host as HTTP says: once, and only HTTP/1.0 may leave it out. A proxy
/// in front of us may read another one of two than we do.
fn names_one_host(request: &Request) -> bool {
    let mut hosts = request.headers().get_all(header::HOST).iter();
    match (hosts.next(), hosts.next()) {
        (Some(host), None) => is_host(host.as_bytes()),
        (None, _) => request.version() < Version::HTTP_11,
        (Some(_), Some(_)) => false,
    }
}

/// A target without an authority has an empty host.
fn is_host(host: &[u8]) -> bool {
    host.is_empty() || (Authority::try_from(host).is_ok() && !host.contains(&b'@'))
}

fn prepare(tcp: &TcpStream) {
    // Small messages must not wait for one another.
    let _ = tcp.set_nodelay(true);
    // Otherwise a client that stops reading keeps its socket, and its buffered data, for ever
    // (docs/realtime.md#limits).
    let _ = socket2::SockRef::from(tcp).set_tcp_user_timeout(Some(STUCK));
}
