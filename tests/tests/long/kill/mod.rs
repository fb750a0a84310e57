//! Faults under load, at random: workers and API processes are killed, Redis is emptied
//! and killed, PostgreSQL is killed. Afterwards every job is done, or dead with a reason; every
//! effect happened exactly once; nothing is stuck, and Redis holds nothing stale.
//!
//! `NEXUS_KILL_FAULTS` says how many faults there are, `NEXUS_KILL_SEED` repeats their sequence
//! (not their timing). The report is printed and kept as `kill-report.txt` in cargo's folder for
//! the files of tests.

mod accounts;
mod fault_injector;
mod load;

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant, SystemTime};

use nexus_tests::invariants::ENDLESS;
use nexus_tests::probes::Processes;
use nexus_tests::seeded_rng::SeededRng;
use nexus_tests::settings::setting;
use nexus_tests::stack::QUEUES;
use nexus_tests::{Fault, Stack, Target, eventually, json, seen};
use tokio::time::sleep;

use crate::turn;

use accounts::{assert_dead_with_a_reason, assert_effects, assert_nothing_stale_in_redis, report};
use fault_injector::FaultInjector;
use load::Load;

/// At least, for every fault.
const JOBS: i64 = 20;
/// For everything that has to happen after the last fault.
const AFTERWARDS: Duration = Duration::from_secs(60);

/// Kills and starts, while the load goes on; says how many faults of which kind there were.
async fn inject_faults(
    injector: &mut FaultInjector<'_>,
    rng: &mut SeededRng,
    load: &Load<'_>,
    count: u64,
) -> BTreeMap<&'static str, usize> {
    let mut faults = BTreeMap::new();
    for _ in 0..count {
        sleep(rng.pause(300, 1_500)).await;
        let fault = injector.fault(rng).await;
        injector.supervise();
        *faults.entry(fault).or_default() += 1;
    }
    load.over.store(true, Ordering::Relaxed);
    faults
}

#[tokio::test]
async fn faults_under_load_cost_no_job_and_no_effect() {
    let _turn = turn().await;
    let begun = Instant::now();
    let now = SystemTime::UNIX_EPOCH.elapsed().unwrap().as_nanos() as u64;
    let (count, seed) = (setting("NEXUS_KILL_FAULTS", 25), setting("NEXUS_KILL_SEED", now));
    println!("NEXUS_KILL_SEED={seed}");
    let mut rng = SeededRng(seed);

    let stack = Stack::builder()
        .without_limits()
        .workers([])
        .env("JOB_LEASE_MS", 3_000)
        .env("JOB_LOST_MS", 4_000);
    let stack = stack
        .env("DATABASE_MAX_CONNECTIONS", 6)
        .env("SEAT_LOCK_SECONDS", 20)
        .env("BOOKING_SECONDS", 40);
    let mut stack = stack.start().await;
    let organiser = stack.user().await;
    let event = stack.event(&organiser, &[("VIP", 100.0, 2_000)]).await;
    let buyers = stack.users(600).await;
    // Two API processes that the faults kill take its place.
    stack.api(0).stop().await;
    let (apis, urls) = stack.further_apis(2, &[]);
    stack.providers.set_webhook_url(format!("{}/api/v1/payments/webhook", urls[0]));
    // Slow to answer: a process may die after a call has been made and before it hears the answer.
    for target in [Target::TwilioVerify, Target::Smtp, Target::RazorpayCapture] {
        stack.providers.fault(target, None, Fault::delay_response(Duration::from_millis(200)));
    }
    let mut workers = vec![stack.probes(2, &[("WORKER_CONCURRENCY", "8")]).await];
    for (queue, count) in
        [("otp", 2), ("payments", 2), ("bookings", 1), ("notifications", 2), ("expiry", 2)]
    {
        workers.push(stack.processes(&format!("nexus-worker-{queue}"), count, &[]));
    }
    let load = Load {
        db: stack.db.clone(),
        providers: &stack.providers,
        urls,
        event,
        over: AtomicBool::new(false),
        next: AtomicUsize::new(0),
    };
    let mut injector =
        FaultInjector { postgres: &mut stack.postgres, redis: &mut stack.redis, apis, workers };
    injector.supervise();
    let (one, other) = buyers.split_at(buyers.len() / 2);
    let (faults, ..) = tokio::join!(
        inject_faults(&mut injector, &mut rng, &load, count),
        load.probes(),
        load.codes(),
        load.buyers(one),
        load.buyers(other),
    );
    let FaultInjector { apis: _apis, mut workers, .. } = injector;
    let quiet = Instant::now();

    // Workers that were too slow for so many jobs get the rest now.
    let missing = JOBS * count as i64 - stack.count("jobs").await;
    stack.flood(missing.max(0) as u32, json!(["done"])).await;
    let unfinished = format!(
        "SELECT * FROM jobs WHERE state IN ('pending', 'queued', 'running') AND NOT {ENDLESS}"
    );
    eventually("every job is done or dead", AFTERWARDS, async || {
        // Its own jobs may kill a worker even now.
        workers.iter_mut().for_each(Processes::supervise);
        let pending = stack
            .providers
            .webhooks()
            .into_iter()
            .filter(|webhook| webhook.state != "delivered")
            .count();
        let left = stack.rows(&unfinished).await;
        seen(left.is_empty() && pending == 0, (pending, left)).map(drop)
    })
    .await;
    let settled = quiet.elapsed();

    assert_dead_with_a_reason(&stack).await;
    let calls = assert_effects(&stack).await;
    assert_nothing_stale_in_redis(&stack, &mut workers).await;
    let report = report(&stack, seed, &faults, &calls, settled, begun.elapsed()).await;
    println!("{report}");
    let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join("kill-report.txt");
    std::fs::write(&path, report).expect("the report is written");

    // The rest of what must hold, but for what was to be discarded.
    stack.execute("DELETE FROM jobs WHERE state = 'dead'").await;
    stack.assert_invariants_with(&QUEUES).await;
}
