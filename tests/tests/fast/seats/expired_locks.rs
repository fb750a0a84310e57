//! Locks that have run out and that no worker has tidied up: however many there are, they slow no
//! request down, and each of them is free.

use nexus_tests::{Client, Event, Stack, Value, json};

/// An event with one seat type, and so many locks of it that have run out.
async fn with_expired(stack: &Stack, quantity: u32, expired: u32) -> (Event, Client) {
    let organiser = stack.user().await;
    let event = stack.event(&organiser, &[("VIP", 100.0, quantity)]).await;
    let buyer = stack.user().await;
    let (id, vip) = (event.id, event.seat_type("VIP"));
    stack
        .execute(&format!(
            "INSERT INTO seats (event_id, event_seat_type_id, seat_label, user_id, status, locked_at, expires_at)
             SELECT {id}, {vip}, 'V' || n, {}, 'locked', now() - interval '10 minutes', now() - interval '1 second'
             FROM generate_series(1, {expired}) n",
            organiser.id
        ))
        .await;
    stack
        .execute(&format!(
            "UPDATE event_seat_types SET available_quantity = quantity - {expired} WHERE id = {vip}"
        ))
        .await;
    (event, buyer)
}

#[tokio::test]
async fn a_lock_does_not_pay_for_thousands_that_have_run_out() {
    // Far less than it takes to look through all tickets for each of them.
    let stack =
        Stack::builder().workers([]).env("DATABASE_STATEMENT_TIMEOUT_MS", 2_000).start().await;
    let (event, buyer) = with_expired(&stack, 3_000, 2_000).await;
    let booking =
        buyer.lock_and_book(&stack.event(&buyer, &[("VIP", 1.0, 1)]).await, &[("VIP", "A1")]).await;
    stack
        .execute(&format!(
            "INSERT INTO tickets (booking_id, ticket_id, seat_label, price_paid)
             SELECT {}, 'TKT-' || n, 'A1', 1 FROM generate_series(1, 100000) n",
            booking.id
        ))
        .await;
    buyer.lock(&event, "VIP", "NEW").await.ok();
    let left =
        stack.count(&format!("seats WHERE event_id = {} AND seat_label <> 'NEW'", event.id)).await;
    assert!(
        (1_900..2_000).contains(&left),
        "a few are tidied up on the way, {left} of 2,000 are left"
    );
    let shown = stack.anonymous().get(&format!("/events/{}", event.id)).await.data();
    assert_eq!(shown["available_seats"], 2_999, "{shown}");
}

#[tokio::test]
async fn a_sold_out_seat_type_whose_locks_have_run_out_can_be_had_whole() {
    let stack = Stack::builder().workers([]).start().await;
    let (event, buyer) = with_expired(&stack, 150, 150).await;
    let vip = event.seat_type("VIP");
    buyer.lock(&event, "VIP", "V140").await.ok();
    let best = json!({"best_available": {"seat_type_id": vip, "count": 3}});
    let locks = buyer.post(&format!("/seats/{}/locks", event.id), best).await.data();
    let labels: Vec<&Value> =
        locks["locks"].as_array().unwrap().iter().map(|lock| &lock["seat_label"]).collect();
    assert_eq!(labels, ["V1", "V2", "V3"]);
    let shown = stack.anonymous().get(&format!("/events/{}", event.id)).await.data();
    assert_eq!(shown["available_seats"], 146, "{shown}");
    stack.assert_invariants().await;
}

#[tokio::test]
async fn a_lock_that_is_extended_in_the_last_moment_stays() {
    let stack = Stack::builder().workers([]).start().await;
    let (event, buyer) = with_expired(&stack, 10, 1).await;
    // The request that extends the lock has not committed yet when another one sees that it has run
    // out.
    let mut extending = stack.db.begin().await.unwrap();
    sqlx::query(
        "UPDATE seats SET expires_at = now() + interval '5 minutes' WHERE seat_label = 'V1'",
    )
    .execute(&mut *extending)
    .await
    .unwrap();
    let locking = {
        let (buyer, event) = (buyer.clone(), event.clone());
        tokio::spawn(async move { buyer.lock(&event, "VIP", "A1").await })
    };
    nexus_tests::eventually("the other has looked", nexus_tests::SOON, async || {
        let waits = stack.count("pg_stat_activity WHERE wait_event_type = 'Lock'").await;
        nexus_tests::seen(waits > 0 || locking.is_finished(), waits)
    })
    .await;
    extending.commit().await.unwrap();
    locking.await.unwrap().ok();
    assert_eq!(stack.count("seats WHERE seat_label = 'V1'").await, 1);
    stack.assert_invariants().await;
}
