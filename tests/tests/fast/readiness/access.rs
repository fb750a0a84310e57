//! Who may do what over a socket, and as which user.

use std::collections::BTreeMap;

use nexus_tests::conformance::ASYNCAPI;
use nexus_tests::shop::event_request;
use nexus_tests::{Event, Method, Stack, Value, json};

/// Commands that need no login.
const LISTENING: [&str; 2] = ["join_event", "leave_event"];

/// Every command of the document, with the names of its payload's fields.
fn commands() -> BTreeMap<&'static str, Vec<&'static str>> {
    let operations = ASYNCAPI.whole["operations"].as_object().unwrap().iter();
    let received = operations.filter(|(_, operation)| operation["action"] == "receive");
    received
        .map(|(name, _)| {
            let payload = ASYNCAPI.at(&["channels", "nexus", "messages", name, "payload"]);
            let fields =
                payload["properties"].as_object().into_iter().flat_map(|fields| fields.keys());
            (name.as_str(), fields.map(String::as_str).collect())
        })
        .collect()
}

fn refused(error: &str) -> Value {
    json!({"success": false, "error": error})
}

#[tokio::test]
async fn finding_10_anonymous_sockets_may_listen_and_nothing_else() {
    let stack = Stack::builder().workers([]).start().await;
    let organiser = stack.user().await;
    let event = stack.event(&organiser, &[("VIP", 100.0, 50)]).await;
    let anonymous = stack.socket("the stranger", &stack.anonymous()).await;
    let before = stack.contents().await;
    for (number, name) in
        commands().into_keys().filter(|name| !LISTENING.contains(name)).enumerate()
    {
        let response =
            anonymous.call(name, &[json!({"eventId": event.id, "event_id": event.id})]).await;
        assert_eq!(response, refused("Authentication required"), "{name}");
        assert_eq!(
            anonymous.received("error").len(),
            number + 1,
            "{name}: {}",
            anonymous.describe()
        );
        assert_eq!(
            anonymous.received("error")[number],
            json!({"message": "Authentication required"})
        );
    }
    assert_eq!(stack.contents().await, before, "rows");

    anonymous.call_ok("join_event", json!(event.id)).await;
    stack.user().await.lock(&event, "VIP", "A1").await.ok();
    anonymous.wait_for_any("seat_locked").await;
    anonymous.call_ok("leave_event", json!(event.id)).await;
}

/// Values that make no sense in any field.
fn malformed() -> Vec<Value> {
    let deep = (0..100).fold(json!("bottom"), |inner, _| json!([inner]));
    // Deeper than any parser goes.
    let abyss = (0..400).fold(json!("bottom"), |inner, _| json!({ "x": inner }));
    vec![
        Value::Null,
        json!(-1),
        json!(1.5e300),
        json!(9_007_199_254_740_993_i64),
        json!("text"),
        json!("\0"),
        json!("'; DROP TABLE users; --"),
        json!([]),
        json!([[], {}, null]),
        json!({}),
        json!({"__proto__": {"admin": true}, "constructor": {"prototype": {}}, "toString": 1}),
        json!("x".repeat(60_000)),
        json!("x".repeat(900_000)),
        deep,
        abyss,
    ]
}

#[tokio::test]
async fn finding_20_every_payload_is_answered_with_a_sentence() {
    let stack = Stack::builder().workers([]).without_limits().start().await;
    let socket = stack.socket("the user", &stack.user().await).await;
    let before = stack.contents().await;
    for (name, fields) in commands() {
        for value in malformed() {
            let everywhere: Value =
                fields.iter().map(|field| ((*field).to_owned(), value.clone())).collect();
            for payload in [value.clone(), everywhere] {
                let text = payload.to_string();
                // The transport itself takes no more: docs/contract.md#transport.
                if text.len() > 950_000 {
                    continue;
                }
                let shown = format!("{name} {text:.80}");
                let response = socket.call(name, &[payload]).await;
                assert_eq!(response["success"], false, "{shown}: {response}");
                let error = response["error"].as_str().unwrap_or_default();
                assert!(error.contains(' '), "{shown}: {response}");
                let ours = [
                    "Internal server error",
                    "Service temporarily unavailable. Please try again shortly.",
                ];
                assert!(!ours.contains(&error), "{shown}: {response}");
            }
        }
    }
    assert_eq!(stack.contents().await, before, "rows");
    // Still the same connection.
    assert_eq!(socket.call("delete_event", &[]).await, refused("Event not found"));
    stack.anonymous().get_root("/health").await.ok();
}

/// The same with every field in which a client might claim to be a user.
fn claiming_to_be(user: i64, request: Value) -> Value {
    let mut request = request;
    for name in
        ["userId", "user_id", "user", "id", "sub", "organizerId", "organizer_id", "role", "isAdmin"]
    {
        request[name] = json!(user);
    }
    request
}

#[tokio::test]
async fn finding_21_who_acts_is_whom_the_token_names() {
    let stack = Stack::builder().workers([]).start().await;
    let (victim, forger) = (stack.user().await, stack.user().await);
    let socket = stack.socket("the forger", &forger).await;
    let claiming = |request: Value| claiming_to_be(victim.id, request);
    let create = claiming(event_request(&[("VIP", 100.0, 50)]));

    for over in ["http", "socket"] {
        let created = match over {
            "http" => forger.post("/events/create", create.clone()).await.data(),
            _ => socket.call_ok("create_event", create.clone()).await,
        };
        assert_eq!(created["event"]["organizer_id"], forger.id, "{over}");
        let event = Event::from_created(&created);

        let seat =
            json!({"eventId": event.id, "seatTypeId": event.seat_type("VIP"), "seat_label": "A1"});
        let path = format!("/seats/{}/seat-types/{}/lock", event.id, event.seat_type("VIP"));
        let locked = match over {
            "http" => forger.post(&path, claiming(seat)).await.data(),
            _ => socket.call_ok("lock_seat", claiming(seat)).await,
        };
        assert_eq!(locked["lock"]["user_id"], forger.id, "{over}");

        let seats = json!([{"seat_label": "A1", "seat_type_id": event.seat_type("VIP")}]);
        let request = claiming(json!({"event_id": event.id, "seat_details": seats}));
        let booked = match over {
            "http" => forger.post("/bookings/create", request).await.data(),
            _ => socket.call_ok("create_booking", request).await,
        };
        assert_eq!(booked["booking"]["user_id"], forger.id, "{over}");

        // Nor does it open what belongs to another user.
        let theirs = stack.event(&victim, &[("VIP", 100.0, 50)]).await;
        let update = claiming(json!({"eventId": theirs.id, "name": "Mine now"}));
        let refusal = "You are not authorized to update this event";
        match over {
            "http" => {
                forger.put(&format!("/events/{}", theirs.id), update).await.failed(403, refusal)
            }
            _ => assert_eq!(socket.call("update_event", &[update]).await, refused(refusal)),
        }
    }
    let mine =
        forger.get(&format!("/bookings/my-bookings?user_id={0}&userId={0}", victim.id)).await.ok();
    assert_eq!(mine["pagination"]["total"], 2, "{mine}");
    let me = forger.request(Method::GET, &format!("/auth/me?userId={}", victim.id));
    let me = me.header("x-user-id", victim.id.to_string());
    assert_eq!(nexus_tests::Response::to(me).await.data()["user"]["id"], forger.id);
    assert_eq!(stack.count(&format!("bookings WHERE user_id = {}", victim.id)).await, 0);
    stack.assert_invariants().await;
}
