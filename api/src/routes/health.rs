//! Is the process alive, and can it serve?

use std::time::Duration;

use axum::{Json, extract::State, response::Html};
use http::StatusCode;
use nexus_common::storage::postgres;

use crate::{
    answers::{Checks, Health, Readiness},
    app::App,
};

/// What the Node service said at its root.
pub(crate) async fn running() -> Html<&'static str> {
    Html("Backend is running")
}

/// The process is alive, and how its servers are. Always 200: no restart of this process mends
/// PostgreSQL.
pub(crate) async fn health(State(app): State<App>) -> Json<Health> {
    let checks = check(&app, BRIEFLY).await;
    Json(Health { status: "ok", version: env!("CARGO_PKG_VERSION"), checks })
}

/// Whoever asks for the process's health takes a late answer for a dead process.
const BRIEFLY: Duration = Duration::from_millis(500);
/// Longer than this is as bad as no answer.
const PATIENCE: Duration = Duration::from_secs(2);

/// Whether PostgreSQL and Redis answer and the schema is up to date: 200, or 503 and what is
/// missing.
pub(crate) async fn ready(State(app): State<App>) -> (StatusCode, Json<Readiness>) {
    let checks = check(&app, PATIENCE).await;
    let ready = checks.all_ok();
    let status = if ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    (status, Json(Readiness { status: if ready { "ready" } else { "not_ready" }, checks }))
}

async fn check(app: &App, patience: Duration) -> Checks {
    let (migrated, pong) = tokio::join!(
        tokio::time::timeout(patience, postgres::is_migrated(&app.db)),
        tokio::time::timeout(patience, app.cache.ping()),
    );
    if let Ok(Err(error)) = &migrated {
        tracing::warn!(error = error.details(), "PostgreSQL is away");
    }
    if let Ok(Err(error)) = &pong {
        tracing::warn!(%error, "Redis is away");
    }
    let word = |up: bool| if up { Checks::OK } else { Checks::FAILED };
    Checks {
        postgresql: word(matches!(migrated, Ok(Ok(_)))),
        redis: word(matches!(pong, Ok(Ok(())))),
        migrations: word(matches!(migrated, Ok(Ok(true)))),
    }
}
