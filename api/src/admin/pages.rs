//! The HTML of the operators' page.

use std::time::Duration;

use chrono::{DateTime, SecondsFormat, Utc};
use maud::{DOCTYPE, Markup, html};
use nexus_common::{
    domain::alerts::AlertRow,
    jobs::{
        Queue,
        admin::{DeadKind, Filter, JobRow, QueueNow},
    },
};
use serde_json::Value;

const STATES: [&str; 6] = ["pending", "queued", "running", "done", "dead", "cancelled"];

fn page(title: &str, refresh: bool, content: &Markup) -> Markup {
    html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                @if refresh { meta http-equiv="refresh" content="5"; }
                title { (title) " · Nexus" }
                link rel="stylesheet" href="/admin/style.css";
            }
            body {
                header {
                    a href="/admin" { "Nexus" }
                    nav {
                        a href="/admin" { "Queues" }
                        a href="/admin/jobs?state=dead" { "Dead letters" }
                        a href="/admin/jobs" { "Jobs" }
                        a href="/admin/ledger.csv" { "Ledger" }
                        form method="post" action="/admin/logout" { button.plain { "Log out" } }
                    }
                }
                main { h1 { (title) } (content) }
            }
        }
    }
}

pub(super) fn log_in(problem: Option<&str>) -> Markup {
    html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                title { "Log in · Nexus" }
                link rel="stylesheet" href="/admin/style.css";
            }
            body {
                main.narrow {
                    h1 { "Nexus operators" }
                    form method="post" action="/admin/login" {
                        @if let Some(problem) = problem { p.problem role="alert" { (problem) } }
                        label { "E-mail or phone" input name="login" autocomplete="username" required autofocus; }
                        label { "Password" input name="password" type="password" autocomplete="current-password" required; }
                        button { "Log in" }
                    }
                }
            }
        }
    }
}

/// Every queue, what has died, and payments that somebody has to look at.
pub(super) fn overview(queues: &[QueueNow], dead: &[DeadKind], alerts: &[AlertRow]) -> Markup {
    page(
        "Queues",
        true,
        &html! {
            table {
                thead { tr {
                    th { "Queue" } th.n { "Due" } th.n { "Oldest due" } th.n { "Scheduled" } th.n { "In Redis" } th.n { "Running" }
                    th.n { "Done, last hour" } th.n { "Died, last hour" } th.n { "Dead" }
                } }
                tbody {
                    @for queue in queues {
                        @let (name, depth) = (queue.queue.name(), &queue.depth);
                        tr {
                            th { a href={ "/admin/jobs?queue=" (name) } { (name) } }
                            td.n { (depth.due) }
                            td.n { (seconds(depth.oldest_due)) }
                            td.n { (depth.scheduled) }
                            td.n { (depth.queued) }
                            td.n { (depth.running) }
                            td.n { (queue.done_last_hour) }
                            td.n.bad[queue.died_last_hour > 0] { (queue.died_last_hour) }
                            td.n.bad[depth.dead > 0] { a href={ "/admin/jobs?state=dead&queue=" (name) } { (depth.dead) } }
                        }
                    }
                }
            }
            @if !alerts.is_empty() {
                h2 { "Payments to look at" }
                (alert_table(alerts))
            }
            h2 { "Dead letters by kind" }
            @if dead.is_empty() { p { "None." } } @else {
                table {
                    thead { tr { th { "Kind" } th { "Queue" } th.n { "Jobs" } th { "Newest failure" } th {} } }
                    tbody {
                        @for kind in dead {
                            tr {
                                th { a href={ "/admin/jobs?state=dead&kind=" (kind.kind) } { (kind.kind) } }
                                td { (kind.queue) }
                                td.n { (kind.count) }
                                td.error { (kind.last_error.as_deref().unwrap_or("—")) }
                                td.actions {
                                    (all_of("/admin/dead/retry", "Retry all", &kind.kind))
                                    (all_of("/admin/dead/discard", "Discard all", &kind.kind))
                                }
                            }
                        }
                    }
                }
            }
        },
    )
}

fn alert_table(alerts: &[AlertRow]) -> Markup {
    html! {
        table {
            thead { tr { th { "Reason" } th { "About" } th.n { "Booking" } th { "Since" } th { "Details" } th {} } }
            tbody {
                @for alert in alerts {
                    tr {
                        th { (alert.reason) }
                        td { code { (alert.subject) } }
                        td.n { @if let Some(booking) = alert.booking_id { (booking) } }
                        td { (time(alert.created_at)) }
                        td.error { (alert.details) }
                        td.actions { form method="post" action={ "/admin/alerts/" (alert.id) "/close" } { button { "Close" } } }
                    }
                }
            }
        }
    }
}

fn all_of(action: &str, what: &str, kind: &str) -> Markup {
    html! { form method="post" action=(action) { input type="hidden" name="kind" value=(kind); button { (what) } } }
}

/// Jobs, the newest first.
pub(super) fn list(filter: &Filter, jobs: &[JobRow]) -> Markup {
    let title = if filter.state.as_deref() == Some("dead") { "Dead letters" } else { "Jobs" };
    page(
        title,
        false,
        &html! {
            form.filter method="get" action="/admin/jobs" {
                label { "Queue" select name="queue" {
                    option value="" { "any" }
                    @for queue in Queue::ALL {
                        option value=(queue.name()) selected[filter.queue.as_deref() == Some(queue.name())] { (queue.name()) }
                    }
                } }
                label { "State" select name="state" {
                    option value="" { "any" }
                    @for state in STATES {
                        option value=(state) selected[filter.state.as_deref() == Some(state)] { (state) }
                    }
                } }
                label { "Kind" input name="kind" value=[filter.kind.as_deref()]; }
                button { "Show" }
            }
            @if jobs.is_empty() { p { "None." } } @else {
                table {
                    thead { tr { th { "Job" } th { "Queue" } th { "Kind" } th { "State" } th.n { "Attempt" } th { "Created" } th { "Last error" } th {} } }
                    tbody {
                        @for job in jobs {
                            tr {
                                th { a href={ "/admin/jobs/" (job.id) } { code { (job.id) } } }
                                td { (job.queue) }
                                td { (job.kind) }
                                td class=(job.state) { (job.state) }
                                td.n { (attempts(job)) }
                                td { (time(job.created_at)) }
                                td.error { (job.last_error.as_deref().unwrap_or("")) }
                                td.actions { (actions(job)) }
                            }
                        }
                    }
                }
                @if jobs.len() as i64 == filter.limit { p { "The newest " (filter.limit) " are shown." } }
            }
        },
    )
}

/// Everything about one job.
pub(super) fn job(job: &JobRow) -> Markup {
    let payload = serde_json::to_string_pretty(&job.payload).unwrap_or_default();
    let optional = |when: Option<DateTime<Utc>>| when.map_or_else(|| "—".to_owned(), time);
    page(
        &job.kind,
        false,
        &html! {
            p.actions { span class=(job.state) { (job.state) } (actions(job)) }
            dl {
                dt { "Job" } dd { code { (job.id) } }
                dt { "Queue" } dd { (job.queue) }
                dt { "Attempt" } dd { (attempts(job)) }
                dt { "Priority" } dd { (job.priority) }
                dt { "Unique key" } dd { (job.unique_key.as_deref().unwrap_or("—")) }
                dt { "Created" } dd { (time(job.created_at)) }
                dt { "Available" } dd { (time(job.available_at)) }
                dt { "Started" } dd { (optional(job.started_at)) }
                dt { "Finished" } dd { (optional(job.finished_at)) }
                dt { "Worker" } dd { (job.worker.as_deref().unwrap_or("—")) }
            }
            h2 { "Payload" }
            pre { (payload) }
            h2 { "Failed attempts" }
            @match job.errors.as_array().filter(|errors| !errors.is_empty()) {
                None => { p { "None." } }
                Some(errors) => {
                    table {
                        thead { tr { th.n { "Attempt" } th { "At" } th { "Error" } } }
                        tbody {
                            @for error in errors {
                                tr { td.n { (text(&error["attempt"])) } td { (text(&error["at"])) } td.error { (text(&error["error"])) } }
                            }
                        }
                    }
                }
            }
        },
    )
}

fn actions(job: &JobRow) -> Markup {
    html! {
        @if matches!(job.state.as_str(), "dead" | "cancelled") {
            form method="post" action={ "/admin/jobs/" (job.id) "/retry" } { button { "Retry" } }
        }
        @if matches!(job.state.as_str(), "dead" | "pending" | "queued") {
            form method="post" action={ "/admin/jobs/" (job.id) "/discard" } { button { "Discard" } }
        }
    }
}

fn attempts(job: &JobRow) -> String {
    // Some jobs are tried for ever.
    if job.max_attempts == i32::MAX {
        job.attempt.to_string()
    } else {
        format!("{}/{}", job.attempt, job.max_attempts)
    }
}

fn text(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

fn time(time: DateTime<Utc>) -> String {
    time.to_rfc3339_opts(SecondsFormat::Secs, true)
}

fn seconds(time: Duration) -> String {
    if time.is_zero() { "—".into() } else { format!("{:.1} s", time.as_secs_f64()) }
}
