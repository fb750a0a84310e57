//! Is the process alive, and can it serve?

use std::time::Duration;

use axum::{Json, extract::State, response::Html};
use http::StatusCode;
use nexus_common::db;

use crate::{
    answers::{Checks, Health, Readiness},
    app::App,
};

/// What the Node service said at its root.
pub(crate) async fn running() -> Html<&'static str> {
    Html("Backend is running")
}

/// The process is alive; nothing else is asked.
pub(crate) async fn health() -> Json<Health> {
    Json(Health { status: "ok", version: env!("CARGO_PKG_VERSION") })
}

/// Longer than this is as bad as no answer.
const PATIENCE: Duration = Duration::from_secs(2);

/// Whether PostgreSQL and Redis answer and the schema is up to date: 200, or 503 and what is missing.
pub(crate) async fn ready(State(app): State<App>) -> (StatusCode, Json<Readiness>) {
    let (migrated, pong) = tokio::join!(
        tokio::time::timeout(PATIENCE, db::is_migrated(&app.db)),
        tokio::time::timeout(PATIENCE, app.cache.ping()),
    );
    if let Ok(Err(error)) = &migrated {
        tracing::warn!(error = error.details(), "PostgreSQL is away");
    }
    if let Ok(Err(error)) = &pong {
        tracing::warn!(%error, "Redis is away");
    }
    let postgresql = matches!(migrated, Ok(Ok(_)));
    let migrations = matches!(migrated, Ok(Ok(true)));
    let redis = matches!(pong, Ok(Ok(())));
    let ready = postgresql && migrations && redis;
    let word = |up: bool| if up { "ok" } else { "failed" };
    let status = if ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    let body = Readiness {
        status: if ready { "ready" } else { "not_ready" },
        checks: Checks { postgresql: word(postgresql), redis: word(redis), migrations: word(migrations) },
    };
    (status, Json(body))
}
