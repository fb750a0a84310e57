//! The headers that responses give browsers and caches. `browser/policy.rs` tests that our pages
//! work under them.

use nexus_tests::{Method, Response, Stack};

fn header<'a>(response: &'a Response, name: &str) -> &'a str {
    response.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
}

#[tokio::test]
async fn every_kind_of_answer_is_protected() {
    let stack = Stack::builder().workers([]).start().await;
    let (user, anonymous) = (stack.user().await, stack.anonymous());
    let polling = "/socket.io/?EIO=4&transport=polling";
    let tag = anonymous.get("/events").await.headers["etag"].clone();
    let preflight = |origin: &'static str| {
        let request = anonymous.request(Method::OPTIONS, "/events/create").header("origin", origin);
        request.header("access-control-request-method", "POST")
    };
    for (status, request) in [
        (200, anonymous.request(Method::GET, "/events")),
        (304, anonymous.request(Method::GET, "/events").header("if-none-match", tag)),
        (200, user.request(Method::GET, "/auth/me")),
        (401, anonymous.request(Method::GET, "/auth/me")),
        (404, anonymous.request(Method::GET, "/nothing")),
        (405, anonymous.request(Method::PATCH, "/events")),
        (400, anonymous.request(Method::POST, "/payments/webhook")),
        (413, anonymous.request(Method::POST, "/auth/login").body(" ".repeat(1_000_001))),
        (204, preflight("http://localhost:5173")),
        (204, preflight("https://evil.example")),
        (200, anonymous.request_root(Method::GET, polling)),
        (
            403,
            anonymous.request_root(Method::GET, polling).header("origin", "https://evil.example"),
        ),
        (200, anonymous.request_root(Method::GET, "/socket.io/socket.io.js")),
        (200, anonymous.request_root(Method::GET, "/docs")),
        (200, anonymous.request_root(Method::GET, "/admin/login")),
        (303, anonymous.request_root(Method::GET, "/admin")),
        (200, anonymous.request_root(Method::GET, "/health")),
    ] {
        let response = Response::to(request).await;
        assert_eq!(response.status, status, "{response}");
        assert_eq!(header(&response, "x-content-type-options"), "nosniff", "{response}");
        assert_eq!(header(&response, "x-frame-options"), "DENY", "{response}");
        assert!(
            header(&response, "content-security-policy").starts_with("default-src 'none'; "),
            "{response}"
        );
        assert!(
            header(&response, "content-security-policy").contains("frame-ancestors 'none'"),
            "{response}"
        );
        assert!(
            ["no-referrer", "same-origin"].contains(&header(&response, "referrer-policy")),
            "{response}"
        );
        let loaded_by =
            if response.request.ends_with(".js") { "cross-origin" } else { "same-origin" };
        assert_eq!(header(&response, "cross-origin-resource-policy"), loaded_by, "{response}");
        assert!(!header(&response, "cache-control").is_empty(), "{response}");
        // HSTS would lock developers without TLS out of localhost.
        assert_eq!(header(&response, "strict-transport-security"), "", "{response}");
    }
    let malformed = stack.wire().await.ask("GET / HTTP/1.1\r\nno header\r\n\r\n").await;
    assert_eq!(
        malformed.headers["content-security-policy"],
        "default-src 'none'; frame-ancestors 'none'"
    );
    assert_eq!(malformed.headers["x-content-type-options"], "nosniff");
}

#[tokio::test]
async fn caches_keep_nothing_personal_and_ask_again_about_the_rest() {
    let stack = Stack::builder().workers([]).start().await;
    let (user, anonymous) = (stack.user().await, stack.anonymous());
    for (who, path, expected) in [
        (&user, "/auth/me", "no-store"),
        (&user, "/bookings/my-bookings", "no-store"),
        (&user, "/payments/verify/order_1", "no-store"),
        (&anonymous, "/events/999999", "no-store"),
        (&user, "/events", "private, no-cache"),
        (&anonymous, "/events", "no-cache"),
    ] {
        let response = who.get(path).await;
        assert_eq!(header(&response, "cache-control"), expected, "{response}");
    }
    // A response that may not be stored still has an ETag for conditional requests.
    let known = user.get("/bookings/my-bookings").await.headers["etag"].clone();
    let again = user.request(Method::GET, "/bookings/my-bookings").header("if-none-match", known);
    assert_eq!(Response::to(again).await.status, 304);
}
