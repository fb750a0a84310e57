//! The pages to which the links in mails lead, for users of frontends that have none for it: an
//! e-mail address is proved with the account's password, and another password is set. Opening
//! a page changes nothing, as mail programs open links, too.

use axum::{
    Form, Router,
    extract::{Query, State},
    middleware,
    response::{IntoResponse, Response},
    routing::get,
};
use http::StatusCode;
use maud::{DOCTYPE, Markup, html};
use nexus_common::{Result, error::Kind};
use serde::Deserialize;

use crate::{
    app::App,
    http::{api_error::ApiError, html},
    operations::accounts::{recover_password, verify_email},
};

/// The pages, below `/account`.
pub(crate) fn routes() -> Router<App> {
    Router::new()
        .route("/verify-email", get(ask_for_password).post(verify))
        .route("/reset-password", get(ask_for_new_password).post(reset))
        .route("/style.css", get(html::style))
        .layer(middleware::from_fn(html::protect))
}

#[derive(Deserialize)]
struct Link {
    #[serde(default)]
    token: String,
}

#[derive(Deserialize)]
struct Entered {
    #[serde(default)]
    token: String,
    #[serde(default)]
    password: String,
}

async fn ask_for_password(Query(link): Query<Link>) -> Markup {
    password_page(&link.token, None)
}

async fn verify(State(app): State<App>, Form(entered): Form<Entered>) -> Response {
    let verified = verify_email::by_link(&app, &entered.token, entered.password).await;
    let done = |email: String| {
        format!("{email} is verified. Your tickets are sent there, and you can close this page.")
    };
    answer(verified.map(done), |problem| password_page(&entered.token, Some(problem)))
}

async fn ask_for_new_password(Query(link): Query<Link>) -> Markup {
    new_password_page(&link.token, None)
}

async fn reset(State(app): State<App>, Form(entered): Form<Entered>) -> Response {
    let reset = recover_password::by_link(&app, &entered.token, entered.password).await;
    let done = |()| "Your password is set. Log in with it.".to_owned();
    answer(reset.map(done), |problem| new_password_page(&entered.token, Some(problem)))
}

/// Says that it is done, or asks again if that helps.
fn answer(outcome: Result<String>, again: impl Fn(&str) -> Markup) -> Response {
    let error = match outcome {
        Ok(done) => return page("Done", &html! { p.notice { (done) } }).into_response(),
        Err(error) => error,
    };
    let (problem, status) = match error.kind() {
        Kind::Validation => (error.to_string(), StatusCode::BAD_REQUEST),
        Kind::Forbidden => {
            ("This is not the account's password.".to_owned(), StatusCode::FORBIDDEN)
        }
        Kind::Gone | Kind::Conflict => {
            let refused = html! { p.problem role="alert" { (error) } };
            let status = ApiError::from(error).status;
            return (status, page("Not done", &refused)).into_response();
        }
        Kind::TooMany => {
            let wait = "Too many attempts. Please try again later.".to_owned();
            (wait, StatusCode::TOO_MANY_REQUESTS)
        }
        _ => return ApiError::from(error).into_response(),
    };
    (status, again(&problem)).into_response()
}

fn password_page(token: &str, problem: Option<&str>) -> Markup {
    let fields = html! {
        p { "To prove that the account is yours, too, enter its password." }
        label { "Password" input name="password" type="password" autocomplete="current-password" required autofocus; }
        button { "Verify my e-mail address" }
    };
    page("Verify your e-mail address", &form(token, problem, &fields))
}

fn new_password_page(token: &str, problem: Option<&str>) -> Markup {
    let fields = html! {
        label { "New password, of at least 8 characters" input name="password" type="password" autocomplete="new-password" minlength="8" maxlength="128" required autofocus; }
        button { "Set the password, and end all sessions" }
    };
    page("Set another password", &form(token, problem, &fields))
}

fn form(token: &str, problem: Option<&str>, fields: &Markup) -> Markup {
    html! {
        form method="post" {
            @if let Some(problem) = problem { p.problem role="alert" { (problem) } }
            input type="hidden" name="token" value=(token);
            (fields)
        }
    }
}

fn page(title: &str, content: &Markup) -> Markup {
    html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                title { (title) }
                link rel="stylesheet" href="/account/style.css";
            }
            body { main.narrow { h1 { (title) } (content) } }
        }
    }
}
