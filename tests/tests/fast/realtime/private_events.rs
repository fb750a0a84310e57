//! Private events: whoever has the share code may know of them and hears of their seats and
//! bookings, and so does their organiser. Drafts are their organiser's alone.

use super::fence;
use nexus_tests::shop::{MASKED_REFERENCE, event_request};
use nexus_tests::{Client, Event, SOON, SocketClient, Stack, Value, eventually, json, seen};

const SEATS: [&str; 4] = ["seat_locked", "seat_unlocked", "seat_booked", "event:seats-update"];
const BOOKINGS: [&str; 3] = ["booking_created", "booking_confirmed", "booking_cancelled"];
/// A code of no event.
const WRONG: &str = "67e55044-10b1-426f-9247-bb680e5fe0c8";

/// A new event with these fields, and its share code.
async fn hidden(organiser: &Client, fields: &[(&str, Value)]) -> (Event, String) {
    let mut request = event_request(&[("VIP", 100.0, 50)]);
    for (field, value) in fields {
        request[*field] = value.clone();
    }
    let mut event = Event::from_created(&organiser.post("/events/create", request).await.data());
    let code = code(organiser, &event).await;
    event.share_code = Some(code.clone());
    (event, code)
}

/// The event's share code, as its organiser reads it.
async fn code(organiser: &Client, event: &Event) -> String {
    let shown = organiser.get(&format!("/events/{}", event.id)).await.data();
    shown["share_code"].as_str().expect("a code").to_owned()
}

async fn join(socket: &SocketClient, event: &Event, code: &str) {
    let joined =
        socket.call_ok("join_event", json!({"event_id": event.id, "share_code": code})).await;
    assert_eq!(joined, json!({"event_id": event.id}), "the answer says nothing of the event");
}

/// The socket hears of this seat of the event's.
async fn hears_of(socket: &SocketClient, event: &Event, label: &str) {
    let is_it = |heard: &Value| {
        heard["event_id"] == event.id && heard["seat_label"].as_str() == Some(label)
    };
    socket.wait_for("seat_locked", is_it, SOON).await;
}

/// Waits until the counts of the event are told, which come some time after its other news.
async fn counts(socket: &SocketClient, event: &Event) {
    let is_it = |heard: &Value| heard["event_id"] == event.id;
    socket.wait_for("event:seats-update", is_it, SOON).await;
}

fn heard(socket: &SocketClient, kinds: &[&str]) -> usize {
    kinds.iter().map(|kind| socket.received(kind).len()).sum()
}

fn hears_nothing_of_seats(socket: &SocketClient) {
    assert_eq!(heard(socket, &SEATS), 0, "{}", socket.describe());
}

#[tokio::test]
async fn who_has_the_code_hears_of_seats_and_bookings_and_strangers_do_not() {
    let stack = Stack::builder().api_processes(2).start().await;
    let (organiser, buyer, stranger) = (stack.user().await, stack.user().await, stack.user().await);
    let (event, code) = hidden(&organiser, &[("is_public", json!(false))]).await;
    let (other, others_code) = hidden(&organiser, &[("is_public", json!(false))]).await;
    let elsewhere = json!({"url": stack.api_url(1), "transports": ["websocket"]});

    let guests = [
        stack.socket("nobody with the code", &stack.anonymous()).await,
        stack.socket_with("a guest elsewhere", &stranger, elsewhere.clone()).await,
    ];
    let owners = [
        stack.socket("the organiser", &organiser).await,
        stack.socket_with("the organiser elsewhere", &organiser, elsewhere.clone()).await,
        stack.socket("the organiser who joined", &organiser).await,
    ];
    let away = stack.socket("the organiser who joined another event", &organiser).await;
    let strangers = [
        stack.socket("nobody", &stack.anonymous()).await,
        stack.socket_with("a stranger elsewhere", &stranger, elsewhere).await,
        stack.socket("a stranger who joined", &stranger).await,
        stack.socket("a stranger with a wrong code", &stranger).await,
        stack.socket("a stranger with another event's code", &stranger).await,
        stack.socket("a stranger with no code at all", &stranger).await,
    ];
    let own = stack.socket("the buyer", &buyer).await;
    for guest in &guests {
        join(guest, &event, &code).await;
    }
    owners[2].call_ok("join_event", json!(event.id)).await;
    join(&away, &other, &others_code).await;
    strangers[2].call_ok("join_event", json!(event.id)).await;
    join(&strangers[3], &event, WRONG).await;
    join(&strangers[4], &event, &others_code).await;
    join(&strangers[5], &event, "please").await;
    // The processes find each other through Redis, which takes a moment after the start.
    eventually("the processes hear of each other", SOON, async || {
        stack.event(&organiser, &[("Warm-up", 1.0, 1)]).await;
        seen(!strangers[1].received("event_created").is_empty(), ())
    })
    .await;

    let (booking, _) = stack.sell(&buyer, &event, &[("VIP", "A1")]).await;
    let cancel = format!("/bookings/{}/cancel", booking.id);
    buyer.post(&cancel, json!({"reason": "rain"})).await.ok();
    for socket in guests.iter().chain(&owners) {
        for kind in SEATS.iter().chain(&BOOKINGS) {
            socket.wait_for_any(kind).await;
        }
    }
    own.wait_for_any("booking_cancelled").await;
    counts(&owners[0], &event).await;
    let all: Vec<&SocketClient> =
        guests.iter().chain(&owners).chain(&strangers).chain([&away, &own]).collect();
    fence(&stack, &all).await;

    for socket in &strangers {
        hears_nothing_of_seats(socket);
        assert_eq!(heard(socket, &BOOKINGS), 0, "{}", socket.describe());
    }
    hears_nothing_of_seats(&own);
    hears_nothing_of_seats(&away);
    assert_eq!(heard(&away, &BOOKINGS), 0, "{}", away.describe());
    for (socket, reference) in guests
        .iter()
        .map(|guest| (guest, MASKED_REFERENCE))
        .chain(owners.iter().chain([&own]).map(|party| (party, booking.reference.as_str())))
    {
        let created = socket.received("booking_created");
        assert_eq!(created.len(), 1, "once: {}", socket.describe());
        assert_eq!(created[0]["booking_reference"], reference, "{}", socket.describe());
        assert_eq!(heard(socket, &BOOKINGS), 3, "{}", socket.describe());
    }
    for socket in guests.iter().chain(&owners) {
        assert_eq!(heard(socket, &SEATS[..3]), 3, "each once: {}", socket.describe());
    }
    let everything: String = all.iter().map(|socket| socket.describe()).collect();
    assert!(!everything.contains(&code), "nobody hears the code");
    stack.assert_invariants().await;
}

#[tokio::test]
async fn an_event_that_becomes_private_is_no_longer_heard_without_its_code() {
    let stack = Stack::builder().workers([]).start().await;
    let (organiser, buyer) = (stack.user().await, stack.user().await);
    let mut event = stack.event(&organiser, &[("VIP", 100.0, 50)]).await;
    let code = code(&organiser, &event).await;
    event.share_code = Some(code.clone());
    let never = stack.socket("who never joined", &stack.anonymous()).await;
    let joined = stack.socket("who joined while it was open", &stack.anonymous()).await;
    let guest = stack.socket("who joined with the code while it was open", &buyer).await;
    let left = stack.socket("who joined with the code, then without", &buyer).await;
    let owner = stack.socket("the organiser", &organiser).await;
    let all = [&never, &joined, &guest, &left, &owner];
    joined.call_ok("join_event", json!(event.id)).await;
    for socket in [&guest, &left] {
        join(socket, &event, &code).await;
    }
    left.call_ok("join_event", json!(event.id)).await;
    buyer.lock(&event, "VIP", "A1").await.ok();
    for socket in all {
        hears_of(socket, &event, "A1").await;
        counts(socket, &event).await;
    }

    let path = format!("/events/{}", event.id);
    organiser.put(&path, json!({"is_public": false})).await.ok();
    fence(&stack, &all).await;
    all.iter().for_each(|socket| socket.forget());
    buyer.lock(&event, "VIP", "B1").await.ok();
    for socket in [&guest, &owner] {
        hears_of(socket, &event, "B1").await;
        counts(socket, &event).await;
    }
    fence(&stack, &all).await;
    for socket in [&never, &joined, &left] {
        hears_nothing_of_seats(socket);
    }

    organiser.put(&path, json!({"status": "draft"})).await.ok();
    fence(&stack, &all).await;
    all.iter().for_each(|socket| socket.forget());
    let lock = format!("/seats/{}/seat-types/{}/lock", event.id, event.seat_type("VIP"));
    buyer.delete(&format!("{lock}?seat_label=B1")).await.ok();
    owner.wait_for_any("seat_unlocked").await;
    counts(&owner, &event).await;
    fence(&stack, &all).await;
    for socket in [&never, &joined, &left, &guest] {
        hears_nothing_of_seats(socket);
    }

    organiser.put(&path, json!({"status": "published", "is_public": true})).await.ok();
    buyer.lock(&event, "VIP", "C1").await.ok();
    for socket in all {
        hears_of(socket, &event, "C1").await;
    }
}

#[tokio::test]
async fn a_draft_is_its_organisers_alone_whatever_code_others_have() {
    let stack = Stack::builder().workers([]).start().await;
    let (organiser, buyer) = (stack.user().await, stack.user().await);
    let (event, code) = hidden(&organiser, &[]).await;
    let booking = buyer.lock_and_book(&event, &[("VIP", "A1")]).await;
    let draft = json!({"status": "draft", "is_public": false});
    organiser.put(&format!("/events/{}", event.id), draft).await.ok();
    let owner = stack.socket("the organiser", &organiser).await;
    let guest = stack.socket("who has the code", &stack.user().await).await;
    let never = stack.socket("who never joined", &stack.anonymous()).await;
    let own = stack.socket("the buyer", &buyer).await;
    join(&guest, &event, &code).await;

    buyer.post(&format!("/bookings/{}/cancel", booking.id), json!({})).await.ok();
    for kind in ["booking_cancelled", "seat_unlocked", "event:seats-update"] {
        owner.wait_for_any(kind).await;
    }
    own.wait_for_any("booking_cancelled").await;
    fence(&stack, &[&owner, &guest, &never, &own]).await;
    for socket in [&guest, &never] {
        hears_nothing_of_seats(socket);
        assert_eq!(heard(socket, &BOOKINGS), 0, "{}", socket.describe());
    }
    hears_nothing_of_seats(&own);
}
