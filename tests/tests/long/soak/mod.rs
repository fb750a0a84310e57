//! Everything at once and for long: people do all that people do, while processes are killed,
//! servers restarted and frozen, and providers fail. In the end no money is missing, no seat sold
//! twice, no job lost; and the processes that lived through it hold no more than before.
//!
//! `NEXUS_SOAK_SECONDS` says for how long, `NEXUS_SOAK_SEED` what happens, `NEXUS_SOAK_REPORT`
//! names a file for the report (`make soak`).

mod checks;
mod fault_injector;
mod people;
mod record;
mod report;
mod shop;
mod watch;

use std::rc::Rc;
use std::time::{Duration, Instant};

use nexus_tests::seeded_rng::SeededRng;
use nexus_tests::settings::setting;
use nexus_tests::{Stack, eventually, json, seen};
use tokio::task::{JoinSet, LocalSet};

use crate::turn;

use fault_injector::FaultInjector;
use record::Record;
use shop::Shop;
use watch::Watch;

/// Work that is under way when the traffic ends has ended after this.
const AFTERWARDS: Duration = Duration::from_secs(120);
/// Seats are kept for so long, in seconds: short, so that many run out.
const LOCK: u64 = 10;
const BOOKING: u64 = 25;

#[tokio::test]
async fn nothing_is_lost_leaked_or_broken_by_mixed_traffic_with_faults() {
    let _turn = turn().await;
    LocalSet::new().run_until(soak()).await;
}

async fn soak() {
    let (seconds, seed) = (setting("NEXUS_SOAK_SECONDS", 20), setting("NEXUS_SOAK_SEED", 7));
    let duration = Duration::from_secs(seconds);
    let mut stack = Stack::builder()
        .env("RATE_LIMITS", "off")
        .env("SEAT_LOCK_SECONDS", LOCK)
        .env("BOOKING_SECONDS", BOOKING)
        .env("RECONCILE_EVERY_SECONDS", 5)
        .env("RECONCILE_AFTER_SECONDS", 2)
        .env("RECONCILE_PER_SECOND", 50)
        .env("JOB_LEASE_MS", 3_000)
        .env("JOB_LOST_MS", 4_000)
        .env("DATABASE_MAX_CONNECTIONS", fault_injector::CONNECTIONS)
        .start()
        .await;
    let mut injector = FaultInjector::new(&mut stack, seed).await;
    let shop = Rc::new(Shop::new(&stack, injector.urls(), seed).await);
    let mut watch = Watch::new(&mut stack).await;

    let begun = Instant::now();
    let mut people = JoinSet::new();
    people::arrive(&shop, &stack, &mut people).await;
    while begun.elapsed() < duration {
        injector.step(&mut stack, &mut watch, duration.saturating_sub(begun.elapsed())).await;
        while let Some(ended) = people.try_join_next() {
            ended.expect("somebody's story");
        }
    }
    injector.calm(&mut stack).await;
    shop.over.set(true);
    while let Some(ended) = people.join_next().await {
        ended.expect("somebody's story");
    }
    let calm = Instant::now();
    let record = Rc::into_inner(shop).expect("everybody has left").leave();
    let mut violations = Vec::new();
    until_settled(&stack).await;
    let settled = calm.elapsed();
    checks::everything(&mut stack, &mut injector, &mut watch, &record, duration, &mut violations)
        .await;

    let told =
        report::write(&stack, &injector, &watch, &record, (duration, seed, settled), &violations)
            .await;
    eprintln!("{told}");
    if let Ok(path) = std::env::var("NEXUS_SOAK_REPORT") {
        std::fs::write(path, &told).expect("the report");
    }
    assert!(violations.is_empty(), "{violations:#?}");
    enough_happened(&record);
    stack.assert_invariants().await;
}

/// Money is where it belongs, and no worker has anything left to do.
async fn until_settled(stack: &Stack) {
    eventually("every webhook that is not lost has come", AFTERWARDS, async || {
        let left = stack.providers.webhooks();
        let left: Vec<_> =
            left.iter().filter(|webhook| webhook.state == "pending").map(|w| &w.event_id).collect();
        seen(left.is_empty(), left).map(drop)
    })
    .await;
    stack.until_settled(AFTERWARDS).await;
    eventually("bookings that nobody paid have expired", AFTERWARDS, async || {
        let open = stack.count("bookings WHERE status = 'pending'").await
            + stack.count("seats WHERE status = 'locked'").await;
        seen(open == 0, json!(open)).map(drop)
    })
    .await;
    stack.until_idle_within(AFTERWARDS, &stack.queues()).await;
}

/// A soak without traffic shows nothing.
fn enough_happened(record: &Record) {
    for what in [
        "lock",
        "book",
        "order",
        "paid",
        "cancel booking",
        "register",
        "log in with a code",
        "not modified",
        "bad request refused",
    ] {
        assert!(record.successes(what) > 0, "nobody did this: {what}");
    }
}

/// Random numbers for one person, so that their story does not depend on the timing of others.
fn own_rng(seed: u64, who: u64) -> SeededRng {
    SeededRng(seed.wrapping_mul(0x5851_f42d_4c95_7f2d).wrapping_add(who))
}
