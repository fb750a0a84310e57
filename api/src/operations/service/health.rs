//! `GET /`, `GET /health`, `GET /ready`: is the process alive, and can it serve?

use std::{
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

use axum::{Json, extract::State, response::Html};
use futures_util::{
    FutureExt,
    future::{BoxFuture, Shared},
};
use http::StatusCode;
use nexus_common::storage::{Cache, postgres};
use serde::Serialize;
use serde_json::json;
use sqlx::PgPool;
use utoipa::ToSchema;

use crate::{app::App, spec::operation::Operation};

/// The process is alive; the state of its servers.
#[derive(Serialize, ToSchema)]
pub(crate) struct Health {
    status: &'static str,
    version: &'static str,
    checks: Checks,
}

/// Whether the process can serve.
#[derive(Serialize, ToSchema)]
pub(crate) struct Readiness {
    status: &'static str,
    checks: Checks,
}

/// `ok` or `failed`.
#[derive(Clone, Copy, Serialize, ToSchema)]
pub(crate) struct Checks {
    postgresql: &'static str,
    redis: &'static str,
    migrations: &'static str,
}

impl Checks {
    const OK: &'static str = "ok";
    const FAILED: &'static str = "failed";

    fn all_ok(&self) -> bool {
        [self.postgresql, self.redis, self.migrations].iter().all(|check| *check == Self::OK)
    }
}

/// The text about the root in the API documents.
pub(crate) fn root_spec() -> Operation {
    Operation::open("root", "Check that the backend is running").raw_response(
        200,
        "It is.",
        "text/html",
        |_| json!({ "const": "Backend is running" }),
    )
}

/// The Node service's answer at its root.
pub(crate) async fn root() -> Html<&'static str> {
    Html("Backend is running")
}

/// The text about health in the API documents.
pub(crate) fn health_spec() -> Operation {
    Operation::open("health", "Check liveness")
        .description("Responds 200 as long as the process runs, and says how PostgreSQL and Redis are. `/ready` says it by its status.")
        .plain_response::<Health>(200, "It does.")
}

/// The process is alive, with the state of its servers. Always 200: restarting this process does
/// not mend PostgreSQL.
pub(crate) async fn health(State(app): State<App>) -> Json<Health> {
    let checks = BRIEF.of(&app).await;
    Json(Health { status: "ok", version: env!("CARGO_PKG_VERSION"), checks })
}

/// A supervisor that asks for the process's health takes a late response for a dead process.
const BRIEFLY: Duration = Duration::from_millis(500);
/// A server that takes longer counts as failed.
const CHECK_TIMEOUT: Duration = Duration::from_secs(2);

/// How long an answer is good for all who ask: a check costs PostgreSQL and Redis, asking nobody.
const GOOD_FOR: Duration = Duration::from_secs(1);

static BRIEF: LastCheck = LastCheck::with_patience(BRIEFLY);
static PATIENT: LastCheck = LastCheck::with_patience(CHECK_TIMEOUT);

/// The last check, perhaps under way: one at a time, and at most one a second.
struct LastCheck {
    patience: Duration,
    last: Mutex<Option<(Instant, Shared<BoxFuture<'static, Checks>>)>>,
}

impl LastCheck {
    const fn with_patience(patience: Duration) -> Self {
        LastCheck { patience, last: Mutex::new(None) }
    }

    fn of(&self, app: &App) -> Shared<BoxFuture<'static, Checks>> {
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((began, checks)) = &*last
            && (began.elapsed() < GOOD_FOR || checks.peek().is_none())
        {
            return checks.clone();
        }
        let checks = check(app.db.clone(), app.cache.clone(), self.patience).boxed().shared();
        // It goes on even if whoever has asked first does not wait for it.
        tokio::spawn(checks.clone());
        *last = Some((Instant::now(), checks.clone()));
        checks
    }
}

/// The text about readiness in the API documents.
pub(crate) fn ready_spec() -> Operation {
    Operation::open("ready", "Check readiness")
        .plain_response::<Readiness>(200, "It can.")
        .plain_response::<Readiness>(503, "Something that it needs is away.")
}

/// Whether PostgreSQL and Redis answer and the schema is up to date: 200, or 503 with what is
/// missing.
pub(crate) async fn ready(State(app): State<App>) -> (StatusCode, Json<Readiness>) {
    let checks = PATIENT.of(&app).await;
    let ready = checks.all_ok();
    let status = if ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    (status, Json(Readiness { status: if ready { "ready" } else { "not_ready" }, checks }))
}

async fn check(db: PgPool, cache: Cache, patience: Duration) -> Checks {
    let (migrated, pong) = tokio::join!(
        tokio::time::timeout(patience, postgres::is_migrated(&db)),
        tokio::time::timeout(patience, cache.check()),
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
