//! The report, for people who were not there.

use std::fmt::Write;
use std::time::Duration;

use nexus_tests::Stack;

use super::checks::{FILES, GROWTH, TELLING};
use super::fault_injector::{CONNECTIONS, FaultInjector};
use super::record::{Record, now};
use super::watch::{Watch, slope};

pub(crate) async fn write(
    stack: &Stack,
    injector: &FaultInjector,
    watch: &Watch,
    record: &Record,
    (duration, seed, settled): (Duration, u64, Duration),
    violations: &[String],
) -> String {
    let mut text = format!(
        "# Soak\n\n{:.1} minutes of mixed traffic with faults, seed {seed} (`make soak`). Two processes of every kind served it, on one PostgreSQL and one \
         Redis, with stand-ins for the providers; locks lasted {} s and bookings {} s, so that many ran out, and rate limits were off. Of each kind one process lived through \
         everything; the other was killed or restarted again and again.\n\n",
        duration.as_secs_f64() / 60.0,
        super::LOCK,
        super::BOOKING,
    );
    let _ = writeln!(text, "## Outcome\n");
    if violations.is_empty() {
        let _ = writeln!(text, "Everything held:\n");
    } else {
        let _ = writeln!(text, "**Broken:**\n");
        for what in violations {
            let _ = writeln!(text, "- {}", what.replace('\n', " "));
        }
        let _ = writeln!(text, "\nWhat was checked:\n");
    }
    let checked = [
        "every paisa that was taken is in a confirmed booking, or was sent back; `nexus-jobs check-books` finds nothing",
        "no seat was sold twice, no count is wrong, every confirmed booking has its tickets",
        "no job is left, and none has died",
        "answers of 500 and above were 502 or 503, and came, like errors in the logs, only while something was wrong or shortly after; nothing panicked",
        "no connection to PostgreSQL is held; Redis keeps nothing for ever but its registry of workers, who are those that live",
    ];
    for what in checked {
        let _ = writeln!(text, "- {what}");
    }
    let _ = writeln!(
        text,
        "- open files are no more than at first, plus {CONNECTIONS} connections to PostgreSQL and {FILES} others"
    );
    let growth = if duration >= TELLING {
        "no process grew"
    } else {
        "(judged in runs of four minutes and more) no process grows"
    };
    let _ =
        writeln!(text, "- {growth} by more than {GROWTH:.0} MB a minute after the first quarter\n");
    let _ = writeln!(
        text,
        "Everything was settled {:.0} s after the last fault and the last request.\n",
        settled.as_secs_f64()
    );

    let _ = writeln!(text, "## Faults\n\n| what | times |\n|---|---|");
    for (what, times) in &injector.faults {
        let _ = writeln!(text, "| {what} | {times} |");
    }
    let webhooks = stack.providers.webhooks();
    let lost = webhooks.iter().filter(|webhook| webhook.state == "lost").count();
    let _ = writeln!(
        text,
        "\nOf the last {} webhooks {lost} were lost; others came late, doubled, or in another order.",
        webhooks.len()
    );
    let quiet = injector.quiet(now() - settled.as_secs_f64() - duration.as_secs_f64(), now());
    let _ = writeln!(text, "For {quiet:.0} s nothing was wrong, nor had been shortly before.\n");

    let _ = writeln!(
        text,
        "## Requests and broadcasts\n\n| what | done | refused (4xx) | failed |\n|---|---|---|---|"
    );
    for (what, [done, refused, failed]) in record.responses.borrow().iter() {
        let _ = writeln!(text, "| {what} | {done} | {refused} | {failed} |");
    }
    let (slowest, what) = *record.slowest.borrow();
    let _ = writeln!(text, "\nThe slowest answer took {:.1} s ({what}).\n", slowest.as_secs_f64());

    let _ = writeln!(text, "## Jobs\n\n| kind | state | jobs | attempts |\n|---|---|---|---|");
    let jobs = "SELECT kind, state, count(*) AS n, sum(attempt) AS attempts FROM jobs GROUP BY 1, 2 ORDER BY 1, 2::text";
    for row in stack.rows(jobs).await {
        let name = |field: &str| row[field].as_str().unwrap_or_default().to_owned();
        let _ = writeln!(
            text,
            "| {} | {} | {} | {} |",
            name("kind"),
            name("state"),
            row["n"],
            row["attempts"]
        );
    }

    let _ = writeln!(text, "\n## Money and bookings\n");
    let (taken, back, sold) = stack.money().await;
    let _ = writeln!(
        text,
        "Taken {} rupees, sent back {}, in confirmed bookings {}.\n",
        taken / 100,
        back / 100,
        sold / 100
    );
    for row in stack.rows("SELECT status, count(*) AS n FROM bookings GROUP BY 1 ORDER BY 1").await
    {
        let _ = writeln!(
            text,
            "- bookings {}: {}",
            row["status"].as_str().unwrap_or_default(),
            row["n"]
        );
    }
    let _ = writeln!(text, "- keys in Redis: {}", stack.redis_keys().await.len());

    let _ = writeln!(
        text,
        "\n## Processes that lived through it\n\n| process | MB at first | after a quarter | at the end | most | MB a minute | files at first | at the end | most |\n|---|---|---|---|---|---|---|---|---|"
    );
    for (name, looks) in &watch.looks {
        let (first, quarter, last) = (looks[0], looks[looks.len() / 4], looks[looks.len() - 1]);
        let most = looks.iter().fold(0.0, |most: f64, look| most.max(look.megabytes));
        let files = looks.iter().map(|look| look.files).max().unwrap_or_default();
        let _ = writeln!(
            text,
            "| {name} | {:.1} | {:.1} | {:.1} | {most:.1} | {:+.2} | {} | {} | {files} |",
            first.megabytes,
            quarter.megabytes,
            last.megabytes,
            slope(looks),
            first.files,
            last.files,
        );
    }
    text
}
