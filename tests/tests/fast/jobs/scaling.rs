//! Several processes a queue, slots, backlogs: more workers do more, and none is in another's way.

use std::time::Duration;

use nexus_tests::{Fault, SOON, Stack, Target, eventually, json, seen};

async fn stack() -> Stack {
    Stack::builder().api_processes(0).workers([]).start().await
}

/// A number that Redis says.
async fn redis(stack: &Stack, command: &str) -> i64 {
    let response = stack.redis_command(command).await;
    response
        .strip_prefix(':')
        .and_then(|number| number.parse().ok())
        .unwrap_or_else(|| panic!("{command}: {response}"))
}

#[tokio::test]
async fn redis_holds_no_more_than_the_workers_are_about_to_need_however_much_is_due() {
    let stack = stack().await;
    let mut probes = stack.probes(2, &[("WORKER_CONCURRENCY", "8")]).await;
    probes.start().await;
    stack.flood(3_000, json!([{"sleep": 10}, "done"])).await;
    // Twice the slots, at least 16 for each process; as much again when both relays look at the
    // same moment.
    let bound = 2 * (2 * 16);
    let mut most = 0;
    eventually("everything is done", Duration::from_secs(120), async || {
        let waiting = redis(&stack, "LLEN nexus:cleanup:active").await
            + redis(&stack, "ZCARD nexus:cleanup:scheduled").await;
        let queued = stack.count("jobs WHERE state = 'queued'").await;
        assert!(
            waiting <= bound && queued <= bound,
            "{waiting} deliveries in Redis, {queued} jobs queued"
        );
        most = most.max(waiting);
        let done = stack.count("jobs WHERE state = 'done'").await;
        seen(done == 3_000, done)
    })
    .await;
    assert!(most > 0, "something was seen in Redis");
    assert_eq!(stack.count("probe_effects").await, 3_000);
}

#[tokio::test]
async fn a_worker_runs_as_many_jobs_at_once_as_it_is_told() {
    let stack = stack().await;
    let mut probes = stack.probes(1, &[("WORKER_CONCURRENCY", "9")]).await;
    probes.process(0).add_arguments(&["--concurrency", "3"]);
    probes.start().await;
    stack.flood(30, json!([{"sleep": 100}])).await;
    let mut most = 0;
    eventually("everything is done", SOON, async || {
        let running = stack.count("jobs WHERE state = 'running'").await;
        assert!(running <= 3, "{running} jobs at once");
        most = most.max(running);
        let done = stack.count("jobs WHERE state = 'done'").await;
        seen(done == 30, done)
    })
    .await;
    assert_eq!(most, 3);
}

#[tokio::test]
async fn every_process_of_a_queue_takes_its_share() {
    let stack = stack().await;
    let mut probes = stack.probes(4, &[("WORKER_CONCURRENCY", "2")]).await;
    probes.start().await;
    stack.flood(400, json!([{"sleep": 20}])).await;
    stack.until_idle(&["cleanup"]).await;
    let shares =
        stack.rows("SELECT count(*) AS jobs FROM probe_runs GROUP BY process ORDER BY 1").await;
    let shares: Vec<_> = shares.iter().map(|row| row["jobs"].as_i64().unwrap()).collect();
    assert!(shares.len() == 4 && shares[0] >= 50, "a hundred each, more or less: {shares:?}");
}

/// Runs many jobs of one priority above 0 on so many workers, whose relays all look at the same
/// moment.
async fn run_slow_jobs(workers: usize, slots: &str) -> Stack {
    let stack = stack().await;
    let mut probes = stack.probes(workers, &[("WORKER_CONCURRENCY", slots)]).await;
    probes.start().await;
    stack.flood(80, json!([{"sleep": 50}])).await;
    stack.until_idle(&["cleanup"]).await;

    stack.execute("UPDATE jobs SET state = 'pending', priority = 10, attempt = 0, finished_at = NULL, started_at = NULL").await;
    eventually("everything is done", Duration::from_secs(60), async || {
        stack.execute("SELECT pg_notify('nexus_jobs', 'cleanup')").await;
        let done = stack.count("jobs WHERE state = 'done'").await;
        seen(done == 80, done).map(drop)
    })
    .await;
    stack
}

#[tokio::test]
async fn jobs_of_one_priority_take_half_of_all_slots_however_many_relays_look_at_once() {
    let stack = run_slow_jobs(4, "1").await;
    assert_eq!(stack.most_at_once().await, 2, "half of four");
}

#[tokio::test]
async fn jobs_of_one_priority_take_half_of_each_workers_slots() {
    let stack = run_slow_jobs(2, "4").await;
    assert_eq!(stack.most_at_once().await, 4, "half of eight");
    let of_one = "SELECT max(n) AS most FROM jobs one, LATERAL (
                      SELECT count(*) AS n FROM jobs other
                      WHERE other.worker = one.worker
                        AND other.started_at <= one.started_at AND other.finished_at > one.started_at) at_once";
    assert_eq!(stack.row(of_one).await["most"], 2, "half of four");
}

#[tokio::test]
async fn a_queue_that_is_stuck_leaves_the_others_alone() {
    let stack = Stack::builder().env("WORKER_CONCURRENCY", 2).start().await;
    stack.providers.fault(Target::TwilioVerify, None, Fault::delay(Duration::from_secs(60)));
    let (buyer, event, ..) = stack.booked().await;
    for n in 10..30 {
        stack
            .anonymous()
            .post("/auth/send-otp", json!({"phone": format!("+9198123456{n}")}))
            .await
            .ok();
    }
    eventually("both slots are taken", SOON, async || {
        let running = stack.count("jobs WHERE queue = 'otp' AND state = 'running'").await;
        seen(running == 2, running).map(drop)
    })
    .await;
    for label in ["B1", "B2", "B3"] {
        let (booking, _) = stack.sell(&buyer, &event, &[("VIP", label)]).await;
        stack.until_tickets(&buyer, &booking, 1).await;
    }
    let still = stack.count("jobs WHERE queue = 'otp' AND state = 'running'").await;
    assert_eq!(
        (still, stack.count("jobs WHERE queue = 'otp' AND state = 'done'").await),
        (2, 0),
        "still stuck"
    );
}
