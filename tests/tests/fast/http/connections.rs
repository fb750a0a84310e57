//! What a connection may do before, between and instead of requests: slowly, endlessly,
//! ambiguously, or in great numbers.

use std::time::Duration;

use nexus_sandbox::process::Signal;
use nexus_tests::metrics::Metrics;
use nexus_tests::stack::Builder;
use nexus_tests::wire::{Said, Wire};
use nexus_tests::{SOON, Stack, eventually, json, seen};
use tokio::time::sleep;

const GET: &str = "GET /health HTTP/1.1\r\nhost: x\r\n\r\n";

fn alone() -> Builder {
    Stack::builder().workers([])
}

/// A request that sends JSON, up to its body.
fn login(headers: &str) -> String {
    format!(
        "POST /api/v1/auth/login HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\n{headers}\r\n\r\n"
    )
}

/// Sends a byte now and then until it is told something.
async fn trickle(wire: &mut Wire, byte: &str) -> Said {
    for _ in 0..600 {
        wire.send(byte).await;
        if let Ok(response) = tokio::time::timeout(Duration::from_millis(50), wire.response()).await
        {
            return response.expect("a response before the end");
        }
    }
    panic!("trickled for 30 s, and nobody minds");
}

#[tokio::test]
async fn a_head_that_trickles_is_answered_408_and_closed() {
    let stack = alone().env("HTTP_TIMEOUT_MS", 700).start().await;
    let mut wire = stack.wire().await;
    wire.send("GET /health HTTP/1.1\r\nhost: x\r\nx-slow: ").await;
    trickle(&mut wire, "a").await.failed(408, "request_timeout");
    wire.until_closed().await;

    // The same after a request that was answered.
    let mut wire = stack.wire().await;
    assert_eq!(wire.ask(GET).await.status, 200);
    wire.send("GET /").await;
    trickle(&mut wire, "a").await.failed(408, "request_timeout");
    wire.until_closed().await;
}

#[tokio::test]
async fn a_connection_that_never_says_anything_is_closed() {
    let stack = alone().env("HTTP_TIMEOUT_MS", 300).start().await;
    let mut wire = stack.wire().await;
    assert!(wire.response().await.is_none());
}

#[tokio::test]
async fn between_requests_a_connection_may_rest_until_the_keep_alive_is_over() {
    let stack = alone().env("HTTP_TIMEOUT_MS", 200).env("HTTP_KEEP_ALIVE_MS", 60_000).start().await;
    let mut wire = stack.wire().await;
    for _ in 0..3 {
        assert_eq!(wire.ask(GET).await.status, 200);
        sleep(Duration::from_millis(500)).await;
    }
    let stack = alone().env("HTTP_KEEP_ALIVE_MS", 300).start().await;
    let mut wire = stack.wire().await;
    assert_eq!(wire.ask(GET).await.status, 200);
    assert!(wire.response().await.is_none(), "closed without a word");
}

#[tokio::test]
async fn a_body_that_trickles_is_answered_408_and_closed() {
    let stack = alone().env("HTTP_TIMEOUT_MS", 700).start().await;
    for framing in ["content-length: 100000", "transfer-encoding: chunked"] {
        let mut wire = stack.wire().await;
        wire.send(login(framing)).await;
        let piece = if framing.starts_with("content") { " " } else { "1\r\n \r\n" };
        trickle(&mut wire, piece).await.failed(408, "request_timeout");
        wire.until_closed().await;
    }
    // Socket.IO reads its bodies itself.
    let mut wire = stack.wire().await;
    let opened =
        wire.ask("GET /socket.io/?EIO=4&transport=polling HTTP/1.1\r\nhost: x\r\n\r\n").await;
    let sid = opened.text.split('"').nth(3).expect("a session");
    wire.send(format!("POST /socket.io/?EIO=4&transport=polling&sid={sid} HTTP/1.1\r\nhost: x\r\ncontent-length: 500\r\n\r\n4"))
        .await;
    trickle(&mut wire, "2").await.failed(408, "request_timeout");
}

#[tokio::test]
async fn a_body_over_the_limit_is_refused_before_it_is_read() {
    let stack = alone().start().await;
    let opened = stack
        .wire()
        .await
        .ask("GET /socket.io/?EIO=4&transport=polling HTTP/1.1\r\nhost: x\r\n\r\n")
        .await;
    let sid = opened.text.split('"').nth(3).expect("a session");
    let polling = format!("/socket.io/?EIO=4&transport=polling&sid={sid}");
    for path in ["/api/v1/auth/login", "/api/v1/payments/webhook", "/admin/login", &polling] {
        let mut wire = stack.wire().await;
        let response = wire
            .ask(format!(
                "POST {path} HTTP/1.1\r\nhost: x\r\ncontent-type: application/x-www-form-urlencoded\r\n\
                 x-razorpay-signature: {}\r\ncontent-length: 1000001\r\n\r\n",
                "0".repeat(64)
            ))
            .await;
        assert_eq!(response.status, 413, "{path}: {response:?}");
    }
    // The client sends no byte of the body.
    let mut wire = stack.wire().await;
    wire.ask(login("content-length: 1000001\r\nexpect: 100-continue"))
        .await
        .failed(413, "body_too_large");

    // In chunks, whose sum no header announces.
    let mut wire = stack.wire().await;
    wire.send(login("transfer-encoding: chunked")).await;
    let chunk = format!("{:x}\r\n{}\r\n", 1_000_001, " ".repeat(1_000_001));
    wire.ask(chunk).await.failed(413, "body_too_large");
}

#[tokio::test]
async fn who_is_still_sending_too_much_can_read_why_it_is_refused() {
    let stack = alone().start().await;
    let mut wire = stack.wire().await;
    wire.send(login("content-length: 3000000")).await;
    assert!(wire.send(" ".repeat(3_000_000)).await, "nobody reads any more");
    wire.response().await.expect("a response").failed(413, "body_too_large");
}

#[tokio::test]
async fn a_body_that_ends_early_is_refused() {
    let stack = alone().start().await;
    let mut wire = stack.wire().await;
    wire.send(login("content-length: 50")).await;
    wire.send("{").await;
    wire.finish().await;
    if let Some(response) = wire.response().await {
        response.failed(400, "incomplete_body");
    }
    assert_eq!(stack.wire().await.ask(GET).await.status, 200);
}

#[tokio::test]
async fn heads_and_uris_have_limits() {
    let stack = alone().start().await;
    let get = |uri: &str, headers: &str| format!("GET {uri} HTTP/1.1\r\nhost: x\r\n{headers}\r\n");
    let many = (0..101).map(|n| format!("x-{n}: 1\r\n")).collect::<String>();
    let large = format!("x-large: {}\r\n", "a".repeat(40_000));
    let long = format!("/{}", "a".repeat(9_000));
    stack.wire().await.ask(get("/health", &many)).await.failed(431, "headers_too_large");
    stack.wire().await.ask(get("/health", &large)).await.failed(431, "headers_too_large");
    stack.wire().await.ask(get(&long, "")).await.failed(414, "uri_too_long");
    let huge = stack.wire().await.ask(get(&format!("/{}", "a".repeat(300_000)), "")).await;
    assert!(matches!(huge.status, 414 | 431), "{huge:?}");
    assert!(huge.body["error"]["code"].is_string(), "{huge:?}");

    // It ends when it is too much, not when its sender ends it.
    let mut endless = stack.wire().await;
    endless.send("GET /health HTTP/1.1\r\nhost: x\r\n").await;
    for n in 0..10_000 {
        if !endless.send(format!("x-{n}: {}\r\n", "a".repeat(1_000))).await {
            break;
        }
    }
    endless.until_closed().await;

    let ordinary = format!("x-large: {}\r\n", "a".repeat(20_000));
    assert_eq!(stack.wire().await.ask(get("/health", &ordinary)).await.status, 200);
}

#[tokio::test]
async fn what_is_no_http_is_answered_in_json_and_closed() {
    let stack = alone().start().await;
    for nonsense in [
        "GET\r\n\r\n",
        "GET /health HTTP/9.9\r\nhost: x\r\n\r\n",
        "GET /health HTTP/1.1\r\nno colon here\r\n\r\n",
        "GET /health HTTP/1.1\r\nhost: x\r\n folded: header\r\n\r\n",
        "GET /he alth HTTP/1.1\r\nhost: x\r\n\r\n",
        "G@T /health HTTP/1.1\r\n\r\n",
        "\u{1}\u{2}\u{3}\u{4}\r\n\r\n",
        "POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\na",
        "POST / HTTP/1.1\r\nhost: x\r\ncontent-length: -1\r\n\r\n",
        "POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 1, 2\r\n\r\n",
        "POST / HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked, identity\r\n\r\n",
        "POST / HTTP/1.0\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n",
    ] {
        let mut wire = stack.wire().await;
        let response = wire.ask(nonsense).await;
        response.failed(400, "malformed_request");
        assert_eq!(response.headers["connection"], "close", "{nonsense:?}");
        assert!(!response.headers.contains_key("server"));
        wire.until_closed().await;
    }
    for unusual in [
        "CONNECT example.com:80 HTTP/1.1\r\nhost: x\r\n\r\n",
        "GET http://elsewhere.example/nothing HTTP/1.1\r\nhost: x\r\n\r\n",
        "BREW /health HTTP/1.1\r\nhost: x\r\n\r\n",
        "GET /api/v1/events/%ff%fe HTTP/1.1\r\nhost: x\r\n\r\n",
        "GET /api/v1/events/%00 HTTP/1.1\r\nhost: x\r\n\r\n",
    ] {
        let response = stack.wire().await.ask(unusual).await;
        assert!((400..500).contains(&response.status), "{unusual:?}: {response:?}");
        assert!(response.body["error"]["code"].is_string(), "{unusual:?}: {response:?}");
    }
}

#[tokio::test]
async fn a_request_names_one_host() {
    let stack = alone().start().await;
    for head in [
        "GET /health HTTP/1.1\r\n\r\n",
        "GET http://nexus.example/health HTTP/1.1\r\n\r\n",
        "GET /health HTTP/1.1\r\nhost: a.example\r\nhost: b.example\r\n\r\n",
        "GET /health HTTP/1.1\r\nhost: a.example\r\nx-between: 1\r\nHost: a.example\r\n\r\n",
        "GET /health HTTP/1.0\r\nhost: a.example\r\nhost: a.example\r\n\r\n",
        "GET /health HTTP/1.1\r\nhost: a.example, b.example\r\n\r\n",
        "GET /health HTTP/1.1\r\nhost: a.example/b.example\r\n\r\n",
        "GET /health HTTP/1.1\r\nhost: a@b.example\r\n\r\n",
        "GET /socket.io/?EIO=4&transport=polling HTTP/1.1\r\n\r\n",
        "OPTIONS /api/v1/events HTTP/1.1\r\norigin: http://localhost:5173\r\n\
         access-control-request-method: GET\r\n\r\n",
        "POST /api/v1/auth/login HTTP/1.1\r\ncontent-length: 2\r\n\r\n{}",
    ] {
        let mut wire = stack.wire().await;
        wire.ask(head).await.failed(400, "malformed_request");
        wire.until_closed().await;
    }
    for head in [
        "GET /health HTTP/1.0\r\n\r\n",
        "GET /health HTTP/1.1\r\nHOST: a.example:3000\r\n\r\n",
        "GET /health HTTP/1.1\r\nhost: [::1]:3000\r\n\r\n",
        "GET http://a.example/health HTTP/1.1\r\nhost: a.example\r\n\r\n",
    ] {
        assert_eq!(stack.wire().await.ask(head).await.status, 200, "{head:?}");
    }
}

#[tokio::test]
async fn a_line_of_a_head_ends_with_cr_and_lf() {
    let stack = alone().start().await;
    let chunks = login("transfer-encoding: chunked") + "2\r\n{}\r\n0\r\n";
    for head in [
        "GET /health HTTP/1.1\nhost: x\r\n\r\n".to_owned(),
        "GET /health HTTP/1.1\r\nhost: x\n\r\n".to_owned(),
        "GET /health HTTP/1.1\r\nhost: x\r\n\n".to_owned(),
        "GET /health HTTP/1.1\nhost: x\n\n".to_owned(),
        "GET /health HTTP/1.1\r\nhost: x\r\nx-empty:\n\r\n".to_owned(),
        "\nGET /health HTTP/1.1\r\nhost: x\r\n\r\n".to_owned(),
        chunks.clone() + "x-trailer: 1\nx-other: 2\r\n\r\n",
    ] {
        let mut wire = stack.wire().await;
        let refused = wire.ask(&head).await;
        assert_eq!(refused.status, 400, "{head:?}: {refused:?}");
        wire.until_closed().await;
    }

    // The same of a request that has come together with the one before it.
    let mut wire = stack.wire().await;
    wire.send(GET.to_owned() + "GET /health HTTP/1.1\nhost: x\n\n").await;
    assert_eq!(wire.response().await.expect("a response").status, 200);
    wire.response().await.expect("a response").failed(400, "malformed_request");
    wire.until_closed().await;

    // An empty line before a request is no part of it, and a body may hold what it likes.
    assert_eq!(stack.wire().await.ask("\r\n".to_owned() + GET).await.status, 200);
    let mut wire = stack.wire().await;
    let lines = wire.ask(login("content-length: 4") + "{\n\n}").await;
    lines.failed(400, "validation_failed");
    wire.ask(chunks + "x-trailer: 1\r\n\r\n").await.failed(400, "validation_failed");
    assert_eq!(wire.ask(GET).await.status, 200);
}

#[tokio::test]
async fn a_request_cannot_hide_another_in_its_body() {
    let stack = alone().start().await;
    let hidden = "GET /health HTTP/1.1\r\nhost: x\r\n\r\n";
    // A server that goes by the length takes the hidden request for the body.
    for framing in [
        format!("content-length: {}\r\ntransfer-encoding: chunked", 5 + hidden.len()),
        format!("transfer-encoding: chunked\r\ncontent-length: {}", 5 + hidden.len()),
    ] {
        let mut wire = stack.wire().await;
        let response = wire.ask(login(&framing) + "0\r\n\r\n" + hidden).await;
        assert_eq!(response.status, 400, "{framing}: {response:?}");
        assert!(wire.response().await.is_none(), "{framing}: the hidden request was answered");
    }
    // Chunks whose size is not one.
    for chunk in ["5 \u{b}\r\n", "0x5\r\n", "-1\r\n", "ffffffffffffffffff\r\n", "5;\n", "\r\n"] {
        let mut wire = stack.wire().await;
        wire.send(login("transfer-encoding: chunked") + chunk + "{\"a\":\r\n0\r\n\r\n").await;
        if let Some(response) = wire.response().await {
            assert!((400..500).contains(&response.status), "{chunk:?}: {response:?}");
        }
    }
}

#[tokio::test]
async fn requests_in_a_row_are_answered_in_their_order() {
    let stack = alone().start().await;
    let mut wire = stack.wire().await;
    let get = |path: &str| format!("GET {path} HTTP/1.1\r\nhost: x\r\n\r\n");
    wire.send(
        get("/health") + &get("/nothing") + &login("content-length: 2") + "{}" + &get("/health"),
    )
    .await;
    for status in [200, 404, 400, 200] {
        assert_eq!(wire.response().await.expect("a response").status, status);
    }
}

#[tokio::test]
async fn who_has_asked_and_closed_that_side_is_answered() {
    let stack = alone().start().await;
    let mut wire = stack.wire().await;
    wire.send(GET).await;
    wire.finish().await;
    assert_eq!(wire.response().await.expect("a response").status, 200);
    wire.until_closed().await;
}

#[tokio::test]
async fn connections_beyond_the_limit_are_told_so_and_places_are_given_back() {
    const PLACES: usize = 8;
    let stack = alone().measured().env("HTTP_MAX_CONNECTIONS", PLACES).start().await;
    let mut held = Vec::new();
    // The harness holds some, too.
    let refusal = loop {
        let mut wire = stack.wire().await;
        if let Ok(response) =
            tokio::time::timeout(Duration::from_millis(300), wire.response()).await
        {
            break response.expect("a response");
        }
        held.push(wire);
        assert!(held.len() <= PLACES, "nobody is refused");
    };
    refusal.failed(503, "overloaded");
    assert!(refusal.headers.contains_key("retry-after"), "{refusal:?}");
    let url = &stack.metrics_urls()["api"];
    Metrics::until(url, "the refusal", |page| {
        page.value("nexus_http_connections_refused_total{reason=\"full\"}") >= Some(1.0)
            && page.value("nexus_http_connections") == Some(PLACES as f64)
    })
    .await;

    assert_eq!(held[0].ask(GET).await.status, 200, "those who have a place keep it");
    held.clear();
    eventually("there is a place again", SOON, async || {
        let mut wire = stack.wire().await;
        wire.send(GET).await;
        let response = wire.response().await;
        seen(response.as_ref().is_some_and(|response| response.status == 200), response)
    })
    .await;
}

/// Connections from there until one is refused: those that are served, and the refusal.
async fn connect_until_refused(stack: &Stack, from: [u8; 4]) -> (Vec<Wire>, Said) {
    let mut held = Vec::new();
    loop {
        let mut wire = Wire::connect_from(from, &stack.api_url(0)).await.expect("a connection");
        let response = wire.ask(GET).await;
        if response.status != 200 {
            return (held, response);
        }
        held.push(wire);
        assert!(held.len() < 50, "nobody is refused");
    }
}

#[tokio::test]
async fn an_address_has_so_many_connections_at_once_and_gets_them_back() {
    let limited = alone().measured().env("HTTP_MAX_CONNECTIONS_PER_ADDRESS", 5);
    let stack = limited.env("TRUSTED_PROXIES", "127.0.0.4").start().await;
    let (mut held, refusal) = connect_until_refused(&stack, [127, 0, 0, 2]).await;
    refusal.failed(503, "overloaded");
    assert!(refusal.headers.contains_key("retry-after"), "{refusal:?}");
    assert_eq!(held.len(), 5);
    Metrics::until(&stack.metrics_urls()["api"], "the refusal", |page| {
        page.value("nexus_http_connections_refused_total{reason=\"address\"}") == Some(1.0)
    })
    .await;

    // In another /24: the networks around an address have places, too.
    let (others, _) = connect_until_refused(&stack, [127, 0, 1, 3]).await;
    assert_eq!(others.len(), 5, "another address has its own");
    let mut behind_a_proxy = Vec::new();
    for _ in 0..10 {
        let wire = Wire::connect_from([127, 0, 0, 4], &stack.api_url(0)).await;
        let mut wire = wire.expect("a connection");
        assert_eq!(wire.ask(GET).await.status, 200, "a proxy brings everybody");
        behind_a_proxy.push(wire);
    }

    // However they end: one becomes a websocket first, the others are just closed.
    held[0].open_websocket().await;
    held.clear();
    eventually("the address has all its places again", SOON, async || {
        let (again, _) = connect_until_refused(&stack, [127, 0, 0, 2]).await;
        seen(again.len() == 5, again.len()).map(drop)
    })
    .await;
}

#[tokio::test]
async fn without_limits_an_address_has_as_many_connections_and_sockets_as_it_likes() {
    let unlimited = alone().without_limits().env("TRUSTED_PROXIES", "192.0.2.1");
    let stack = unlimited
        .env("HTTP_MAX_CONNECTIONS_PER_ADDRESS", 1)
        .env("SOCKETS_PER_ADDRESS", 1)
        .start()
        .await;
    let mut held = Vec::new();
    for _ in 0..3 {
        let mut wire = stack.wire().await;
        wire.open_websocket().await;
        held.push(wire);
    }
}

#[tokio::test]
async fn a_client_that_does_not_take_its_answers_is_closed() {
    let stack = alone().measured().env("HTTP_TIMEOUT_MS", 700).start().await;
    let mut wire = Wire::connect_with(&stack.api_url(0), Some(4_096)).await.expect("a connection");
    // More than all buffers between here and there can hold.
    let document = "GET /openapi.json HTTP/1.1\r\nhost: x\r\n\r\n";
    wire.send(document.repeat(200)).await;
    Metrics::until(&stack.metrics_urls()["api"], "that it was closed", |page| {
        page.value("nexus_http_connections_refused_total{reason=\"slow\"}") == Some(1.0)
    })
    .await;
}

#[tokio::test]
async fn a_websocket_is_as_old_as_it_likes() {
    let stack = alone().env("HTTP_TIMEOUT_MS", 200).env("HTTP_KEEP_ALIVE_MS", 200).start().await;
    let user = stack.user().await;
    let socket = stack.socket_with("a client", &user, json!({"transports": ["websocket"]})).await;
    sleep(Duration::from_millis(1_000)).await;
    assert_eq!(socket.call("lock_seat", &[json!({})]).await["success"], false);
    assert_eq!(socket.describe().matches("disconnect").count(), 0, "{}", socket.describe());
}

#[tokio::test]
async fn a_thousand_may_connect_while_the_process_has_no_time_to_accept_them() {
    let mut stack = alone().start().await;
    let url = stack.api_url(0);
    stack.api(0).signal(Signal::STOP);
    let connecting = (0..1_000).map(|_| Wire::connect(&url));
    let connected = tokio::time::timeout(SOON, futures_util::future::join_all(connecting)).await;
    stack.api(0).signal(Signal::CONT);
    for wire in connected.expect("connections, without the process") {
        let mut wire = wire.expect("a connection");
        assert_eq!(
            wire.ask("GET / HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n").await.status,
            200
        );
    }
}
