//! What the operators' pages have in common: the frame, forms and times; and the pages that are
//! little more than that.

use std::{collections::BTreeMap, time::Duration};

use chrono::{DateTime, SecondsFormat, Utc};
use maud::{DOCTYPE, Markup, html};

use super::operator::Admin;

/// The query of a page that the browser loads again by itself, which keeps no session open.
pub(super) const BY_ITSELF: &str = "again";

/// A page for an operator. The browser loads the path in `refresh`, its own, every few seconds.
pub(super) fn page(admin: &Admin, title: &str, refresh: Option<&str>, content: &Markup) -> Markup {
    let links = html! {
        nav {
            a href="/admin" { "Queues" }
            a href="/admin/jobs?state=dead" { "Dead letters" }
            a href="/admin/jobs" { "Jobs" }
            a href="/admin/payments" { "Payments" }
            a href="/admin/ledger.csv" { "Ledger" }
            a href="/admin/audit" { "Audit" }
            a href="/admin/accounts" { "Accounts" }
            a href="/admin/waiting-rooms" { "Waiting rooms" }
            (posting(admin, "/admin/logout", &html! { button.plain { "Log out" } }))
        }
    };
    frame(title, refresh, &links, &html! { main { h1 { (title) } (content) } })
}

fn frame(title: &str, refresh: Option<&str>, links: &Markup, content: &Markup) -> Markup {
    html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                @if let Some(path) = refresh { meta http-equiv="refresh" content={ "5; url=" (path) "?" (BY_ITSELF) }; }
                title { (title) " · Nexus" }
                link rel="stylesheet" href="/admin/style.css";
            }
            body {
                header { a href="/admin" { "Nexus" } (links) }
                (content)
            }
        }
    }
}

/// The login form, with the reason why the last attempt failed.
pub(super) fn log_in(problem: Option<&str>) -> Markup {
    let content = html! {
        main.narrow {
            h1 { "Nexus operators" }
            form method="post" action="/admin/login" {
                @if let Some(problem) = problem { p.problem role="alert" { (problem) } }
                label { "E-mail or phone" input name="login" autocomplete="username" required autofocus; }
                label { "Password" input name="password" type="password" autocomplete="current-password" required; }
                label { "Code of your authenticator" input name="code" inputmode="numeric" autocomplete="one-time-code" required; }
                button { "Log in" }
            }
        }
    };
    frame("Log in", None, &html! {}, &content)
}

/// Says what was not done, and why.
pub(super) fn refusal(why: &str) -> Markup {
    let content = html! { main.narrow { h1 { "Not done" } p role="alert" { (why) } p { a href="/admin" { "To the queues" } } } };
    frame("Not done", None, &html! {}, &content)
}

/// Asks for a code before what concerns many at once, and sends the form's fields again.
pub(super) fn ask_for_code(
    admin: &Admin,
    action: &str,
    fields: &BTreeMap<String, String>,
    problem: Option<&str>,
) -> Markup {
    let kept = fields.iter().filter(|(name, _)| !matches!(name.as_str(), "token" | "code"));
    page(
        admin,
        "Is it still you?",
        None,
        &html! {
            @if let Some(problem) = problem { p.problem role="alert" { (problem) } }
            p { "This concerns many at once, and takes a fresh code." }
            (form(admin, action, &html! {
                @for (name, value) in kept { input type="hidden" name=(name) value=(value); }
                label { "Code of your authenticator" input name="code" inputmode="numeric" autocomplete="one-time-code" required autofocus; }
                button.danger { "Go on" }
                " "
                a.button href="/admin" { "Keep" }
            }))
        },
    )
}

/// A form that changes something, for who may.
pub(super) fn form(admin: &Admin, action: &str, content: &Markup) -> Markup {
    if admin.may_act() {
        posting(admin, action, content)
    } else {
        html! {}
    }
}

fn posting(admin: &Admin, action: &str, content: &Markup) -> Markup {
    html! { form method="post" action=(action) { input type="hidden" name="token" value=(admin.form_token); (content) } }
}

/// An error, in a cell that stays small however long the text is.
pub(super) fn error(label: &str, text: Option<&str>) -> Markup {
    html! { td.error data-label=(label) { div { (text.unwrap_or("—")) } } }
}

/// How long ago, with the exact time as a tooltip.
pub(super) fn ago(time: DateTime<Utc>) -> Markup {
    let passed = Utc::now() - time;
    let size = passed.num_seconds().unsigned_abs();
    let size = match size {
        0..60 => format!("{size} s"),
        60..3_600 => format!("{} min", size / 60),
        3_600..172_800 => format!("{} h", size / 3_600),
        _ => format!("{} days", size / 86_400),
    };
    let text = if passed.num_seconds() < 0 { format!("in {size}") } else { format!("{size} ago") };
    html! { time datetime=(exact(time)) title=(exact(time)) { (text) } }
}

/// The exact time, and how long ago that is.
pub(super) fn at(time: Option<DateTime<Utc>>) -> Markup {
    html! { @match time { Some(time) => { (exact(time)) " (" (ago(time)) ")" } None => { "—" } } }
}

fn exact(time: DateTime<Utc>) -> String {
    time.to_rfc3339_opts(SecondsFormat::Secs, true)
}

/// `1.5 s`, `12 min`, and nothing for no time at all.
pub(super) fn seconds(time: Duration) -> String {
    match time.as_secs() {
        _ if time.is_zero() => "—".into(),
        0..120 => format!("{:.1} s", time.as_secs_f64()),
        seconds @ 120..7_200 => format!("{} min", seconds / 60),
        seconds => format!("{} h", seconds / 3_600),
    }
}
