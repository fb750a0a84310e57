//! Seats of events that `GET /events/:id` hides: whoever may not know of such an event is told the
//! same as of one that there is not.

use nexus_tests::shop::event_request;
use nexus_tests::{Client, Event, Stack, Value, json};

const NOT_FOUND: &str = "Event not found";
const WRONG: &str = "67e55044-10b1-426f-9247-bb680e5fe0c8";

/// A new event with this field, and its share code.
async fn hidden(organiser: &Client, field: &str, value: Value) -> (Event, Value) {
    let mut request = event_request(&[("VIP", 100.0, 50)]);
    request[field] = value;
    let event = Event::from_created(&organiser.post("/events/create", request).await.data());
    let shown = organiser.get(&format!("/events/{}", event.id)).await.data();
    (event, shown["share_code"].clone())
}

/// A request for a seat, with a share code if there is one.
fn seat(event: &Event, label: &str, code: &Value) -> Value {
    let mut seat =
        json!({"eventId": event.id, "seatTypeId": event.seat_type("VIP"), "seat_label": label});
    if !code.is_null() {
        seat["share_code"] = code.clone();
    }
    seat
}

async fn lock(who: &Client, event: &Event, label: &str, code: &Value) -> nexus_tests::Response {
    let path = format!("/seats/{}/seat-types/{}/lock", event.id, event.seat_type("VIP"));
    who.post(&path, seat(event, label, code)).await
}

async fn book(who: &Client, event: &Event, label: &str, code: &Value) -> nexus_tests::Response {
    let details = [json!({"seat_label": label, "seat_type_id": event.seat_type("VIP")})];
    let mut request = json!({"event_id": event.id, "seat_details": details});
    if !code.is_null() {
        request["share_code"] = code.clone();
    }
    who.post("/bookings/create", request).await
}

#[tokio::test]
async fn the_seat_map_of_an_event_that_was_just_hidden_is_shown_to_no_stranger() {
    let stack = Stack::builder().workers([]).start().await;
    let (organiser, buyer) = (stack.user().await, stack.user().await);
    let event = stack.event(&organiser, &[("VIP", 100.0, 5)]).await;
    let (path, map) = (format!("/events/{}", event.id), format!("/seats/{}", event.id));
    for is_public in [false, true, false] {
        // Taken just before, for somebody else.
        organiser.get(&map).await.ok();
        organiser.put(&path, json!({"is_public": is_public})).await.ok();
        match is_public {
            true => drop(buyer.get(&map).await.ok()),
            false => buyer.get(&map).await.failed(404, NOT_FOUND),
        }
    }
}

#[tokio::test]
async fn a_private_events_seats_are_locked_with_its_code_and_booked_by_who_has_locked_them() {
    let stack = Stack::builder().workers([]).without_limits().start().await;
    let (organiser, guest, stranger) = (stack.user().await, stack.user().await, stack.user().await);
    let (event, code) = hidden(&organiser, "is_public", json!(false)).await;
    let (_, others_code) = hidden(&organiser, "is_public", json!(false)).await;
    lock(&guest, &event, "A1", &code).await.ok();
    // Nor do they hear that a seat is taken.
    for label in ["A1", "A2"] {
        for wrong in [Value::Null, json!(WRONG), json!("please"), others_code.clone()] {
            lock(&stranger, &event, label, &wrong).await.failed(404, NOT_FOUND);
            book(&stranger, &event, label, &wrong).await.failed(404, NOT_FOUND);
            let mut seats =
                json!({"seats": [{"seat_type_id": event.seat_type("VIP"), "seat_label": label}]});
            seats["share_code"] = wrong;
            let several = stranger.post(&format!("/seats/{}/locks", event.id), seats).await;
            several.failed(404, NOT_FOUND);
        }
    }
    let taken = "Seat A1 is already taken. Please select another seat.";
    lock(&stranger, &event, "A1", &code).await.failed(409, taken);
    let not_locked = "One or more seats are not locked by you, have expired, or do not exist. Please lock the seats again.";
    book(&stranger, &event, "A2", &code).await.failed(409, not_locked);
    lock(&organiser, &event, "B1", &Value::Null).await.ok();

    // Who has shown the code need not show it again, and keeps what is locked.
    book(&guest, &event, "A1", &Value::Null).await.ok();
    assert_eq!(stack.count("seats").await, 2);
    stack.assert_invariants().await;
}

#[tokio::test]
async fn a_socket_that_has_joined_with_the_code_need_not_send_it_again() {
    let stack = Stack::builder().workers([]).start().await;
    let (organiser, guest) = (stack.user().await, stack.user().await);
    let (event, code) = hidden(&organiser, "is_public", json!(false)).await;
    let joined = stack.socket("who joined with the code", &guest).await;
    let without = stack.socket("who joined without", &guest).await;
    joined.call_ok("join_event", json!({"event_id": event.id, "share_code": code})).await;
    without.call_ok("join_event", json!(event.id)).await;

    let refused = without.call("lock_seat", &[seat(&event, "A1", &Value::Null)]).await;
    assert_eq!(refused, json!({"success": false, "error": NOT_FOUND}));
    joined.call_ok("lock_seat", seat(&event, "A1", &Value::Null)).await;
    without.call_ok("lock_seat", seat(&event, "A2", &code)).await;
    joined.call_ok("leave_event", json!(event.id)).await;
    let refused = joined.call("lock_seat", &[seat(&event, "A3", &Value::Null)]).await;
    assert_eq!(refused, json!({"success": false, "error": NOT_FOUND}));
}

#[tokio::test]
async fn a_draft_is_to_others_what_no_event_is() {
    let stack = Stack::builder().workers([]).start().await;
    let (organiser, stranger) = (stack.user().await, stack.user().await);
    let (event, code) = hidden(&organiser, "status", json!("draft")).await;
    let nowhere = Event { id: 424_242, ..event.clone() };
    for (event, code) in [(&event, &Value::Null), (&event, &code), (&nowhere, &Value::Null)] {
        lock(&stranger, event, "A1", code).await.failed(404, NOT_FOUND);
        book(&stranger, event, "A1", code).await.failed(404, NOT_FOUND);
    }
    let not_on_sale = "Event is not available for booking";
    lock(&organiser, &event, "A1", &Value::Null).await.failed(409, not_on_sale);
    book(&organiser, &event, "A1", &Value::Null).await.failed(409, not_on_sale);
}

#[tokio::test]
async fn an_event_that_is_hidden_while_its_seats_are_wanted_tells_no_more_of_them() {
    let stack = Stack::builder().workers([]).without_limits().start().await;
    let (organiser, buyer, stranger) = (stack.user().await, stack.user().await, stack.user().await);
    let event = stack.event(&organiser, &[("VIP", 100.0, 50)]).await;
    buyer.lock(&event, "VIP", "A1").await.ok();
    let taken = "Seat A1 is already taken. Please select another seat.";
    stranger.lock(&event, "VIP", "A1").await.failed(409, taken);
    organiser.put(&format!("/events/{}", event.id), json!({"is_public": false})).await.ok();
    stranger.lock(&event, "VIP", "B1").await.failed(404, NOT_FOUND);
    nexus_tests::eventually("a second is over", nexus_tests::SOON, async || {
        let refused = stranger.lock(&event, "VIP", "A1").await;
        nexus_tests::seen(refused.status == 404, refused.status).map(drop)
    })
    .await;
    // What was locked before can be booked.
    buyer.book(&event, &[("VIP", "A1")]).await.ok();
}
