//! How fast sockets may send commands, and how many may come (`docs/limits.md`).

use nexus_tests::client::http_client;
use nexus_tests::metrics::Metrics;
use nexus_tests::refusals::TOO_MANY;
use nexus_tests::wire::{Wire, text_frame};
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
    for n in 0..6 {
        socket.call_ok("lock_seat", seat(n)).await;
    }
    let refused = json!({"success": false, "error": TOO_MANY});
    for n in 6..12 {
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
    socket.emit("lock_seat", &[seat(12)]).await;
    let line = socket.wait_for_line("disconnect", SOON).await;
    assert_eq!(line["reason"], "io server disconnect");
    other.call_ok("lock_seat", seat(13)).await;
    assert_eq!(stack.count("seats").await, 7);
    stack.assert_invariants().await;
}

#[tokio::test]
async fn an_anonymous_flood_is_refused_too() {
    let stack = start(&[("RATE_LIMIT_COMMANDS", "4/1h")]).await;
    let socket = stack.socket("nobody", &stack.anonymous()).await;
    for _ in 0..4 {
        socket.call_ok("join_event", json!(1)).await;
    }
    assert_eq!(socket.call("join_event", &[json!(1)]).await["error"], TOO_MANY);
}

/// Engine.IO by hand: 40 connects, 41 disconnects.
#[tokio::test]
async fn a_session_that_has_been_left_is_not_connected_again_and_leaves_nothing_behind() {
    let stack = Stack::builder().workers([]).measured().start().await;
    let url = &stack.metrics_urls()["api"];
    let clients = async |count: f64| {
        let shows = |page: &Metrics| page.value("nexus_sockets") == Some(count);
        Metrics::until(url, &format!("{count} clients"), shows).await;
    };
    let mut socket = stack.wire().await;
    socket.open_websocket().await;
    clients(1.0).await;
    socket.send(["41", "41", "40", "40/nowhere,"].map(text_frame).concat()).await;
    // All of it has been read by then, unless the second goodbye has closed the session.
    let _ = socket.says("44/nowhere,").await;
    clients(0.0).await;
    drop(socket);
    clients(0.0).await;
}

#[tokio::test]
async fn a_websocket_without_an_upgrade_is_refused() {
    let stack = Stack::builder().workers([]).start().await;
    let request = "GET /socket.io/?EIO=4&transport=websocket HTTP/1.1\r\nhost: nexus\r\n\
                   sec-websocket-version: 13\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";
    let refused = stack.wire().await.ask(request).await;
    assert_eq!(refused.status, 400, "{refused:?}");
}

#[tokio::test]
async fn a_session_that_posts_and_does_not_poll_finds_itself_unknown() {
    let stack = Stack::builder().workers([]).start().await;
    let http = http_client();
    let url = format!("{}/socket.io/?EIO=4&transport=polling", stack.api_url(0));
    let opened = http.get(&url).send().await.unwrap().text().await.unwrap();
    let opened: Value = serde_json::from_str(&opened[1..]).unwrap();
    let url = format!("{url}&sid={}", opened["sid"].as_str().unwrap());
    // It would be told in as many words that there is no such namespace.
    let namespace = format!("40/{},", "x".repeat(900_000));
    let post =
        async || http.post(&url).body(namespace.clone()).send().await.unwrap().status().as_u16();
    assert_eq!((post().await, post().await), (200, 400));
}

#[tokio::test]
async fn an_address_has_so_many_sessions_at_once_and_gets_them_back() {
    let stack = start(&[("SOCKETS_PER_ADDRESS", "2")]).await;
    let url = stack.api_url(0);
    let from = async |address: [u8; 4]| Wire::connect_from(address, &url).await.unwrap();
    let polling = |query: &str| format!("/socket.io/?EIO=4&transport=polling{query} HTTP/1.1");
    let open = format!("GET {}\r\nhost: x\r\n\r\n", polling(""));

    let mut websocket = from([127, 0, 0, 2]).await;
    websocket.open_websocket().await;
    let mut poller = from([127, 0, 0, 2]).await;
    let opened = poller.ask(&open).await;
    assert_eq!(opened.status, 200, "{opened:?}");
    let refused = from([127, 0, 0, 2]).await.ask(&open).await;
    refused.failed(429, "rate_limited");
    assert!(refused.headers.contains_key("retry-after"), "{refused:?}");
    assert!(from([127, 0, 0, 2]).await.connected(&Value::Null).await.is_none());
    from([127, 0, 0, 3]).await.open_websocket().await;

    // A session that is left over its poll, and one whose connection breaks.
    let sid = opened.text.split('"').nth(3).expect("a session");
    let leave = polling(&format!("&sid={sid}"));
    let left = poller.ask(format!("POST {leave}\r\nhost: x\r\ncontent-length: 1\r\n\r\n1")).await;
    assert_eq!(left.status, 200, "{left:?}");
    drop(websocket);
    let mut held = Vec::new();
    for _ in 0..2 {
        let session = eventually("there is a place again", SOON, async || {
            let mut wire = from([127, 0, 0, 2]).await;
            let connected = wire.connected(&Value::Null).await;
            connected.map(|_| wire).ok_or_else(|| "no place".to_owned())
        });
        held.push(session.await);
    }
    from([127, 0, 0, 2]).await.ask(&open).await.failed(429, "rate_limited");
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
