//! Waiting rooms: how each sale goes, and what operators do with it, as `nexus-api waiting-room` does.

use std::time::Duration;

use axum::{
    extract::{Path, State},
    response::{IntoResponse, Redirect, Response},
};
use http::StatusCode;
use maud::{Markup, html};
use nexus_common::{
    Error,
    error::Kind,
    storage::postgres,
    types::{ids::EventId, statuses::RoomState, time::Timestamp},
    waiting_rooms::rooms::{self, Act, Sale, Terms},
};

use super::{
    operator::Admin,
    pages::{self, at, form, page},
    session::Acting,
};
use crate::{
    app::App,
    http::{api_error::ApiError, client_ip::ClientIp},
};

/// The most rooms on the page.
const LISTED: i64 = 100;

/// `GET /admin/waiting-rooms`
pub(super) async fn list(State(app): State<App>, admin: Admin) -> Result<Response, ApiError> {
    let mut conn = app.db.acquire().await.map_err(Error::from)?;
    let sales = rooms::sales(&mut conn, None, LISTED).await?;
    Ok(list_page(&admin, &sales).into_response())
}

/// `GET /admin/waiting-rooms/:event`
pub(super) async fn show(
    State(app): State<App>,
    admin: Admin,
    Path(event): Path<i32>,
) -> Result<Response, ApiError> {
    let mut conn = app.db.acquire().await.map_err(Error::from)?;
    let sale = rooms::sales(&mut conn, Some(EventId(event)), 1).await?.pop();
    Ok(match sale {
        Some(sale) => room_page(&admin, &sale).into_response(),
        None => announce_page(&admin, EventId(event)).into_response(),
    })
}

/// `POST /admin/waiting-rooms/:event/:act`
pub(super) async fn act(
    State(app): State<App>,
    Path((event, act)): Path<(i32, String)>,
    address: ClientIp,
    operator: Acting,
) -> Result<Response, ApiError> {
    let (event, path) = (EventId(event), format!("/admin/waiting-rooms/{event}/{act}"));
    let Some(wanted) = wanted(&act, &operator) else {
        let why = "A time in UTC, such as 2031-05-01T10:00, and whole numbers are needed.";
        return Ok((StatusCode::UNPROCESSABLE_ENTITY, pages::refusal(why)).into_response());
    };
    let concerns_many = matches!(wanted, Act::Announce(..) | Act::OpenNow | Act::Close);
    if concerns_many && let Some(ask) = operator.asked_for_code(&app, address, &path).await? {
        return Ok(ask);
    }
    let mut tx = postgres::begin(&app.db).await?;
    match rooms::act(&mut tx, event, wanted, operator.acts()).await {
        Ok(_) => tx.commit().await.map_err(Error::from)?,
        Err(error) if matches!(error.kind(), Kind::Internal | Kind::Unavailable) => {
            return Err(error.into());
        }
        Err(error) => {
            let refusal = pages::refusal(&error.to_string());
            return Ok((StatusCode::CONFLICT, refusal).into_response());
        }
    }
    tracing::info!(operator = %operator.user, %event, act, "an operator changes a waiting room");
    Ok(Redirect::to(&format!("/admin/waiting-rooms/{event}")).into_response())
}

/// What the form asks for; nothing if it has something else in a field.
fn wanted(act: &str, operator: &Acting) -> Option<Act> {
    let filled = |name| {
        operator.fields.get(name).map(|field| field.trim()).filter(|field| !field.is_empty())
    };
    let number = |name| filled(name).map(str::parse::<i32>).transpose().ok();
    let minutes = |name| {
        let minutes = filled(name).map(str::parse::<u16>).transpose().ok()?;
        Some(minutes.map(|minutes| Duration::from_secs(60 * u64::from(minutes))))
    };
    let terms = Terms {
        opens_at: match filled("opens_at") {
            Some(text) => Some(Timestamp::parse(text)?.0),
            None => None,
        },
        window: minutes("window_minutes")?,
        returns_every: minutes("returns_every_minutes")?,
        most_shoppers: number("most_shoppers")?,
        most_calls: number("calls_per_minute")?,
        needs_phone: filled("needs_phone").map(|is| is == "yes"),
    };
    Some(match act {
        "announce" => Act::Announce(terms.opens_at?, terms),
        "set" => Act::Set(terms),
        "open-now" => Act::OpenNow,
        "pause" => Act::Pause,
        "resume" => Act::Resume,
        "close" => Act::Close,
        _ => return None,
    })
}

fn list_page(admin: &Admin, sales: &[Sale]) -> Markup {
    page(
        admin,
        "Waiting rooms",
        Some("/admin/waiting-rooms"),
        &html! {
            @if sales.is_empty() {
                p.empty { "No event has a waiting room. " a href="/admin/accounts" { "Look an event up" } " to give it one." }
            } @else {
                table {
                    thead { tr {
                        th { "Event" } th { "State" } th { "Opening" } th.n { "Waiting" } th.n { "Called" } th.n { "Shopping" }
                        th.n { "A minute" } th.n { "Free seats" }
                    } }
                    tbody {
                        @for sale in sales {
                            tr {
                                th { a href={ "/admin/waiting-rooms/" (sale.event) } { (sale.event) ", " (sale.name) } }
                                td data-label="State" { (sale.state) }
                                td data-label="Opening" { (at(Some(sale.opens_at.0))) }
                                td.n data-label="Waiting" { (sale.waiting) }
                                td.n data-label="Called" { (sale.called) }
                                td.n data-label="Shopping" { (sale.shoppers) " of " (sale.most_shoppers) }
                                td.n data-label="A minute" { (sale.pace.round()) " of " (sale.most_calls) }
                                td.n data-label="Free seats" { (sale.free_seats) }
                            }
                        }
                    }
                }
            }
        },
    )
}

fn room_page(admin: &Admin, sale: &Sale) -> Markup {
    let path = |act: &str| format!("/admin/waiting-rooms/{}/{act}", sale.event);
    let button = |act: &str, name: &str| form(admin, &path(act), &html! { button { (name) } });
    let many = |act: &str, name: &str| form(admin, &path(act), &html! { button.danger { (name) } });
    page(
        admin,
        &format!("Waiting room of {}", sale.name),
        None,
        &html! {
            dl {
                dt { "Event" } dd { a href={ "/admin/accounts?about=event+" (sale.event) } { (sale.event) } }
                dt { "State" } dd { (sale.state) }
                dt { "Opening" } dd { (at(Some(sale.opens_at.0))) }
                dt { "Drawn" } dd { (at(sale.drawn_at.map(|time| time.0))) }
                dt { "Waiting" } dd { (sale.waiting) }
                dt { "Called" } dd { (sale.called) }
                dt { "Shopping" } dd { (sale.shoppers) " of " (sale.most_shoppers) " at once, for " (sale.window_seconds / 60) " minutes" }
                dt { "Called a minute" } dd { (sale.pace.round()) " of " (sale.most_calls) " at most" }
                dt { "Free seats" } dd { (sale.free_seats) }
                dt { "Seats return" } dd {
                    @if sale.returns_every_seconds == 0 { "at once" } @else { "every " (sale.returns_every_seconds / 60) " minutes" }
                }
                dt { "A proved phone" } dd { @if sale.needs_phone { "is needed to join" } @else { "is not needed to join" } }
            }
            div.actions {
                @match sale.state {
                    RoomState::Announced => { (many("open-now", "Draw and open now")) }
                    RoomState::Open => { (button("pause", "Pause")) }
                    RoomState::Paused => { (button("resume", "Resume")) }
                    RoomState::Closed => {}
                }
                @if sale.state != RoomState::Closed { (many("close", "Sell to everybody")) }
            }
            @if sale.state != RoomState::Closed {
                h2 { "Change" }
                (form(admin, &path("set"), &html! {
                    @if sale.state == RoomState::Announced { (opening(false)) }
                    (terms(Some(sale)))
                    button { "Change" }
                }))
            }
        },
    )
}

fn announce_page(admin: &Admin, event: EventId) -> Markup {
    page(
        admin,
        &format!("Waiting room of event {event}"),
        None,
        &html! {
            p { "This event has none. With one, only visitors who have been called lock its seats." }
            (form(admin, &format!("/admin/waiting-rooms/{event}/announce"), &html! {
                (opening(true))
                (terms(None))
                button.danger { "Announce" }
            }))
        },
    )
}

fn opening(required: bool) -> Markup {
    html! {
        label { "Opening, in UTC" input name="opens_at" placeholder="2031-05-01T10:00" required[required]; }
    }
}

fn terms(sale: Option<&Sale>) -> Markup {
    let number = |name: &str, what: &str, now: i32| {
        html! { label { (what) input name=(name) inputmode="numeric" value=(now) required; } }
    };
    let or = |now: fn(&Sale) -> i32, usual| sale.map_or(usual, now);
    html! {
        (number("window_minutes", "Minutes to lock seats", or(|sale| sale.window_seconds / 60, 10)))
        (number("most_shoppers", "Shopping at once", or(|sale| sale.most_shoppers, 500)))
        (number("calls_per_minute", "Called a minute", or(|sale| sale.most_calls, 600)))
        (number("returns_every_minutes", "Seats return, every so many minutes", or(|sale| sale.returns_every_seconds / 60, 5)))
        label { "A proved phone to join" select name="needs_phone" {
            @let needed = sale.is_none_or(|sale| sale.needs_phone);
            option value="yes" selected[needed] { "needed" }
            option value="no" selected[!needed] { "not needed" }
        } }
    }
}
