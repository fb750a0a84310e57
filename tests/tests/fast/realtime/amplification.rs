//! How much others hear of what one client asks for: no command is a storm.

use super::fence;
use nexus_tests::shop::event_request;
use nexus_tests::{Client, Event, SOON, SocketClient, Stack, Value, eventually, json, seen};

/// What is said of seats.
const SEATS: [&str; 4] = ["seat_locked", "seat_unlocked", "seat_booked", "seats_changed"];

fn heard(socket: &SocketClient) -> usize {
    SEATS.iter().map(|kind| socket.received(kind).len()).sum()
}

/// An event of which one user may have all seats.
async fn event(organiser: &Client, fields: Value) -> Event {
    let mut request = event_request(&[("VIP", 0.0, 5_000)]);
    request["max_tickets_per_user"] = json!(5_000);
    for (field, value) in fields.as_object().unwrap() {
        request[field] = value.clone();
    }
    Event::from_created(&organiser.post("/events/create", request).await.data())
}

/// Locks so many seats with one request.
async fn lock(who: &Client, event: &Event, count: usize) -> Vec<Value> {
    let best = json!({"best_available": {"seat_type_id": event.seat_type("VIP"), "count": count}});
    let locked = who.post(&format!("/seats/{}/locks", event.id), best).await.data();
    locked["locks"].as_array().unwrap().clone()
}

#[tokio::test]
async fn a_request_for_many_seats_is_one_broadcast_and_one_of_a_hidden_event_none() {
    let stack = Stack::builder().workers([]).without_limits().start().await;
    let organiser = stack.user().await;
    let hidden = event(&organiser, json!({"is_public": false})).await;
    let open = event(&organiser, json!({})).await;
    let mut listeners = Vec::new();
    for number in 0..10 {
        listeners.push(stack.socket(&format!("listener {number}"), &stack.anonymous()).await);
    }
    listeners[9].call_ok("join_event", json!(open.id)).await;
    let all: Vec<&SocketClient> = listeners.iter().collect();

    for _ in 0..10 {
        lock(&organiser, &hidden, 100).await;
    }
    fence(&stack, &all).await;
    for socket in &all {
        let names = socket.event_names();
        let strays: Vec<_> = names.iter().filter(|name| *name != "event_created").collect();
        assert!(strays.len() <= 1, "an answer at most, and no news: {strays:?}");
        socket.forget();
    }

    for _ in 0..10 {
        lock(&organiser, &open, 100).await;
    }
    eventually("all is told", SOON, async || {
        seen(all.iter().all(|socket| heard(socket) >= 10), ())
    })
    .await;
    fence(&stack, &all).await;
    for socket in &all {
        assert_eq!(heard(socket), 10, "{:?}", socket.event_names());
        let told = socket.received("seats_changed");
        assert_eq!(told.len(), 10);
        for told in told {
            assert_eq!((&told["change"], &told["total"]), (&json!("locked"), &json!(100)));
            assert_eq!(told["seats"].as_array().map(Vec::len), Some(100));
            assert!(told.to_string().len() < 6_000);
        }
    }
}

#[tokio::test]
async fn up_to_ten_seats_are_told_of_one_by_one_and_more_at_once_whatever_becomes_of_them() {
    let stack = Stack::builder().without_limits().start().await;
    let (organiser, buyer) = (stack.user().await, stack.user().await);
    let event = event(&organiser, json!({})).await;
    let viewer = stack.socket("the viewer", &stack.anonymous()).await;

    assert_eq!(lock(&buyer, &event, 10).await.len(), 10);
    fence(&stack, &[&viewer]).await;
    assert_eq!((viewer.received("seat_locked").len(), heard(&viewer)), (10, 10));
    viewer.forget();

    let mut locks = lock(&buyer, &event, 100).await;
    locks.extend(lock(&buyer, &event, 50).await);
    let detail = |lock: &Value| json!({"seat_label": lock["seat_label"], "seat_type_id": lock["event_seat_type_id"]});
    let details: Vec<Value> = locks.iter().map(detail).collect();
    let request = json!({"event_id": event.id, "seat_details": details});
    let booked = buyer.post("/bookings/create", request).await.data();
    let id = &booked["booking"]["id"];
    viewer.wait_for("seats_changed", |told| told["change"] == "booked", SOON).await;
    buyer.post(&format!("/bookings/{id}/cancel"), json!({})).await.ok();
    viewer.wait_for("seats_changed", |told| told["change"] == "unlocked", SOON).await;
    organiser.put(&format!("/events/{}", event.id), json!({"status": "cancelled"})).await.ok();
    eventually("the other locks are freed, too", SOON, async || {
        seen(stack.count("seats").await == 0, ())
    })
    .await;
    viewer.wait_for("seat_unlocked", |told| told["seat_label"] == "V1", SOON).await;
    fence(&stack, &[&viewer]).await;

    let told: Vec<(Value, Value, usize)> = viewer
        .received("seats_changed")
        .into_iter()
        .map(|told| {
            let named = told["seats"].as_array().map_or(0, Vec::len);
            (told["change"].clone(), told["total"].clone(), named)
        })
        .collect();
    let expected =
        [("locked", 100, 100), ("locked", 50, 50), ("booked", 150, 100), ("unlocked", 150, 100)];
    assert_eq!(told, expected.map(|(change, total, named)| (json!(change), json!(total), named)));
    assert_eq!(viewer.received("seat_unlocked").len(), 10, "those that were told of one by one");
    stack.assert_invariants().await;
}
