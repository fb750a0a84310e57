//! Seats, deadlines, counts and payments (findings 1, 5, 24, 25).

use nexus_tests::shop::PASSWORD;
use nexus_tests::{Outcome, SOON, Stack, Value, eventually, json, seen};

/// There, every lock failed: it relied on a constraint that did not exist.
#[tokio::test]
async fn finding_01_a_label_is_unique_within_its_seat_type_and_free_in_another() {
    let stack = Stack::builder().workers([]).start().await;
    let event = stack.event(&stack.user().await, &[("VIP", 100.0, 5), ("Standard", 50.0, 5)]).await;
    let (first, second) = (stack.user().await, stack.user().await);
    first.lock(&event, "VIP", "A1").await.ok();
    second.lock(&event, "Standard", "A1").await.ok();
    let taken = "Seat A1 is already taken. Please select another seat.";
    second.lock(&event, "VIP", "A1").await.failed(409, taken);

    // The database itself has the last word.
    let twice = "INSERT INTO seats (event_id, event_seat_type_id, seat_label, status, user_id, locked_at, expires_at)
                 SELECT event_id, event_seat_type_id, seat_label, status, user_id, locked_at, expires_at FROM seats";
    let refused = sqlx::query(twice).execute(&stack.db).await.expect_err("each seat twice");
    let constraint = refused.as_database_error().and_then(|error| error.constraint());
    assert_eq!(constraint, Some("seats_type_label_key"), "{refused}");
    stack.assert_invariants().await;
}

/// There, no process ever freed expired locks or deleted expired tokens.
#[tokio::test]
async fn finding_05_expired_locks_and_tokens_are_cleaned_up_and_counts_restored() {
    let mut stack =
        Stack::builder().workers(["expiry", "cleanup"]).env("SEAT_LOCK_SECONDS", 1).start().await;
    stack.worker("cleanup").kill_9().await;
    let event = stack.event(&stack.user().await, &[("VIP", 100.0, 5)]).await;
    let account = json!({"email": "asha@nexus.example", "password": PASSWORD, "name": "Asha"});
    let buyer = stack.anonymous();
    let buyer = buyer.clone().logged_in(&buyer.post("/auth/register", account).await.data());
    buyer.lock(&event, "VIP", "A1").await.ok();
    eventually("the lock is gone and its seat counted again", SOON, async || {
        let left = (stack.count("seats").await, stack.available(event.seat_type("VIP")).await);
        seen(left == (0, 5), left)
    })
    .await;

    buyer.post("/auth/logout", json!({})).await.ok();
    for table in ["refresh_tokens", "blacklisted_tokens"] {
        assert_eq!(stack.count(table).await, 1, "{table}");
        stack.execute(&format!("UPDATE {table} SET expires_at = now() - interval '30 days'")).await;
    }
    // The time for it comes.
    stack.execute("UPDATE job_schedule SET last_tick = 'epoch' WHERE kind = 'clean_up'").await;
    stack.worker("cleanup").start();
    eventually("expired tokens are gone", SOON, async || {
        let left = (stack.count("refresh_tokens").await, stack.count("blacklisted_tokens").await);
        seen(left == (0, 0), left)
    })
    .await;
}

/// There, only the client that had locked a seat heard of the changed counts.
#[tokio::test]
async fn finding_24_everybody_who_shows_an_event_is_told_its_counts() {
    let stack = Stack::builder().workers([]).start().await;
    let event = stack.event(&stack.user().await, &[("VIP", 100.0, 5)]).await;
    let viewer = stack.socket("the viewer", &stack.anonymous()).await;
    let buyer = stack.user().await;
    let sender = stack.socket("the buyer", &buyer).await;
    let lock =
        json!({"eventId": event.id, "seatTypeId": event.seat_type("VIP"), "seat_label": "A1"});
    sender.call_ok("lock_seat", lock).await;
    for socket in [&viewer, &sender] {
        let four_left = |broadcast: &Value| {
            broadcast["event_id"] == event.id
                && broadcast["seat_types"]
                    == json!([{"seat_type_id": event.seat_type("VIP"), "quantity": 5, "available_quantity": 4}])
        };
        socket.wait_for("event:seats-update", four_left, SOON).await;
    }
}

/// There, a webhook that could not be processed was answered 200, so that Razorpay never sent it
/// again.
#[tokio::test]
async fn finding_25_a_webhook_that_cannot_be_stored_is_refused_and_accepted_when_it_comes_again() {
    let mut stack = Stack::start().await;
    let (_, _, booking, order) = stack.booked().await;
    stack.postgres.kill().await.unwrap();
    stack.pay(&order, Outcome::Captured);
    let refused = eventually("the webhook is refused", SOON, async || {
        let attempts = stack.providers.webhooks().into_iter().flat_map(|webhook| webhook.attempts);
        attempts.into_iter().find_map(|attempt| attempt.status).ok_or("no response yet".into())
    })
    .await;
    assert_eq!(refused, 503, "status of a webhook that could not be stored");
    stack.postgres.restart().await.unwrap();
    // Not by the API: a connection that it has used a moment ago is not asked whether it is still
    // there, and the request that gets it is answered 503.
    let confirmed = format!(
        "bookings WHERE id = {} AND status = 'confirmed' AND payment_status = 'completed'",
        booking.id
    );
    eventually("the booking is confirmed", SOON, async || {
        let confirmed = stack.count(&confirmed).await;
        seen(confirmed == 1, confirmed)
    })
    .await;
    stack.assert_invariants().await;
}
