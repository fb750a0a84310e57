//! An event in trouble leaves the others alone: while a transaction holds its inventory, or its
//! counts are wrong, all other events go on.

use nexus_tests::{
    Client, Event, Method, Outcome, Response, SOON, Stack, Value, eventually, json, seen,
};
use sqlx::{Postgres, Transaction};
use tokio::task::JoinSet;

/// Holds an event's inventory until the transaction ends.
async fn hold(stack: &Stack, event: &Event) -> Transaction<'static, Postgres> {
    let mut holding = stack.db.begin().await.unwrap();
    let held = sqlx::query("UPDATE event_inventory SET version = version + 1 WHERE event_id = $1")
        .bind(event.id as i32)
        .execute(&mut *holding)
        .await
        .unwrap();
    assert_eq!(held.rows_affected(), 1);
    holding
}

async fn events<const N: usize>(stack: &Stack) -> [Event; N] {
    let organiser = stack.user().await;
    let mut events = Vec::new();
    for _ in 0..N {
        let event = stack.event(&organiser, &[("VIP", 100.0, 100)]).await;
        // So that it has an inventory that can be held.
        stack.user().await.lock(&event, "VIP", "FIRST").await.ok();
        events.push(event);
    }
    events.try_into().unwrap()
}

/// Takes a booking's seats from it, as if it had expired: a payment has to take them again.
async fn expire_by_hand(stack: &Stack, event: &Event) {
    let id = event.id;
    stack
        .execute(&format!(
            "UPDATE bookings SET status = 'expired', payment_status = 'cancelled', expires_at = now() WHERE event_id = {id}"
        ))
        .await;
    stack.execute(&format!("DELETE FROM seats WHERE event_id = {id}")).await;
    stack
        .execute(&format!(
            "UPDATE event_seat_types SET available_quantity = quantity WHERE event_id = {id}"
        ))
        .await;
}

/// With a sweep that looks at least every six seconds, even if it expects the next deadline later.
async fn sweeping() -> Stack {
    Stack::builder().workers(["expiry"]).env("SEAT_LOCK_SECONDS", 6).start().await
}

/// No lock runs out by itself.
async fn keep_locks(stack: &Stack) {
    stack.execute("UPDATE seats SET expires_at = now() + interval '10 minutes'").await;
}

/// A seat of the event whose lock, or whose booking, has run out.
async fn run_out(stack: &Stack, event: &Event, label: &str) {
    let statement = format!(
        "WITH seat AS (
             UPDATE seats SET expires_at = now() - interval '1 second'
             WHERE event_id = {} AND seat_label = '{label}' RETURNING id)
         UPDATE bookings SET expires_at = now() - interval '1 second'
         WHERE id IN (SELECT booking_id FROM booking_seats JOIN seat ON seat.id = seat_id)",
        event.id
    );
    stack.execute(&statement).await;
}

async fn until_free(stack: &Stack, event: &Event, label: &str) {
    let seat = format!("seats WHERE event_id = {} AND seat_label = '{label}'", event.id);
    eventually(&format!("{label} of event {} is free", event.id), SOON, async || {
        let left = stack.count(&seat).await;
        seen(left == 0, left)
    })
    .await;
}

fn lock(buyer: Client, event: &Event, label: String) -> impl Future<Output = u16> + Send + 'static {
    let event = event.clone();
    async move { buyer.lock(&event, "VIP", &label).await.status }
}

#[tokio::test]
async fn seats_of_other_events_are_locked_while_one_is_held() {
    let stack = Stack::builder().workers([]).start().await;
    let [held, other] = events(&stack).await;
    let holding = hold(&stack, &held).await;
    let mut waiting = JoinSet::new();
    for (n, buyer) in stack.users(30).await.into_iter().enumerate() {
        waiting.spawn(lock(buyer, &held, format!("A{n}")));
    }
    eventually("the held event has somebody who waits", SOON, async || {
        let waits = stack.count("pg_stat_activity WHERE wait_event_type = 'Lock'").await;
        seen(waits > 0, waits)
    })
    .await;
    for buyer in stack.users(10).await {
        buyer.lock(&other, "VIP", &format!("B{}", buyer.id)).await.ok();
    }
    assert!(waiting.try_join_next().is_none(), "those who want the held event wait on");

    holding.rollback().await.unwrap();
    while let Some(status) = waiting.join_next().await {
        assert_eq!(status.unwrap(), 200);
    }
    stack.assert_invariants().await;
}

#[tokio::test]
async fn payments_of_other_events_are_confirmed_while_one_is_held() {
    let stack = Stack::builder().workers(["payments"]).start().await;
    let [held, other] = events(&stack).await;
    let mut orders = JoinSet::new();
    for (n, buyer) in stack.users(20).await.into_iter().enumerate() {
        let event = held.clone();
        orders.spawn(async move {
            let booking = buyer.lock_and_book(&event, &[("VIP", &format!("A{n}"))]).await;
            buyer.order(&booking).await
        });
    }
    let orders = orders.join_all().await;
    expire_by_hand(&stack, &held).await;
    let buyer = stack.user().await;
    let booking = buyer.lock_and_book(&other, &[("VIP", "B1")]).await;
    let order = buyer.order(&booking).await;

    let holding = hold(&stack, &held).await;
    for order in &orders {
        stack.pay(order, Outcome::Captured);
    }
    let unfinished = "jobs WHERE kind = 'process_webhook' AND state <> 'done'";
    eventually("the payments of the held event are under way", SOON, async || {
        let waits = stack.count("pg_stat_activity WHERE wait_event_type = 'Lock'").await;
        let jobs = stack.count(unfinished).await;
        seen(waits > 0 && jobs >= 20, (waits, jobs))
    })
    .await;
    stack.pay(&order, Outcome::Captured);
    stack.until_booking(&buyer, &booking, "confirmed", "completed").await;
    assert!(stack.count(unfinished).await >= 20, "the payments of the held event wait on");

    holding.rollback().await.unwrap();
    let confirmed = format!("bookings WHERE event_id = {} AND status = 'confirmed'", held.id);
    eventually("the held event's payments are confirmed", SOON, async || {
        let confirmed = stack.count(&confirmed).await;
        seen(confirmed == 20, confirmed)
    })
    .await;
    stack.assert_invariants().await;
    let failed = stack
        .rows("SELECT kind, attempt, errors FROM jobs WHERE errors <> '[]' OR attempt > 1")
        .await;
    assert_eq!(failed, Vec::<Value>::new(), "to wait for others is no failure");
}

#[tokio::test]
async fn other_events_expire_while_one_is_held() {
    let stack = sweeping().await;
    let [held, other] = events(&stack).await;
    keep_locks(&stack).await;
    for event in [&held, &other] {
        stack.user().await.lock_and_book(event, &[("VIP", "BOOKED")]).await;
    }
    let holding = hold(&stack, &held).await;
    for event in [&held, &other] {
        run_out(&stack, event, "FIRST").await;
        run_out(&stack, event, "BOOKED").await;
    }
    until_free(&stack, &other, "FIRST").await;
    until_free(&stack, &other, "BOOKED").await;
    assert_eq!(stack.count(&format!("seats WHERE event_id = {}", held.id)).await, 2);

    holding.rollback().await.unwrap();
    until_free(&stack, &held, "FIRST").await;
    until_free(&stack, &held, "BOOKED").await;
    stack.assert_invariants().await;
}

#[tokio::test]
async fn a_count_that_is_wrong_stops_only_its_own_seats() {
    let stack = sweeping().await;
    let [wrong, other] = events(&stack).await;
    keep_locks(&stack).await;
    stack.user().await.lock_and_book(&wrong, &[("VIP", "BOOKED")]).await;
    let count = |quantity: &str| {
        format!(
            "UPDATE event_seat_types SET available_quantity = {quantity} WHERE event_id = {}",
            wrong.id
        )
    };
    stack.execute(&count("quantity")).await;
    run_out(&stack, &wrong, "FIRST").await;
    run_out(&stack, &wrong, "BOOKED").await;
    run_out(&stack, &other, "FIRST").await;
    until_free(&stack, &other, "FIRST").await;

    stack.execute(&count("quantity - 2")).await;
    until_free(&stack, &wrong, "FIRST").await;
    until_free(&stack, &wrong, "BOOKED").await;
    stack.assert_invariants().await;
}

#[tokio::test]
async fn requests_for_other_events_find_connections_while_one_is_held() {
    let stack = Stack::builder().workers([]).env("DATABASE_MAX_CONNECTIONS", 4).start().await;
    let organiser = stack.user().await;
    let held = stack.event(&organiser, &[("VIP", 100.0, 100)]).await;
    let other = stack.event(&organiser, &[("VIP", 100.0, 100)]).await;
    let buyers = stack.users(12).await;
    let mut leavers = Vec::new();
    for (n, buyer) in buyers.into_iter().enumerate() {
        let label = format!("A{}", buyer.id);
        let leaving = if n % 2 == 0 {
            buyer.lock(&held, "VIP", &label).await.ok();
            (
                Method::DELETE,
                format!(
                    "/seats/{}/seat-types/{}/lock?seat_label={label}",
                    held.id,
                    held.seat_type("VIP")
                ),
            )
        } else {
            let booking = buyer.lock_and_book(&held, &[("VIP", &label)]).await;
            (Method::POST, format!("/bookings/{}/cancel", booking.id))
        };
        leavers.push((buyer, leaving));
    }
    let holding = hold(&stack, &held).await;
    let mut waiting = JoinSet::new();
    for (buyer, (method, path)) in leavers {
        waiting.spawn(async move { Response::to(buyer.request(method, &path)).await.status });
    }
    for n in 0..6 {
        let seat_type = json!({"name": format!("Row {n}"), "price": 1, "quantity": 1});
        let creating = organiser
            .request(Method::POST, &format!("/seats/{}/seat-types", held.id))
            .json(&seat_type);
        waiting.spawn(async move { Response::to(creating).await.status });
    }
    eventually("somebody waits for the held event", SOON, async || {
        let waits = stack.count("pg_stat_activity WHERE wait_event_type = 'Lock'").await;
        seen(waits > 0, waits)
    })
    .await;
    for buyer in stack.users(5).await {
        buyer.get(&format!("/seats/{}", other.id)).await.ok();
        buyer.lock_and_book(&other, &[("VIP", &format!("B{}", buyer.id))]).await;
    }
    let locked = format!("seats WHERE event_id = {} AND seat_label LIKE 'A%'", held.id);
    assert_eq!(stack.count(&locked).await, 12);

    holding.rollback().await.unwrap();
    while let Some(status) = waiting.join_next().await {
        // A request that has waited for too long is told to come back.
        assert!(matches!(status.unwrap(), 200 | 503));
    }
    stack.assert_invariants().await;
}
