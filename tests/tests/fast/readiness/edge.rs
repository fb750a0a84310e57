//! What every connection and request meets before a route: findings 3, 7, 8, 9, 11 and 22.

use nexus_sandbox::process::Signal;
use nexus_tests::{Method, Response, SOON, Stack, eventually, json, seen};

/// What a failure must not tell.
const OURS: [&str; 9] = [
    "relation",
    "SELECT",
    "INSERT",
    ".rs",
    "sqlx",
    "panicked",
    "stack backtrace",
    "    at ",
    "/home",
];

#[tokio::test]
async fn finding_03_whatever_goes_wrong_is_json_with_the_right_status_and_tells_nothing_of_ours() {
    let mut stack = Stack::builder().workers([]).start().await;
    let user = stack.user().await;
    let json_type = ("content-type", "application/json");
    let login = || user.request(Method::POST, "/auth/login");
    let requests = [
        (404, user.request(Method::GET, "/nothing")),
        (404, user.request_root(Method::GET, "/nothing")),
        (405, user.request(Method::DELETE, "/auth/login")),
        (400, login().header(json_type.0, json_type.1).body("{\"a\":")),
        (400, login().header(json_type.0, json_type.1).body(vec![b'"', 0xff, b'"'])),
        (415, login().header("content-type", "text/plain").body("{}")),
        (413, login().header(json_type.0, json_type.1).body(" ".repeat(1_000_001))),
        (401, stack.anonymous().request(Method::GET, "/bookings/my-bookings")),
        (400, user.request(Method::GET, "/events/abc")),
        (400, user.request_root(Method::GET, "/socket.io/?EIO=4&transport=pigeon")),
        (
            403,
            user.request_root(Method::GET, "/socket.io/?EIO=4&transport=polling")
                .header("origin", "null"),
        ),
    ];
    for (status, request) in requests {
        is_failure(&Response::to(request).await, status);
    }
    stack
        .wire()
        .await
        .ask("GET / HTTP/1.1\r\nno header\r\n\r\n")
        .await
        .failed(400, "malformed_request");

    stack.execute("ALTER TABLE events RENAME TO events_elsewhere").await;
    is_failure(&user.get("/events").await, 500);
    stack.postgres.kill().await.unwrap();
    is_failure(&user.get("/events").await, 503);
}

fn is_failure(response: &Response, status: u16) {
    assert_eq!(response.status, status, "{response}");
    if response.body["code"].is_string() {
        // Engine.IO's own words.
        return;
    }
    let error = &response.body["error"];
    assert!(error["message"].is_string() && error["code"].is_string(), "{response}");
    assert_eq!(
        error["request_id"].as_str(),
        response.headers["x-request-id"].to_str().ok(),
        "{response}"
    );
    for word in OURS {
        assert!(!response.text.contains(word), "{word:?} in {response}");
    }
}

#[tokio::test]
async fn finding_07_every_answer_carries_security_headers() {
    let stack = Stack::builder().workers([]).env("NODE_ENV", "production").start().await;
    let anonymous = stack.anonymous();
    for request in [
        anonymous.request_root(Method::GET, "/"),
        anonymous.request(Method::GET, "/events"),
        anonymous.request(Method::GET, "/nothing"),
        anonymous.request(Method::POST, "/auth/login").body("no JSON"),
        anonymous.request_root(Method::GET, "/docs"),
    ] {
        let response = Response::to(request).await;
        let header = |name: &str| {
            response.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
        };
        assert_eq!(
            header("strict-transport-security"),
            "max-age=63072000; includeSubDomains",
            "{response}"
        );
        assert_eq!(header("x-content-type-options"), "nosniff", "{response}");
        assert_eq!(header("x-frame-options"), "DENY", "{response}");
        assert_eq!(header("referrer-policy"), "no-referrer", "{response}");
        let policy = header("content-security-policy");
        assert!(
            policy.contains("default-src 'none'") && policy.contains("frame-ancestors 'none'"),
            "{response}"
        );
        assert!(!policy.contains("unsafe"), "{response}");
        assert_eq!(header("server").to_owned() + header("x-powered-by"), "", "{response}");
    }
}

#[tokio::test]
async fn finding_08_only_the_origins_of_frontend_url_may_call() {
    let stack = Stack::builder()
        .workers([])
        .env("FRONTEND_URL", "HTTPS://Tickets.Example:443/, http://localhost:5173")
        .start()
        .await;
    let anonymous = stack.anonymous();
    let polling = "/socket.io/?EIO=4&transport=polling";
    for (origin, allowed) in [
        ("https://tickets.example", true),
        ("http://localhost:5173", true),
        ("https://evil.example", false),
        ("null", false),
        ("http://tickets.example", false),
        ("https://tickets.example:8443", false),
        ("https://tickets.example.", false),
        ("https://tickets.example.evil.example", false),
        ("https://sub.tickets.example", false),
    ] {
        for request in [
            anonymous.request(Method::GET, "/events"),
            anonymous.request(Method::GET, "/events/999999"),
            anonymous
                .request(Method::OPTIONS, "/events/create")
                .header("access-control-request-method", "POST"),
            anonymous
                .request_root(Method::OPTIONS, polling)
                .header("access-control-request-method", "POST"),
            anonymous.request_root(Method::GET, polling),
        ] {
            let response = Response::to(request.header("origin", origin)).await;
            let header =
                |name: &str| response.headers.get(name).and_then(|value| value.to_str().ok());
            let said =
                (header("access-control-allow-origin"), header("access-control-allow-credentials"));
            assert_eq!(
                said.0,
                allowed.then_some(origin),
                "{origin}: {response}: {:?}",
                response.headers
            );
            assert!(!allowed || said.1 == Some("true"), "{origin}: {response}");
            let vary =
                response.headers.get_all("vary").iter().filter_map(|value| value.to_str().ok());
            assert!(
                vary.collect::<String>().to_lowercase().contains("origin"),
                "{origin}: {response}"
            );
        }
        // Not even a session that the page cannot read.
        let opened =
            Response::to(anonymous.request_root(Method::GET, polling).header("origin", origin))
                .await;
        assert_eq!(opened.status, if allowed { 200 } else { 403 }, "{origin}: {opened}");
    }
}

#[tokio::test]
async fn finding_09_what_is_too_much_or_too_slow_is_refused() {
    let stack = Stack::builder().workers([]).env("HTTP_TIMEOUT_MS", 700).start().await;
    let login = "POST /api/v1/auth/login HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\n";
    let ask = async |request: String| stack.wire().await.ask(request).await;
    ask(format!("{login}content-length: 100000000\r\n\r\n")).await.failed(413, "body_too_large");
    ask(format!("{login}x: {}\r\n\r\n", "a".repeat(40_000))).await.failed(431, "headers_too_large");
    ask(format!("GET /{} HTTP/1.1\r\nhost: x\r\n\r\n", "a".repeat(9_000)))
        .await
        .failed(414, "uri_too_long");
    // The rest never comes.
    ask(format!("{login}content-length: 100\r\n\r\n{{")).await.failed(408, "request_timeout");
    ask(login.to_owned()).await.failed(408, "request_timeout");
}

#[tokio::test]
async fn finding_11_sigterm_finishes_what_has_begun_and_ends_with_success() {
    const IN_FLIGHT: usize = 5;
    let mut stack = Stack::builder().workers(["otp"]).start().await;
    let socket = stack.socket("a client", &stack.user().await).await;
    let mut lock = stack.db.begin().await.unwrap();
    sqlx::query("LOCK TABLE users").execute(&mut *lock).await.unwrap();
    let mut wires = Vec::new();
    for _ in 0..IN_FLIGHT {
        let mut wire = stack.wire().await;
        let head = "POST /api/v1/auth/check-unique-username HTTP/1.1\r\nhost: x\r\n\
                    content-type: application/json\r\ncontent-length: 23\r\n\r\n";
        wire.send(head.to_owned() + r#"{"username":"somebody"}"#).await;
        wires.push(wire);
    }
    let mut resting = stack.wire().await;
    assert_eq!(resting.ask("GET /health HTTP/1.1\r\nhost: x\r\n\r\n").await.status, 200);
    eventually("all of them wait", SOON, async || {
        let waiting = stack.count("pg_stat_activity WHERE wait_event_type = 'Lock'").await;
        seen(waiting >= IN_FLIGHT as i64, waiting)
    })
    .await;

    stack.api(0).signal(Signal::TERM);
    stack.api(0).wait_for_log("shutting down", SOON).await;
    resting.until_closed().await;
    lock.rollback().await.unwrap();
    for mut wire in wires {
        let response = wire.response().await.expect("a response");
        assert_eq!(
            (response.status, response.headers["connection"].as_str()),
            (200, "close"),
            "{response:?}"
        );
        wire.until_closed().await;
    }
    assert_eq!(stack.api(0).exit_code().await, Some(0));
    let told = socket.wait_for_line("disconnect", SOON).await;
    assert_eq!(told["reason"], "transport close", "clients return to a dropped connection only");
    socket.forget();
    stack.restart_api(0).await;
    socket.wait_for_line("connect", SOON).await;

    stack.worker("otp").wait_for_log("worker ready", SOON).await;
    assert_eq!(stack.worker("otp").stop().await.code(), Some(0));
}

#[tokio::test]
async fn finding_22_health_and_readiness_say_how_postgresql_and_redis_are() {
    let mut stack = Stack::builder().workers([]).start().await;
    let anonymous = stack.anonymous();
    let up = json!({"postgresql": "ok", "redis": "ok", "migrations": "ok"});
    assert_eq!(anonymous.get_root("/health").await.ok()["checks"], up);
    assert_eq!(anonymous.get_root("/ready").await.ok(), json!({"status": "ready", "checks": up}));

    let lives_without = async |what: &str| {
        eventually("health says what is away", SOON, async || {
            let health = anonymous.get_root("/health").await.ok();
            assert_eq!(health["status"], "ok");
            seen(health["checks"][what] == "failed", &health).map(drop)
        })
        .await;
    };
    stack.redis.kill().await.unwrap();
    lives_without("redis").await;
    stack.until_missing("redis").await;
    stack.redis.restart().await.unwrap();
    stack.until_ready(0).await;

    stack.postgres.kill().await.unwrap();
    lives_without("postgresql").await;
    stack.until_missing("postgresql").await;
    stack.postgres.restart().await.unwrap();
    stack.until_ready(0).await;
}
