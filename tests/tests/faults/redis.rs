//! Redis does not answer, has no room, may not be written, forgets everything, or vanishes, while
//! seats are sold by two API processes.

use std::time::Duration;

use nexus_tests::passage::Passage;
use nexus_tests::{Client, Event, Outcome, SOON, SocketClient, Stack, eventually, json, seen};

use crate::within;

/// What the calls to Redis of one request cost at most.
const ASKED: Duration = Duration::from_secs(3);
/// PostgreSQL tells of revoked tokens what Redis cannot; a process that did not hear of one would
/// believe it for 10 s.
const TOLD: Duration = Duration::from_secs(5);

/// Seats are sold, sessions end and payments are confirmed meanwhile, as always; broadcasts go on
/// afterwards.
async fn sales_survive(begin: impl AsyncFnOnce(&mut Stack), end: impl AsyncFnOnce(&mut Stack)) {
    let mut stack = Stack::builder().api_processes(2).env("JOB_LOST_MS", 2_000).start().await;
    let (event, buyer) = stack.on_sale().await;
    let elsewhere = stack.api_url(1);
    let rival = stack.user().await.at(&elsewhere);
    let [before, meanwhile] = [stack.user().await, stack.user().await];
    let viewer = json!({"url": elsewhere, "transports": ["websocket"]});
    let viewer =
        stack.socket_with("the viewer of the other process", &stack.anonymous(), viewer).await;
    buyer.lock(&event, "VIP", "A1").await.ok();
    buyer.lock(&event, "VIP", "A3").await.ok();
    before.post("/auth/logout", json!({})).await.ok();
    for url in [stack.api_url(0), elsewhere.clone()] {
        meanwhile.clone().at(&url).get("/bookings/my-bookings").await.ok();
    }
    let processes = stack.process_ids();

    begin(&mut stack).await;
    let taken = |response: nexus_tests::Response| assert_eq!(response.status, 409, "{response}");
    taken(within(ASKED, rival.lock(&event, "VIP", "A1")).await);
    within(ASKED, buyer.lock(&event, "VIP", "A2")).await.ok();
    taken(within(ASKED, rival.lock(&event, "VIP", "A2")).await);
    for url in [stack.api_url(0), elsewhere.clone()] {
        let response = within(ASKED, before.clone().at(&url).get("/bookings/my-bookings")).await;
        response.failed(401, "Token has been revoked");
    }
    within(ASKED, meanwhile.post("/auth/logout", json!({}))).await.ok();
    within(ASKED, meanwhile.get("/bookings/my-bookings"))
        .await
        .failed(401, "Token has been revoked");
    let elsewhere_too = meanwhile.clone().at(&elsewhere);
    eventually("the other process refuses the token, too", TOLD, async || {
        let response = elsewhere_too.get("/bookings/my-bookings").await;
        seen(response.status == 401, response.to_string())
    })
    .await;
    // Given back, and taken by another buyer: what Redis remembers of it does not count.
    unlock(&buyer, &event, "A3").await;
    eventually("the seat is free", SOON, async || {
        let response = within(ASKED, rival.lock(&event, "VIP", "A3")).await;
        seen(response.status == 200, response.to_string())
    })
    .await;
    let booking = buyer.book(&event, &[("VIP", "A1"), ("VIP", "A2")]).await;
    let booking = nexus_tests::Booking::from_created(&booking.data());
    stack.pay(&buyer.order(&booking).await, Outcome::Captured);
    eventually("the webhook is taken", SOON, async || {
        let webhooks = stack.providers.webhooks();
        seen(webhooks.iter().all(|webhook| webhook.state == "delivered"), webhooks).map(drop)
    })
    .await;
    stack.until_booking(&buyer, &booking, "confirmed", "completed").await;
    end(&mut stack).await;

    stack.until_ready(0).await;
    stack.until_ready(1).await;
    stack.until_tickets(&buyer, &booking, 2).await;
    until_heard(&viewer, &buyer, &event).await;
    meanwhile.get("/bookings/my-bookings").await.failed(401, "Token has been revoked");
    assert_eq!(stack.process_ids(), processes, "no process was started anew");
    stack.assert_invariants().await;
}

/// Waits until the viewer, of another process, hears of what the buyer does; that may be lost while
/// Redis connects.
async fn until_heard(viewer: &SocketClient, buyer: &Client, event: &Event) {
    let mut n = 0;
    viewer.forget();
    eventually("the processes hear of each other", SOON, async || {
        n += 1;
        let label = format!("B{}", n % 40 + 1);
        buyer.lock(event, "VIP", &label).await;
        unlock(buyer, event, &label).await;
        seen(!viewer.received("seat_locked").is_empty(), n).map(drop)
    })
    .await;
}

async fn unlock(buyer: &Client, event: &Event, label: &str) {
    let path = format!(
        "/seats/{}/seat-types/{}/lock?seat_label={label}",
        event.id,
        event.seat_type("VIP")
    );
    within(ASKED, buyer.delete(&path)).await.ok();
}

async fn command(stack: &Stack, words: &str) {
    assert_eq!(stack.redis_command(words).await, "+OK", "{words}");
}

#[tokio::test]
async fn sales_survive_a_redis_that_does_not_answer() {
    sales_survive(async |stack| stack.redis.freeze(true), async |stack| stack.redis.freeze(false))
        .await;
}

#[tokio::test]
async fn sales_survive_a_redis_without_room() {
    sales_survive(
        async |stack| {
            command(stack, "CONFIG SET maxmemory-policy noeviction").await;
            command(stack, "CONFIG SET maxmemory 1").await;
            let refused = stack.redis_command("SET room none").await;
            assert!(refused.starts_with("-OOM"), "{refused}");
        },
        async |stack| command(stack, "CONFIG SET maxmemory 0").await,
    )
    .await;
}

#[tokio::test]
async fn sales_survive_a_redis_that_has_become_a_read_only_replica() {
    sales_survive(
        // Of a server that is not there, so that it keeps what it has.
        async |stack| {
            command(stack, "REPLICAOF 127.0.0.1 1").await;
            let refused = stack.redis_command("SET room none").await;
            assert!(refused.starts_with("-READONLY"), "{refused}");
        },
        async |stack| command(stack, "REPLICAOF NO ONE").await,
    )
    .await;
}

#[tokio::test]
async fn sales_survive_a_redis_that_forgets_everything() {
    sales_survive(
        async |stack| command(stack, "FLUSHALL").await,
        async |stack| command(stack, "FLUSHALL").await,
    )
    .await;
}

#[tokio::test]
async fn broadcasts_are_heard_again_when_redis_vanishes_and_another_takes_its_place() {
    let stack = Stack::builder().workers([]).start().await;
    let passage = Passage::to(stack.redis.port()).await;
    let redis = format!("redis://127.0.0.1:{}", passage.port());
    let (mut apis, urls) = stack.further_apis(1, &[("REDIS_URL", redis.as_str())]);
    apis.supervise();
    stack.until_ready_at(&urls[0]).await;
    let (event, buyer) = stack.on_sale().await;
    let elsewhere = json!({"url": urls[0], "transports": ["websocket"]});
    let viewer =
        stack.socket_with("the viewer of the other process", &stack.anonymous(), elsewhere).await;
    until_heard(&viewer, &buyer, &event).await;
    passage.vanish();
    until_heard(&viewer, &buyer, &event).await;
}

/// Waits until so many jobs are done.
async fn until_done(stack: &Stack, count: i64) {
    eventually("the jobs are done", SOON, async || {
        let done = stack.count("jobs WHERE state = 'done'").await;
        seen(done == count, done).map(drop)
    })
    .await;
}

/// Lets Redis go on after so many jobs: others run as before, and each has run only once.
async fn thaw(stack: &mut Stack, count: i64) {
    stack.redis.freeze(false);
    stack.flood(24, json!(["done"])).await;
    until_done(stack, count + 24).await;
    assert_eq!(stack.count("probe_effects").await, count + 24);
}

#[tokio::test]
async fn a_worker_runs_its_jobs_without_redis_within_its_slots() {
    let mut stack = Stack::builder().api_processes(0).workers([]).start().await;
    let mut probes = stack.probes(1, &[("WORKER_CONCURRENCY", "4")]).await;
    probes.start().await;
    stack.redis.freeze(true);
    stack.flood(24, json!([{"sleep": 100}])).await;
    until_done(&stack, 24).await;
    assert!(stack.most_at_once().await <= 4, "more at once than there are slots");

    thaw(&mut stack, 24).await;
}

#[tokio::test]
async fn a_worker_with_a_single_slot_runs_its_jobs_without_redis_too() {
    let mut stack = Stack::builder().api_processes(0).workers([]).start().await;
    let mut probes = stack.probes(1, &[("WORKER_CONCURRENCY", "1")]).await;
    probes.start().await;
    stack.redis.freeze(true);
    stack.flood(3, json!(["done"])).await;
    until_done(&stack, 3).await;

    thaw(&mut stack, 3).await;
}

#[tokio::test]
async fn clients_are_told_to_refresh_what_has_changed_while_redis_was_away() {
    let mut stack = Stack::builder().workers([]).api_processes(2).start().await;
    let (event, buyer) = stack.on_sale().await;
    let elsewhere = json!({"url": stack.api_url(1), "transports": ["websocket"]});
    let viewer =
        stack.socket_with("the viewer of the other process", &stack.anonymous(), elsewhere).await;
    until_heard(&viewer, &buyer, &event).await;
    let known = |viewer: &SocketClient| {
        let told = viewer.received("event:seats-update").into_iter();
        told.filter_map(|said| said["version"].as_i64()).max().unwrap_or(0)
    };
    // Once it has heard the newest counts, nothing is on its way any more: the first broadcast that
    // does not reach the other process is that of the lock.
    let newest = format!("SELECT version FROM event_inventory WHERE event_id = {}", event.id);
    let newest = stack.row(&newest).await["version"].as_i64().unwrap();
    eventually("the newest counts are heard", SOON, async || {
        let heard = known(&viewer);
        seen(heard == newest, heard)
    })
    .await;
    stack.redis.kill().await.unwrap();
    within(ASKED, buyer.lock(&event, "VIP", "C1")).await.ok();
    let before = known(&viewer);
    // As soon as Redis was back, it would be published, if it had not been given up.
    eventually("the broadcast is lost", SOON, async || {
        let log = stack.api(0).log();
        seen(log.contains("broadcasts do not reach other processes"), log).map(drop)
    })
    .await;
    assert!(viewer.received("seat_locked").iter().all(|said| said["seat_label"] != "C1"));
    stack.redis.restart().await.unwrap();
    let is_news = |said: &nexus_tests::Value| {
        said["event_id"] == event.id && said["version"].as_i64() > Some(before)
    };
    viewer.wait_for("event:seats-update", is_news, SOON).await;
    // What a client has missed, nobody knows: of a lock's broadcasts, some may have been kept.
    eventually("clients of both processes are told", SOON, async || {
        let logs = [stack.api(0).log(), stack.api(1).log()];
        let told = |log: &String| log.contains("clients are told what they have missed");
        seen(logs.iter().all(told), logs)
    })
    .await;
}
