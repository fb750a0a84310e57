//! The audit log, page by page.

use axum::{
    extract::State,
    response::{IntoResponse, Response},
};
use maud::{Markup, html};
use nexus_common::audit::{self, Action, Entry, Filter, Subject};
use serde::Deserialize;

use super::{
    operator::Admin,
    pages::{at, page},
};
use crate::{
    app::App,
    http::{
        api_error::ApiError,
        fields::{Text, filled},
        request::Fields,
    },
};

/// Which rows are shown.
#[derive(Deserialize)]
pub(super) struct Search {
    about: Option<Text>,
    action: Option<Text>,
    before: Option<Text>,
}

/// Rows on a page.
const LISTED: i64 = 100;

/// `GET /admin/audit?about=&action=&before=`
pub(super) async fn show(
    State(app): State<App>,
    admin: Admin,
    fields: Fields<Search>,
) -> Result<Response, ApiError> {
    let Search { about, action, before } = fields.request;
    let given = |field: Option<Text>| field.as_ref().and_then(filled);
    let (about, action) = (given(about), given(action));
    let filter = Filter {
        about: about.as_deref().and_then(Subject::parse),
        action: action.and_then(|action| action.parse().ok()),
        before: given(before).and_then(|before| before.parse().ok()),
    };
    // What is about nothing that there could be is nowhere in the log.
    let rows = match (&about, &filter.about) {
        (Some(_), None) => vec![],
        _ => {
            let mut conn = app.db.acquire().await?;
            if let Some(subject) = filter.about.clone().filter(|it| it.account().is_some()) {
                audit::viewed(&mut conn, admin.user, subject).await?;
            }
            audit::list(&mut conn, &filter, LISTED).await?
        }
    };
    let about = about.unwrap_or_default();
    Ok(audit_page(&admin, &about, filter.action, &rows).into_response())
}

fn audit_page(admin: &Admin, about: &str, action: Option<Action>, rows: &[Entry]) -> Markup {
    page(
        admin,
        "Audit log",
        None,
        &html! {
            form.filter method="get" action="/admin/audit" {
                label { "About" input name="about" value=(about) placeholder="7, event 12, job …"; }
                label { "Action" select name="action" {
                    option value="" { "any" }
                    @for known in Action::ALL {
                        option value=(known) selected[action == Some(known)] { (known) }
                    }
                } }
                button { "Show" }
            }
            @if rows.is_empty() {
                p.empty { "Nothing like that is in the log. Rows are kept for a while only (AUDIT_KEEP_DAYS)." }
            } @else {
                (table(rows))
                @if rows.len() as i64 == LISTED && let Some(last) = rows.last() {
                    form.filter method="get" action="/admin/audit" {
                        input type="hidden" name="about" value=(about);
                        input type="hidden" name="action" value=(action.map(Action::name).unwrap_or_default());
                        input type="hidden" name="before" value=(last.id);
                        button { "Older" }
                    }
                }
            }
        },
    )
}

fn table(rows: &[Entry]) -> Markup {
    html! {
        table {
            thead { tr {
                th { "Action" } th { "At" } th { "By" } th { "About" } th { "Address" } th { "Request" } th { "Details" }
            } }
            tbody {
                @for row in rows {
                    tr {
                        th { (row.action) }
                        td.wide data-label="At" { (at(Some(row.at))) }
                        td data-label="By" {
                            @match row.actor { Some(user) => { "user " (user) } None => { (row.written_by) } }
                        }
                        td.whole data-label="About" { (row.subject_kind) " " (row.subject) }
                        td.whole data-label="Address" { (row.address.as_deref().unwrap_or("—")) }
                        td.whole data-label="Request" { (row.request_id.as_deref().unwrap_or("—")) }
                        td.whole data-label="Details" { (row.details) }
                    }
                }
            }
        }
    }
}
