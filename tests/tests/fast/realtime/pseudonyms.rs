//! Whose lock it is: a user's own sockets are told, others are told a number that stands for the
//! user in that event.

use std::collections::BTreeSet;

use super::fence;
use nexus_tests::{Event, SOON, SocketClient, Stack, Value, eventually, json, seen};

/// The users that the socket has been told of, as it has been told of them.
fn told(socket: &SocketClient, event: &Event) -> BTreeSet<i64> {
    let locked = socket.received("seat_locked").into_iter();
    locked
        .filter(|locked| locked["event_id"] == event.id)
        .map(|locked| {
            assert_eq!(locked["user_id"], locked["lock"]["user_id"], "{locked}");
            locked["user_id"].as_i64().expect("a number")
        })
        .collect()
}

#[tokio::test]
async fn others_are_told_a_number_that_stands_for_the_user_in_one_event_only() {
    let stack = Stack::builder().api_processes(2).workers([]).start().await;
    let (organiser, buyer, other) = (stack.user().await, stack.user().await, stack.user().await);
    let events = [
        stack.event(&organiser, &[("VIP", 100.0, 50)]).await,
        stack.event(&organiser, &[("VIP", 100.0, 50)]).await,
    ];
    let elsewhere = json!({"url": stack.api_url(1), "transports": ["websocket"]});
    let own = [
        stack.socket("the buyer", &buyer).await,
        stack.socket_with("the buyer elsewhere", &buyer, elsewhere.clone()).await,
    ];
    let others = [
        stack.socket("nobody", &stack.anonymous()).await,
        stack.socket("another buyer", &other).await,
        stack.socket_with("the organiser elsewhere", &organiser, elsewhere).await,
    ];
    let sender = stack.socket("the sender", &buyer).await;
    let all: Vec<&SocketClient> = own.iter().chain(&others).collect();
    eventually("the processes hear of each other", SOON, async || {
        stack.event(&organiser, &[("Warm-up", 1.0, 1)]).await;
        seen(!others[2].received("event_created").is_empty(), ())
    })
    .await;

    for event in &events {
        // Over HTTP at one process and at the other, alone and together, and over a socket.
        buyer.lock(event, "VIP", "A1").await.ok();
        buyer.clone().at(&stack.api_url(1)).lock(event, "VIP", "A2").await.ok();
        let seats = ["A3", "A4"]
            .map(|label| json!({"seat_type_id": event.seat_type("VIP"), "seat_label": label}));
        buyer.post(&format!("/seats/{}/locks", event.id), json!({"seats": seats})).await.ok();
        let seat =
            json!({"eventId": event.id, "seatTypeId": event.seat_type("VIP"), "seat_label": "A5"});
        let answer = sender.call_ok("lock_seat", seat).await;
        assert_eq!(answer["lock"]["user_id"], buyer.id, "the user's own answer");
    }
    for socket in &all {
        for event in &events {
            for label in ["A1", "A2", "A3", "A4", "A5"] {
                let is_it =
                    |heard: &Value| heard["event_id"] == event.id && heard["seat_label"] == label;
                socket.wait_for("seat_locked", is_it, SOON).await;
            }
        }
    }
    fence(&stack, &all).await;

    for socket in &own {
        for event in &events {
            assert_eq!(told(socket, event), BTreeSet::from([buyer.id]), "{}", socket.describe());
        }
    }
    let [one, another] = [told(&others[0], &events[0]), told(&others[0], &events[1])];
    assert!(one.len() == 1 && another.len() == 1 && one != another, "{one:?} {another:?}");
    for socket in &others {
        assert_eq!(told(socket, &events[0]), one, "{}", socket.describe());
        assert_eq!(told(socket, &events[1]), another, "{}", socket.describe());
        assert_eq!(socket.received("seat_locked").len(), 10, "each once: {}", socket.describe());
    }
    let users = stack.count("users").await;
    assert!(one.iter().chain(&another).all(|number| *number > users), "no user has that id");

    events_of_two(&stack, &events[0], &one).await;
}

/// Another user is another number.
async fn events_of_two(stack: &Stack, event: &Event, one: &BTreeSet<i64>) {
    let viewer = stack.socket("a viewer", &stack.anonymous()).await;
    stack.user().await.lock(event, "VIP", "B1").await.ok();
    viewer.wait_for_any("seat_locked").await;
    assert!(told(&viewer, event).is_disjoint(one));
}
