//! Runs the server: everything that wraps the routes, and an end in good order.

use std::{future::IntoFuture, time::Duration};

use anyhow::Context;
use axum::{Router, middleware, serve::ListenerExt};
use nexus_common::config;
use tokio::{
    net::TcpListener,
    signal::unix::{SignalKind, signal},
};
use tokio_util::sync::CancellationToken;
use tower::{Layer, ServiceBuilder, util::MapRequestLayer};
use tower_http::catch_panic::CatchPanicLayer;

use crate::{
    app::AppState,
    error::Failure,
    middleware::{origin, paths, requests, shutdown, tags},
    router, socket,
};

/// A peer that has not acknowledged anything for so long is gone.
const STUCK: Duration = Duration::from_secs(20);
/// How long open requests may take to finish after SIGTERM.
const GRACE: Duration = Duration::from_secs(10);

/// Serves until SIGTERM or SIGINT.
pub(crate) async fn serve(settings: config::Api) -> anyhow::Result<()> {
    let address = (settings.http.host, settings.http.port);
    let origins = origin::origins(&settings.http.frontends);
    let (sockets, io) = socket::layer(&settings.redis)?;
    let app = AppState::new(settings, io.clone())?;
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

async fn terminated() -> anyhow::Result<()> {
    let mut term = signal(SignalKind::terminate())?;
    let mut int = signal(SignalKind::interrupt())?;
    tokio::select! {
        _ = term.recv() => {}
        _ = int.recv() => {}
    }
    Ok(())
}
