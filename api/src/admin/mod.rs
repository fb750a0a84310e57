//! The operators' page: queues, throughput, failures, dead letters with their history, payments that are not as they should be, and what to
//! do about them. Rendered here, for admins
//! only, without a line of script. What it shows and does is `nexus_common::jobs::admin`, which `nexus-jobs` uses, too.

mod ledger;
mod pages;
mod session;

use std::collections::BTreeMap;

use axum::{
    Form, Router,
    extract::{Path, Query, State},
    middleware::{self, Next},
    response::{IntoResponse, Redirect, Response},
    routing::{get, post},
};
use http::{HeaderValue, StatusCode, header};
use maud::Markup;
use nexus_common::{
    domain::alerts,
    jobs::{
        JobId,
        admin::{self, Filter},
    },
};
use serde::Deserialize;

use crate::{app::App, error::Failure};
use session::Admin;

type Page = Result<Markup, Failure>;
type Action = Result<Redirect, Failure>;

/// The pages, below `/admin`.
pub(crate) fn routes() -> Router<App> {
    Router::new()
        .route("/", get(overview))
        .route("/login", get(session::ask).post(session::log_in))
        .route("/logout", post(session::log_out))
        .route("/jobs", get(list))
        .route("/jobs/{id}", get(show))
        .route("/jobs/{id}/retry", post(retry))
        .route("/jobs/{id}/discard", post(discard))
        .route("/dead/retry", post(retry_all))
        .route("/dead/discard", post(discard_all))
        .route("/alerts/{id}/close", post(close_alert))
        .route("/ledger.csv", get(ledger::export))
        .route("/style.css", get(style))
        .layer(middleware::from_fn(protect))
}

/// Nothing is loaded from elsewhere, framed or cached.
async fn protect(request: axum::extract::Request, next: Next) -> Response {
    let mut response = next.run(request).await;
    let policy =
        "default-src 'none'; style-src 'self'; form-action 'self'; frame-ancestors 'none'; base-uri 'none'";
    for (name, value) in [
        (header::CONTENT_SECURITY_POLICY, policy),
        (header::CACHE_CONTROL, "no-store"),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::X_FRAME_OPTIONS, "DENY"),
        (header::REFERRER_POLICY, "same-origin"),
    ] {
        response.headers_mut().insert(name, HeaderValue::from_static(value));
    }
    response
}

async fn style() -> impl IntoResponse {
    ([(header::CONTENT_TYPE, "text/css; charset=utf-8")], include_str!("style.css"))
}

async fn overview(State(app): State<App>, _admin: Admin) -> Page {
    let queues = admin::queues(&app.db).await?;
    let dead = admin::dead_kinds(&app.db).await?;
    let open = alerts::open(&app.db, LISTED).await?;
    Ok(pages::overview(&queues, &dead, &open))
}

/// Which jobs a list shows; absent and empty mean any.
#[derive(Deserialize)]
struct Which {
    queue: Option<String>,
    kind: Option<String>,
    state: Option<String>,
}

/// Jobs, or alerts, on one page.
const LISTED: i64 = 100;

async fn list(State(app): State<App>, _admin: Admin, Query(which): Query<Which>) -> Page {
    let some = |text: Option<String>| text.filter(|text| !text.is_empty());
    let filter =
        Filter { queue: some(which.queue), kind: some(which.kind), state: some(which.state), limit: LISTED };
    let jobs = admin::list(&app.db, &filter).await?;
    Ok(pages::list(&filter, &jobs))
}

async fn show(State(app): State<App>, _admin: Admin, Path(id): Path<JobId>) -> Page {
    let job = admin::show(&app.db, id).await?.ok_or_else(job_not_found)?;
    Ok(pages::job(&job))
}

async fn retry(State(app): State<App>, operator: Admin, Path(id): Path<JobId>) -> Action {
    if !admin::retry(&app.db, id).await? {
        return Err(refused(
            "Only a dead or cancelled job can be retried, while no live job has its unique key",
        ));
    }
    tracing::info!(operator = %operator.user, job_id = %id, "an operator retries a job");
    Ok(Redirect::to(&format!("/admin/jobs/{id}")))
}

async fn discard(State(app): State<App>, operator: Admin, Path(id): Path<JobId>) -> Action {
    if !admin::discard(&app.db, id).await? {
        return Err(refused("Only a job that has not started or is dead can be discarded"));
    }
    tracing::info!(operator = %operator.user, job_id = %id, "an operator discards a job");
    Ok(Redirect::to(&format!("/admin/jobs/{id}")))
}

async fn retry_all(State(app): State<App>, operator: Admin, form: Form<BTreeMap<String, String>>) -> Action {
    let kind = kind(&form)?;
    let retried = admin::retry_all(&app.db, kind).await?;
    tracing::info!(operator = %operator.user, kind, retried, "an operator retries all dead jobs of a kind");
    Ok(Redirect::to("/admin"))
}

async fn discard_all(
    State(app): State<App>,
    operator: Admin,
    form: Form<BTreeMap<String, String>>,
) -> Action {
    let kind = kind(&form)?;
    let discarded = admin::discard_all(&app.db, kind).await?;
    tracing::info!(operator = %operator.user, kind, discarded, "an operator discards all dead jobs of a kind");
    Ok(Redirect::to("/admin"))
}

async fn close_alert(State(app): State<App>, operator: Admin, Path(id): Path<i64>) -> Action {
    if !alerts::close(&app.db, id).await? {
        return Err(refused("Only an open alert can be closed"));
    }
    tracing::info!(operator = %operator.user, alert = id, "an operator closes an alert");
    Ok(Redirect::to("/admin"))
}

fn kind(form: &BTreeMap<String, String>) -> Result<&str, Failure> {
    let kind = form.get("kind").map(String::as_str).filter(|kind| !kind.is_empty());
    kind.ok_or_else(|| Failure::http(StatusCode::BAD_REQUEST, "validation_failed", "kind is required"))
}

fn job_not_found() -> Failure {
    Failure::http(StatusCode::NOT_FOUND, "job_not_found", "Job not found")
}

fn refused(why: &str) -> Failure {
    Failure::http(StatusCode::CONFLICT, "job_state", why)
}
