//! How fast sockets may send commands, and how many may come (`docs/limits.md`).

use std::time::Duration;

use nexus_tests::client::http_client;
use nexus_tests::refusals::TOO_MANY;
use nexus_tests::{SOON, SocketClient, Stack, Value, eventually, json, seen};

async fn start(settings: &[(&str, &str)]) -> Stack {
    Stack::builder().workers([]).settings(settings).start().await
}

#[tokio::test]
async fn a_flood_of_commands_is_refused_and_who_goes_on_is_disconnected() {
    let stack = start(&[("RATE_LIMIT_COMMANDS", "6/1h")]).await;
    let organiser = stack.user().await;
    let event = stack.event(&organiser, &[("VIP", 100.0, 50)]).await;
    let seat = |n: usize| json!({"eventId": event.id, "seatTypeId": event.seat_types[0].1, "seat_label": format!("S{n}")});
    let socket = stack.socket("the flood", &stack.user().await).await;
    let other = stack.socket("somebody else", &stack.user().await).await;
    // Connecting has counted, too.
    for n in 0..5 {
        socket.call_ok("lock_seat", seat(n)).await;
    }
    let refused = json!({"success": false, "error": TOO_MANY});
    for n in 5..11 {
        assert_eq!(socket.call("lock_seat", &[seat(n)]).await, refused);
    }
    assert_eq!(
        socket
            .received("lock_seat_response")
            .iter()
            .filter(|response| **response == refused)
            .count(),
        6
    );
    socket.emit("lock_seat", &[seat(11)]).await;
    let line = socket.wait_for_line("disconnect", SOON).await;
    assert_eq!(line["reason"], "io server disconnect");
    other.call_ok("lock_seat", seat(12)).await;
    assert_eq!(stack.count("seats").await, 6);
    stack.assert_invariants().await;
}

#[tokio::test]
async fn an_anonymous_flood_is_refused_too() {
    let stack = start(&[("RATE_LIMIT_COMMANDS", "4/1h")]).await;
    let socket = stack.socket("nobody", &stack.anonymous()).await;
    for _ in 0..3 {
        socket.call_ok("join_event", json!(1)).await;
    }
    assert_eq!(socket.call("join_event", &[json!(1)]).await["error"], TOO_MANY);
}

#[tokio::test]
async fn who_is_disconnected_and_connects_anew_over_the_same_connection_begins_no_new_budget() {
    let stack = start(&[("RATE_LIMIT_COMMANDS", "3/1h")]).await;
    let http = http_client();
    // Engine.IO by hand: 40 connects, 41 disconnects, 42 is a command.
    let url = format!("{}/socket.io/?EIO=4&transport=polling", stack.api_url(0));
    let poll = async |url: &str| {
        let response = http.get(url).send().await.unwrap();
        assert_eq!(response.status(), 200, "the connection has ended");
        response.text().await.unwrap()
    };
    let opened: Value = serde_json::from_str(&poll(&url).await[1..]).unwrap();
    let url = format!("{url}&sid={}", opened["sid"].as_str().unwrap());
    let send = async |packet: &str| {
        assert_eq!(
            http.post(&url).body(packet.to_owned()).send().await.unwrap().status(),
            200,
            "{packet}"
        );
    };
    // Everything up to the packet that begins so.
    let until = async |wanted: &str| {
        let mut said = String::new();
        while !said.split('\x1e').any(|packet| packet.starts_with(wanted)) {
            said += "\x1e";
            said += &poll(&url).await;
        }
        said
    };
    send("40").await;
    until("40").await;
    for _ in 0..6 {
        send(r#"42["join_event",1]"#).await;
    }
    let said = until("41").await;
    assert_eq!(said.matches(r#""success":true"#).count(), 2, "{said}");
    // The library ignores a client that connects before it has forgotten that it disconnected it.
    let connect_anew = async {
        loop {
            send("40").await;
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    };
    tokio::select! {
        _ = until("41") => {}
        () = connect_anew => {}
    }
}

#[tokio::test]
async fn a_users_sockets_and_requests_share_one_budget() {
    let stack = start(&[("RATE_LIMIT_USER", "6/1h")]).await;
    let buyer = stack.user().await;
    let sockets = [stack.socket("one", &buyer).await, stack.socket("another", &buyer).await];
    for socket in &sockets {
        for _ in 0..2 {
            assert_eq!(
                socket.call("delete_event", &[json!({"eventId": 1})]).await["error"],
                "Event not found"
            );
        }
    }
    for _ in 0..2 {
        buyer.get("/auth/me").await.ok();
    }
    buyer.get("/auth/me").await.failed(429, TOO_MANY);
    for socket in &sockets {
        assert_eq!(socket.call("delete_event", &[json!({"eventId": 1})]).await["error"], TOO_MANY);
    }
}

#[tokio::test]
async fn new_connections_of_one_address_are_limited() {
    let stack = start(&[("RATE_LIMIT_CONNECTIONS", "3/1h")]).await;
    let options = |address: &str, transports: &[&str]| {
        json!({
            "url": stack.api_url(0),
            "transports": transports,
            "reconnection": false,
            "extraHeaders": {"x-forwarded-for": address},
        })
    };
    let both = ["polling", "websocket"];
    let nobody = stack.anonymous();
    let mut connected = Vec::new();
    for transports in [&both[..], &["polling"], &["websocket"]] {
        connected.push(
            stack.socket_with("one of three", &nobody, options("198.51.100.1", transports)).await,
        );
    }
    for transports in [&["polling"], &["websocket"]] {
        let fourth = SocketClient::start("the fourth", &options("198.51.100.1", transports)).await;
        fourth.wait_for_line("connect_error", SOON).await;
    }
    stack.socket_with("somebody else", &nobody, options("198.51.100.2", &both)).await;
    for socket in &connected {
        socket.call_ok("join_event", json!(1)).await;
    }
}

#[tokio::test]
async fn polls_do_not_count_as_requests() {
    let stack =
        start(&[("RATE_LIMIT_ANONYMOUS", "1/1h"), ("RATE_LIMIT_CONNECTIONS", "1/1h")]).await;
    let polling = json!({"transports": ["polling"]});
    let socket = stack.socket_with("a polling client", &stack.anonymous(), polling).await;
    for _ in 0..20 {
        socket.call_ok("join_event", json!(1)).await;
    }
    let organiser = stack.user().await;
    let event = stack.event(&organiser, &[("VIP", 100.0, 50)]).await;
    eventually("it still hears", SOON, async || {
        organiser.put(&format!("/events/{}", event.id), json!({"location": "Pune"})).await.ok();
        let names = socket.event_names();
        seen(names.iter().any(|name| name == "event_updated"), names).map(drop)
    })
    .await;
}
