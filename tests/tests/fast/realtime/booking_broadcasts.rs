//! Broadcasts about bookings: the parties hear all of it, others neither its reference nor its
//! amount; the buyer's words are for the buyer alone.

use super::fence;
use nexus_tests::shop::{MASKED_REFERENCE, event_request};
use nexus_tests::{Client, Event, SOON, SocketClient, Stack, Value, eventually, json, seen};

const BROADCASTS: [&str; 3] = ["booking_created", "booking_confirmed", "booking_cancelled"];
const NOTHING: [Vec<Value>; 3] = [Vec::new(), Vec::new(), Vec::new()];

/// A socket at that process.
async fn socket(stack: &Stack, name: &str, who: &Client, process: usize) -> SocketClient {
    let options = json!({"url": stack.api_url(process), "transports": ["websocket"]});
    stack.socket_with(name, who, options).await
}

/// What a socket was told of bookings, by the kind of broadcast.
fn told(socket: &SocketClient) -> [Vec<Value>; 3] {
    BROADCASTS.map(|event| socket.received(event))
}

#[tokio::test]
async fn a_bookings_parties_hear_all_of_it_and_others_what_is_no_secret() {
    let stack = Stack::builder().api_processes(2).start().await;
    let (organiser, buyer, stranger) = (stack.user().await, stack.user().await, stack.user().await);
    let event = stack.event(&organiser, &[("VIP", 100.0, 50)]).await;
    let other = stack.event(&organiser, &[("VIP", 100.0, 50)]).await;

    let parties = [
        socket(&stack, "the buyer", &buyer, 0).await,
        socket(&stack, "the buyer elsewhere", &buyer, 1).await,
        socket(&stack, "the organiser", &organiser, 1).await,
        socket(&stack, "the buyer who joined", &buyer, 1).await,
        socket(&stack, "the organiser who joined", &organiser, 0).await,
    ];
    let others = [
        socket(&stack, "a stranger", &stranger, 0).await,
        socket(&stack, "a stranger elsewhere", &stranger, 1).await,
        socket(&stack, "nobody", &stack.anonymous(), 1).await,
        socket(&stack, "a stranger who joined", &stranger, 1).await,
        socket(&stack, "nobody who joined", &stack.anonymous(), 0).await,
    ];
    let away = socket(&stack, "the buyer who joined another event", &buyer, 1).await;
    for joined in parties[3..].iter().chain(&others[3..]) {
        joined.call_ok("join_event", json!(event.id)).await;
    }
    away.call_ok("join_event", json!(other.id)).await;
    // The processes find each other through Redis, which takes a moment after the start.
    eventually("the processes hear of each other", SOON, async || {
        stack.event(&organiser, &[("Warm-up", 1.0, 1)]).await;
        seen(!parties[1].received("event_created").is_empty(), ())
    })
    .await;

    // By an API process, by a worker, and by an API process again.
    let (booking, _) = stack.sell(&buyer, &event, &[("VIP", "A1"), ("VIP", "A2")]).await;
    let cancel = format!("/bookings/{}/cancel", booking.id);
    buyer.post(&cancel, json!({"reason": "my mother died"})).await.ok();
    for socket in parties.iter().chain(&others) {
        for broadcast in BROADCASTS {
            socket.wait_for_any(broadcast).await;
        }
    }
    let all: Vec<&SocketClient> = parties.iter().chain(&others).chain([&away]).collect();
    fence(&stack, &all).await;

    let expected = |reference: &str, amount: Value, reason: &str| {
        [
            vec![
                json!({"event_id": event.id, "booking_reference": reference, "total_amount": amount, "status": "pending"}),
            ],
            vec![
                json!({"booking_id": booking.id, "booking_reference": reference, "event_id": event.id,
                        "total_tickets": 2, "status": "confirmed"}),
            ],
            vec![json!({"booking_id": booking.id, "reason": reason})],
        ]
    };
    for (place, socket) in parties.iter().enumerate() {
        let is_the_buyers = [0, 1, 3].contains(&place);
        let reason = if is_the_buyers { "my mother died" } else { "Cancelled by user" };
        let full = expected(&booking.reference, json!(200), reason);
        assert_eq!(told(socket), full, "{}", socket.describe());
        assert_eq!(socket.describe().contains("mother"), is_the_buyers, "{}", socket.describe());
    }
    for socket in &others {
        assert_eq!(
            told(socket),
            expected(MASKED_REFERENCE, Value::Null, "Cancelled by user"),
            "{}",
            socket.describe()
        );
        let everything = socket.describe();
        assert!(
            !everything.contains(&booking.reference) && !everything.contains("mother"),
            "{everything}"
        );
    }
    assert_eq!(told(&away), NOTHING, "{}", away.describe());
    stack.assert_invariants().await;
}

#[tokio::test]
async fn the_senders_other_sockets_hear_all_of_it_and_the_sender_nothing() {
    let stack = Stack::builder().workers([]).start().await;
    let organiser = stack.user().await;
    let mut request = event_request(&[("VIP", 100.0, 50)]);
    request["is_public"] = json!(false);
    let event = Event::from_created(&organiser.post("/events/create", request).await.data());
    let buyer = stack.user().await;
    let sender = stack.socket("the sender", &buyer).await;
    let beside = stack.socket("the buyer", &buyer).await;
    let owner = stack.socket("the organiser", &organiser).await;
    let stranger = stack.socket("the stranger", &stack.anonymous()).await;

    let shown = organiser.get(&format!("/events/{}", event.id)).await.data();
    let join = json!({"event_id": event.id, "share_code": shown["share_code"]});
    sender.call_ok("join_event", join).await;
    let seat_type = event.seat_type("VIP");
    sender
        .call_ok(
            "lock_seat",
            json!({"eventId": event.id, "seatTypeId": seat_type, "seat_label": "A1"}),
        )
        .await;
    let details = [json!({"seat_label": "A1", "seat_type_id": seat_type})];
    let booked = sender
        .call_ok("create_booking", json!({"event_id": event.id, "seat_details": details}))
        .await;
    let id = &booked["booking"]["id"];
    sender.call_ok("cancel_booking", json!({"booking_id": id, "reason": "rain"})).await;
    fence(&stack, &[&sender, &beside, &owner, &stranger]).await;

    assert_eq!(told(&sender), NOTHING, "{}", sender.describe());
    assert_eq!(told(&stranger), NOTHING, "a private event: {}", stranger.describe());
    for (socket, reason) in [(&beside, "rain"), (&owner, "Cancelled by user")] {
        let [created, confirmed, cancelled] = told(socket);
        assert_eq!((created.len(), confirmed.len()), (1, 0), "{}", socket.describe());
        let reference = &booked["booking"]["booking_reference"];
        assert_eq!(&created[0]["booking_reference"], reference, "{}", socket.describe());
        assert_eq!(
            cancelled,
            [json!({"booking_id": id, "reason": reason})],
            "{}",
            socket.describe()
        );
    }
}

#[tokio::test]
async fn a_session_that_has_ended_hears_what_strangers_hear() {
    let stack = Stack::builder().workers([]).start().await;
    let organiser = stack.user().await;
    let event = stack.event(&organiser, &[("VIP", 100.0, 50)]).await;
    let buyer = stack.user().await;
    let never_joined = stack.socket("the buyer", &buyer).await;
    let joined = stack.socket("the buyer who joined", &buyer).await;
    let joins_later = stack.socket("the buyer who will join", &buyer).await;
    joined.call_ok("join_event", json!(event.id)).await;
    let booking = buyer.lock_and_book(&event, &[("VIP", "A1")]).await;
    for socket in [&never_joined, &joined, &joins_later] {
        let is_it = |broadcast: &Value| broadcast["booking_reference"] == booking.reference;
        socket.wait_for("booking_created", is_it, SOON).await;
        socket.forget();
    }

    let now = std::time::SystemTime::UNIX_EPOCH.elapsed().unwrap().as_secs();
    let claims = json!({"userId": buyer.id, "type": "access", "iat": now, "exp": now + 1800, "jti": "6f1c2f0e-7d39-4f6e-9d0a-2c1b5e8a4d37"});
    let anew = buyer.clone().with_token(buyer.id, stack.sign_token(&claims));
    buyer.post("/auth/logout", json!({})).await.ok();
    joins_later.call_ok("join_event", json!(event.id)).await;
    anew.lock_and_book(&event, &[("VIP", "A2")]).await;
    let all = [&never_joined, &joined, &joins_later];
    fence(&stack, &all).await;
    for socket in all {
        let [created, ..] = told(socket);
        assert_eq!(created.len(), 1, "{}", socket.describe());
        assert_eq!(created[0]["booking_reference"], MASKED_REFERENCE, "{}", socket.describe());
    }
}
