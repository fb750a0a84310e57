//! The operators' pages: queues, throughput, failures, dead letters with their history, payments
//! that need attention, accounts and events that have to be stopped, waiting rooms, the audit log, and
//! the actions on them. Rendered here, for admins and, but for the actions, auditors, without a line
//! of script. Their data and actions are those of `nexus_common`, which the command line uses, too.

mod accounts;
mod audit;
mod jobs;
mod ledger;
mod operator;
mod overview;
mod pages;
mod payments;
pub(crate) mod session;
mod waiting_rooms;

use axum::{
    Router,
    extract::{Path, Query, State},
    middleware,
    response::{IntoResponse, Redirect, Response},
    routing::{get, post},
};
use http::StatusCode;
use nexus_common::{
    Error,
    audit::{Subject, SubjectKind, viewed},
    jobs::{
        JobId,
        admin::{self, Filter},
    },
    ledger::alerts,
};
use operator::Admin;
use serde::Deserialize;
use session::Acting;

use crate::{
    app::App,
    http::{
        api_error::ApiError,
        client_ip::ClientIp,
        fields::{Text, filled},
        html,
        request::Fields,
    },
};

type Page = Result<Response, ApiError>;

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
        .route("/dead/discard", get(ask_to_discard_all).post(discard_all))
        .route("/alerts/{id}/close", post(close_alert))
        .route("/payments", get(payments::show))
        .route("/accounts", get(accounts::show))
        .route("/accounts/{id}/suspend", post(accounts::suspend))
        .route("/accounts/{id}/reinstate", post(accounts::reinstate))
        .route("/events/{id}/take-down", post(accounts::take_down))
        .route("/events/{id}/restore", post(accounts::restore))
        .route("/waiting-rooms", get(waiting_rooms::list))
        .route("/waiting-rooms/{id}", get(waiting_rooms::show))
        .route("/waiting-rooms/{id}/{act}", post(waiting_rooms::act))
        .route("/audit", get(audit::show))
        .route("/ledger.csv", get(ledger::export))
        .route("/style.css", get(html::style))
        .layer(middleware::from_fn(html::protect))
}

/// The effect of an action, which the next page reports.
#[derive(Deserialize)]
struct Did {
    retried: Option<u64>,
    discarded: Option<u64>,
    closed: Option<i64>,
}

async fn overview(State(app): State<App>, admin: Admin, Query(did): Query<Did>) -> Page {
    let queues = admin::queues(&app.db).await?;
    let dead = admin::dead_kinds(&app.db).await?;
    let failing = admin::failing_kinds(&app.db).await?;
    let alerts = alerts::open(&app.db, LISTED).await?;
    Ok(overview::page(&admin, &did, &queues, &dead, &failing, &alerts).into_response())
}

/// The jobs to show.
#[derive(Deserialize)]
struct Which {
    queue: Option<Text>,
    kind: Option<Text>,
    state: Option<Text>,
}

/// The most jobs, or alerts, on one page.
const LISTED: i64 = 100;

async fn list(State(app): State<App>, admin: Admin, fields: Fields<Which>) -> Page {
    // An absent or empty field means any.
    let Which { queue, kind, state } = fields.request;
    let some = |field: Option<Text>| field.as_ref().and_then(filled);
    let state = some(state).and_then(|state| state.parse().ok());
    let filter = Filter { queue: some(queue), kind: some(kind), state, limit: LISTED };
    let jobs = admin::list(&app.db, &filter).await?;
    Ok(jobs::list(&admin, &filter, &jobs).into_response())
}

async fn show(State(app): State<App>, admin: Admin, Path(id): Path<String>) -> Page {
    let job = match id.parse::<JobId>() {
        Ok(id) => admin::show(&app.db, id).await?,
        Err(_) => None,
    };
    Ok(match job {
        Some(job) => {
            // A phone or an address may be in it.
            let mut conn = app.db.acquire().await.map_err(Error::from)?;
            viewed(&mut conn, admin.user, Subject::of(SubjectKind::Job, job.id)).await?;
            jobs::job(&admin, &job).into_response()
        }
        None => (StatusCode::NOT_FOUND, pages::refusal("There is no such job (any more)."))
            .into_response(),
    })
}

async fn retry(State(app): State<App>, Path(id): Path<JobId>, operator: Acting) -> Page {
    if !admin::retry(&app.db, id, operator.acts()).await? {
        let rule = "Only a dead or cancelled job can be retried, and only while no live job has its unique key.";
        return Ok((StatusCode::CONFLICT, pages::refusal(rule)).into_response());
    }
    tracing::info!(operator = %operator.user, job_id = %id, "an operator retries a job");
    Ok(Redirect::to(&format!("/admin/jobs/{id}")).into_response())
}

async fn discard(State(app): State<App>, Path(id): Path<JobId>, operator: Acting) -> Page {
    if !admin::discard(&app.db, id, operator.acts()).await? {
        let rule = "Only a job that has not started or is dead can be discarded.";
        return Ok((StatusCode::CONFLICT, pages::refusal(rule)).into_response());
    }
    tracing::info!(operator = %operator.user, job_id = %id, "an operator discards a job");
    Ok(Redirect::to(&format!("/admin/jobs/{id}")).into_response())
}

async fn retry_all(State(app): State<App>, address: ClientIp, operator: Acting) -> Page {
    let kind = kind(&operator)?;
    if let Some(ask) = operator.asked_for_code(&app, address, "/admin/dead/retry").await? {
        return Ok(ask);
    }
    let retried = admin::retry_all(&app.db, kind, operator.acts()).await?;
    tracing::info!(operator = %operator.user, kind, retried, "an operator retries all dead jobs of a kind");
    Ok(Redirect::to(&format!("/admin?retried={retried}")).into_response())
}

async fn ask_to_discard_all(State(app): State<App>, admin: Admin, fields: Fields<Which>) -> Page {
    let kind = fields.request.kind.as_ref().and_then(filled);
    let dead = admin::dead_kinds(&app.db).await?;
    let found = dead.iter().find(|dead| Some(&dead.kind) == kind.as_ref());
    Ok(match found {
        Some(dead) => overview::discard(&admin, &dead.kind, dead.count).into_response(),
        None => Redirect::to("/admin").into_response(),
    })
}

async fn discard_all(State(app): State<App>, address: ClientIp, operator: Acting) -> Page {
    let kind = kind(&operator)?;
    if let Some(ask) = operator.asked_for_code(&app, address, "/admin/dead/discard").await? {
        return Ok(ask);
    }
    let discarded = admin::discard_all(&app.db, kind, operator.acts()).await?;
    tracing::info!(operator = %operator.user, kind, discarded, "an operator discards all dead jobs of a kind");
    Ok(Redirect::to(&format!("/admin?discarded={discarded}")).into_response())
}

async fn close_alert(State(app): State<App>, Path(id): Path<i64>, operator: Acting) -> Page {
    if !alerts::close(&app.db, id, operator.acts()).await? {
        return Ok((StatusCode::CONFLICT, pages::refusal("Only an open alert can be closed."))
            .into_response());
    }
    tracing::info!(operator = %operator.user, alert = id, "an operator closes an alert");
    Ok(Redirect::to(&format!("/admin?closed={id}")).into_response())
}

fn kind(operator: &Acting) -> Result<&str, ApiError> {
    let kind = operator.fields.get("kind").map(String::as_str).filter(|kind| !kind.is_empty());
    kind.ok_or_else(|| {
        ApiError::http(StatusCode::BAD_REQUEST, "validation_failed", "kind is required")
    })
}
