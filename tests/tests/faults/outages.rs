//! Redis or PostgreSQL go away and come back, with work under way: nothing is lost, and what can be
//! answered is answered.

use std::time::Duration;

use nexus_tests::probes::Processes;
use nexus_tests::{Booking, Fault, Outcome, SOON, Stack, Target, Value, eventually, json, seen};

/// Two workers with one slow job each, so that the others wait in Redis.
async fn slow_stack() -> (Stack, Processes) {
    let stack = Stack::builder()
        .env("WORKER_CONCURRENCY", 1)
        .env("JOB_LOST_MS", 2_000)
        .env("JOB_LEASE_MS", 2_000);
    let stack = stack.start().await;
    // It takes the workers two seconds to notice each other.
    stack.providers.fault(Target::TwilioVerify, Some(16), Fault::delay(Duration::from_secs(1)));
    let mut second = stack.processes("nexus-worker-otp", 1, &[]);
    second.start().await;
    (stack, second)
}

fn phones(first: usize) -> Vec<String> {
    (first..first + 8).map(|n| format!("+9198000000{n:02}")).collect()
}

async fn ask_for_codes(stack: &Stack, phones: &[String]) {
    for phone in phones {
        stack.anonymous().post("/auth/send-otp", json!({"phone": phone})).await.ok();
    }
}

async fn until_in_redis(stack: &Stack) {
    eventually("jobs wait in Redis", SOON, async || {
        let queued = stack.count("jobs WHERE kind = 'send_otp' AND state = 'queued'").await;
        seen(queued > 0, queued)
    })
    .await;
}

async fn until_all_have_codes(stack: &Stack, phones: &[String]) {
    eventually("everybody has a code", SOON, async || {
        let without: Vec<_> =
            phones.iter().filter(|phone| stack.providers.otp(phone).is_none()).collect();
        seen(without.is_empty(), without).map(drop)
    })
    .await;
}

#[tokio::test]
async fn jobs_survive_a_redis_that_is_emptied_and_one_that_is_killed() {
    let (mut stack, _second) = slow_stack().await;
    let first = phones(10);
    ask_for_codes(&stack, &first).await;
    until_in_redis(&stack).await;
    assert_eq!(stack.redis_command("FLUSHALL").await, "+OK");
    until_all_have_codes(&stack, &first).await;

    let second = phones(20);
    ask_for_codes(&stack, &second).await;
    until_in_redis(&stack).await;
    stack.redis.kill().await.unwrap();
    stack.redis.restart().await.unwrap();
    until_all_have_codes(&stack, &second).await;
    stack.assert_invariants().await;
    let jobs = stack
        .rows("SELECT state, count(*) AS n FROM jobs WHERE kind = 'send_otp' GROUP BY state")
        .await;
    assert_eq!(jobs, [json!({"state": "done", "n": 16})]);
}

#[tokio::test]
async fn jobs_survive_a_postgresql_that_is_killed() {
    let (mut stack, _second) = slow_stack().await;
    let phones = phones(10);
    ask_for_codes(&stack, &phones).await;
    until_in_redis(&stack).await;
    stack.postgres.kill().await.unwrap();
    stack.postgres.restart().await.unwrap();
    until_all_have_codes(&stack, &phones).await;
    stack.assert_invariants().await;
}

#[tokio::test]
async fn the_api_sells_while_redis_is_away_and_the_workers_finish_when_it_is_back() {
    let mut stack = Stack::builder().env("JOB_LOST_MS", 2_000).start().await;
    let (event, buyer) = stack.on_sale().await;
    let viewer = stack.socket("the viewer", &stack.anonymous()).await;
    let socket = stack.socket("the buyer", &buyer).await;
    stack.redis.kill().await.unwrap();

    stack.anonymous().get_root("/health").await.ok();
    stack.until_missing("redis").await;
    stack.anonymous().get("/events").await.ok();
    stack.anonymous().get(&format!("/events/{}", event.id)).await.ok();
    let data = buyer.lock(&event, "VIP", "A1").await.data();
    assert_eq!(data["cache_hit"], false, "{data}");
    let lock =
        json!({"eventId": event.id, "seatTypeId": event.seat_type("VIP"), "seat_label": "A2"});
    socket.call_ok("lock_seat", lock).await;
    let others = stack.user().await.lock(&event, "VIP", "A1").await;
    others.failed(409, "Seat A1 is already taken. Please select another seat.");
    // Clients of the same process still hear of each other.
    for label in ["A1", "A2"] {
        viewer.wait_for("seat_locked", |broadcast| broadcast["seat_label"] == label, SOON).await;
    }
    let response = buyer.book(&event, &[("VIP", "A1"), ("VIP", "A2")]).await;
    let booking = Booking::from_created(&response.data());
    let order = buyer.order(&booking).await;
    stack.pay(&order, Outcome::Captured);
    eventually("the webhook is accepted", SOON, async || {
        let webhooks = stack.providers.webhooks();
        seen(webhooks.iter().all(|webhook| webhook.state == "delivered"), webhooks).map(drop)
    })
    .await;
    let first_answers =
        stack.providers.webhooks().into_iter().map(|webhook| webhook.attempts[0].status);
    assert!(
        first_answers.clone().all(|status| status == Some(200)),
        "{:?}",
        first_answers.collect::<Vec<_>>()
    );

    stack.redis.restart().await.unwrap();
    stack.until_ready(0).await;
    stack.until_booking(&buyer, &booking, "confirmed", "completed").await;
    stack.until_tickets(&buyer, &booking, 2).await;
    let mut sold = 0;
    eventually("broadcasts of the workers arrive again", SOON, async || {
        sold += 1;
        let other = stack.user().await;
        stack.sell(&other, &event, &[("VIP", &format!("B{sold}"))]).await;
        seen(!viewer.received("booking_confirmed").is_empty(), ())
    })
    .await;
    let second = buyer.lock_and_book(&event, &[("VIP", "C1")]).await;
    stack.pay(&buyer.order(&second).await, Outcome::Captured);
    let is_second = |broadcast: &Value| broadcast["booking_id"] == second.id;
    viewer.wait_for("booking_confirmed", is_second, SOON).await;
    socket.wait_for("tickets:ready", |broadcast| broadcast["bookingId"] == second.id, SOON).await;
    stack.assert_invariants().await;
}

#[tokio::test]
async fn revoked_tokens_stay_revoked_while_redis_is_away_or_has_forgotten() {
    let mut stack = Stack::builder().workers([]).start().await;
    let user = stack.user().await;
    user.get("/bookings/my-bookings").await.ok();
    user.post("/auth/logout", json!({})).await.ok();
    user.get("/bookings/my-bookings").await.failed(401, "Token has been revoked");
    stack.redis.kill().await.unwrap();
    user.get("/bookings/my-bookings").await.failed(401, "Token has been revoked");
    stack.redis.restart().await.unwrap();
    stack.until_ready(0).await;
    eventually("a token that Redis has forgotten is refused", SOON, async || {
        let response = user.get("/bookings/my-bookings").await;
        seen(response.status == 401, response.to_string())
    })
    .await;
}

#[tokio::test]
async fn two_api_processes_hear_of_each_other_again_after_redis_was_away() {
    let mut stack = Stack::builder().workers([]).api_processes(2).start().await;
    let organiser = stack.user().await;
    let event = stack.event(&organiser, &[("VIP", 100.0, 50)]).await;
    let elsewhere = json!({"url": stack.api_url(1), "transports": ["websocket"]});
    let viewer =
        stack.socket_with("the viewer of the other process", &stack.anonymous(), elsewhere).await;
    let mut n = 0;
    // A broadcast may be lost while Redis connects, which is why it is repeated.
    let mut heard = async |stack: &Stack, when: &str| {
        viewer.forget();
        eventually(&format!("the other process hears of an update {when}"), SOON, async || {
            n += 1;
            organiser
                .put(&format!("/events/{}", event.id), json!({"location": format!("Hall {n}")}))
                .await
                .ok();
            seen(!viewer.received("event_updated").is_empty(), n)
        })
        .await;
        stack.until_ready(1).await;
    };
    heard(&stack, "at first").await;
    stack.redis.kill().await.unwrap();
    stack.redis.restart().await.unwrap();
    heard(&stack, "after Redis was away").await;
}
