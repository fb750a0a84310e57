//! Bad input over sockets.

use std::time::Duration;

use nexus_tests::{SOON, SocketClient, Stack, Value, json};

/// Every command, and what it says to a payload that is nothing.
const COMMANDS: [(&str, &str); 9] = [
    (
        "create_event",
        "Missing required fields: name, description, start_date, end_date, location, organizer_id",
    ),
    ("update_event", "Event not found"),
    ("delete_event", "Event not found"),
    ("create_seat_type", "Event not found"),
    ("update_seat_type", "Event not found"),
    ("delete_seat_type", "Event not found"),
    ("lock_seat", "Event not found"),
    ("create_booking", "Event ID is required"),
    ("cancel_booking", "Booking not found"),
];

fn refused(error: &str) -> Value {
    json!({"success": false, "error": error})
}

#[tokio::test]
async fn an_anonymous_command_is_refused_and_listening_is_not() {
    let stack = Stack::builder().workers([]).start().await;
    let organiser = stack.user().await;
    let event = stack.event(&organiser, &[("VIP", 100.0, 50)]).await;
    let expired =
        stack.sign_token(&json!({"userId": organiser.id, "type": "access", "iat": 1, "exp": 2}));
    let strangers = [
        stack.anonymous(),
        stack.anonymous().with_token(organiser.id, "garbage"),
        stack.anonymous().with_token(organiser.id, expired),
    ];
    let before = stack.contents().await;
    for stranger in &strangers {
        let socket = stack.socket("the stranger", stranger).await;
        for (number, (command, _)) in COMMANDS.into_iter().enumerate() {
            let response = socket.call(command, &[json!({"eventId": event.id})]).await;
            assert_eq!(response, refused("Authentication required"), "{command}");
            let errors = socket.received("error");
            assert_eq!(errors.len(), number + 1, "{command}: {}", socket.describe());
            assert!(
                errors.iter().all(|error| *error == json!({"message": "Authentication required"})),
                "{errors:?}"
            );
            assert!(
                socket.received(&format!("{command}_response")).is_empty(),
                "{}",
                socket.describe()
            );
        }
        assert_eq!(stack.contents().await, before, "rows");
        let lock = stack.user().await;
        let label = format!("A{}", lock.id);
        lock.lock(&event, "VIP", &label).await.ok();
        let is_it = |broadcast: &Value| broadcast["seat_label"].as_str() == Some(&label);
        socket.wait_for("seat_locked", is_it, SOON).await;
        stack.execute("DELETE FROM seats").await;
        stack.execute("UPDATE event_seat_types SET available_quantity = quantity").await;
        stack.execute(&format!("DELETE FROM users WHERE id = {}", lock.id)).await;
        stack.execute("UPDATE event_inventory SET version = DEFAULT").await;
    }
}

/// socketioxide looks for attachments in what it reads, and stumbles over such an object.
#[tokio::test]
async fn a_first_field_that_has_to_be_escaped_hides_no_other() {
    let stack = Stack::builder().workers([]).start().await;
    let organiser = stack.user().await;
    let event = stack.event(&organiser, &[("VIP", 100.0, 50)]).await;
    let socket = stack.socket("the buyer", &organiser).await;
    let payload = json!({"\"": 1, "eventId": event.id, "seatTypeId": event.seat_type("VIP"), "seat_label": "V1"});
    assert!(payload.to_string().starts_with(r#"{"\""#), "{payload}");
    let response = socket.call("lock_seat", &[payload]).await;
    assert_eq!(response["data"]["lock"]["seat_label"], "V1", "{response}");
}

/// Sends without a callback and waits for the response; then with one, which gets the same object.
async fn both_ways(socket: &SocketClient, command: &str, arguments: &[Value]) -> Value {
    socket.forget();
    let event = format!("{command}_response");
    socket.emit(command, arguments).await;
    let response = socket.wait_for_any(&event).await;
    socket.forget();
    let acknowledged = socket.call(command, arguments).await;
    assert_eq!(
        acknowledged, response,
        "{command} {arguments:?}: the callback gets the same object"
    );
    assert_eq!(socket.wait_for_any(&event).await, response, "{command} {arguments:?}");
    response
}

#[tokio::test]
async fn payloads_of_every_shape_are_answered() {
    let stack = Stack::builder().without_limits().workers([]).start().await;
    let organiser = stack.user().await;
    let event = stack.event(&organiser, &[("VIP", 100.0, 50)]).await;
    let viewer = stack.socket("the viewer", &stack.anonymous()).await;
    let before = stack.contents().await;
    for transport in ["websocket", "polling"] {
        let socket =
            stack.socket_with("the user", &organiser, json!({"transports": [transport]})).await;
        let shapes: [&[Value]; 8] = [
            &[],
            &[json!(null)],
            &[json!("text")],
            &[json!(7)],
            &[json!(true)],
            &[json!([])],
            &[json!({})],
            &[json!([[[{}]]]), json!({"more": "arguments"}), json!(null)],
        ];
        for (command, problem) in COMMANDS {
            for shape in shapes {
                let response = both_ways(&socket, command, shape).await;
                assert_eq!(response, refused(problem), "{command} {shape:?} over {transport}");
            }
        }
        for command in ["join_event", "leave_event"] {
            for shape in [json!(null), json!("abc"), json!({}), json!([])] {
                assert_eq!(
                    both_ways(&socket, command, &[shape]).await,
                    refused("Invalid event ID"),
                    "{command}"
                );
            }
        }
        let label = |label: Value| json!({"eventId": event.id, "seatTypeId": event.seat_type("VIP"), "seat_label": label});
        for (payload, problem) in [
            (
                label(json!("A-1")),
                "Invalid seat label format. Only alphanumeric characters allowed.",
            ),
            (label(json!("")), "Seat label is required in request body"),
            (label(json!(7)), "Seat label is required"),
            (json!({"eventId": "x", "seatTypeId": 1, "seat_label": "A1"}), "Invalid event ID"),
            (json!({"eventId": 1, "seatTypeId": {}, "seat_label": "A1"}), "Invalid seat type ID"),
        ] {
            assert_eq!(
                both_ways(&socket, "lock_seat", std::slice::from_ref(&payload)).await,
                refused(problem),
                "{payload}"
            );
        }
        // An unknown event gets no response; the socket lives on.
        socket.emit("no_such_command", &[json!({})]).await;
        socket.emit("connection", &[]).await;
        assert_eq!(both_ways(&socket, "delete_event", &[]).await, refused("Event not found"));
    }
    assert_eq!(stack.contents().await, before, "rows");
    // Failures broadcast nothing.
    organiser.put(&format!("/events/{}", event.id), json!({"location": "Pune"})).await.ok();
    viewer.wait_for_any("event_updated").await;
    assert_eq!(viewer.event_names(), ["event_updated"], "{}", viewer.describe());
}

#[tokio::test]
async fn commands_end_with_the_session() {
    let stack = Stack::builder().workers([]).without_limits().start().await;
    let organiser = stack.user().await;
    let event = stack.event(&organiser, &[("VIP", 100.0, 50)]).await;
    let buyer = stack.user().await;
    let lock = |label: &str| json!({"eventId": event.id, "seatTypeId": event.seat_type("VIP"), "seat_label": label});
    let socket = stack.socket("the buyer", &buyer).await;
    socket.call_ok("lock_seat", lock("A1")).await;
    buyer.post("/auth/logout", json!({})).await.ok();
    let response = socket.call("lock_seat", &[lock("A2")]).await;
    assert_eq!(response, refused("Authentication required"), "after logout");

    // A token that runs out while its socket is connected; a second is the shortest that a token
    // can last.
    let now = std::time::SystemTime::UNIX_EPOCH.elapsed().unwrap().as_secs();
    let short = stack
        .sign_token(&json!({"userId": organiser.id, "type": "access", "iat": now, "exp": now + 3}));
    let socket =
        stack.socket("the organiser", &stack.anonymous().with_token(organiser.id, short)).await;
    socket.call_ok("lock_seat", lock("B1")).await;
    nexus_tests::eventually("the token has run out", Duration::from_secs(8), async || {
        let response = socket.call("delete_seat_type", &[json!({})]).await;
        nexus_tests::seen(response == refused("Authentication required"), response)
    })
    .await;
    let response = socket.call("lock_seat", &[lock("B2")]).await;
    assert_eq!(response, refused("Authentication required"), "after expiry");
    assert_eq!(stack.count("seats").await, 2, "seats locked");
    stack.assert_invariants().await;
}

#[tokio::test]
async fn one_sockets_commands_are_served_in_order_and_a_flood_is_refused() {
    let stack = Stack::builder().workers([]).without_limits().start().await;
    let organiser = stack.user().await;
    let event = stack.event(&organiser, &[("VIP", 100.0, 50)]).await;
    organiser.put(&format!("/events/{}", event.id), json!({"max_tickets_per_user": 50})).await.ok();
    let buyer = stack.user().await;
    let socket = stack.socket("the buyer", &buyer).await;
    let count = 2_000;
    for n in 0..count {
        let lock = json!({"eventId": event.id, "seatTypeId": event.seat_type("VIP"), "seat_label": format!("S{n}")});
        socket.emit("lock_seat", &[lock]).await;
    }
    let answered = nexus_tests::eventually("every command is answered", SOON, async || {
        let responses = socket.received("lock_seat_response");
        nexus_tests::seen(responses.len() == count, responses.len()).map(|_| responses)
    })
    .await;
    let locked: Vec<_> = answered.iter().filter(|response| response["success"] == true).collect();
    let numbers: Vec<u32> = locked
        .iter()
        .map(|response| {
            response["data"]["lock"]["seat_label"].as_str().unwrap()[1..].parse().unwrap()
        })
        .collect();
    assert!(numbers.is_sorted() && numbers.first() == Some(&0), "in order: {numbers:?}");
    let others = answered.iter().filter(|response| response["success"] == false);
    for response in others {
        let error = response["error"].as_str().unwrap();
        let known = [
            "Too many commands are waiting. Please slow down.",
            "No seats available for this seat type",
        ];
        assert!(known.contains(&error), "{response}");
    }
    assert_eq!(stack.count("seats").await, locked.len() as i64);
    stack.anonymous().get_root("/health").await.ok();
    stack.assert_invariants().await;
}
