//! Who hears a broadcast: every client but the sender, on every process; clients that joined an
//! event, of that event only.

use super::fence;
use nexus_tests::shop::event_request;
use nexus_tests::{Event, SOON, Stack, Value, eventually, json, seen};

#[tokio::test]
async fn commands_over_a_socket_are_heard_by_all_others_in_every_process() {
    let stack = Stack::builder().workers([]).api_processes(2).start().await;
    let organiser = stack.user().await;
    let sender = stack.socket("the organiser", &organiser).await;
    let near = stack.socket("the viewer", &stack.anonymous()).await;
    let elsewhere = json!({"url": stack.api_url(1), "transports": ["websocket"]});
    let far = stack.socket_with("the viewer elsewhere", &stack.anonymous(), elsewhere).await;
    // The processes find each other through Redis, which takes a moment after the start.
    eventually("the processes hear of each other", SOON, async || {
        stack.event(&organiser, &[("Warm-up", 1.0, 1)]).await;
        seen(!far.received("event_created").is_empty(), ())
    })
    .await;
    for socket in [&sender, &near, &far] {
        socket.forget();
    }
    let heard = async |event: &str, expected: &Value| {
        for viewer in [&near, &far] {
            let broadcast = viewer.wait_for(event, |broadcast| broadcast == expected, SOON).await;
            assert_eq!(broadcast, *expected);
        }
    };

    let created = sender.call_ok("create_event", event_request(&[("VIP", 100.0, 50)])).await;
    let event = Event::from_created(&created);
    let mut broadcast = created.clone();
    broadcast.as_object_mut().unwrap().remove("message");
    heard("event_created", &broadcast).await;

    let updated =
        sender.call_ok("update_event", json!({"eventId": event.id, "name": "Renamed"})).await;
    assert_eq!(
        (&updated["message"], &updated["event"]["name"]),
        (&json!("Event updated successfully"), &json!("Renamed"))
    );
    heard("event_updated", &json!({"event": updated["event"]})).await;

    let new = json!({"eventId": event.id, "name": "Standard", "price": "10.5", "quantity": "7"});
    let made = sender.call_ok("create_seat_type", new).await;
    let seat_type = &made["seat_type"];
    assert_eq!(made["message"], "Seat type created successfully");
    assert_eq!(
        (&seat_type["price"], &seat_type["available_quantity"]),
        (&json!(10.5), &json!(7)),
        "numeric text"
    );
    heard("seat_type_created", &json!({"event_id": event.id, "seat_type": seat_type})).await;

    let change = json!({"eventId": event.id, "seatTypeId": seat_type["id"], "quantity": 9});
    let changed = sender.call_ok("update_seat_type", change).await;
    assert_eq!(changed["seat_type"]["available_quantity"], 9);
    heard("seat_type_updated", &json!({"event_id": event.id, "seat_type": changed["seat_type"]}))
        .await;

    let gone = json!({"eventId": event.id, "seatTypeId": seat_type["id"]});
    let gone = sender.call_ok("delete_seat_type", gone).await;
    let sentence = "Seat type \"Standard\" deleted successfully";
    assert_eq!(gone, json!({"message": sentence, "deleted_seat_type_id": seat_type["id"]}));
    let broadcast =
        json!({"event_id": event.id, "seat_type_id": seat_type["id"], "seat_type_name": sentence});
    heard("seat_type_deleted", &broadcast).await;

    let lock =
        json!({"eventId": event.id, "seatTypeId": event.seat_type("VIP"), "seat_label": "A1"});
    sender.call_ok("lock_seat", lock).await;
    let detail = json!({"seat_label": "A1", "seat_type_id": event.seat_type("VIP")});
    let booked = sender
        .call_ok("create_booking", json!({"event_id": event.id, "seat_details": [detail]}))
        .await;
    let id = &booked["booking"]["id"];
    let cancelled =
        sender.call_ok("cancel_booking", json!({"booking_id": id, "reason": "rain"})).await;
    assert_eq!(cancelled, json!({"message": "Booking cancelled successfully", "booking_id": id}));
    heard("booking_cancelled", &json!({"booking_id": id, "reason": "Cancelled by user"})).await;

    let deleted = sender.call_ok("delete_event", json!({"eventId": event.id})).await;
    assert_eq!(
        deleted,
        json!({"message": "Event \"Renamed\" deleted successfully", "deleted_event_id": event.id})
    );
    heard("event_deleted", &deleted).await;

    fence(&stack, &[&sender, &near, &far]).await;
    let heard = sender.describe();
    let own = sender
        .received("event_created")
        .into_iter()
        .filter(|broadcast| broadcast["event"]["id"] == event.id);
    assert_eq!(own.count(), 0, "the sender hears event_created: {heard}");
    for event in [
        "event_updated",
        "event_deleted",
        "seat_type_created",
        "seat_type_updated",
        "seat_type_deleted",
        "seat_locked",
        "booking_created",
        "booking_cancelled",
        "seat_unlocked",
    ] {
        assert!(sender.received(event).is_empty(), "the sender hears {event}: {heard}");
        if event != "event_updated" {
            assert_eq!(far.received(event).len(), 1, "{event}: {}", far.describe());
        }
    }
    stack.assert_invariants().await;
}

#[tokio::test]
async fn whoever_joined_an_event_hears_of_that_event_only() {
    let stack = Stack::builder().workers([]).start().await;
    let organiser = stack.user().await;
    let mine = stack.event(&organiser, &[("VIP", 100.0, 50)]).await;
    let other = stack.event(&organiser, &[("VIP", 100.0, 50)]).await;
    let joined = stack.socket("who joined", &stack.anonymous()).await;
    let never = stack.socket("who never joined", &stack.anonymous()).await;
    joined.call_ok("join_event", json!(mine.id)).await;
    let buyer = stack.user().await;
    buyer.lock(&other, "VIP", "A1").await.ok();
    buyer.lock(&mine, "VIP", "A2").await.ok();
    joined.wait_for("seat_locked", |broadcast| broadcast["event_id"] == mine.id, SOON).await;
    for event in [&mine, &other] {
        never.wait_for("seat_locked", |broadcast| broadcast["event_id"] == event.id, SOON).await;
    }
    assert_eq!(joined.received("seat_locked").len(), 1, "{}", joined.describe());

    joined.call_ok("join_event", json!(other.id.to_string())).await;
    buyer.lock(&other, "VIP", "A3").await.ok();
    joined.wait_for("seat_locked", |broadcast| broadcast["seat_label"] == "A3", SOON).await;
    joined.call_ok("leave_event", json!(other.id)).await;
    buyer.lock(&other, "VIP", "A4").await.ok();
    never.wait_for("seat_locked", |broadcast| broadcast["seat_label"] == "A4", SOON).await;
    fence(&stack, &[&joined]).await;
    assert_eq!(joined.received("seat_locked").len(), 2, "{}", joined.describe());
}

#[tokio::test]
async fn counts_are_told_coalesced_and_in_order() {
    let stack = Stack::builder().workers([]).start().await;
    let organiser = stack.user().await;
    let event = stack.event(&organiser, &[("VIP", 100.0, 50)]).await;
    let viewer = stack.socket("the viewer", &stack.anonymous()).await;
    for (n, buyer) in stack.users(40).await.into_iter().enumerate() {
        buyer.lock(&event, "VIP", &format!("S{n}")).await.ok();
    }
    let last = |broadcast: &Value| broadcast["seat_types"][0]["available_quantity"] == 10;
    let broadcast = viewer.wait_for("event:seats-update", last, SOON).await;
    let vip =
        json!({"seat_type_id": event.seat_type("VIP"), "quantity": 50, "available_quantity": 10});
    assert_eq!(
        broadcast,
        json!({"event_id": event.id, "version": broadcast["version"], "seat_types": [vip]})
    );
    let versions: Vec<_> = viewer
        .received("event:seats-update")
        .iter()
        .map(|broadcast| broadcast["version"].as_i64().unwrap())
        .collect();
    assert!(
        versions.is_sorted() && versions.len() < 40,
        "40 locks are told in fewer updates: {versions:?}"
    );
}

#[tokio::test]
async fn drafts_and_private_events_are_nobodys_business() {
    let stack = Stack::builder().workers([]).start().await;
    let organiser = stack.user().await;
    let viewer = stack.socket("the viewer", &stack.anonymous()).await;
    for (field, value) in [("status", json!("draft")), ("is_public", json!(false))] {
        let mut request = event_request(&[("VIP", 100.0, 50)]);
        request[field] = value.clone();
        let event = Event::from_created(&organiser.post("/events/create", request).await.data());
        let path = format!("/events/{}", event.id);
        organiser.get(&path).await.ok();
        stack.anonymous().get(&path).await.failed(404, "Event not found");
        stack.user().await.get(&path).await.failed(404, "Event not found");
        organiser.put(&path, json!({"description": "a secret"})).await.ok();
        let seat_types = format!("/seats/{}/seat-types", event.id);
        organiser
            .post(&seat_types, json!({"name": "Secret", "price": 1, "quantity": 1}))
            .await
            .ok();
        let listed =
            stack.anonymous().get(&format!("/events?organizer_id={}", organiser.id)).await.ok();
        assert_eq!(listed["pagination"]["total"], 0, "{listed}");
        let own =
            organiser.get(&format!("/events?organizer_id={}&limit=100", organiser.id)).await.ok();
        assert!(
            own["data"].as_array().unwrap().iter().any(|listed| listed["id"] == event.id),
            "{own}"
        );
        organiser.delete(&path).await.ok();
    }
    fence(&stack, &[&viewer]).await;
    for event in ["event_updated", "seat_type_created", "event_deleted"] {
        assert!(
            viewer.received(event).is_empty(),
            "the viewer hears {event}: {}",
            viewer.describe()
        );
    }
    assert_eq!(viewer.received("event_created").len(), 1, "only the fence: {}", viewer.describe());
}

#[tokio::test]
async fn whoever_has_known_an_event_hears_that_it_is_hidden_and_nothing_else_of_it() {
    let stack = Stack::builder().workers([]).start().await;
    let organiser = stack.user().await;
    let viewer = stack.socket("the viewer", &stack.anonymous()).await;
    let own = stack.socket("the organiser", &organiser).await;
    for (field, value) in [("status", json!("draft")), ("is_public", json!(false))] {
        let event = stack.event(&organiser, &[("VIP", 100.0, 50)]).await;
        let path = format!("/events/{}", event.id);
        let before = stack.anonymous().get(&path).await.data();
        organiser
            .put(&path, json!({field: value, "description": "a secret", "location": "a cellar"}))
            .await
            .ok();
        let secret = |broadcast: &Value| broadcast["event"]["description"] == "a secret";
        fence(&stack, &[&viewer, &own]).await;
        let own_last = own.received("event_updated").pop().expect("its own broadcast");
        assert_eq!((&own_last["event"]["id"], secret(&own_last)), (&json!(event.id), true));
        let heard = viewer.received("event_updated");
        let broadcast = &heard.last().expect("the broadcast")["event"];
        assert_eq!((&broadcast["id"], &broadcast[field]), (&json!(event.id), &value));
        for kept in ["name", "description", "location", "start_date"] {
            assert_eq!(broadcast[kept], before[kept], "{kept}");
        }
        assert!(!heard.iter().any(secret), "{heard:?}");
    }
    assert_eq!(own.received("event_updated").len(), 2, "{}", own.describe());
}
