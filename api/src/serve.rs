//! Runs the server: everything that wraps the routes, and an end in good order.

use std::{future::IntoFuture, time::Duration};

use anyhow::Context;
use axum::{Router, middleware, serve::ListenerExt};
use nexus_common::{
    config,
    jobs::{Queue, admin},
    metrics,
};
use tokio::{
    net::TcpListener,
    signal::unix::{SignalKind, signal},
};
use tokio_util::sync::CancellationToken;
use tower::{Layer, ServiceBuilder, util::MapRequestLayer};
use tower_http::catch_panic::CatchPanicLayer;

use crate::{
    app::{App, AppState},
    error::Failure,
    middleware::{origin, paths, requests, shutdown, tags},
    revocations, router, socket,
};

/// A peer that has not acknowledged anything for so long is gone.
const STUCK: Duration = Duration::from_secs(20);
/// How long open requests may take to finish after SIGTERM.
const GRACE: Duration = Duration::from_secs(10);

/// Serves until SIGTERM or SIGINT.
pub(crate) async fn serve(settings: config::Api) -> anyhow::Result<()> {
    let address = (settings.http.host, settings.http.port);
    let origins = origin::origins(&settings.http.frontends);
    metrics::serve(settings.metrics)
        .map_err(|error| anyhow::anyhow!("metrics cannot be served: {}", error.details()))?;
    let measured = settings.metrics.is_some();
    let (sockets, io) = socket::layer(&settings.redis)?;
    let notifications = revocations::pool(&settings.database)?;
    let app = AppState::new(settings, io.clone())?;
    tokio::spawn(revocations::listen(app.clone(), notifications));
    socket::listen(&io, app.clone()).await?;
    let stopping = CancellationToken::new();

    let service: Router = router::router(app.clone()).layer(
        ServiceBuilder::new()
            .layer(middleware::from_fn(origin::empty_preflight))
            .layer(origin::cors(&origins))
            .layer(middleware::from_fn(requests::serve))
            .layer(CatchPanicLayer::custom(|_| {
                axum::response::IntoResponse::into_response(Failure::from(nexus_common::Error::internal(
                    "a handler panicked",
                )))
            }))
            .layer(middleware::from_fn_with_state(origins, origin::guard_upgrades))
            .layer(middleware::from_fn_with_state(stopping.clone(), shutdown::drop_polls))
            .layer(middleware::from_fn(tags::tag))
            .layer(middleware::from_fn(socket::http::serve))
            .layer(sockets),
    );
    // Outside the router, because it decides which route matches.
    let service = MapRequestLayer::new(paths::normalise::<axum::body::Body>).layer(service);

    let listener = TcpListener::bind(address)
        .await
        .with_context(|| format!("cannot listen on {}:{}", address.0, address.1))?;
    tracing::info!(address = %listener.local_addr()?, "listening");
    let listener = listener.tap_io(|tcp| {
        // Small messages must not wait for one another.
        let _ = tcp.set_nodelay(true);
        // Without it a client that stops reading keeps its socket and what is buffered for it for ever (REALTIME.md).
        let _ = socket2::SockRef::from(&*tcp).set_tcp_user_timeout(Some(STUCK));
    });

    let server = axum::serve(listener, tower::make::Shared::new(service))
        .with_graceful_shutdown(stopping.clone().cancelled_owned());
    let server = tokio::spawn(server.into_future());
    if measured {
        tokio::spawn(sample(app.clone()));
    }
    terminated().await?;
    tracing::info!("shutting down");
    stopping.cancel();
    match tokio::time::timeout(GRACE, server).await {
        Ok(ended) => ended.context("the server's task failed")?.context("the server failed")?,
        Err(_) => tracing::warn!("not every request finished in time"),
    }
    app.db.close().await;
    tracing::info!("stopped");
    Ok(())
}

/// How often is measured what nobody reports.
const SAMPLE_EVERY: Duration = Duration::from_secs(5);

/// Measures how the pool is used and how long every queue is: whether a queue has a worker or not, somebody must see that it grows.
async fn sample(app: App) {
    loop {
        metrics::pool("api", &app.db);
        for queue in Queue::ALL {
            match admin::depth(&app.db, queue).await {
                Ok(depth) => metrics::depth(queue, &depth),
                Err(error) => tracing::debug!(error = error.details(), "a queue's depth is not measured"),
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
