//! A job that cannot succeed becomes a dead letter with its whole history, which an operator can
//! retry.

use nexus_tests::{Client, Event, Fault, SOON, Stack, Target, Value, eventually, json, seen};

const PHONE: &str = "+919812345678";

/// Waits until the only job of that kind is in that state; returns it.
async fn until_job(stack: &Stack, kind: &str, state: &str) -> Value {
    eventually(&format!("{kind} is {state}"), SOON, async || {
        let query =
            "SELECT id, state, attempt, max_attempts, errors, last_error, finished_at FROM jobs";
        let job = stack.row(&format!("{query} WHERE kind = '{kind}'")).await;
        seen(job["state"] == state, job)
    })
    .await
}

/// Asks for a code while the provider does not work; only four attempts are made, so that this does
/// not take minutes.
async fn ask_in_vain(stack: &Stack, fault: Fault) {
    stack.providers.fault(Target::TwilioVerify, None, fault);
    stack.anonymous().post("/auth/send-otp", json!({"phone": PHONE})).await.ok();
    stack.execute("UPDATE jobs SET max_attempts = 4 WHERE kind = 'send_otp'").await;
}

#[tokio::test]
async fn a_job_is_retried_with_growing_pauses_dies_and_is_brought_back_by_an_operator() {
    let stack = Stack::builder().workers(["otp"]).start().await;
    ask_in_vain(&stack, Fault::status(503)).await;
    let dead = until_job(&stack, "send_otp", "dead").await;
    let id = dead["id"].as_str().unwrap();
    assert_eq!(dead["attempt"], 4, "{dead}");

    // The history: four attempts, each pause longer than the one before.
    let gaps = "SELECT extract(epoch FROM (e->>'at')::timestamptz - lag((e->>'at')::timestamptz) OVER (ORDER BY n))::float8 AS gap,
                       (e->>'attempt')::int AS attempt, e->>'error' AS error
                FROM jobs, jsonb_array_elements(errors) WITH ORDINALITY AS history(e, n) WHERE kind = 'send_otp' ORDER BY n";
    let history = stack.rows(gaps).await;
    let attempts: Vec<_> = history.iter().map(|error| error["attempt"].as_i64().unwrap()).collect();
    assert_eq!(attempts, [1, 2, 3, 4]);
    assert!(
        history.iter().all(|error| error["error"].as_str().unwrap().contains("503")),
        "{history:?}"
    );
    let gaps: Vec<f64> = history[1..].iter().map(|error| error["gap"].as_f64().unwrap()).collect();
    assert!(gaps[0] >= 0.37 && gaps.is_sorted(), "pauses grow from 0.5 s: {gaps:?}");

    // What the operator sees.
    let listed: Value =
        serde_json::from_str(&stack.jobs_cli_ok(&["dead", "--json"]).await).unwrap();
    assert_eq!(listed.as_array().unwrap().len(), 1, "{listed}");
    assert_eq!((&listed[0]["id"], &listed[0]["kind"]), (&json!(id), &json!("send_otp")));
    let table = stack.jobs_cli_ok(&["dead", "--queue", "otp"]).await;
    assert!(table.contains(id) && table.contains("4/4"), "{table}");
    assert!(!stack.jobs_cli_ok(&["dead", "--queue", "payments"]).await.contains(id));
    let shown = stack.jobs_cli_ok(&["show", id]).await;
    for part in ["send_otp", "dead", PHONE, "#1 at ", "#2 at ", "#3 at ", "#4 at ", "503"] {
        assert!(shown.contains(part), "{part:?} in:\n{shown}");
    }
    let stats: Value =
        serde_json::from_str(&stack.jobs_cli_ok(&["stats", "--json"]).await).unwrap();
    let of_otp = stats.as_array().unwrap().iter().find(|stat| stat["queue"] == "otp").unwrap();
    assert_eq!((&of_otp["state"], &of_otp["count"]), (&json!("dead"), &json!(1)));

    // The provider is back.
    stack.providers.clear_faults();
    stack.jobs_cli_ok(&["retry", id]).await;
    let done = until_job(&stack, "send_otp", "done").await;
    assert_eq!(done["attempt"], 1, "all attempts are before it again: {done}");
    assert_eq!(done["errors"], dead["errors"], "its history stays");
    let code = stack.providers.otp(PHONE).expect("a code").code;
    stack.anonymous().post("/auth/verify-otp", json!({"phone": PHONE, "otp": code})).await.ok();

    // A finished job cannot be retried.
    let refused = stack.jobs_cli(&["retry", id]).await;
    let reason = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(refused.status.code() == Some(1) && reason.contains("done"), "{refused:?}");
    let unknown = stack.jobs_cli(&["show", "00000000-0000-7000-8000-000000000000"]).await;
    assert_eq!(unknown.status.code(), Some(1), "{unknown:?}");
    stack.assert_invariants().await;
}

#[tokio::test]
async fn a_refusal_is_final_at_once_and_can_be_discarded() {
    let stack = Stack::builder().workers(["otp"]).start().await;
    ask_in_vain(&stack, Fault::status(403)).await;
    let dead = until_job(&stack, "send_otp", "dead").await;
    assert_eq!(
        (&dead["attempt"], dead["errors"].as_array().unwrap().len()),
        (&json!(1), 1),
        "{dead}"
    );
    assert!(
        dead["last_error"].as_str().unwrap().contains("60410"),
        "Twilio's code is in the history: {dead}"
    );

    // The user asks again: a new job, beside which the dead one cannot return.
    stack.providers.clear_faults();
    stack.anonymous().post("/auth/send-otp", json!({"phone": PHONE})).await.ok();
    eventually("the code is sent", SOON, async || stack.providers.otp(PHONE).ok_or("none".into()))
        .await;
    stack.jobs_cli_ok(&["discard", dead["id"].as_str().unwrap()]).await;
    let states = stack
        .rows("SELECT state, count(*) AS n FROM jobs GROUP BY state ORDER BY state::text")
        .await;
    assert_eq!(states, [json!({"state": "cancelled", "n": 1}), json!({"state": "done", "n": 1})]);
    stack.assert_invariants().await;
}

#[tokio::test]
async fn a_provider_that_is_too_busy_is_asked_again() {
    let stack = Stack::builder().workers(["otp"]).start().await;
    stack.providers.fault(Target::TwilioVerify, Some(2), Fault::status(429));
    stack.anonymous().post("/auth/send-otp", json!({"phone": PHONE})).await.ok();
    let done = until_job(&stack, "send_otp", "done").await;
    assert_eq!(done["attempt"], 3, "{done}");
    stack.assert_invariants().await;
}

#[tokio::test]
async fn dead_jobs_of_a_kind_are_brought_back_together() {
    let stack = Stack::start().await;
    let organiser = stack.user().await;
    let event: Event = stack.event(&organiser, &[("VIP", 100.0, 50)]).await;
    stack.providers.fault(Target::Smtp, None, Fault::status(451));
    let buyers: Vec<Client> = stack.users(3).await;
    for (buyer, label) in buyers.iter().zip(["A1", "A2", "A3"]) {
        stack.sell(buyer, &event, &[("VIP", label)]).await;
    }
    eventually("three mails are dead letters", SOON, async || {
        stack
            .execute("UPDATE jobs SET available_at = now(), max_attempts = attempt + 1 WHERE kind = 'email_tickets' AND state = 'pending' AND attempt > 0")
            .await;
        let dead = stack.count("jobs WHERE kind = 'email_tickets' AND state = 'dead'").await;
        seen(dead == 3, dead)
    })
    .await;
    stack.providers.clear_faults();
    stack.jobs_cli_ok(&["retry", "--all", "--kind", "email_tickets"]).await;
    eventually("everybody has mail", SOON, async || {
        let mails = stack.providers.mail().len();
        seen(mails == 3, mails)
    })
    .await;
    stack.assert_invariants().await;
}

#[tokio::test]
async fn dead_jobs_of_a_kind_are_discarded_together_and_no_others() {
    let stack = Stack::builder().workers([]).start().await;
    let insert = "INSERT INTO jobs (id, queue, kind, payload, max_attempts, state, finished_at)
                  SELECT gen_random_uuid(), 'otp', kind, '{}', 3, state::job_state, CASE state WHEN 'dead' THEN now() END
                  FROM (VALUES ('send_otp', 'dead'), ('send_otp', 'dead'), ('send_otp', 'pending'), ('other', 'dead')) AS j (kind, state)";
    assert_eq!(stack.execute(insert).await, 4);
    let said = stack.jobs_cli_ok(&["discard", "--all", "--kind", "send_otp"]).await;
    assert_eq!(said, "2 jobs are cancelled\n");
    assert_eq!(stack.count("jobs WHERE state = 'cancelled' AND kind = 'send_otp'").await, 2);
    assert_eq!(stack.count("jobs WHERE state IN ('pending', 'dead')").await, 2);
    for (arguments, code) in [
        (vec!["discard", "--all", "--kind", "send_otp"], 1),
        (vec!["discard", "--all"], 2),
        (vec!["discard"], 2),
    ] {
        assert_eq!(stack.jobs_cli(&arguments).await.status.code(), Some(code), "{arguments:?}");
    }
}
