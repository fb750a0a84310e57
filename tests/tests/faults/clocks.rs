//! Clocks of our processes that are wrong, or jump (libfaketime): deadlines are PostgreSQL's,
//! nothing is early, late by the difference, or done over and over. Only the dates in tokens are
//! the processes' own (docs/operations.md#when-something-fails).

use std::path::PathBuf;
use std::time::Duration;

use nexus_tests::invariants::ENDLESS;
use nexus_tests::{Client, Outcome, SOON, Stack, Value, eventually, json, seen};
use tokio::time::sleep;

/// From lock to booking, and from booking to payment; seconds.
const LOCK: i64 = 4;
const BOOKING: i64 = 60;

/// The library that tells a process another time.
fn faketime() -> String {
    let places =
        std::fs::read_dir("/usr/lib").into_iter().flatten().flatten().map(|entry| entry.path());
    let places = places.chain([PathBuf::from("/usr/lib")]);
    let found =
        places.map(|dir| dir.join("faketime/libfaketime.so.1")).find(|library| library.is_file());
    found.expect("libfaketime is missing: run `make clock-deps`").to_str().unwrap().to_owned()
}

/// Settings for a process whose clock shows another time. Clocks that only run, and by which
/// time-outs are measured, do not jump in reality.
fn clock(time: (&'static str, String)) -> Vec<(&'static str, String)> {
    vec![
        ("LD_PRELOAD", faketime()),
        ("FAKETIME_DONT_FAKE_MONOTONIC", "1".into()),
        ("DONT_FAKE_MONOTONIC", "1".into()),
        ("FAKETIME_NO_CACHE", "1".into()),
        time,
    ]
}

/// A token that is valid by either clock.
fn lasting(stack: &Stack, user: Client) -> Client {
    let now = std::time::SystemTime::UNIX_EPOCH.elapsed().unwrap().as_secs();
    let claims = json!({"userId": user.id, "type": "access", "iat": now, "exp": now + 86_400});
    let id = user.id;
    user.with_token(id, stack.sign_token(&claims))
}

/// A number of milliseconds, by PostgreSQL's clock.
async fn milliseconds(stack: &Stack, interval: &str) -> i64 {
    let query = format!("SELECT (extract(epoch FROM {interval}) * 1000)::bigint AS ms");
    stack.row(&query).await["ms"].as_i64().unwrap()
}

/// Milliseconds that a seat's key in Redis still has.
async fn key_lives(stack: &Stack, event: i64, seat_type: i64, label: &str) -> i64 {
    let response =
        stack.redis_command(&format!("PTTL seat_lock:{event}:{seat_type}:{label}")).await;
    response.trim_start_matches(':').parse().unwrap()
}

/// Waits until a locked seat's key in Redis lives as long as its lock may: who has locked is told
/// before.
async fn until_key_lives(stack: &Stack, event: i64, seat_type: i64, label: &str) {
    eventually("the key lives as long as the lock", SOON, async || {
        let lives = key_lives(stack, event, seat_type, label).await;
        seen((1..=LOCK * 1_000).contains(&lives), lives).map(drop)
    })
    .await;
}

/// A sale by processes whose clocks all show another time than PostgreSQL's.
async fn sell_by_a_wrong_clock(offset: &str) {
    let mut builder =
        Stack::builder().env("SEAT_LOCK_SECONDS", LOCK).env("BOOKING_SECONDS", BOOKING);
    for (name, value) in clock(("FAKETIME", offset.to_owned())) {
        builder = builder.env(name, value);
    }
    let stack = builder.start().await;
    let [organiser, buyer, rival] =
        <[Client; 3]>::try_from(stack.users(3).await).unwrap().map(|user| lasting(&stack, user));
    let event = stack.event(&organiser, &[("VIP", 100.0, 50)]).await;
    let seat_type = event.seat_type("VIP");
    let viewer = stack.socket("the viewer", &stack.anonymous()).await;

    // A lock lasts as long as it is meant to, in Redis, too, and its end is told at once.
    buyer.lock(&event, "VIP", "A1").await.ok();
    let left = milliseconds(&stack, "(SELECT expires_at - now() FROM seats)").await;
    assert!((1..=LOCK * 1_000).contains(&left), "{left} ms left of a lock");
    until_key_lives(&stack, event.id, seat_type, "A1").await;
    rival
        .lock(&event, "VIP", "A1")
        .await
        .failed(409, "Seat A1 is already taken. Please select another seat.");
    viewer.wait_for("seat_unlocked", |broadcast| broadcast["seat_label"] == "A1", SOON).await;
    let early =
        milliseconds(&stack, "coalesce((SELECT max(expires_at) FROM seats), now()) - now()").await;
    assert!(early <= 0, "it was told {early} ms early");

    // Extending and booking, too.
    buyer.lock(&event, "VIP", "A2").await.ok();
    let extend = format!("/seats/{}/seat-types/{seat_type}/lock/extend", event.id);
    let extended = buyer.post(&extend, json!({"seat_label": "A2"})).await.data();
    let told = extended["expires_in_seconds"].as_i64().unwrap();
    assert!((LOCK - 2..=LOCK).contains(&told), "{extended}");
    until_key_lives(&stack, event.id, seat_type, "A2").await;
    let booking =
        nexus_tests::Booking::from_created(&buyer.book(&event, &[("VIP", "A2")]).await.data());
    eventually("a booked seat's key lives as long as its booking", SOON, async || {
        let lives = key_lives(&stack, event.id, seat_type, "A2").await;
        seen((BOOKING * 1_000 - 20_000..=BOOKING * 1_000).contains(&lives), lives).map(drop)
    })
    .await;
    let payment = stack.pay(&buyer.order(&booking).await, Outcome::Authorized);
    stack.until_booking(&buyer, &booking, "confirmed", "completed").await;
    stack.until_tickets(&buyer, &booking, 1).await;

    // Refunds that fail at first are tried again when they should be.
    stack.providers.fail_refunds(1);
    buyer.cancel(&booking).await.ok();
    stack.until_booking(&buyer, &booking, "cancelled", "refunded").await;
    assert_eq!(
        stack
            .providers
            .refunds()
            .iter()
            .filter(|r| r.payment_id == payment.id && r.status == "processed")
            .count(),
        1
    );

    // No worker looks over and over for a job that is not due yet.
    let looks = async || {
        let looks = format!("SELECT sum(delivery)::bigint AS n FROM jobs WHERE {ENDLESS}");
        stack.row(&looks).await["n"].as_i64().unwrap()
    };
    let before = looks().await;
    sleep(Duration::from_secs(2)).await;
    let more = looks().await - before;
    assert!(more <= 8, "{more} looks in two seconds");
    stack.assert_invariants().await;
}

#[tokio::test]
async fn a_sale_goes_as_always_when_every_clock_is_an_hour_slow() {
    sell_by_a_wrong_clock("-1h").await;
}

#[tokio::test]
async fn a_sale_goes_as_always_when_every_clock_is_an_hour_fast() {
    sell_by_a_wrong_clock("+1h").await;
}

#[tokio::test]
async fn workers_whose_clocks_differ_share_a_queue_and_do_each_job_once_and_in_time() {
    let stack = Stack::builder().api_processes(0).workers([]).start().await;
    let mut probes = stack.probes(3, &[("WORKER_CONCURRENCY", "4")]).await;
    for (n, offset) in [(0, "-1h"), (1, "+1h")] {
        for (name, value) in clock(("FAKETIME", offset.to_owned())) {
            probes.process(n).set_env(name, &value);
        }
    }
    probes.start().await;
    let later = (0..20).map(
        |_| json!({"kind": "probe", "steps": [{"snooze": 1_000}, {"retry_after": 1_000}, "done"]}),
    );
    let ids = stack.enqueue(later.collect::<Vec<Value>>().into()).await;
    stack.flood(300, json!([{"sleep": 20}])).await;
    eventually("everything is done", 2 * SOON, async || {
        let done = stack.count("jobs WHERE state = 'done'").await;
        seen(done == 320, done)
    })
    .await;
    let twice = "SELECT job_id FROM probe_effects GROUP BY 1 HAVING count(*) <> 1";
    assert_eq!(stack.rows(twice).await, Vec::<Value>::new());
    assert_eq!(stack.count("probe_effects").await, 320);
    // No worker takes another for dead because of its clock, and drops what that has fetched.
    for process in 0..probes.len() {
        let log = probes.process(process).log();
        assert!(!log.contains("the Redis consumer ended"), "{log}");
    }
    for id in ids {
        let gaps = format!(
            "SELECT extract(epoch FROM at - lag(at) OVER (ORDER BY at))::float8 AS gap FROM probe_runs WHERE job_id = '{id}' ORDER BY at"
        );
        let gaps: Vec<f64> =
            stack.rows(&gaps).await.iter().filter_map(|row| row["gap"].as_f64()).collect();
        // A tenth of a second is for what the ledger counts from: the moment before the handler
        // began.
        assert!(gaps.len() == 2 && gaps.iter().all(|gap| (0.9..30.0).contains(gap)), "{gaps:?}");
    }
}

#[tokio::test]
async fn a_clock_that_jumps_costs_no_worker_its_lease() {
    let stack =
        Stack::builder().api_processes(0).workers([]).env("JOB_LEASE_MS", 2_000).start().await;
    let file = stack.dir().join("clock");
    let show = |time: &str| std::fs::write(&file, format!("{time}\n")).unwrap();
    show("+0");
    let mut probes = stack.probes(1, &[("WORKER_CONCURRENCY", "4")]).await;
    for (name, value) in clock(("FAKETIME_TIMESTAMP_FILE", file.to_str().unwrap().to_owned())) {
        probes.process(0).set_env(name, &value);
    }
    probes.start().await;
    let id = stack.enqueue_one("probe", json!([{"sleep": 5_000}])).await;
    stack.until_runs(&id, 1).await;
    for time in ["+1h", "-1h", "+5m"] {
        show(time);
        sleep(Duration::from_secs(1)).await;
        let quick = stack.enqueue_one("probe", json!(["done"])).await;
        stack.until_state(&quick, "done").await;
    }
    let job = stack.until_state(&id, "done").await;
    assert_eq!((&job["attempt"], &job["errors"]), (&json!(1), &json!([])));
    assert!(probes.process(0).log().contains("worker ready"));
    eventually("nothing is left", SOON, async || {
        let left = stack.count("jobs WHERE state <> 'done'").await;
        seen(left == 0, left).map(drop)
    })
    .await;
}
