//! Every job, effect, outward call and key in Redis is accounted for when it is over.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::time::Duration;

use nexus_tests::probes::Processes;
use nexus_tests::{Stack, Target, Value, eventually, seen};

use super::AFTERWARDS;

/// Only jobs that were told to die are dead, each with its reason.
pub(crate) async fn assert_dead_with_a_reason(stack: &Stack) {
    let asked = "kind = 'probe' AND payload->'steps'->>0 = 'discard'";
    let other = format!("SELECT * FROM jobs WHERE (state = 'dead') <> ({asked})");
    let other = stack.rows(&other).await;
    assert!(
        other.is_empty(),
        "dead without having asked for it, or alive all the same: {other:#?}"
    );
    let silent =
        stack.rows("SELECT * FROM jobs WHERE state = 'dead' AND last_error <> 'as told'").await;
    assert!(silent.is_empty(), "{silent:#?}");
}

/// Outward calls by kind: how many jobs made them, and how often they were made.
pub(crate) type Calls = BTreeMap<&'static str, (u64, u64)>;

/// An effect in PostgreSQL happened exactly once. An outward call happened at least once, and once
/// more at most for each attempt that failed.
pub(crate) async fn assert_effects(stack: &Stack) -> Calls {
    let wrong = "SELECT j.id, j.payload, j.errors, count(e.n) AS effects FROM jobs j LEFT JOIN probe_effects e ON e.job_id = j.id
                 WHERE j.kind = 'probe' GROUP BY j.id HAVING count(e.n) <> (j.state = 'done')::int";
    let wrong = stack.rows(wrong).await;
    assert!(wrong.is_empty(), "effects that did not happen once: {wrong:#?}");

    let attempts = "SELECT count(*) AS jobs, coalesce(sum(1 + jsonb_array_length(errors)), 0)::bigint AS most FROM jobs";
    let mut calls = Calls::new();
    let mut check = |what, row: Value, made: u64| {
        let (jobs, most) = (row["jobs"].as_u64().unwrap(), row["most"].as_u64().unwrap());
        assert!(
            (jobs..=most).contains(&made),
            "{what}: {made} calls for {jobs} jobs with {most} attempts"
        );
        calls.insert(what, (jobs, made));
    };
    let codes = stack.row(&format!("{attempts} WHERE kind = 'send_otp'")).await;
    check("one-time passwords", codes, stack.providers.count(Target::TwilioVerify).succeeded);

    // Each mail is known by its Message-ID.
    let mut mails = BTreeMap::<_, u64>::new();
    for mail in stack.providers.mail() {
        *mails.entry(mail.message_id.expect("a Message-ID")).or_default() += 1;
    }
    let told = stack.rows("SELECT lower(booking_reference) AS reference, 1 + jsonb_array_length(errors) AS most
                           FROM bookings b JOIN jobs ON kind = 'email_tickets' AND payload->>'booking_id' = b.id::text").await;
    for mail in &told {
        let id = mail["reference"].as_str().unwrap();
        let came: u64 =
            mails.iter().filter(|(known, _)| known.contains(id)).map(|(_, count)| count).sum();
        assert!((1..=mail["most"].as_u64().unwrap()).contains(&came), "{came} mails: {mail}");
    }
    let mailed = stack.row(&format!("{attempts} WHERE kind = 'email_tickets'")).await;
    check("mails", mailed, mails.values().sum());

    let captured =
        stack.providers.payments().iter().filter(|payment| payment.captured).count() as i64;
    assert_eq!(
        stack.count("payments WHERE kind = 'capture'").await,
        captured,
        "captures in the ledger"
    );
    let refunded: i64 = stack.providers.refunds().len() as i64;
    assert_eq!(
        stack.count("payments WHERE kind = 'refund'").await,
        refunded,
        "refunds in the ledger"
    );
    calls
}

/// Redis holds nothing of jobs, and only the workers that live.
pub(crate) async fn assert_nothing_stale_in_redis(stack: &Stack, workers: &mut [Processes]) {
    let alive: usize = workers.iter().map(Processes::len).sum();
    eventually("Redis holds nothing stale", AFTERWARDS, async || {
        workers.iter_mut().for_each(Processes::supervise);
        let (lasting, registered) = stack.lasting_in_redis().await;
        seen(lasting.is_empty() && registered == alive, (lasting, registered, alive)).map(drop)
    })
    .await;
}

pub(crate) async fn report(
    stack: &Stack,
    seed: u64,
    faults: &BTreeMap<&str, usize>,
    calls: &Calls,
    settled: Duration,
    total: Duration,
) -> String {
    let mut report =
        format!("NEXUS_KILL_SEED={seed}\n\n{:>6}  faults\n", faults.values().sum::<usize>());
    for (fault, count) in faults {
        let _ = writeln!(report, "{count:>6}    {fault}");
    }
    let _ = writeln!(report, "{:>6}  jobs", stack.count("jobs").await);
    for row in stack
        .rows("SELECT kind, state, count(*) AS n FROM jobs GROUP BY 1, 2 ORDER BY 1, 2::text")
        .await
    {
        let text = |name: &str| row[name].as_str().unwrap_or_default().to_owned();
        let _ =
            writeln!(report, "{:>6}    {} {}", row["n"].to_string(), text("kind"), text("state"));
    }
    let attempts = "jobs, jsonb_array_elements(errors) error WHERE error->>'error'";
    let vanished = stack.count(&format!("{attempts} LIKE '% vanished'")).await;
    let _ = writeln!(report, "{vanished:>6}  attempts ended with their worker");
    let _ = writeln!(
        report,
        "{:>6}  deliveries",
        stack.row("SELECT sum(delivery) AS n FROM jobs").await["n"].to_string()
    );
    for (what, (jobs, made)) in calls {
        let _ = writeln!(
            report,
            "{:>6}  {what} were sent once more than needed, of {made}",
            made - jobs
        );
    }
    for row in stack.rows("SELECT status, count(*) AS n FROM bookings GROUP BY 1 ORDER BY 1").await
    {
        let _ = writeln!(
            report,
            "{:>6}  bookings {}",
            row["n"].to_string(),
            row["status"].as_str().unwrap_or_default()
        );
    }
    let outage = "SELECT max(gap)::float8 AS s FROM (
                      SELECT extract(epoch FROM finished_at - lag(finished_at) OVER (ORDER BY finished_at)) AS gap FROM jobs
                      WHERE finished_at IS NOT NULL) gaps";
    let slowest = "SELECT extract(epoch FROM max(finished_at - created_at))::float8 AS s FROM jobs";
    for (what, query) in
        [("was the longest time in which no job ended", outage), ("took the slowest job", slowest)]
    {
        let seconds = stack.row(query).await["s"].as_f64().unwrap_or_default();
        let _ = writeln!(report, "{seconds:>6.1}s {what}");
    }
    let _ = writeln!(
        report,
        "{:>6.1}s after the last fault, everything was done",
        settled.as_secs_f64()
    );
    let _ = writeln!(report, "{:>6.1}s in all", total.as_secs_f64());
    report
}
