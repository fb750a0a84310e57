//! What the job system promises (docs/jobs.md), one promise a test. The jobs are probes, which do
//! as they are told; leases are short, so that the tests need not wait long.

use nexus_tests::{SOON, Stack, Value, eventually, json, probes::Processes, seen};

/// An API is not needed, and a probe takes the place of the cleanup worker.
async fn stack() -> Stack {
    let stack = Stack::builder().api_processes(0).workers([]);
    stack.env("JOB_LEASE_MS", 1_000).env("JOB_LOST_MS", 1_500).start().await
}

/// The same with one probe at work.
async fn stack_and_probe() -> (Stack, Processes) {
    let stack = stack().await;
    let mut probes = stack.probes(1, &[("WORKER_CONCURRENCY", "4")]).await;
    probes.start().await;
    (stack, probes)
}

fn errors(job: &Value) -> Vec<&str> {
    let errors = job["errors"].as_array().unwrap();
    errors.iter().map(|error| error["error"].as_str().unwrap()).collect()
}

/// Seconds from the newest failure to the next attempt, by the ledger.
async fn pause(stack: &Stack, id: &str) -> f64 {
    let pause =
        "extract(epoch FROM available_at - (errors->-1->>'at')::timestamptz)::float8 AS pause";
    stack.row(&format!("SELECT {pause} FROM jobs WHERE id = '{id}'")).await["pause"]
        .as_f64()
        .unwrap()
}

#[tokio::test]
async fn a_job_is_enqueued_with_its_transaction_and_vanishes_with_it() {
    let (stack, _probes) = stack_and_probe().await;
    let gone = stack.try_enqueue(json!([{"kind": "probe", "steps": ["done"]}]), false).await;
    assert!(gone[0].is_string(), "it was enqueued: {gone:?}");
    let kept = stack.enqueue_one("probe", json!(["done"])).await;
    stack.until_state(&kept, "done").await;
    assert_eq!(stack.rows("SELECT id FROM jobs").await, [json!({"id": kept})]);
    assert_eq!(stack.count("probe_effects").await, 1);
}

#[tokio::test]
async fn a_unique_key_is_taken_while_its_job_lives_and_free_when_it_is_done_or_dead() {
    let (stack, _probes) = stack_and_probe().await;
    let unique =
        |steps: Value| json!([{"kind": "probe", "steps": steps, "unique": "the only one"}]);
    let twice = json!([unique(json!([{"sleep": 1_500}]))[0], unique(json!(["done"]))[0]]);
    let first = stack.try_enqueue(twice, true).await;
    assert!(first[0].is_string() && first[1].is_null(), "pending: {first:?}");
    let first = first[0].as_str().unwrap();
    stack.until_state(first, "running").await;
    assert_eq!(stack.try_enqueue(unique(json!(["done"])), true).await, [Value::Null], "running");
    stack.until_state(first, "done").await;

    let second =
        stack.enqueue(unique(json!(["retry", {"snooze": 1_500}, "discard"]))).await.remove(0);
    stack.until_runs(&second, 2).await;
    stack.until_state(&second, "pending").await;
    assert_eq!(stack.try_enqueue(unique(json!(["done"])), true).await, [Value::Null], "waiting");
    stack.until_state(&second, "dead").await;

    let third = stack.enqueue(unique(json!(["done"]))).await.remove(0);
    stack.until_state(&third, "done").await;
    assert_eq!(stack.count("jobs").await, 3);
}

#[tokio::test]
async fn urgent_jobs_go_first_and_the_others_by_age() {
    let stack = stack().await;
    let mut jobs = vec![json!({"kind": "probe", "steps": ["done"]}); 30];
    jobs.extend(vec![json!({"kind": "probe_urgent", "steps": ["done"]}); 10]);
    let ids = stack.enqueue(json!(jobs)).await;
    let mut probes = stack.probes(1, &[("WORKER_CONCURRENCY", "1")]).await;
    probes.start().await;
    stack.until_idle(&["cleanup"]).await;
    let ran = stack.rows("SELECT job_id FROM probe_effects ORDER BY n").await;
    let ran: Vec<_> = ran.iter().map(|row| row["job_id"].as_str().unwrap()).collect();
    let expected: Vec<_> = ids[30..].iter().chain(&ids[..30]).map(String::as_str).collect();
    assert_eq!(ran, expected);
}

#[tokio::test]
async fn a_scheduled_job_runs_at_its_time_and_not_before() {
    let (stack, _probes) = stack_and_probe().await;
    let later = json!({"kind": "probe", "steps": ["done"], "delay_ms": 1_500});
    let ids = stack.enqueue(json!([later, {"kind": "probe", "steps": ["done"]}])).await;
    stack.until_state(&ids[1], "done").await;
    let waiting = stack.job(&ids[0]).await;
    assert_eq!((&waiting["state"], &waiting["attempt"]), (&json!("pending"), &json!(0)));
    stack.until_state(&ids[0], "done").await;
    let early = "jobs JOIN probe_runs ON job_id = id WHERE at < available_at OR available_at < created_at + interval '1 second'";
    assert_eq!(stack.count(early).await, 1, "the one that was due at once");
}

#[tokio::test]
async fn a_kind_says_how_often_how_long_and_after_what_pauses_it_is_tried() {
    let (stack, _probes) = stack_and_probe().await;
    let patient = stack.enqueue_one("probe_patient", json!(["retry"])).await;
    let hasty = stack.enqueue_one("probe_hasty", json!(["hang"])).await;
    let plain = stack.enqueue_one("probe", json!([{"sleep": 600}])).await;

    let dead = stack.until_state(&hasty, "dead").await;
    assert_eq!((&dead["attempt"], &dead["max_attempts"]), (&json!(2), &json!(2)));
    assert_eq!(errors(&dead), ["timed out after 300ms"; 2]);
    let done = stack.until_state(&plain, "done").await;
    assert_eq!(
        (&done["attempt"], &done["max_attempts"]),
        (&json!(1), &json!(20)),
        "it may take longer"
    );
    let waiting = stack.until_state(&patient, "pending").await;
    assert_eq!((&waiting["attempt"], &waiting["max_attempts"]), (&json!(1), &json!(3)));
    let pause = pause(&stack, &patient).await;
    assert!((45.0..=75.0).contains(&pause), "a minute, give or take a quarter: {pause} s");
}

#[tokio::test]
async fn retry_counts_and_pauses_until_it_succeeds() {
    let (stack, _probes) = stack_and_probe().await;
    let id = stack.enqueue_one("probe", json!(["retry", "retry", "done"])).await;
    let job = stack.until_state(&id, "done").await;
    assert_eq!((job["attempt"].as_i64(), errors(&job)), (Some(3), vec!["as told"; 2]));
    let gaps = "SELECT extract(epoch FROM at - lag(at) OVER (ORDER BY at))::float8 AS gap FROM probe_runs OFFSET 1";
    let gaps = stack.rows(gaps).await;
    assert!(
        gaps.iter().all(|row| row["gap"].as_f64().unwrap() >= 0.037),
        "50 ms, then 100 ms: {gaps:?}"
    );
    assert_eq!((stack.runs(&id).await, stack.effects(&id).await), (3, 1));
}

#[tokio::test]
async fn retry_after_pauses_for_as_long_as_it_says() {
    let (stack, _probes) = stack_and_probe().await;
    let id = stack.enqueue_one("probe", json!([{"retry_after": 3_600_000}])).await;
    stack.until_runs(&id, 1).await;
    let job = stack.until_state(&id, "pending").await;
    assert_eq!((&job["attempt"], errors(&job)), (&json!(1), vec!["as told"]));
    let pause = pause(&stack, &id).await;
    assert!((3_599.9..3_600.1).contains(&pause), "an hour: {pause} s");
}

#[tokio::test]
async fn snooze_waits_and_does_not_count() {
    let (stack, _probes) = stack_and_probe().await;
    // More often than this kind may fail.
    let snooze = json!({"snooze": 100});
    let id = stack
        .enqueue_one("probe_hasty", json!([snooze, snooze, snooze, snooze, "retry", "done"]))
        .await;
    let job = stack.until_state(&id, "done").await;
    assert_eq!(
        (&job["attempt"], errors(&job)),
        (&json!(2), vec!["as told"]),
        "only what failed counts"
    );
    assert_eq!(stack.runs(&id).await, 6);
    let gaps = "SELECT extract(epoch FROM at - lag(at) OVER (ORDER BY at))::float8 AS gap FROM probe_runs ORDER BY at OFFSET 1 LIMIT 4";
    let gaps = stack.rows(gaps).await;
    assert!(gaps.iter().all(|row| row["gap"].as_f64().unwrap() >= 0.1), "{gaps:?}");
}

#[tokio::test]
async fn a_job_that_is_tried_for_ever_counts_anew_when_it_went_well() {
    let (stack, _probes) = stack_and_probe().await;
    let id = "00000000-0000-7000-8000-000000000001";
    let payload = json!({"steps": ["retry", "retry", {"snooze": 100}, "retry", "done"]});
    let insert = format!(
        "INSERT INTO jobs (id, queue, kind, payload, max_attempts) VALUES ('{id}', 'cleanup', 'probe', '{payload}', 2147483647)"
    );
    stack.execute(&insert).await;
    let job = stack.until_state(id, "done").await;
    let attempts: Vec<_> = job["errors"]
        .as_array()
        .unwrap()
        .iter()
        .map(|error| error["attempt"].as_i64().unwrap())
        .collect();
    assert_eq!((attempts, &job["attempt"]), (vec![1, 2, 1], &json!(2)), "{job}");
}

#[tokio::test]
async fn what_goes_wrong_when_a_job_is_done_is_no_failure_of_it() {
    let (stack, mut probes) = stack_and_probe().await;
    let id = stack.enqueue_one("probe", json!(["panic_after_commit"])).await;
    stack.until_state(&id, "done").await;
    probes.process(0).wait_for_log("a handler did not end well after its job was done", SOON).await;
    probes.process(0).wait_for_log("job is done", SOON).await;
    let job = stack.job(&id).await;
    assert_eq!(
        (&job["state"], &job["attempt"], &job["errors"]),
        (&json!("done"), &json!(1), &json!([]))
    );
    assert_eq!((stack.runs(&id).await, stack.effects(&id).await), (1, 1));
}

#[tokio::test]
async fn discard_is_final_with_its_reason() {
    let (stack, _probes) = stack_and_probe().await;
    let id = stack.enqueue_one("probe", json!(["discard"])).await;
    let job = stack.until_state(&id, "dead").await;
    assert_eq!((&job["attempt"], errors(&job)), (&json!(1), vec!["as told"]));
    assert_eq!((&job["last_error"], job["finished_at"].is_string()), (&json!("as told"), true));
}

#[tokio::test]
async fn a_panic_fails_its_attempt_and_nothing_else() {
    let (stack, mut probes) = stack_and_probe().await;
    let beside = stack.enqueue_one("probe", json!([{"sleep": 500}])).await;
    let id = stack.enqueue_one("probe", json!(["panic", "done"])).await;
    let job = stack.until_state(&id, "done").await;
    assert_eq!((&job["attempt"], errors(&job)), (&json!(2), vec!["panicked: as told"]));
    assert_eq!(stack.until_state(&beside, "done").await["attempt"], 1);
    assert!(probes.process(0).is_running());
}

#[tokio::test]
async fn a_time_out_fails_its_attempt_and_stops_the_handler() {
    let (stack, _probes) = stack_and_probe().await;
    let id = stack.enqueue_one("probe_hasty", json!([{"sleep": 600}, "done"])).await;
    let job = stack.until_state(&id, "done").await;
    assert_eq!((&job["attempt"], errors(&job)), (&json!(2), vec!["timed out after 300ms"]));
    // Long enough for the first run, had it gone on.
    let last = stack.enqueue_one("probe", json!([{"sleep": 700}])).await;
    stack.until_state(&last, "done").await;
    assert_eq!((stack.runs(&id).await, stack.effects(&id).await), (2, 1));
}

#[tokio::test]
async fn an_unreadable_payload_is_a_dead_letter_and_an_unknown_kind_waits_for_a_newer_worker() {
    let (stack, _probes) = stack_and_probe().await;
    let insert = "INSERT INTO jobs (id, queue, kind, payload, max_attempts) VALUES
        ('00000000-0000-7000-8000-000000000001', 'cleanup', 'probe', '{\"steps\": 1}', 20),
        ('00000000-0000-7000-8000-000000000002', 'cleanup', 'from_the_future', '{}', 20)";
    stack.execute(insert).await;
    let others = stack.enqueue(json!(vec![json!({"kind": "probe", "steps": ["done"]}); 20])).await;
    for id in &others {
        stack.until_state(id, "done").await;
    }
    let dead = stack.until_state("00000000-0000-7000-8000-000000000001", "dead").await;
    assert!(errors(&dead)[0].starts_with("the payload cannot be read: "), "{dead}");
    let unknown = "00000000-0000-7000-8000-000000000002";
    let waiting = stack.until_state(unknown, "pending").await;
    assert!(
        errors(&waiting)[0].starts_with("no handler for from_the_future in version "),
        "{waiting}"
    );
    assert!((59.0..61.0).contains(&pause(&stack, unknown).await), "looked at again in a minute");
}

#[tokio::test]
async fn a_job_that_kills_its_worker_every_time_dies_and_the_others_are_done() {
    let (stack, mut probes) = stack_and_probe().await;
    let killer = stack.enqueue_one("probe_patient", json!(["die"])).await;
    let others =
        stack.enqueue(json!(vec![json!({"kind": "probe", "steps": [{"sleep": 50}]}); 60])).await;
    let dead = eventually("the killer is dead", SOON, async || {
        probes.supervise();
        let job = stack.job(&killer).await;
        seen(job["state"] == "dead", job)
    })
    .await;
    assert_eq!((&dead["attempt"], stack.runs(&killer).await), (&json!(3), 3), "{dead}");
    assert!(errors(&dead).iter().all(|error| error.ends_with(" vanished")), "{dead}");
    let pauses = "SELECT extract(epoch FROM at - lag(at) OVER (ORDER BY at))::float8 AS pause FROM probe_runs
                  WHERE job_id = (SELECT id FROM jobs WHERE state = 'dead') ORDER BY at OFFSET 1";
    let pauses = stack.rows(pauses).await;
    let pauses: Vec<_> = pauses.iter().map(|row| row["pause"].as_f64().unwrap()).collect();
    assert!(pauses[0] >= 1.0 && pauses[1] >= 2.0, "a lease, then a lease and a second: {pauses:?}");
    for id in &others {
        assert_eq!(stack.until_state(id, "done").await["state"], "done");
        assert_eq!(stack.effects(id).await, 1);
    }
}

#[tokio::test]
async fn a_claim_that_takes_longer_than_its_lease_is_no_attempt() {
    let (stack, mut probes) = stack_and_probe().await;
    stack
        .execute("CREATE FUNCTION slow() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN PERFORM pg_sleep(1.5); RETURN NEW; END'")
        .await;
    stack
        .execute(
            "CREATE TRIGGER slow BEFORE UPDATE ON jobs FOR EACH ROW
             WHEN (OLD.state = 'pending' AND NEW.state = 'running') EXECUTE FUNCTION slow()",
        )
        .await;
    let id = stack.enqueue_one("probe_hasty", json!(["done"])).await;
    let job = stack.until_state(&id, "done").await;
    assert_eq!(
        (&job["attempt"], &job["errors"], stack.runs(&id).await),
        (&json!(1), &json!([]), 1),
        "{job}"
    );

    // A worker of the release before died between the claim and the handler.
    stack.execute("DROP TRIGGER slow ON jobs").await;
    probes.process(0).kill_9().await;
    let id = stack.enqueue_one("probe_hasty", json!(["done"])).await;
    let claim = "UPDATE jobs SET state = 'running', attempt = 1, delivery = 1, leased_until = now(), started_at = NULL";
    stack.execute(&format!("{claim} WHERE id = '{id}'")).await;
    probes.start().await;
    let job = stack.until_state(&id, "done").await;
    assert_eq!((&job["attempt"], &job["errors"]), (&json!(2), &json!([])), "{job}");
}

#[tokio::test]
async fn a_slow_job_keeps_its_lease() {
    let stack = stack().await;
    let mut probes = stack.probes(2, &[("WORKER_CONCURRENCY", "4")]).await;
    probes.start().await;
    let id = stack.enqueue_one("probe", json!([{"sleep": 4_000}])).await;
    let job = stack.until_state(&id, "done").await;
    assert_eq!(
        (&job["attempt"], &job["delivery"], errors(&job).len()),
        (&json!(1), &json!(1), 0),
        "{job}"
    );
    assert_eq!((stack.runs(&id).await, stack.effects(&id).await), (1, 1));
}

#[tokio::test]
async fn the_job_of_a_dead_worker_runs_in_another() {
    let stack = stack().await;
    let mut probes = stack.probes(2, &[("WORKER_CONCURRENCY", "4")]).await;
    probes.start().await;
    let id = stack.enqueue_one("probe", json!(["hang", "done"])).await;
    stack.until_runs(&id, 1).await;
    let process = stack.row("SELECT process FROM probe_runs").await["process"].as_u64().unwrap();
    let holder = usize::from(u64::from(probes.process(0).id().unwrap()) != process);
    probes.process(holder).kill_9().await;
    let job = stack.until_state(&id, "done").await;
    assert_eq!(job["attempt"], 2);
    assert!(errors(&job)[0].ends_with(" vanished"), "{job}");
    assert_eq!(stack.effects(&id).await, 1);
}

#[tokio::test]
async fn a_worker_that_was_presumed_dead_commits_nothing() {
    let stack = stack().await;
    let mut probes = stack.probes(2, &[("WORKER_CONCURRENCY", "4")]).await;
    probes.start().await;
    let id = stack.enqueue_one("probe", json!([{"hold": 500}, {"sleep": 100}])).await;
    stack.until_runs(&id, 1).await;
    let process = stack.row("SELECT process FROM probe_runs").await["process"].as_u64().unwrap();
    let holder = usize::from(u64::from(probes.process(0).id().unwrap()) != process);
    probes.pause(holder, true);
    stack.until_state(&id, "done").await;
    probes.pause(holder, false);
    probes.process(holder).wait_for_log("lease is lost", SOON).await;
    let job = stack.job(&id).await;
    assert_eq!(
        (&job["state"], &job["attempt"], stack.runs(&id).await),
        (&json!("done"), &json!(2), 2),
        "{job}"
    );
    assert_eq!(stack.effects(&id).await, 1, "the paused transaction was rolled back");
}

#[tokio::test]
async fn effects_and_done_are_committed_together() {
    let (stack, mut probes) = stack_and_probe().await;
    let before = stack.enqueue_one("probe", json!(["die_before_commit", "done"])).await;
    probes.process(0).exit_code().await;
    assert_eq!(
        (&stack.job(&before).await["state"], stack.effects(&before).await),
        (&json!("running"), 0)
    );
    probes.start().await;
    assert_eq!(stack.until_state(&before, "done").await["attempt"], 2);
    assert_eq!((stack.runs(&before).await, stack.effects(&before).await), (2, 1));

    let after = stack.enqueue_one("probe", json!(["die_after_commit"])).await;
    probes.process(0).exit_code().await;
    assert_eq!(
        (&stack.job(&after).await["state"], stack.effects(&after).await),
        (&json!("done"), 1)
    );
    probes.start().await;
    let last = stack.enqueue_one("probe", json!([{"sleep": 2_000}])).await;
    stack.until_state(&last, "done").await;
    assert_eq!(
        (stack.runs(&after).await, stack.effects(&after).await),
        (1, 1),
        "it does not run again"
    );
}

#[tokio::test]
async fn the_clock_ticks_once_a_period_over_any_number_of_workers() {
    let stack = stack().await;
    let mut probes = stack.probes(3, &[("PROBE_CLOCK", "1")]).await;
    probes.start().await;
    eventually("the clock has ticked five times", SOON, async || {
        let ticks = stack.count("jobs WHERE kind = 'probe_tick' AND state = 'done'").await;
        seen(ticks >= 5, ticks).map(drop)
    })
    .await;
    let periods =
        "SELECT count(*) AS ticks, count(DISTINCT floor(extract(epoch FROM created_at))) AS periods
                   FROM jobs WHERE kind = 'probe_tick'";
    let periods = stack.row(periods).await;
    assert_eq!(periods["ticks"], periods["periods"], "one a period: {periods}");
}
