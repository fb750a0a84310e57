//! Workers that leave in good order: running jobs may finish, the rest go to other workers at once,
//! and no client notices.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use nexus_tests::invariants::ENDLESS;
use nexus_tests::probes::Processes;
use nexus_tests::stack::QUEUES;
use nexus_tests::{Client, Event, SOON, Stack, Target, Value, eventually, json, seen};
use tokio::time::sleep;

/// A job that has to wait for a rescue here waits for longer than any test does.
async fn stack(grace_ms: u32) -> Stack {
    let stack = Stack::builder().api_processes(0).workers([]).env("SHUTDOWN_GRACE_MS", grace_ms);
    stack.env("JOB_LEASE_MS", 120_000).env("JOB_LOST_MS", 120_000).start().await
}

async fn until_running(stack: &Stack, count: i64) {
    eventually(&format!("{count} jobs run"), SOON, async || {
        // Claimed ones that have not begun are given back.
        let begun = stack.count("probe_runs").await;
        seen(begun == count, begun).map(drop)
    })
    .await;
}

/// The job waits as if it had never begun.
async fn assert_given_back(stack: &Stack, id: &str, due: &Value) {
    let job = stack.job(id).await;
    assert_eq!(
        (&job["state"], &job["attempt"], &job["errors"]),
        (&json!("pending"), &json!(0), &json!([]))
    );
    assert_eq!(job["available_at"], *due, "it keeps its place in the queue");
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
    assert_given_back(&stack, &id, &due).await;

    probes.process(1).start();
    let job = stack.until_state(&id, "done").await;
    assert_eq!((&job["attempt"], &job["errors"]), (&json!(1), &json!([])));
    assert_eq!(stack.effects(&id).await, 1);
}

#[tokio::test]
async fn a_job_that_cannot_be_claimed_waits_as_if_nobody_had_tried() {
    let stack = stack(300).await;
    let mut probes = stack.probes(1, &[]).await;
    stack
        .execute(
            "CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE 'not now'; END $$",
        )
        .await;
    stack
        .execute(
            "CREATE TRIGGER refuse BEFORE UPDATE ON jobs FOR EACH ROW
             WHEN (NEW.started_at IS NOT NULL) EXECUTE FUNCTION refuse()",
        )
        .await;
    probes.start().await;
    let id = stack.enqueue_one("probe", json!(["done"])).await;
    let due = stack.job(&id).await["available_at"].clone();
    probes.process(0).wait_for_log("jobs cannot be relayed; trying again", SOON).await;
    let status = probes.process(0).stop().await;
    assert!(status.success(), "{status}");
    assert_given_back(&stack, &id, &due).await;

    stack.execute("DROP TRIGGER refuse ON jobs").await;
    probes.start().await;
    assert_eq!(stack.until_state(&id, "done").await["attempt"], 1);
}

#[tokio::test]
async fn what_a_leaving_worker_has_claimed_ahead_is_given_back_as_if_it_had_not() {
    let stack = stack(10_000).await;
    let mut probes = stack.probes(1, &[("WORKER_CONCURRENCY", "4")]).await;
    probes.start().await;
    stack.flood(3_000, json!(["done"])).await;
    eventually("it works", SOON, async || {
        let done = stack.count("jobs WHERE state = 'done'").await;
        seen(done >= 300, done).map(drop)
    })
    .await;
    let status = probes.process(0).stop().await;
    assert!(status.success(), "{status}");
    let harmed = "jobs WHERE NOT (state = 'done' AND attempt = 1 OR state = 'pending' AND attempt = 0) OR errors <> '[]'";
    assert_eq!(stack.count(harmed).await, 0);
    let done = stack.count("jobs WHERE state = 'done'").await;
    assert!(done < 3_000, "it was still at work");
    assert_eq!(stack.count("probe_effects").await, done);
}

/// The load that keeps all queues busy: people who book free seats (payments, bookings,
/// notifications), let locks run out (expiry) and ask for codes (otp); and checks of the books
/// (cleanup).
struct Load {
    event: Event,
    people: Vec<Client>,
    next: usize,
    /// For how long the sweep had been due at most, in seconds: it never ends, and so has no wait
    /// of its own.
    sweep_late: f64,
}

impl Load {
    async fn new(stack: &Stack) -> Self {
        let organiser = stack.user().await;
        let event = stack.event(&organiser, &[("Standing", 0.0, 5_000)]).await;
        Self { event, people: stack.users(1_000).await, next: 0, sweep_late: 0.0 }
    }

    /// Until `end`, and until all of it is done.
    async fn go_on(&mut self, stack: &Stack, end: impl Future<Output = ()>) {
        let over = Cell::new(false);
        let load = async {
            while !over.get() {
                self.step(stack).await;
                sleep(Duration::from_millis(50)).await;
            }
        };
        tokio::join!(load, async {
            end.await;
            over.set(true);
        });
        stack.until_idle(&QUEUES).await;
    }

    async fn step(&mut self, stack: &Stack) {
        self.next += 1;
        let (n, buyer) = (self.next, &self.people[self.next % self.people.len()]);
        let seat = format!("S{n}");
        buyer.lock(&self.event, "Standing", &seat).await.ok();
        if !n.is_multiple_of(4) {
            buyer.book(&self.event, &[("Standing", seat.as_str())]).await.ok();
        }
        if n.is_multiple_of(3) {
            let phone = json!({"phone": format!("+9198{n:08}")});
            stack.anonymous().post("/auth/send-otp", phone).await.ok();
            let insert = "INSERT INTO jobs (id, queue, kind, payload, max_attempts) VALUES (gen_random_uuid(), 'cleanup', 'check_books', '{}', 10)";
            stack.execute(insert).await;
        }
        let late = "SELECT coalesce(max(extract(epoch FROM now() - available_at)), 0)::float8 AS s FROM jobs
                    WHERE kind = 'sweep_expired' AND state IN ('pending', 'queued')";
        self.sweep_late = self.sweep_late.max(stack.row(late).await["s"].as_f64().unwrap());
    }

    /// How long the jobs so far have waited for a worker at most, by queue, in seconds; then all is
    /// forgotten.
    async fn longest_waits(&mut self, stack: &Stack, when: &str) -> BTreeMap<String, f64> {
        let waits = format!(
            "SELECT queue, count(*) AS jobs, max(extract(epoch FROM started_at - created_at))::float8 AS longest
             FROM jobs WHERE NOT {ENDLESS} AND started_at IS NOT NULL GROUP BY 1"
        );
        let mut longest =
            BTreeMap::from([("expiry".to_owned(), std::mem::take(&mut self.sweep_late))]);
        for row in stack.rows(&waits).await {
            longest.insert(
                row["queue"].as_str().unwrap().to_owned(),
                row["longest"].as_f64().unwrap(),
            );
        }
        println!("longest waits in seconds {when}: {longest:?}");
        assert!(
            QUEUES.iter().all(|queue| longest.contains_key(*queue)),
            "every queue was busy: {longest:?}"
        );
        longest
    }
}

/// Each process ends and is back before the next one's turn. Returns how long the slowest of them
/// took, in seconds.
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
async fn a_rolling_restart_of_all_workers_under_load_loses_nothing_and_delays_no_job_by_more_than_a_second()
 {
    let stack =
        Stack::builder().workers([]).env("SEAT_LOCK_SECONDS", 2).env("SHUTDOWN_GRACE_MS", 10_000);
    // A job that has to wait for a rescue waits for longer than this test does.
    let stack = stack.env("JOB_LEASE_MS", 120_000).env("JOB_LOST_MS", 120_000).start().await;
    let mut workers = QUEUES.map(|queue| stack.processes(&format!("nexus-worker-{queue}"), 2, &[]));
    for workers in &mut workers {
        workers.start().await;
    }
    let mut load = Load::new(&stack).await;
    load.go_on(&stack, sleep(Duration::from_secs(4))).await;
    let before = load.longest_waits(&stack, "before").await;

    let begun = stack.row("SELECT now()::text AS now").await["now"].as_str().unwrap().to_owned();
    stack.execute("DELETE FROM jobs WHERE state = 'done'").await;
    let (mut slowest, mut rounds) = (0_f64, 0);
    load.go_on(&stack, async {
        while rounds == 0
            || stack.count(&format!("bookings WHERE booked_at > '{begun}'")).await < 30
        {
            slowest = slowest.max(restart_in_turn(&mut workers).await);
            rounds += 1;
        }
    })
    .await;
    let during = load
        .longest_waits(&stack, &format!("while all workers were restarted {rounds} times"))
        .await;

    let harmed = format!(
        "SELECT * FROM jobs WHERE NOT {ENDLESS}
         AND NOT (state = 'done' AND attempt = 1 AND errors = '[]')
         AND NOT (state = 'pending' AND attempt = 0 AND available_at > now())"
    );
    let harmed = stack.rows(&harmed).await;
    assert!(harmed.is_empty(), "{harmed:?}");
    let sent = stack.providers.count(Target::TwilioVerify).succeeded as i64;
    assert_eq!(sent, load.next as i64 / 3, "codes, each sent once");
    let booked = stack.count("bookings WHERE status = 'confirmed'").await;
    assert_eq!(booked, stack.count("bookings").await, "every booking was confirmed");
    assert_eq!(stack.providers.mail().len() as i64, booked, "tickets, each sent once");
    // A process that takes long to come back, because the machine is busy, shows how slow
    // everything is.
    println!("the slowest restart took {slowest} s");
    let usual = before.values().copied().fold(0.0, f64::max);
    let late: Vec<_> = during.iter().filter(|(_, wait)| **wait > usual + slowest + 1.0).collect();
    assert!(late.is_empty(), "{late:?} instead of {usual} s");
    eventually("locks that ran out are gone", SOON, async || {
        let left = stack.count("seats WHERE status = 'locked'").await;
        seen(left == 0, left).map(drop)
    })
    .await;
    stack.assert_invariants_with(&QUEUES).await;
}
