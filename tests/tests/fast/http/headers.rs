//! What answers tell browsers and caches. That our pages work under it is in `browser/policy.rs`.

use nexus_tests::{Answer, Method, Stack};

fn header<'a>(answer: &'a Answer, name: &str) -> &'a str {
    answer.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
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
        let answer = Answer::to(request).await;
        assert_eq!(answer.status, status, "{answer}");
        assert_eq!(header(&answer, "x-content-type-options"), "nosniff", "{answer}");
        assert_eq!(header(&answer, "x-frame-options"), "DENY", "{answer}");
        assert!(
            header(&answer, "content-security-policy").starts_with("default-src 'none'; "),
            "{answer}"
        );
        assert!(
            header(&answer, "content-security-policy").contains("frame-ancestors 'none'"),
            "{answer}"
        );
        assert!(
            ["no-referrer", "same-origin"].contains(&header(&answer, "referrer-policy")),
            "{answer}"
        );
        let loaded_by =
            if answer.request.ends_with(".js") { "cross-origin" } else { "same-origin" };
        assert_eq!(header(&answer, "cross-origin-resource-policy"), loaded_by, "{answer}");
        assert!(!header(&answer, "cache-control").is_empty(), "{answer}");
        // Whoever develops without TLS is not locked out of localhost.
        assert_eq!(header(&answer, "strict-transport-security"), "", "{answer}");
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
        let answer = who.get(path).await;
        assert_eq!(header(&answer, "cache-control"), expected, "{answer}");
    }
    // What is not kept can still be asked for in short.
    let known = user.get("/bookings/my-bookings").await.headers["etag"].clone();
    let again = user.request(Method::GET, "/bookings/my-bookings").header("if-none-match", known);
    assert_eq!(Answer::to(again).await.status, 304);
}
