//! The story of a payment, and the search for one.

use axum::{
    extract::{Query, State},
    response::{IntoResponse, Response},
};
use maud::{Markup, html};
use nexus_common::{
    audit::{self, Subject, SubjectKind},
    payments::story::{self, Story},
};
use serde::Deserialize;

use super::{
    operator::Admin,
    pages::{at, page},
};
use crate::{app::App, http::api_error::ApiError};

/// The operator's search term; absent before they have searched.
#[derive(Deserialize)]
pub(super) struct Search {
    about: Option<String>,
}

/// `GET /admin/payments?about=`
pub(super) async fn show(
    State(app): State<App>,
    admin: Admin,
    Query(search): Query<Search>,
) -> Result<Response, ApiError> {
    let about = search.about.unwrap_or_default();
    let story = match about.trim() {
        "" => None,
        about => {
            let mut conn = app.db.acquire().await?;
            let story = story::tell(&mut conn, about).await?;
            if let Some(booking) = story.as_ref().and_then(|story| story.booking_id) {
                let booking = Subject::of(SubjectKind::Booking, booking);
                audit::viewed(&mut conn, admin.user, booking).await?;
            }
            story
        }
    };
    Ok(story_page(&admin, &about, story.as_ref()).into_response())
}

/// A link to the story about `about`. An id that would need escaping is not one of Razorpay's, and
/// gets no link.
pub(super) fn link(about: &str) -> Markup {
    let is_plain = about.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | ' '));
    let text = html! { code { (about) } };
    match is_plain {
        true => html! { a href={ "/admin/payments?about=" (about.replace(' ', "+")) } { (text) } },
        false => text,
    }
}

fn story_page(admin: &Admin, about: &str, story: Option<&Story>) -> Markup {
    page(
        admin,
        "Payments",
        None,
        &html! {
            form.filter method="get" action="/admin/payments" {
                label { "Payment, order, refund, dispute or booking"
                    input name="about" value=(about) placeholder="pay_… order_… rfnd_… disp_… BKG-…" size="40" required; }
                button { "Show" }
            }
            @match story {
                Some(story) => { (told(story)) }
                None if !about.trim().is_empty() => { p.empty { "Nothing is known of " code { (about) } "." } }
                None => {}
            }
        },
    )
}

fn told(story: &Story) -> Markup {
    let listed =
        |ids: &[String]| html! { @if ids.is_empty() { "—" } @for id in ids { code { (id) } " " } };
    html! {
        dl {
            dt { "Booking" } dd {
                @match (&story.booking_reference, story.booking_id) {
                    (Some(reference), Some(id)) => { code { (reference) } " (" (id) ")" }
                    (_, Some(id)) => { (id) ", which is gone" }
                    (_, None) => { "—" }
                }
            }
            dt { "Orders" } dd { (listed(&story.orders)) }
            dt { "Payments" } dd { (listed(&story.payments)) }
        }
        table {
            thead { tr { th { "At" } th { "What" } th { "Id" } th { "" } } }
            tbody {
                @for entry in &story.entries {
                    tr {
                        td.wide data-label="At" { (at(Some(entry.at))) }
                        th { (entry.what) }
                        td.whole data-label="Id" {
                            @match entry.job_id {
                                Some(job) => { a href={ "/admin/jobs/" (job) } { code { (entry.id) } } }
                                None => { code { (entry.id) } }
                            }
                        }
                        td.whole { (entry.says) }
                    }
                }
            }
        }
    }
}
