//! Accounts and events that have to be stopped: an operator suspends the one, and takes the other
//! down.

use axum::{
    extract::{Path, State},
    response::{IntoResponse, Redirect, Response},
};
use http::StatusCode;
use maud::{Markup, html};
use nexus_common::{
    Error, Result,
    accounts::{
        credentials::Login,
        roles::{self, Holder},
        suspension, users,
    },
    audit,
    events::takedown::{self, Known},
    storage::postgres,
    types::ids::{EventId, UserId},
};
use serde::Deserialize;
use sqlx::PgConnection;

use super::{
    operator::Admin,
    pages::{self, at, form, page},
    session::Acting,
};
use crate::{
    app::App,
    auth::revocations,
    http::{
        api_error::ApiError,
        fields::{Text, filled},
        request::Fields,
    },
};

/// What the operator looks for.
#[derive(Deserialize)]
pub(super) struct Search {
    about: Option<Text>,
}

/// `GET /admin/accounts?about=`
pub(super) async fn show(
    State(app): State<App>,
    admin: Admin,
    fields: Fields<Search>,
) -> Result<Response, ApiError> {
    let about = fields.request.about.as_ref().and_then(filled).unwrap_or_default();
    let mut conn = app.db.acquire().await.map_err(Error::from)?;
    let event = match about.trim().strip_prefix("event ").and_then(|id| id.trim().parse().ok()) {
        Some(id) => takedown::look(&mut conn, EventId(id)).await?,
        None => None,
    };
    let accounts = found(&mut conn, about.trim()).await?;
    for account in &accounts {
        audit::viewed(&mut conn, admin.user, account.id).await?;
    }
    Ok(accounts_page(&admin, &about, &accounts, event.as_ref()).into_response())
}

/// The accounts that an operator may mean.
async fn found(conn: &mut PgConnection, about: &str) -> Result<Vec<Holder>> {
    let ids = match (about.parse(), Login::of(about)) {
        (Ok(id), _) => vec![UserId(id)],
        (Err(_), Some(login)) => {
            let accounts = users::find(conn, &login, "").await?;
            accounts.into_iter().map(|account| account.user.id).collect()
        }
        (Err(_), None) => vec![],
    };
    let mut holders = Vec::new();
    for id in ids {
        holders.extend(roles::holder(conn, id).await?);
    }
    Ok(holders)
}

fn accounts_page(admin: &Admin, about: &str, accounts: &[Holder], event: Option<&Known>) -> Markup {
    page(
        admin,
        "Accounts and events",
        None,
        &html! {
            form.filter method="get" action="/admin/accounts" {
                label { "Account or event" input name="about" value=(about) placeholder="7, asha@…, +91…, event 12" size="40" required; }
                button { "Show" }
            }
            @if accounts.is_empty() && event.is_none() && !about.trim().is_empty() {
                p.empty { "There is nothing like " code { (about) } "." }
            }
            @for account in accounts { (account_facts(admin, account)) }
            @if let Some(event) = event { (event_facts(admin, event)) }
        },
    )
}

fn account_facts(admin: &Admin, account: &Holder) -> Markup {
    let proved = |is: bool| if is { "" } else { " (not proved)" };
    let action = |what: &str| format!("/admin/accounts/{}/{what}", account.id);
    html! {
        dl {
            dt { "Account" } dd { (account.id) " · " a href={ "/admin/audit?about=" (account.id) } { "its audit log" } }
            dt { "E-mail" } dd { (account.email.as_deref().unwrap_or("—")) @if account.email.is_some() { (proved(account.email_verified)) } }
            dt { "Phone" } dd { (account.phone.as_deref().unwrap_or("—")) @if account.phone.is_some() { (proved(account.phone_verified)) } }
            dt { "Role" } dd { (account.role) }
            dt { "Registered" } dd { (at(Some(account.created_at))) }
            dt { "Suspended" } dd { (at(account.suspended_at)) }
        }
        @match account.suspended_at {
            None => { (stopping(admin, &action("suspend"), "Suspend")) }
            Some(_) => { (form(admin, &action("reinstate"), &html! { button { "Reinstate" } })) }
        }
    }
}

fn event_facts(admin: &Admin, event: &Known) -> Markup {
    let action = |what: &str| format!("/admin/events/{}/{what}", event.id);
    html! {
        dl {
            dt { "Event" } dd { (event.id) ", " (event.name) " · " a href={ "/admin/audit?about=event+" (event.id) } { "its audit log" }
                " · " a href={ "/admin/waiting-rooms/" (event.id) } { "its waiting room" } }
            dt { "Organiser" } dd { a href={ "/admin/accounts?about=" (event.organiser) } { (event.organiser) } }
            dt { "Status" } dd { (event.status) }
            dt { "Taken down" } dd { (at(event.taken_down_at)) }
        }
        @match event.taken_down_at {
            None => { (stopping(admin, &action("take-down"), "Take down")) }
            Some(_) => { (form(admin, &action("restore"), &html! { button { "Restore" } })) }
        }
    }
}

/// A button that needs a reason.
fn stopping(admin: &Admin, action: &str, what: &str) -> Markup {
    form(
        admin,
        action,
        &html! {
            label { "Reason, for the audit log" input name="reason" maxlength="300" size="40" required; }
            button.danger { (what) }
        },
    )
}

/// `POST /admin/accounts/:id/suspend`
pub(super) async fn suspend(
    State(app): State<App>,
    Path(id): Path<i32>,
    operator: Acting,
) -> Result<Response, ApiError> {
    let (user, Some(reason)) = (UserId(id), reason(&operator)) else { return Ok(no_reason()) };
    if user == operator.user {
        return Ok(refused("Somebody else has to suspend you."));
    }
    let mut tx = postgres::begin(&app.db).await?;
    let ended = suspension::suspend(&mut tx, user, reason, operator.acts()).await?;
    tx.commit().await.map_err(Error::from)?;
    let Some(ended) = ended else {
        return Ok(refused("There is no such account that is not suspended."));
    };
    app.tokens.end_sessions(user, &ended).await;
    revocations::revoked(&app, user).await;
    tracing::info!(operator = %operator.user, %user, "an operator suspends an account");
    Ok(back(&user.to_string()))
}

/// `POST /admin/accounts/:id/reinstate`
pub(super) async fn reinstate(
    State(app): State<App>,
    Path(id): Path<i32>,
    operator: Acting,
) -> Result<Response, ApiError> {
    let user = UserId(id);
    let mut tx = postgres::begin(&app.db).await?;
    let reinstated = suspension::reinstate(&mut tx, user, operator.acts()).await?;
    tx.commit().await.map_err(Error::from)?;
    if !reinstated {
        return Ok(refused("This account is not suspended."));
    }
    tracing::info!(operator = %operator.user, %user, "an operator reinstates an account");
    Ok(back(&user.to_string()))
}

/// `POST /admin/events/:id/take-down`
pub(super) async fn take_down(
    State(app): State<App>,
    Path(id): Path<i32>,
    operator: Acting,
) -> Result<Response, ApiError> {
    let (event, Some(reason)) = (EventId(id), reason(&operator)) else { return Ok(no_reason()) };
    let mut tx = postgres::begin(&app.db).await?;
    let taken = takedown::take_down(&mut tx, event, reason, operator.acts()).await?;
    tx.commit().await.map_err(Error::from)?;
    if !taken {
        return Ok(refused("There is no such event that is up."));
    }
    tracing::info!(operator = %operator.user, %event, "an operator takes an event down");
    Ok(back(&format!("event+{event}")))
}

/// `POST /admin/events/:id/restore`
pub(super) async fn restore(
    State(app): State<App>,
    Path(id): Path<i32>,
    operator: Acting,
) -> Result<Response, ApiError> {
    let event = EventId(id);
    let mut tx = postgres::begin(&app.db).await?;
    let restored = takedown::restore(&mut tx, event, operator.acts()).await?;
    tx.commit().await.map_err(Error::from)?;
    if !restored {
        return Ok(refused("This event is not taken down."));
    }
    tracing::info!(operator = %operator.user, %event, "an operator restores an event");
    Ok(back(&format!("event+{event}")))
}

fn reason(operator: &Acting) -> Option<&str> {
    let reason = operator.fields.get("reason").map(|reason| reason.trim());
    reason.filter(|reason| !reason.is_empty())
}

fn no_reason() -> Response {
    let why = "A reason is needed, for whoever reads the audit log.";
    (StatusCode::UNPROCESSABLE_ENTITY, pages::refusal(why)).into_response()
}

fn refused(why: &str) -> Response {
    (StatusCode::CONFLICT, pages::refusal(why)).into_response()
}

fn back(about: &str) -> Response {
    Redirect::to(&format!("/admin/accounts?about={about}")).into_response()
}
