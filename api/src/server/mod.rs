//! Runs the server: the layers around the routes, and an orderly shutdown.

pub(crate) mod accept;
mod admit;
mod cors;
pub(crate) mod encoding;
pub(crate) mod etag;
pub(crate) mod headers;
pub(crate) mod layers;
mod normalize_path;
mod ports;
mod rate_limits;
mod request_log;
mod shutdown;

use std::{
    net::SocketAddr,
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::Context;
use axum::middleware;
use nexus_common::{
    config,
    jobs::{Queue, admin, wakeups},
    ledger::alerts,
    observability::metrics,
    storage::postgres::bounded,
};
use sqlx::Connection;
use tokio::{
    net::{TcpListener, TcpSocket},
    signal::unix::{SignalKind, signal},
};
use tokio_util::sync::CancellationToken;
use tower::util::MapRequestLayer;

use self::{
    admit::Admit,
    layers::{Answer, CatchPanic, Routes},
    ports::{Behind, Port},
    rate_limits::CountConnections,
};
use crate::{
    app::{App, AppState},
    auth::revocations,
    http::{body_limits::LimitBodies, places::Places},
    router,
    socketio::{self, assets::Assets, posted::Posted, upgrade::Upgrade},
    spec::Documents,
};

/// How long open requests and clients of Socket.IO may take to finish after SIGTERM.
const GRACE: Duration = Duration::from_secs(10);
/// How long the last broadcasts may take to other processes after that.
const LAST_WORDS: Duration = Duration::from_secs(2);
/// How long PostgreSQL may take to say goodbye after that.
const GOODBYE: Duration = Duration::from_secs(1);

/// Serves until SIGTERM or SIGINT.
pub(crate) async fn run(settings: config::Api) -> anyhow::Result<()> {
    let address = (settings.http.host, settings.http.port);
    let origins = cors::origins(&settings.http.frontends);
    metrics::export(settings.observability.metrics)
        .map_err(|error| anyhow::anyhow!("metrics cannot be served: {}", error.details()))?;
    let measured = settings.observability.metrics.is_some();
    let (sockets, io) = socketio::server::build();
    let notifications = revocations::pool(&settings.database);
    let app = AppState::new(settings)?;
    wakeups::start(app.db.clone());
    socketio::connect::open(&io, app.clone());
    // Only now, because the listener looks at the sockets, which need a namespace.
    tokio::spawn(revocations::listen_for_revocations(app.clone(), notifications));
    tokio::spawn(revocations::end_expired(app.clone()));
    for key in app.keys() {
        tokio::spawn(alerts::watch_key(app.db.clone(), key));
    }
    let stopping = CancellationToken::new();
    let policies = router::policies();
    let documents = Documents::new(router::described, socketio::described);

    let limited = app.settings.limits.enforced;
    let counted = (app.clone(), policies.clone());
    let routes = router::router(documents)
        .layer(middleware::from_fn_with_state(counted, rate_limits::requests))
        .layer(MapRequestLayer::new(request_log::name_route))
        .with_state(app.clone());
    // From the routes to the outermost layer, which is the first to see a request.
    let service = Routes(routes)
        .within(Upgrade {
            app: app.clone(),
            library: sockets,
            posted: Posted::default(),
            per_address: Places::new(limited.then_some(app.settings.http.sockets_per_address)),
        })
        .within(CountConnections(app.clone()))
        .within(Assets)
        .within(etag::Tag)
        .within(shutdown::DropPolls { app: app.clone(), stopping: stopping.clone() })
        .within(cors::GuardSockets(origins.clone()))
        .within(LimitBodies { timeout: app.settings.http.timeout, policies: policies.clone() })
        .within(CatchPanic)
        .within(ports::Keep)
        .within(request_log::Log(policies.clone()))
        .within(Admit { app: app.clone(), policies: policies.clone() })
        .within(cors::cors(&origins))
        .within(cors::EmptyPreflight)
        .within(headers::Protect {
            policies: policies.clone(),
            production: app.settings.production,
        })
        .within(normalize_path::NormalizePath(policies));

    let listener = listen(address.into())?;
    tracing::info!(address = %listener.local_addr()?, "listening");
    let operators = match app.settings.http.admin {
        None => None,
        Some(address) => {
            let listener = listen(address)?;
            tracing::info!(address = %listener.local_addr()?, "listening for operators");
            Some(listener)
        }
    };
    let service = Arc::new(service);
    let server = {
        let (http, stopping) = (app.settings.http.clone(), stopping.clone());
        let per_address = Places::new(limited.then_some(http.connections_per_address));
        let public = if operators.is_some() { Port::Api } else { Port::Only };
        tokio::spawn(async move {
            let accept = |listener, port| {
                let behind = Behind(port, service.clone());
                let per_address = per_address.clone();
                accept::accept_until_stopped(listener, behind, &http, per_address, stopping.clone())
            };
            let for_operators = async {
                if let Some(listener) = operators {
                    accept(listener, Port::Operators).await;
                }
            };
            tokio::join!(accept(listener, public), for_operators);
        })
    };
    tokio::spawn(time_database(app.clone()));
    let watching = app.clone();
    tokio::spawn(async move { watching.waiting_rooms.watch().await });
    if measured {
        tokio::spawn(sample(app.clone()));
    }
    terminated().await?;
    tracing::info!("shutting down");
    stopping.cancel();
    let leaving = async { tokio::join!(server, app.everyone.listeners.let_all_leave()) };
    match tokio::time::timeout(GRACE, leaving).await {
        Ok((ended, ())) => ended.context("the server's task failed")?,
        Err(_) => tracing::warn!("not every request finished, or not every client left, in time"),
    }
    if tokio::time::timeout(LAST_WORDS, app.say_last_words()).await.is_err() {
        tracing::warn!("the last broadcasts may not have reached the other processes");
    }
    // An unfinished request may hold a connection for ever.
    let goodbye = async { tokio::join!(app.db.close(), app.locks.pool().close()) };
    let _ = tokio::time::timeout(GOODBYE, goodbye).await;
    tracing::info!("stopped");
    Ok(())
}

/// As many connections may be waiting to be accepted as the system allows (`net.core.somaxconn`).
/// Who finds no room there is not told, and tries again after a second, then two, then four.
const BACKLOG: u32 = 65_535;

fn listen(address: SocketAddr) -> anyhow::Result<TcpListener> {
    let listen = || {
        let socket = match address {
            SocketAddr::V4(_) => TcpSocket::new_v4()?,
            SocketAddr::V6(_) => TcpSocket::new_v6()?,
        };
        // A process that starts again need not wait for the connections of the one before.
        socket.set_reuseaddr(true)?;
        socket.bind(address)?;
        socket.listen(BACKLOG)
    };
    listen().with_context(|| format!("cannot listen on {address}"))
}

/// How often it is measured how long PostgreSQL takes to answer.
const TIME_DATABASE_EVERY: Duration = Duration::from_secs(1);

/// Measures how far away PostgreSQL is, which [`admission`](crate::admission) must not take for
/// load.
async fn time_database(app: App) {
    loop {
        tokio::time::sleep(TIME_DATABASE_EVERY).await;
        // Nobody waits for it.
        let (_, served, _) = app.gate.load();
        if served == 0 {
            continue;
        }
        // If it cannot be asked, somebody else says so.
        if let Ok(mut conn) = app.db.acquire().await {
            let asked = Instant::now();
            if bounded(async { Ok(conn.ping().await?) }).await.is_ok() {
                app.gate.database_answered(asked.elapsed());
            }
        }
    }
}

/// How often values that no event reports are measured.
const SAMPLE_EVERY: Duration = Duration::from_secs(5);

/// Measures the use of the pool and the length of every queue: operators must see a queue grow,
/// even if it has no worker.
async fn sample(app: App) {
    loop {
        let (limit, served, waiting) = app.gate.load();
        metrics::load(limit, served, waiting);
        metrics::pool("api", &app.db);
        metrics::pool("locks", app.locks.pool());
        for queue in Queue::ALL {
            match bounded(admin::depth(&app.db, queue)).await {
                Ok(depth) => depth.record(queue),
                Err(error) => {
                    tracing::debug!(error = error.details(), "a queue's depth is not measured")
                }
            }
        }
        tokio::time::sleep(SAMPLE_EVERY).await;
    }
}

async fn terminated() -> anyhow::Result<()> {
    let mut term = signal(SignalKind::terminate())?;
    let mut int = signal(SignalKind::interrupt())?;
    tokio::select! {
        _ = term.recv() => {}
        _ = int.recv() => {}
    }
    Ok(())
}
