//! How `nexus-jobs` prints its results: aligned tables, one job in full, and JSON.

use std::fmt::Write;

use chrono::{DateTime, SecondsFormat, Utc};
use nexus_common::{
    books::Violation,
    jobs::admin::{JobRow, QueueNow, Stat},
    ledger::alerts::AlertRow,
    payments::story::Story,
    types::money::{CURRENCY, written},
};
use nexus_worker::reconciler::Report;
use serde_json::Value;

/// A table of jobs, one a line.
pub(crate) fn jobs(rows: &[JobRow], now: DateTime<Utc>) -> String {
    let lines = rows.iter().map(|job| {
        vec![
            job.id.to_string(),
            job.queue.clone(),
            job.kind.clone(),
            job.state.to_string(),
            job.attempts(),
            age(now, job.created_at),
            job.last_error.as_deref().map(|error| shortened(error, 60)).unwrap_or_default(),
        ]
    });
    table(&["ID", "QUEUE", "KIND", "STATE", "ATTEMPT", "AGE", "LAST ERROR"], lines)
}

/// Everything about one job, its payload and its failed attempts last.
pub(crate) fn job(job: &JobRow) -> String {
    let time = |time: DateTime<Utc>| time.to_rfc3339_opts(SecondsFormat::Millis, true);
    let fields = [
        ("id", job.id.to_string()),
        ("queue", job.queue.clone()),
        ("kind", job.kind.clone()),
        ("state", job.state.to_string()),
        ("attempt", job.attempts()),
        ("priority", job.priority.to_string()),
        ("unique key", job.unique_key.clone().unwrap_or_default()),
        ("created", time(job.created_at)),
        ("available", time(job.available_at)),
        ("started", job.started_at.map(time).unwrap_or_default()),
        ("finished", job.finished_at.map(time).unwrap_or_default()),
        ("acted by", job.acted_by.clone().unwrap_or_default()),
        ("acted at", job.acted_at.map(time).unwrap_or_default()),
        ("worker", job.worker.clone().unwrap_or_default()),
        ("trace", job.trace_id().unwrap_or_default().to_owned()),
        ("last error", job.last_error.clone().unwrap_or_default()),
    ];
    let mut text = String::new();
    for (name, value) in fields {
        let _ = writeln!(text, "{name:<11} {}", if value.is_empty() { "-" } else { &value });
    }
    let payload = serde_json::to_string_pretty(&job.payload).unwrap_or_default();
    let _ = write!(text, "\npayload\n{}\n\nfailed attempts\n", indented(&payload));
    match job.errors.as_array().filter(|errors| !errors.is_empty()) {
        None => text.push_str("  none\n"),
        Some(errors) => errors.iter().for_each(|error| text.push_str(&failed_attempt(error))),
    }
    text
}

/// A table of counts by queue and state.
pub(crate) fn stats(rows: &[Stat], now: DateTime<Utc>) -> String {
    let lines = rows.iter().map(|stat| {
        vec![
            stat.queue.clone(),
            stat.state.to_string(),
            stat.count.to_string(),
            stat.oldest.map(|oldest| age(now, oldest)).unwrap_or_default(),
        ]
    });
    table(&["QUEUE", "STATE", "JOBS", "OLDEST DUE"], lines)
}

/// A table of the queues now, with the jobs that each finished per second since `before`.
pub(crate) fn queues(now: &[QueueNow], before: Option<&[QueueNow]>, every: u64) -> String {
    let lines = now.iter().map(|queue| {
        let depth = &queue.depth;
        let earlier =
            before.and_then(|before| before.iter().find(|earlier| earlier.queue == queue.queue));
        let rate = earlier.map(|earlier| {
            (queue.done_last_hour - earlier.done_last_hour).max(0) as f64 / every as f64
        });
        let counts = [
            depth.due,
            depth.scheduled,
            depth.queued,
            depth.running,
            depth.dead,
            queue.done_last_hour,
        ];
        let mut line = vec![queue.queue.name().to_owned()];
        line.extend(counts.iter().map(ToString::to_string));
        line.push(rate.map(|rate| format!("{rate:.1}")).unwrap_or_default());
        line.push(format!("{:.1}s", depth.oldest_due.as_secs_f64()));
        line
    });
    let head = [
        "QUEUE",
        "DUE",
        "SCHEDULED",
        "IN REDIS",
        "RUNNING",
        "DEAD",
        "DONE 1H",
        "DONE/S",
        "OLDEST DUE",
    ];
    table(&head, lines)
}

/// A table of payment alerts.
pub(crate) fn alerts(rows: &[AlertRow], now: DateTime<Utc>) -> String {
    let lines = rows.iter().map(|alert| {
        let booking = alert.booking_id.map(|id| id.to_string()).unwrap_or_default();
        let age = age(now, alert.created_at);
        vec![
            alert.id.to_string(),
            alert.reason.clone(),
            alert.subject.clone(),
            booking,
            age,
            shortened(&alert.details, 120),
        ]
    });
    table(&["ID", "REASON", "ABOUT", "BOOKING", "AGE", "DETAILS"], lines)
}

/// The subject of a story, and a table of its entries.
pub(crate) fn story(story: &Story) -> String {
    let booking = match (&story.booking_reference, story.booking_id) {
        (Some(reference), Some(id)) => format!("{reference} ({id})"),
        (_, Some(id)) => format!("{id}, which is gone"),
        (_, None) => "-".into(),
    };
    let listed = |ids: &[String]| if ids.is_empty() { "-".into() } else { ids.join(" ") };
    let lines = story.entries.iter().map(|entry| {
        vec![
            entry.at.to_rfc3339_opts(SecondsFormat::Millis, true),
            entry.what.to_owned(),
            entry.id.clone(),
            shortened(&entry.says, 160),
        ]
    });
    format!(
        "booking   {booking}\norders    {}\npayments  {}\n\n{}",
        listed(&story.orders),
        listed(&story.payments),
        table(&["AT", "WHAT", "ID", ""], lines)
    )
}

/// A table of broken invariants, or a line that says there are none.
pub(crate) fn violations(rows: &[Violation]) -> String {
    if rows.is_empty() {
        return "the books are in order\n".into();
    }
    let lines = rows
        .iter()
        .map(|row| vec![row.rule.clone(), row.subject.clone(), shortened(&row.found, 120)]);
    table(&["INVARIANT", "OF", "FOUND"], lines)
}

/// The differences that a comparison with Razorpay found, and how much it compared.
pub(crate) fn report(report: &Report) -> String {
    let lines = report.differences.iter().map(|difference| {
        vec![
            difference.subject.clone(),
            difference.booking.map(|id| id.to_string()).unwrap_or_default(),
            written(difference.amount_paise, CURRENCY),
            difference.razorpay.clone(),
            difference.nexus.clone(),
            difference.done.clone(),
        ]
    });
    let table = match report.differences.is_empty() {
        true => String::new(),
        false => table(&["WHAT", "BOOKING", "AMOUNT", "RAZORPAY", "NEXUS", "DONE"], lines) + "\n",
    };
    let not_ours = match report.not_ours {
        0 => String::new(),
        count => format!(", {count} not ours"),
    };
    let differences = report.differences.len();
    format!("{table}{} compared{not_ours}, {differences} differences\n", report.compared)
}

/// The same as JSON, for programs.
pub(crate) fn json(value: &impl serde::Serialize) -> serde_json::Result<String> {
    serde_json::to_string_pretty(value).map(|text| text + "\n")
}

fn failed_attempt(error: &Value) -> String {
    let text = |name: &str| match &error[name] {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    };
    format!("  #{} at {}\n{}\n", text("attempt"), text("at"), indented(&indented(&text("error"))))
}

fn indented(text: &str) -> String {
    text.lines().map(|line| format!("  {line}")).collect::<Vec<_>>().join("\n")
}

/// One line of at most `longest` characters.
fn shortened(text: &str, longest: usize) -> String {
    let line: String = text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    if line.chars().count() <= longest {
        return line;
    }
    line.chars().take(longest - 1).chain(['…']).collect()
}

/// How long ago: `3m`, `5h`; `in 3m` for a time to come.
fn age(now: DateTime<Utc>, then: DateTime<Utc>) -> String {
    let seconds = (now - then).num_seconds();
    let size = seconds.unsigned_abs();
    let text = match size {
        0..60 => format!("{size}s"),
        60..3_600 => format!("{}m", size / 60),
        3_600..86_400 => format!("{}h", size / 3_600),
        _ => format!("{}d", size / 86_400),
    };
    if seconds < 0 { format!("in {text}") } else { text }
}

fn table(head: &[&str], lines: impl Iterator<Item = Vec<String>>) -> String {
    let head = head.iter().map(ToString::to_string).collect();
    let lines: Vec<Vec<String>> = std::iter::once(head).chain(lines).collect();
    let columns = lines[0].len();
    let width = |column: usize| {
        lines.iter().map(|line| line[column].chars().count()).max().unwrap_or_default()
    };
    let widths: Vec<usize> = (0..columns).map(width).collect();
    let mut text = String::new();
    for line in &lines {
        let cells: Vec<String> =
            line.iter().zip(&widths).map(|(cell, &width)| format!("{cell:<width$}")).collect();
        let _ = writeln!(text, "{}", cells.join("  ").trim_end());
    }
    text
}

#[cfg(test)]
mod tests {
    use chrono::TimeDelta;
    use serde_json::json;

    use super::*;
    use nexus_common::{
        jobs::{JobId, JobState},
        types::ids::BookingId,
    };
    use nexus_worker::reconciler::Difference;

    fn row(now: DateTime<Utc>) -> JobRow {
        JobRow {
            id: JobId::nil(),
            queue: "payments".into(),
            kind: "refund_payment".into(),
            state: JobState::Dead,
            payload: json!({"refund_id": 7}),
            unique_key: None,
            priority: 10,
            attempt: 14,
            max_attempts: 14,
            available_at: now,
            worker: None,
            last_error: Some("Razorpay\nis away".into()),
            errors: json!([{"attempt": 14, "at": "2026-01-01T00:00:00Z", "error": "Razorpay\nis away"}]),
            trace_context: Some("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01".into()),
            created_at: now - TimeDelta::hours(2),
            started_at: None,
            finished_at: None,
            acted_by: None,
            acted_at: None,
        }
    }

    #[test]
    fn a_table_is_aligned_and_keeps_one_line_a_job() {
        let now = Utc::now();
        let text = jobs(&[row(now)], now);
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines.len(), 2);
        assert_eq!(lines[0].find("STATE"), lines[1].find("dead"));
        assert!(lines[1].ends_with("14/14    2h   Razorpay is away"), "{text}");
    }

    #[test]
    fn a_job_is_shown_with_its_payload_and_history() {
        let text = job(&row(Utc::now()));
        assert!(text.contains("kind        refund_payment"), "{text}");
        assert!(text.contains("trace       0af7651916cd43dd8448eb211c80319c\n"), "{text}");
        assert!(text.contains("\"refund_id\": 7"));
        assert!(
            text.contains("  #14 at 2026-01-01T00:00:00Z\n    Razorpay\n    is away\n"),
            "{text}"
        );
    }

    #[test]
    fn ages_are_short() {
        let now = Utc::now();
        assert_eq!(age(now, now - TimeDelta::seconds(59)), "59s");
        assert_eq!(age(now, now - TimeDelta::days(3)), "3d");
        assert_eq!(age(now, now + TimeDelta::minutes(5)), "in 5m");
        assert_eq!(shortened("abcdef", 4), "abc…");
    }

    #[test]
    fn a_report_says_what_differs_and_how_much_was_looked_at() {
        let mut found = Report { compared: 3, ..Report::default() };
        assert_eq!(report(&found), "3 compared, 0 differences\n");
        found.differences.push(Difference {
            subject: "pay_1".into(),
            booking: Some(BookingId(7)),
            amount_paise: 20_050,
            razorpay: "captured".into(),
            nexus: "unknown".into(),
            done: "confirmed".into(),
        });
        found.not_ours = 1;
        let expected = "WHAT   BOOKING  AMOUNT   RAZORPAY  NEXUS    DONE\n\
                        pay_1  7        ₹200.50  captured  unknown  confirmed\n\n\
                        3 compared, 1 not ours, 1 differences\n";
        assert_eq!(report(&found), expected);
    }
}
