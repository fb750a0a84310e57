//! Locks and unpaid bookings end at their deadline, whether or not a worker is there to tidy up.

use nexus_tests::refusals::NOT_LOCKED;
use std::time::{Duration, Instant};

use nexus_tests::{Event, Outcome, SOON, Stack, Value, eventually, json, seen};

fn unlocked(event: &Event, label: &str, available: i64, version: &Value) -> Value {
    json!({
        "event_id": event.id,
        "seat_type_id": event.seat_type("VIP"),
        "seat_label": label,
        "available_quantity": available,
        "version": version,
        "reason": "expired",
    })
}

/// Waits until the deadline of a lock has passed, by the clock that counts.
async fn until_lock_has_run_out(stack: &Stack, label: &str) {
    eventually(&format!("the lock of {label} has run out"), SOON, async || {
        let live = stack
            .count(&format!("seats WHERE seat_label = '{label}' AND expires_at > now()"))
            .await;
        seen(live == 0, live)
    })
    .await;
}

#[tokio::test]
async fn a_lock_that_is_not_booked_frees_itself_at_its_deadline() {
    let stack = Stack::builder().workers(["expiry"]).env("SEAT_LOCK_SECONDS", 2).start().await;
    let organiser = stack.user().await;
    let event = stack.event(&organiser, &[("VIP", 100.0, 50)]).await;
    let viewer = stack.socket("the viewer", &stack.anonymous()).await;
    let buyer = stack.user().await;
    let started = Instant::now();
    let data = buyer.lock(&event, "VIP", "A1").await.data();
    assert_eq!(data["expires_in_seconds"], 2);
    assert_eq!(data["message"], "Seat A1 locked successfully. Lock expires in 2 seconds.");
    assert_eq!(stack.available(event.seat_type("VIP")).await, 49);

    let broadcast = viewer.wait_for_any("seat_unlocked").await;
    let waited = started.elapsed();
    assert_eq!(broadcast, unlocked(&event, "A1", 50, &broadcast["version"]));
    assert!((2.0..5.0).contains(&waited.as_secs_f64()), "a lock of 2 s was freed after {waited:?}");
    assert_eq!(stack.available(event.seat_type("VIP")).await, 50);
    assert_eq!(stack.count("seats").await, 0);
    buyer.book(&event, &[("VIP", "A1")]).await.failed(409, NOT_LOCKED);
    stack.user().await.lock(&event, "VIP", "A1").await.ok();
    stack.assert_invariants().await;
}

#[tokio::test]
async fn a_late_worker_costs_no_sale_and_takes_nothing_from_the_next_buyer() {
    let mut stack = Stack::builder().workers(["expiry"]).env("SEAT_LOCK_SECONDS", 3).start().await;
    stack.worker("expiry").kill_9().await;
    let organiser = stack.user().await;
    let event = stack.event(&organiser, &[("VIP", 100.0, 2)]).await;
    let viewer = stack.socket("the viewer", &stack.anonymous()).await;
    let (first, second) = (stack.user().await, stack.user().await);
    for label in ["A1", "B2"] {
        first.lock(&event, "VIP", label).await.ok();
    }
    second
        .lock(&event, "VIP", "A1")
        .await
        .failed(409, "Seat A1 is already taken. Please select another seat.");
    second.lock(&event, "VIP", "C3").await.failed(409, "No seats available for this seat type");
    until_lock_has_run_out(&stack, "A1").await;
    until_lock_has_run_out(&stack, "B2").await;

    // No worker has tidied up, and yet the seats are for sale.
    assert_eq!(stack.count("seats").await, 2, "rows that nobody has tidied up");
    let shown = stack.anonymous().get(&format!("/events/{}", event.id)).await.data();
    assert_eq!(shown["available_seats"], 2, "{shown}");
    first.book(&event, &[("VIP", "A1")]).await.failed(410, NOT_LOCKED);
    second.lock(&event, "VIP", "A1").await.ok();

    stack.worker("expiry").start();
    viewer.wait_for("seat_unlocked", |broadcast| broadcast["seat_label"] == "B2", SOON).await;
    let holder = stack.row("SELECT user_id, status FROM seats WHERE seat_label = 'A1'").await;
    assert_eq!(holder, json!({"user_id": second.id, "status": "locked"}));
    second.book(&event, &[("VIP", "A1")]).await.ok();
    let freed: Vec<_> = viewer
        .received("seat_unlocked")
        .iter()
        .map(|broadcast| broadcast["seat_label"].clone())
        .collect();
    assert_eq!(
        freed.iter().filter(|label| *label == "A1").count(),
        1,
        "A1 was freed once: {freed:?}"
    );
    stack.assert_invariants().await;
}

#[tokio::test]
async fn a_worker_that_comes_back_after_the_deadline_tidies_up() {
    let mut stack = Stack::builder().workers(["expiry"]).env("SEAT_LOCK_SECONDS", 2).start().await;
    stack.worker("expiry").kill_9().await;
    let organiser = stack.user().await;
    let event = stack.event(&organiser, &[("VIP", 100.0, 50)]).await;
    let viewer = stack.socket("the viewer", &stack.anonymous()).await;
    stack.user().await.lock(&event, "VIP", "A1").await.ok();
    until_lock_has_run_out(&stack, "A1").await;
    assert!(viewer.received("seat_unlocked").is_empty(), "{}", viewer.describe());

    stack.worker("expiry").start();
    let broadcast = viewer.wait_for_any("seat_unlocked").await;
    assert_eq!(broadcast, unlocked(&event, "A1", 50, &broadcast["version"]));
    assert_eq!(stack.available(event.seat_type("VIP")).await, 50);
    stack.assert_invariants().await;
}

#[tokio::test]
async fn a_booking_keeps_its_seats_beyond_the_deadline_of_their_locks() {
    let stack = Stack::builder().env("SEAT_LOCK_SECONDS", 1).start().await;
    let organiser = stack.user().await;
    let event = stack.event(&organiser, &[("VIP", 100.0, 50)]).await;
    let viewer = stack.socket("the viewer", &stack.anonymous()).await;
    let (buyer, other) = (stack.user().await, stack.user().await);
    let booking = buyer.lock_and_book(&event, &[("VIP", "A1")]).await;
    // Another lock, taken later, shows when the first one's deadline has passed.
    other.lock(&event, "VIP", "B2").await.ok();
    viewer.wait_for("seat_unlocked", |broadcast| broadcast["seat_label"] == "B2", SOON).await;

    other
        .lock(&event, "VIP", "A1")
        .await
        .failed(409, "Seat A1 is already taken. Please select another seat.");
    stack.pay(&buyer.order(&booking).await, Outcome::Captured);
    stack.until_booking(&buyer, &booking, "confirmed", "completed").await;
    assert_eq!(viewer.received("seat_unlocked").len(), 1, "{}", viewer.describe());
    stack.assert_invariants().await;
}

#[tokio::test]
async fn an_unpaid_booking_expires_and_its_seats_return() {
    let stack = Stack::builder().workers(["expiry"]).env("BOOKING_SECONDS", 2).start().await;
    let organiser = stack.user().await;
    let event = stack.event(&organiser, &[("VIP", 100.0, 50)]).await;
    let viewer = stack.socket("the viewer", &stack.anonymous()).await;
    let buyer = stack.user().await;
    let booking = buyer.lock_and_book(&event, &[("VIP", "A1"), ("VIP", "A2")]).await;
    let started = Instant::now();
    stack.until_booking(&buyer, &booking, "expired", "cancelled").await;
    assert!(
        started.elapsed() > Duration::from_millis(1_500),
        "a booking of 2 s expired after {:?}",
        started.elapsed()
    );
    for label in ["A1", "A2"] {
        let broadcast = viewer
            .wait_for("seat_unlocked", |broadcast| broadcast["seat_label"] == label, SOON)
            .await;
        assert_eq!(broadcast, unlocked(&event, label, 50, &broadcast["version"]));
    }
    assert_eq!(stack.available(event.seat_type("VIP")).await, 50);
    buyer.try_order(&booking).await.failed(410, "Booking is expired, cannot create payment order");
    stack.user().await.lock(&event, "VIP", "A1").await.ok();
    stack.assert_invariants().await;
}

#[tokio::test]
async fn a_payment_after_expiry_gets_the_same_seats_if_they_are_free() {
    let stack = Stack::builder().env("BOOKING_SECONDS", 2).start().await;
    let organiser = stack.user().await;
    let event = stack.event(&organiser, &[("VIP", 100.0, 50)]).await;
    let buyer = stack.user().await;
    let booking = buyer.lock_and_book(&event, &[("VIP", "A1"), ("VIP", "A2")]).await;
    let order = buyer.order(&booking).await;
    stack.until_booking(&buyer, &booking, "expired", "cancelled").await;

    stack.pay(&order, Outcome::Captured);
    let shown = stack.until_booking(&buyer, &booking, "confirmed", "completed").await;
    let mut labels: Vec<_> =
        shown["seats"].as_array().unwrap().iter().map(|seat| seat["seat_label"].as_str()).collect();
    labels.sort();
    assert_eq!(labels, [Some("A1"), Some("A2")]);
    stack.until_tickets(&buyer, &booking, 2).await;
    assert_eq!(stack.available(event.seat_type("VIP")).await, 48);
    assert!(stack.providers.refunds().is_empty(), "nothing is refunded");
    stack.assert_invariants().await;
}

#[tokio::test]
async fn a_payment_after_expiry_is_refunded_if_one_of_the_seats_is_gone() {
    let stack = Stack::builder().env("BOOKING_SECONDS", 2).start().await;
    let organiser = stack.user().await;
    let event = stack.event(&organiser, &[("VIP", 100.0, 50)]).await;
    let (buyer, other) = (stack.user().await, stack.user().await);
    let booking = buyer.lock_and_book(&event, &[("VIP", "A1"), ("VIP", "A2")]).await;
    let order = buyer.order(&booking).await;
    stack.until_booking(&buyer, &booking, "expired", "cancelled").await;
    other.lock(&event, "VIP", "A2").await.ok();

    stack.pay(&order, Outcome::Captured);
    stack.until_booking(&buyer, &booking, "expired", "refunded").await;
    let refunds = stack.providers.refunds();
    assert_eq!(refunds.iter().map(|refund| refund.amount).collect::<Vec<_>>(), [20_000]);
    let holders = stack.rows("SELECT seat_label, user_id FROM seats").await;
    assert_eq!(holders, [json!({"seat_label": "A2", "user_id": other.id})]);
    assert_eq!(stack.available(event.seat_type("VIP")).await, 49);
    stack.assert_invariants().await;
}
