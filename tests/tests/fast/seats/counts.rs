//! What is left of an event's seats, and the version that says which of two counts is the later.

use nexus_tests::{Client, Event, Outcome, SOON, Stack, Value, eventually, json, seen};

/// Version and what is left of each seat type, as the seat map says.
async fn counts(viewer: &Client, event: &Event) -> (i64, Vec<i64>) {
    let map = viewer.get(&format!("/seats/{}", event.id)).await.data();
    let left = map["seat_types"].as_array().unwrap().iter();
    (
        map["version"].as_i64().unwrap(),
        left.map(|seat_type| seat_type["available_quantity"].as_i64().unwrap()).collect(),
    )
}

fn version(broadcast: &Value) -> i64 {
    broadcast["version"].as_i64().unwrap_or_else(|| panic!("no version in {broadcast}"))
}

#[tokio::test]
async fn broadcasts_of_a_seat_say_in_which_order_they_belong() {
    let stack = Stack::builder().workers(["payments"]).start().await;
    let event = stack.event(&stack.user().await, &[("VIP", 100.0, 50)]).await;
    let viewer = stack.socket("the viewer", &stack.anonymous()).await;
    let (first, second) = (stack.user().await, stack.user().await);
    first.lock(&event, "VIP", "A1").await.ok();
    let path =
        format!("/seats/{}/seat-types/{}/lock?seat_label=A1", event.id, event.seat_type("VIP"));
    first.delete(&path).await.ok();
    let booking = second.lock_and_book(&event, &[("VIP", "A1")]).await;
    stack.pay(&second.order(&booking).await, Outcome::Captured);
    stack.until_booking(&second, &booking, "confirmed", "completed").await;
    viewer.wait_for_any("seat_booked").await;
    let heard = |event: &str| viewer.received(event).iter().map(version).collect::<Vec<_>>();
    let (locked, unlocked, booked) =
        (heard("seat_locked"), heard("seat_unlocked"), heard("seat_booked"));
    assert_eq!((locked.len(), unlocked.len(), booked.len()), (2, 1, 1), "{}", viewer.describe());
    assert!(
        locked[0] < unlocked[0] && unlocked[0] < locked[1] && locked[1] <= booked[0],
        "{}",
        viewer.describe()
    );
    assert_eq!(
        counts(&stack.anonymous(), &event).await,
        (booked[0], vec![49]),
        "the newest version"
    );
    stack.assert_invariants().await;
}

#[tokio::test]
async fn a_new_seat_type_makes_a_new_version() {
    let stack = Stack::builder().workers([]).start().await;
    let organiser = stack.user().await;
    let event = stack.event(&organiser, &[("VIP", 100.0, 50)]).await;
    let viewer = stack.socket("the viewer", &stack.anonymous()).await;
    let (before, _) = counts(&stack.anonymous(), &event).await;
    let new = json!({"name": "Balcony", "price": 10, "quantity": 7});
    organiser.post(&format!("/seats/{}/seat-types", event.id), new).await.ok();
    let both = |broadcast: &Value| {
        broadcast["seat_types"].as_array().is_some_and(|types| types.len() == 2)
    };
    let update = viewer.wait_for("event:seats-update", both, SOON).await;
    assert!(version(&update) > before, "{update} after version {before}");
}

#[tokio::test]
async fn a_deadline_that_passes_makes_a_new_version_whether_or_not_there_is_a_worker() {
    let stack = Stack::builder().workers([]).env("SEAT_LOCK_SECONDS", 1).start().await;
    let event = stack.event(&stack.user().await, &[("VIP", 100.0, 50)]).await;
    let viewer = stack.socket("the viewer", &stack.anonymous()).await;
    stack.user().await.lock(&event, "VIP", "A1").await.ok();
    let (before, left) = counts(&stack.anonymous(), &event).await;
    assert_eq!(left, [49]);
    let after = eventually("the seat is free again", SOON, async || {
        let (version, left) = counts(&stack.anonymous(), &event).await;
        assert!(
            version > before || left == [49],
            "version {version} has other counts than a moment ago: {left:?}"
        );
        seen(left == [50], &left).map(|_| version)
    })
    .await;
    assert!(after > before, "version {after} after {before}");
    let free = |broadcast: &Value| broadcast["seat_types"][0]["available_quantity"] == 50;
    assert_eq!(version(&viewer.wait_for("event:seats-update", free, SOON).await), after);
    assert_eq!(viewer.wait_for_any("seat_unlocked").await["reason"], "expired");
    stack.assert_invariants().await;
}

/// The deletion is under way when the others come, and ends before they can have the inventory.
#[tokio::test]
async fn whoever_comes_while_an_event_is_deleted_is_told_that_it_is_gone() {
    let stack = Stack::builder().workers([]).start().await;
    let organiser = stack.user().await;
    let gone = stack.event(&organiser, &[("VIP", 100.0, 50)]).await;
    let other = stack.event(&organiser, &[("VIP", 100.0, 50)]).await;
    let (seat_types, vip) = (format!("/seats/{}/seat-types", gone.id), gone.seat_type("VIP"));
    let mut deletion = stack.db.begin().await.unwrap();
    for query in [
        "SELECT 1 FROM event_inventory WHERE event_id = $1 FOR UPDATE",
        "DELETE FROM events WHERE id = $1",
    ] {
        sqlx::query(query).bind(gone.id as i32).execute(&mut *deletion).await.unwrap();
    }
    let request = |method: &str, path: String, body: Value| {
        let (organiser, method) = (organiser.clone(), method.to_owned());
        tokio::spawn(async move {
            match method.as_str() {
                "POST" => organiser.post(&path, body).await,
                "PUT" => organiser.put(&path, body).await,
                _ => organiser.delete(&path).await,
            }
        })
    };
    let cases = [
        (
            request("POST", format!("{seat_types}/{vip}/lock"), json!({"seat_label": "A1"})),
            "Event not found",
        ),
        (
            request("POST", seat_types.clone(), json!({"name": "New", "price": 1, "quantity": 1})),
            "Event not found",
        ),
        (
            request("PUT", format!("{seat_types}/{vip}"), json!({"quantity": 60})),
            "Seat type not found",
        ),
        (request("DELETE", format!("{seat_types}/{vip}"), Value::Null), "Seat type not found"),
        (
            request("PUT", format!("/events/{}", gone.id), json!({"status": "cancelled"})),
            "Event not found",
        ),
        (request("DELETE", format!("/events/{}", gone.id), Value::Null), "Event not found"),
    ];
    eventually("all of them wait", SOON, async || {
        let waiting = stack.count("pg_stat_activity WHERE wait_event_type = 'Lock'").await;
        seen(waiting == cases.len() as i64, waiting)
    })
    .await;
    deletion.commit().await.unwrap();
    for (response, message) in cases {
        response.await.unwrap().failed(404, message);
    }
    stack.user().await.lock(&other, "VIP", "A1").await.ok();
    stack.assert_invariants().await;
}
