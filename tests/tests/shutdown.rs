//! Workers that leave in good order: what runs may finish, the rest goes to others at once, and nobody notices.

#![allow(clippy::unwrap_used, reason = "helpers of tests are tests")]

use std::time::{Duration, Instant};

use nexus_tests::{SOON, Stack, eventually, json, probes::Processes, seen};
use tokio::time::sleep;

/// Whoever has to wait for a rescue here waits for longer than any test does.
async fn stack(grace_ms: u32) -> Stack {
    let stack = Stack::builder().api_processes(0).workers([]).env("SHUTDOWN_GRACE_MS", grace_ms);
    stack.env("JOB_LEASE_MS", 120_000).env("JOB_LOST_MS", 120_000).start().await
}

async fn until_running(stack: &Stack, count: i64) {
    eventually(&format!("{count} jobs run"), SOON, async || {
        let running = stack.count("jobs WHERE state = 'running'").await;
        seen(running == count, running).map(drop)
    })
    .await;
}

#[tokio::test]
async fn a_worker_that_is_told_to_leave_finishes_what_runs_and_claims_nothing_more() {
    let stack = stack(10_000).await;
    let mut probes = stack.probes(1, &[("WORKER_CONCURRENCY", "2")]).await;
    probes.start().await;
    stack.flood(40, json!([{"sleep": 1_500}])).await;
    until_running(&stack, 2).await;
    let status = probes.process(0).stop().await;
    assert!(status.success(), "{status}");
    let jobs = "SELECT state, attempt, count(*) AS n FROM jobs GROUP BY 1, 2 ORDER BY 3";
    let jobs = stack.rows(jobs).await;
    let finished = json!({"state": "done", "attempt": 1, "n": 2});
    assert_eq!(
        jobs,
        [finished, json!({"state": "pending", "attempt": 0, "n": 38})],
        "what waited in Redis is back"
    );
    assert_eq!(stack.count("probe_runs").await, 2);
}

#[tokio::test]
async fn what_does_not_finish_in_time_is_given_back_and_runs_elsewhere_as_if_for_the_first_time() {
    let stack = stack(300).await;
    let mut probes = stack.probes(2, &[("WORKER_CONCURRENCY", "4")]).await;
    probes.process(0).start();
    probes.process(0).wait_for_log("worker ready", SOON).await;
    let id = stack.enqueue_one("probe", json!(["hang", "done"])).await;
    stack.until_runs(&id, 1).await;
    let due = stack.job(&id).await["available_at"].clone();
    let status = probes.process(0).stop().await;
    assert!(status.success(), "{status}");
    let job = stack.job(&id).await;
    assert_eq!((&job["state"], &job["attempt"], &job["errors"]), (&json!("pending"), &json!(0), &json!([])));
    assert_eq!(job["available_at"], due, "it keeps its place in the queue");

    probes.process(1).start();
    let job = stack.until_state(&id, "done").await;
    assert_eq!((&job["attempt"], &job["errors"]), (&json!(1), &json!([])));
    assert_eq!(stack.effects(&id).await, 1);
}

/// One probe every few milliseconds and one-time passwords among them, until `end`.
async fn under_load(stack: &Stack, end: impl Future<Output = ()>) {
    let load = async {
        for n in 0_u64.. {
            stack.flood(1, json!([{"sleep": 20}])).await;
            if n.is_multiple_of(4) {
                let insert = format!(
                    "INSERT INTO jobs (id, queue, kind, payload, max_attempts)
                     VALUES (gen_random_uuid(), 'otp', 'send_otp', '{{\"phone\": \"+9198{n:08}\"}}', 10)"
                );
                stack.execute(&insert).await;
            }
            sleep(Duration::from_millis(15)).await;
        }
    };
    tokio::select! {
        () = load => {}
        () = end => {}
    }
    stack.until_idle(&["cleanup", "otp"]).await;
}

/// How long the jobs so far have waited for a worker, by the ledger's own columns: the longest, in seconds.
async fn longest_wait(stack: &Stack, when: &str) -> f64 {
    let waits = "SELECT count(*) AS jobs, max(wait) AS longest, percentile_disc(0.99) WITHIN GROUP (ORDER BY wait) AS p99,
                        percentile_disc(0.5) WITHIN GROUP (ORDER BY wait) AS median
                 FROM (SELECT extract(epoch FROM started_at - created_at)::float8 AS wait FROM jobs) waits";
    let waits = stack.row(waits).await;
    println!("waits in seconds {when}: {waits}");
    waits["longest"].as_f64().unwrap()
}

/// Each process ends and is back before the next one's turn. Returns how long the slowest of them took, in seconds.
async fn restart_in_turn(workers: &mut [Processes]) -> f64 {
    let mut slowest = 0_f64;
    for workers in workers {
        for n in 0..workers.len() {
            let begun = Instant::now();
            let status = workers.process(n).stop().await;
            assert!(status.success(), "{status}");
            workers.start().await;
            slowest = slowest.max(begun.elapsed().as_secs_f64());
        }
    }
    slowest
}

#[tokio::test]
async fn a_rolling_restart_under_load_loses_nothing_and_delays_no_job_by_more_than_a_second() {
    let stack = stack(10_000).await;
    let probes = stack.probes(2, &[("WORKER_CONCURRENCY", "8")]).await;
    let mut workers = [probes, stack.processes("nexus-worker-otp", 2, &[])];
    for workers in &mut workers {
        workers.start().await;
    }
    under_load(&stack, sleep(Duration::from_secs(3))).await;
    let before = longest_wait(&stack, "before").await;

    stack.execute("DELETE FROM jobs").await;
    let (mut rounds, mut slowest) = (0, 0_f64);
    under_load(&stack, async {
        while rounds < 3 || stack.count("jobs WHERE kind = 'probe'").await < 200 {
            slowest = slowest.max(restart_in_turn(&mut workers).await);
            rounds += 1;
        }
    })
    .await;
    let during = longest_wait(&stack, &format!("while all workers were restarted {rounds} times")).await;
    let untouched = "state = 'done' AND attempt = 1 AND errors = '[]'";
    let harmed = stack.rows(&format!("SELECT * FROM jobs WHERE NOT ({untouched})")).await;
    assert!(harmed.is_empty(), "{harmed:?}");
    let probes = stack.count("jobs WHERE kind = 'probe'").await;
    let twice = "probe_runs WHERE job_id IN (SELECT id FROM jobs)";
    assert_eq!(stack.count(twice).await, probes, "each ran once");
    // A process that takes long to come back, because the machine is busy, shows how slow everything is.
    println!("the slowest restart took {slowest} s");
    assert!(during <= before + slowest + 1.0, "{during} s instead of {before} s");
}
