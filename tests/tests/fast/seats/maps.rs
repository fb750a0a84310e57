//! `GET /seats/:eventId` when many clients ask at once.

use nexus_tests::{Client, Event, Response, Stack, json};
use sqlx::{Postgres, Transaction};
use tokio::task::JoinSet;

/// No transaction can read seats until this is dropped.
async fn hold_seats(stack: &Stack) -> Transaction<'static, Postgres> {
    let mut tx = stack.db.begin().await.unwrap();
    sqlx::query("LOCK TABLE seats IN ACCESS EXCLUSIVE MODE").execute(&mut *tx).await.unwrap();
    tx
}

async fn map(viewer: Client, event: Event) -> Response {
    viewer.get(&format!("/seats/{}", event.id)).await
}

#[tokio::test]
async fn a_crowd_that_asks_at_once_costs_one_query() {
    let stack = Stack::builder().without_limits().workers([]).start().await;
    let event = stack.event(&stack.user().await, &[("VIP", 100.0, 50)]).await;
    let holder = stack.user().await;
    holder.lock(&event, "VIP", "A1").await.ok();
    let held = hold_seats(&stack).await;
    let mut crowd = JoinSet::new();
    for viewer in stack.users(200).await {
        crowd.spawn(map(viewer, event.clone()));
    }
    let (own, leaver) = (
        tokio::spawn(map(holder, event.clone())),
        tokio::spawn(map(stack.anonymous(), event.clone())),
    );
    stack.until_blocked("nexus-api", 1).await;
    // A client that leaves does not end the others' requests.
    leaver.abort();
    // Others, who need a connection, get one: the crowd has not taken them all.
    stack.user().await.get("/bookings/my-bookings").await.ok();
    assert_eq!(stack.blocked("nexus-api").await, 1, "statements that look at seats");
    held.rollback().await.unwrap();
    while let Some(response) = crowd.join_next().await {
        let taken = response.unwrap().data()["taken"].clone();
        assert_eq!((&taken[0]["seat_label"], &taken[0]["mine"]), (&json!("A1"), &json!(false)));
    }
    assert_eq!(own.await.unwrap().data()["taken"][0]["mine"], true);
}

#[tokio::test]
async fn a_map_shows_what_its_reader_has_just_done() {
    let stack = Stack::builder().without_limits().workers([]).start().await;
    let event = stack.event(&stack.user().await, &[("VIP", 100.0, 50)]).await;
    let buyer = stack.user().await;
    for n in 1..=9 {
        buyer.lock(&event, "VIP", &format!("A{n}")).await.ok();
        let taken =
            map(buyer.clone(), event.clone()).await.data()["taken"].as_array().unwrap().len();
        assert_eq!(taken, n, "seats after the lock of A{n}");
    }
}

#[tokio::test]
async fn a_failure_is_not_remembered() {
    let stack = Stack::builder()
        .without_limits()
        .workers([])
        .env("DATABASE_LOCK_TIMEOUT_MS", 500)
        .start()
        .await;
    let event = stack.event(&stack.user().await, &[("VIP", 100.0, 50)]).await;
    let held = hold_seats(&stack).await;
    let refused = map(stack.anonymous(), event.clone()).await;
    assert_eq!(refused.status, 503, "{refused}");
    held.rollback().await.unwrap();
    map(stack.anonymous(), event.clone()).await.ok();
    stack.anonymous().get("/seats/424242").await.failed(404, "Event not found");
}

#[tokio::test]
async fn a_lock_that_is_over_and_cannot_be_freed_keeps_nobody_from_the_map() {
    let stack = Stack::builder().workers([]).start().await;
    let event = stack.event(&stack.user().await, &[("VIP", 100.0, 5)]).await;
    stack.user().await.lock(&event, "VIP", "A1").await.ok();
    // To return this seat would make a count that breaks its rule.
    stack.execute("UPDATE event_seat_types SET available_quantity = quantity").await;
    stack.execute("UPDATE seats SET expires_at = now() - interval '1 second'").await;
    let map = stack.user().await.get(&format!("/seats/{}", event.id)).await.data();
    assert_eq!(map["seat_types"][0]["quantity"], 5);
}
