//! Input that is no sensible HTTP request, and what all responses have in common.

use nexus_tests::{Client, Response, Stack, json};
use reqwest::{Method, RequestBuilder};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

async fn send(request: RequestBuilder) -> Response {
    Response::to(request).await
}

fn post(
    client: &Client,
    path: &str,
    content_type: &str,
    body: impl Into<reqwest::Body>,
) -> RequestBuilder {
    client.request(Method::POST, path).header("content-type", content_type).body(body)
}

const MISSING: &str =
    "Missing required fields: name, description, start_date, end_date, location, organizer_id";

#[tokio::test]
async fn routes_methods_and_bodies() {
    let stack = Stack::builder().workers([]).start().await;
    let user = stack.user().await;
    let before = stack.contents().await;
    for path in ["/nothing", "/auth/nothing", "/auth", "/seats", "/bookings/1/2/3", "/events/1/2"] {
        user.get(path).await.failed(404, "Route not found");
    }
    for (method, path) in [
        (Method::GET, "/auth/login"),
        (Method::DELETE, "/events/create"),
        (Method::POST, "/events/1"),
        (Method::PUT, "/bookings/1"),
        (Method::GET, "/payments/webhook"),
        (Method::PATCH, "/seats/1/seat-types/1"),
    ] {
        let response = send(user.request(method.clone(), path)).await;
        response.failed(405, "Method not allowed");
        assert!(response.headers.contains_key("allow"), "{method} {path}: {:?}", response.headers);
    }
    let json_type = "application/json";
    for path in ["/auth/login", "/events/create", "/bookings/create", "/payments/create-order"] {
        for body in ["{", "no JSON", "{\"a\":}", "\u{0}"] {
            send(post(&user, path, json_type, body))
                .await
                .failed(400, "Request body is not valid JSON");
        }
        for body in ["\"text\"", "7", "null", "[]", "[{}]"] {
            send(post(&user, path, json_type, body))
                .await
                .failed(400, "Request body must be a JSON object");
        }
        send(post(&user, path, json_type, vec![b'{', 0xff, b'}']))
            .await
            .failed(400, "Request body is not valid JSON");
        for content_type in [
            "text/plain",
            "application/x-www-form-urlencoded",
            "multipart/form-data; boundary=x",
            "application/xml",
        ] {
            let response = send(post(&user, path, content_type, r#"{"a":1}"#)).await;
            response.failed(415, "Content-Type must be application/json");
        }
        let large = json!({"name": "x".repeat(1_000_001)}).to_string();
        let response = send(post(&user, path, json_type, large)).await;
        response.failed(413, "Request body is too large");
        for coding in ["gzip", "br", "gzip, identity"] {
            let response =
                send(post(&user, path, json_type, "{}").header("content-encoding", coding)).await;
            response.failed(415, "Content-Encoding is not supported; send the body uncompressed");
        }
    }
    let webhook = post(&user, "/payments/webhook", json_type, "{}")
        .header("x-razorpay-signature", "0".repeat(64))
        .header("content-encoding", "gzip");
    let response = send(webhook).await;
    let refusal = json!({"success": false, "error": "Content-Encoding is not supported; send the body uncompressed"});
    assert_eq!((response.status, &response.body), (415, &refusal), "{response}");
    let nested = "[".repeat(100_000) + &"]".repeat(100_000);
    send(post(&user, "/events/create", json_type, nested))
        .await
        .failed(400, "Request body is not valid JSON");
    let webhook = post(&user, "/payments/webhook", json_type, "x".repeat(1_000_001))
        .header("x-razorpay-signature", "0".repeat(64));
    let response = send(webhook).await;
    assert_eq!((response.status, &response.body["success"]), (413, &json!(false)), "{response}");
    assert_eq!(stack.contents().await, before, "rows");

    // Allowed: no body at all, a charset, a trailing slash, a query.
    let invalid = "Validation failed: Email or phone number is required";
    send(user.request(Method::POST, "/auth/login"))
        .await
        .failed(400, "Validation failed: Email or phone number is required");
    send(post(&user, "/auth/login", "application/json; charset=utf-8", "{}"))
        .await
        .failed(400, invalid);
    let plain = post(&user, "/auth/login", json_type, "{}").header("content-encoding", "identity");
    send(plain).await.failed(400, invalid);
    user.get("/events/").await.ok();
    user.get("/events/?limit=abc&limit=2").await.ok();
    let exactly = |length: usize| json!({"email": "x".repeat(length - 12)}).to_string();
    let login = async |body: String| send(post(&user, "/auth/login", json_type, body)).await;
    login(exactly(102_400)).await.failed(400, "Validation failed: Invalid email format");
    login(exactly(102_401)).await.failed(413, "Request body is too large");
    send(post(&user, "/events/create", json_type, exactly(1_000_000))).await.failed(400, MISSING);
}

#[tokio::test]
async fn failures_tell_nothing_that_is_ours_and_can_be_found_in_the_log() {
    let mut stack = Stack::builder().workers([]).start().await;
    let user = stack.user().await;
    stack.execute("ALTER TABLE events RENAME TO events_elsewhere").await;
    let request = user.request(Method::GET, "/events").header("x-request-id", "my-own-request-7");
    let response = send(request).await;
    response.failed(500, "Internal server error");
    assert_eq!(response.body["error"]["request_id"], "my-own-request-7");
    assert_eq!(response.headers["x-request-id"], "my-own-request-7");
    for secret in ["events_elsewhere", "relation", "SELECT", ".rs", "sqlx"] {
        assert!(!response.text.contains(secret), "{secret} in {response}");
    }
    let log = stack.api(0).log();
    assert!(
        log.contains("my-own-request-7") && log.contains("does not exist"),
        "the log knows the cause:\n{log}"
    );
    stack.execute("ALTER TABLE events_elsewhere RENAME TO events").await;
    user.get("/events").await.ok();
    for odd in ["short", "x".repeat(65).as_str(), "spaces in it"] {
        let response =
            send(user.request(Method::GET, "/nothing").header("x-request-id", odd)).await;
        response.failed(404, "Route not found");
        assert_ne!(response.body["error"]["request_id"], *odd, "{response}");
    }
}

#[tokio::test]
async fn no_page_of_the_frontend_reads_those_of_operators_and_accounts() {
    let origin = "http://localhost:5173";
    let stack = Stack::builder().workers([]).env("FRONTEND_URL", origin).start().await;
    let anonymous = stack.anonymous();
    let told = async |method: Method, path: &str| {
        let request = anonymous.request_root(method, path).header("origin", origin);
        let request = request.header("access-control-request-method", "POST");
        send(request).await.headers.contains_key("access-control-allow-origin")
    };
    for path in ["/admin", "/admin/login", "/account/recover", "/admin/ledger.csv"] {
        assert!(!told(Method::GET, path).await, "{path}");
        assert!(!told(Method::OPTIONS, path).await, "{path}");
    }
    assert!(told(Method::GET, "/health").await);
    assert!(told(Method::OPTIONS, "/api/v1/auth/login").await);
}

#[tokio::test]
async fn pages_of_other_origins_are_not_served() {
    let stack = Stack::builder()
        .workers([])
        .env("FRONTEND_URL", "http://localhost:5173,https://tickets.example")
        .start()
        .await;
    let anonymous = stack.anonymous();
    for (origin, allowed) in [
        ("http://localhost:5173", true),
        ("https://tickets.example", true),
        ("https://evil.example", false),
        ("null", false),
    ] {
        let response =
            send(anonymous.request(Method::GET, "/events").header("origin", origin)).await;
        let told = response
            .headers
            .get("access-control-allow-origin")
            .and_then(|value| value.to_str().ok());
        assert_eq!(told, allowed.then_some(origin), "{origin}: {:?}", response.headers);
        let preflight = anonymous
            .request(Method::OPTIONS, "/events/create")
            .header("origin", origin)
            .header("access-control-request-method", "POST")
            .header("access-control-request-headers", "authorization,content-type");
        let response = send(preflight).await;
        assert_eq!(
            response.headers.contains_key("access-control-allow-origin"),
            allowed,
            "{origin}: {:?}",
            response.headers
        );

        // Browsers do not check websocket upgrades by themselves.
        let port = stack.api_url(0).rsplit(':').next().unwrap().to_owned();
        let mut stream = tokio::net::TcpStream::connect(format!("127.0.0.1:{port}")).await.unwrap();
        let request = format!(
            "GET /socket.io/?EIO=4&transport=websocket HTTP/1.1\r\nhost: x\r\norigin: {origin}\r\nconnection: upgrade\r\n\
             upgrade: websocket\r\nsec-websocket-version: 13\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
        );
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut response = [0; 12];
        stream.read_exact(&mut response).await.unwrap();
        let expected = if allowed { "HTTP/1.1 101" } else { "HTTP/1.1 403" };
        assert_eq!(String::from_utf8_lossy(&response), expected, "upgrade from {origin}");
    }
}
