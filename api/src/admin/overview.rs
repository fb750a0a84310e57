//! The first page: every queue, payments that need attention, failing jobs, and dead letters.

use maud::{Markup, PreEscaped, html};
use nexus_common::{
    jobs::admin::{QueueNow, Trouble},
    ledger::alerts::AlertRow,
};

use super::{
    Did,
    operator::Admin,
    pages::{ago, error, form, page as framed, seconds},
    payments,
};

/// Every queue, and everything in trouble.
pub(super) fn page(
    admin: &Admin,
    did: &Did,
    queues: &[QueueNow],
    dead: &[Trouble],
    failing: &[Trouble],
    alerts: &[AlertRow],
) -> Markup {
    framed(
        admin,
        "Queues",
        Some("/admin"),
        &html! {
            @if let Some(jobs) = did.retried { p.notice role="status" { "Due again: " (jobs) "." } }
            @if let Some(jobs) = did.discarded { p.notice role="status" { "Discarded: " (jobs) "." } }
            @if let Some(alert) = did.closed { p.notice role="status" { "Closed: alert " (alert) "." } }
            (table(queues))
            @if !alerts.is_empty() {
                h2 { "Payments to look at" }
                (payment_alerts(admin, alerts))
            }
            h2 { "Dead letters by kind" }
            @if dead.is_empty() { p.empty { "Nothing has died." } } @else { (dead_letters(admin, dead)) }
            h2 { "Failing now, to be tried again" }
            @if failing.is_empty() { p.empty { "Nothing is failing." } } @else { (failures(failing)) }
        },
    )
}

fn table(queues: &[QueueNow]) -> Markup {
    html! {
        table.queues {
            thead { tr {
                th { "Queue" } th.n { "Due" } th.n { "Oldest due" } th.n { "Scheduled" } th.n { "In Redis" } th.n { "Running" }
                th.n { "Done, last hour" } th.n { "Died, last hour" } th.n { "Dead" }
            } }
            tbody {
                @for queue in queues {
                    @let (name, depth) = (queue.queue.name(), &queue.depth);
                    tr {
                        th { a href={ "/admin/jobs?queue=" (name) } { (name) } }
                        td.n data-label="Due" { (depth.due) }
                        td.n.bad[depth.oldest_due.as_secs() >= LATE] data-label="Oldest due" { (seconds(depth.oldest_due)) }
                        td.n data-label="Scheduled" { (depth.scheduled) }
                        td.n data-label="In Redis" { (depth.queued) }
                        td.n data-label="Running" { (depth.running) }
                        td.n data-label="Done, last hour" { (throughput(&queue.done_by_span)) (queue.done_last_hour) }
                        td.n.bad[queue.died_last_hour > 0] data-label="Died, last hour" { (queue.died_last_hour) }
                        td.n.bad[depth.dead > 0] data-label="Dead" {
                            @if depth.dead > 0 { a href={ "/admin/jobs?state=dead&queue=" (name) } { (depth.dead) } } @else { "0" }
                        }
                    }
                }
            }
        }
    }
}

/// A job that waits for this many seconds although it is due has no worker, or too few. The alert
/// rules use the same number.
const LATE: u64 = 60;

/// A bar for each five minutes of the last hour.
fn throughput(done_by_span: &[i64]) -> Markup {
    let most = done_by_span.iter().copied().max().unwrap_or(0).max(1);
    let bars = done_by_span.iter().enumerate().map(|(index, &done)| {
        // A small number is still visible.
        let height = if done == 0 { 0 } else { (done * 16 / most).max(1) };
        format!(r#"<rect x="{}" y="{}" width="4" height="{height}"/>"#, index * 5, 16 - height)
    });
    html! {
        svg.bars viewBox="0 0 60 16" width="60" height="16" role="img" aria-label="Done by five minutes of the last hour" {
            (PreEscaped(bars.collect::<String>()))
        }
        " "
    }
}

fn dead_letters(admin: &Admin, dead: &[Trouble]) -> Markup {
    html! {
        table {
            thead { tr { th { "Kind" } th { "Queue" } th.n { "Jobs" } th { "Newest failure" } th { "Died" } th {} } }
            tbody {
                @for kind in dead {
                    tr {
                        th { a href={ "/admin/jobs?state=dead&kind=" (kind.kind) } { (kind.kind) } }
                        td data-label="Queue" { (kind.queue) }
                        td.n data-label="Jobs" { (kind.count) }
                        (error("Newest failure", kind.last_error.as_deref()))
                        td data-label="Died" { @if let Some(when) = kind.when { (ago(when)) } }
                        td.actions {
                            (all_of(admin, "/admin/dead/retry", &kind.kind, &html! { button { "Retry all" } }))
                            @if admin.may_act() { a.button href={ "/admin/dead/discard?kind=" (kind.kind) } { "Discard all" } }
                        }
                    }
                }
            }
        }
    }
}

fn payment_alerts(admin: &Admin, alerts: &[AlertRow]) -> Markup {
    html! {
        table {
            thead { tr { th { "Reason" } th { "About" } th.n { "Booking" } th { "Details" } th { "Raised" } th {} } }
            tbody {
                @for alert in alerts {
                    tr {
                        th { (alert.reason) }
                        td data-label="About" { (payments::link(&alert.subject)) }
                        td.n data-label="Booking" {
                            @match alert.booking_id { Some(booking) => { (payments::link(&booking.to_string())) } None => { "—" } }
                        }
                        (error("Details", Some(&alert.details)))
                        td data-label="Raised" { (ago(alert.created_at)) }
                        td.actions {
                            (form(admin, &format!("/admin/alerts/{}/close", alert.id), &html! { button { "Close" } }))
                        }
                    }
                }
            }
        }
    }
}

fn all_of(admin: &Admin, action: &str, kind: &str, button: &Markup) -> Markup {
    form(admin, action, &html! { input type="hidden" name="kind" value=(kind); (button) })
}

/// Asks for confirmation before all dead letters of a kind are discarded.
pub(super) fn discard(admin: &Admin, kind: &str, jobs: i64) -> Markup {
    framed(
        admin,
        "Discard all",
        None,
        &html! {
            p { "Discard all " (jobs) " dead letters of the kind " b { (kind) } "? Nobody will do their work, unless each is retried before it is pruned." }
            div.actions {
                (all_of(admin, "/admin/dead/discard", kind, &html! { button.danger { "Discard " (jobs) } }))
                a.button href="/admin" { "Keep" }
            }
        },
    )
}

fn failures(failing: &[Trouble]) -> Markup {
    html! {
        table {
            thead { tr { th { "Kind" } th { "Queue" } th.n { "Jobs" } th { "Newest failure" } th { "Next attempt" } } }
            tbody {
                @for kind in failing {
                    tr {
                        th { a href={ "/admin/jobs?state=pending&kind=" (kind.kind) } { (kind.kind) } }
                        td data-label="Queue" { (kind.queue) }
                        td.n data-label="Jobs" { (kind.count) }
                        (error("Newest failure", kind.last_error.as_deref()))
                        td data-label="Next attempt" { @if let Some(when) = kind.when { (ago(when)) } }
                    }
                }
            }
        }
    }
}
