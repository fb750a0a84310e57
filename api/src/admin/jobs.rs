//! Lists of jobs, and one job with its history.

use maud::{Markup, html};
use nexus_common::jobs::{
    JobState, Queue,
    admin::{Filter, JobRow},
};
use serde_json::Value;

use super::{
    operator::Admin,
    pages::{ago, at, error, form, page},
    payments,
};

/// Jobs, the newest first.
pub(super) fn list(admin: &Admin, filter: &Filter, jobs: &[JobRow]) -> Markup {
    let title = if filter.state == Some(JobState::Dead) { "Dead letters" } else { "Jobs" };
    page(
        admin,
        title,
        None,
        &html! {
            (filters(filter))
            @if jobs.is_empty() {
                p.empty { "No job is like that. Finished ones are kept for a while only (JOBS_KEEP_HOURS)." }
            } @else {
                table {
                    thead { tr {
                        th { "Job" } th { "Queue" } th { "Kind" } th { "State" } th.n { "Attempt" } th { "Created" } th { "Last error" } th {}
                    } }
                    tbody { @for job in jobs { (row(admin, job)) } }
                }
                @if jobs.len() as i64 == filter.limit { p.empty { "Only the newest " (filter.limit) " are shown." } }
            }
        },
    )
}

fn filters(filter: &Filter) -> Markup {
    html! {
        form.filter method="get" action="/admin/jobs" {
            label { "Queue" select name="queue" {
                option value="" { "any" }
                @for queue in Queue::ALL {
                    option value=(queue.name()) selected[filter.queue.as_deref() == Some(queue.name())] { (queue.name()) }
                }
            } }
            label { "State" select name="state" {
                option value="" { "any" }
                @for state in JobState::ALL {
                    option value=(state) selected[filter.state == Some(state)] { (state) }
                }
            } }
            label { "Kind" input name="kind" value=[filter.kind.as_deref()] placeholder="any"; }
            button { "Show" }
        }
    }
}

fn row(admin: &Admin, job: &JobRow) -> Markup {
    html! {
        tr {
            th { a.id href={ "/admin/jobs/" (job.id) } { code { (job.id) } } }
            td data-label="Queue" { (job.queue) }
            td data-label="Kind" { (job.kind) }
            td data-label="State" { span.state.(job.state) { (job.state) } }
            td.n data-label="Attempt" { (job.attempts()) }
            td data-label="Created" { (ago(job.created_at)) }
            (error("Last error", job.last_error.as_deref()))
            td.actions { (actions(admin, job)) }
        }
    }
}

/// Everything about one job.
pub(super) fn job(admin: &Admin, job: &JobRow) -> Markup {
    let payload = serde_json::to_string_pretty(&job.payload).unwrap_or_default();
    page(
        admin,
        &job.kind,
        None,
        &html! {
            div.actions { span.state.(job.state) { (job.state) } (actions(admin, job)) }
            dl {
                dt { "Job" } dd { code { (job.id) } }
                dt { "Queue" } dd { a href={ "/admin/jobs?queue=" (job.queue) } { (job.queue) } }
                dt { "Attempt" } dd { (job.attempts()) }
                dt { "Priority" } dd { (job.priority) }
                dt { "Unique key" } dd { (job.unique_key.as_deref().unwrap_or("—")) }
                dt { "Created" } dd { (at(Some(job.created_at))) }
                dt { "Due" } dd { (at(Some(job.available_at))) }
                dt { "Started" } dd { (at(job.started_at)) }
                dt { "Finished" } dd { (at(job.finished_at)) }
                @if let Some(by) = &job.acted_by {
                    dt { "Retried or discarded" } dd { "by " (by) ", " (at(job.acted_at)) }
                }
                dt { "Worker" } dd { (job.worker.as_deref().unwrap_or("—")) }
                dt { "Trace" } dd { code { (job.trace_id().unwrap_or("—")) } }
            }
            h2 { "Payload" }
            pre { (payload) }
            @if let Some(about) = money_of(&job.payload) { p { "The payment: " (payments::link(&about)) } }
            h2 { "Failed attempts" }
            @match job.errors.as_array().filter(|errors| !errors.is_empty()) {
                None => { p.empty { "No attempt has failed." } }
                Some(errors) => {
                    table {
                        thead { tr { th.n { "Attempt" } th { "At" } th { "Error" } } }
                        tbody {
                            // Operators look for the newest failure.
                            @for failed in errors.iter().rev() {
                                tr {
                                    td.n data-label="Attempt" { (text(&failed["attempt"])) }
                                    td.wide data-label="At" { (instant(&failed["at"])) }
                                    td.whole data-label="Error" { (text(&failed["error"])) }
                                }
                            }
                        }
                    }
                }
            }
        },
    )
}

/// What identifies a job's money, in a form in which its story can be found.
fn money_of(payload: &Value) -> Option<String> {
    let named =
        [("webhook_event_id", "webhook"), ("refund_id", "refund"), ("booking_id", "booking")];
    named.into_iter().find_map(|(field, what)| Some(format!("{what} {}", payload[field].as_i64()?)))
}

fn actions(admin: &Admin, job: &JobRow) -> Markup {
    let to = |action: &str| format!("/admin/jobs/{}/{action}", job.id);
    html! {
        @if matches!(job.state, JobState::Dead | JobState::Cancelled) {
            (form(admin, &to("retry"), &html! { button { "Retry" } }))
        }
        @if matches!(job.state, JobState::Dead | JobState::Pending | JobState::Queued) {
            (form(admin, &to("discard"), &html! { button { "Discard" } }))
        }
    }
}

fn text(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

/// A time of the history, in the same form as other times.
fn instant(value: &Value) -> Markup {
    match value.as_str().and_then(|text| text.parse().ok()) {
        Some(time) => at(Some(time)),
        None => html! { (text(value)) },
    }
}
