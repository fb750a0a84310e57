//! What a real browser lets pages do: those of FRONTEND_URL call the API with credentials and read
//! every response; all others read nothing, change nothing and hear nothing.

use nexus_tests::shop::event_request;
use nexus_tests::{Browser, Client, Event, Page, SOON, Stack, Value, eventually, json, seen};

const TRANSPORTS: [&[&str]; 3] = [&["polling"], &["websocket"], &["polling", "websocket"]];

/// A page of the frontend that the stack knows, and a page that it does not know.
struct Pages(Browser);

impl Pages {
    async fn open() -> (Self, Stack) {
        let pages = Self(Browser::start(2).await);
        let frontends = format!("https://tickets.example,{}", pages.frontend().origin());
        let stack = Stack::builder().workers([]).env("FRONTEND_URL", frontends).start().await;
        (pages, stack)
    }

    fn frontend(&self) -> Page<'_> {
        self.0.page(0)
    }

    fn stranger(&self) -> Page<'_> {
        self.0.page(1)
    }
}

#[tokio::test]
async fn a_page_of_the_frontend_calls_the_api_and_reads_every_answer() {
    let (pages, mut stack) = Pages::open().await;
    let page = pages.frontend();
    let (organiser, nobody) = (stack.user().await, stack.anonymous());
    let fetch = async |who: &Client, method: &str, path: &str, body: Value| {
        let response = page.fetch(who, method, path, body).await;
        response.unwrap_or_else(|blocked| panic!("{method} {path}: {blocked}"))
    };
    let event = event_request(&[("VIP", 100.0, 50)]);
    let event =
        Event::from_created(&fetch(&organiser, "POST", "/events/create", event).await.data());
    let path = format!("/events/{}", event.id);
    fetch(&organiser, "PUT", &path, json!({"name": "दीपावली"})).await.ok();
    let found = fetch(&nobody, "GET", &path, Value::Null).await;
    assert!(found.headers.contains_key("x-request-id"), "{:?}", found.headers);
    assert_eq!(found.data()["name"], "दीपावली");

    let lock = format!("/seats/{}/seat-types/{}/lock", event.id, event.seat_type("VIP"));
    let seat = json!({"seat_label": "A1"});
    stack.user().await.post(&lock, seat.clone()).await.ok();
    let taken = fetch(&organiser, "POST", &lock, seat).await;
    taken.failed(409, "Seat A1 is already taken. Please select another seat.");
    let missing = fetch(&nobody, "GET", "/events/999999", Value::Null).await;
    missing.failed(404, "Event not found");
    let refused = fetch(&nobody, "POST", "/bookings/create", json!({})).await;
    refused.failed(401, "Access token is required");
    for failure in [taken, missing, refused] {
        let id = failure.headers.get("x-request-id").and_then(|id| id.to_str().ok());
        assert_eq!(id, failure.body["error"]["request_id"].as_str(), "{failure}");
    }

    let lock_a2 = json!({
        "method": "POST",
        "headers": {
            "Authorization": format!("Bearer {}", organiser.token.as_deref().unwrap_or_default()),
            "Content-Type": "application/json",
            "Idempotency-Key": "the-seat-beside",
        },
        "body": json!({"seat_label": "A2"}).to_string(),
    });
    for replayed in [Value::Null, json!("true")] {
        let response = page.call("request", json!([organiser.url_of(&lock), lock_a2])).await;
        assert_eq!(
            (&response["status"], &response["headers"]["idempotent-replayed"]),
            (&json!(200), &replayed)
        );
    }

    let unwanted = event_request(&[("VIP", 100.0, 50)]);
    let unwanted =
        Event::from_created(&fetch(&organiser, "POST", "/events/create", unwanted).await.data());
    fetch(&organiser, "DELETE", &format!("/events/{}", unwanted.id), Value::Null).await.ok();

    stack.postgres.kill().await.unwrap();
    let away = fetch(&nobody, "GET", &path, Value::Null).await;
    assert_eq!(away.status, 503, "{away}");
    assert!(away.headers.contains_key("retry-after"), "{:?}", away.headers);
}

#[tokio::test]
async fn a_page_of_another_origin_reads_nothing_and_changes_nothing() {
    let (pages, stack) = Pages::open().await;
    let page = pages.stranger();
    let (organiser, nobody) = (stack.user().await, stack.anonymous());
    let event = stack.event(&organiser, &[("VIP", 100.0, 50)]).await;
    let path = format!("/events/{}", event.id);
    let before = stack.contents().await;
    for (who, method, path, body) in [
        (&nobody, "GET", &*path, Value::Null),
        (&nobody, "GET", "/events/999999", Value::Null),
        (&organiser, "GET", &path, Value::Null),
        (&organiser, "POST", "/events/create", event_request(&[("VIP", 100.0, 50)])),
        (&organiser, "PUT", &path, json!({"name": "Mine"})),
        (&organiser, "DELETE", &path, Value::Null),
    ] {
        page.forget();
        let blocked = page.fetch(who, method, path, body).await;
        assert_eq!(
            blocked.map(|response| response.to_string()).unwrap_err(),
            "TypeError: Failed to fetch"
        );
        page.wait_for_console("blocked by CORS policy").await;
    }
    // What browsers send without asking first is not JSON.
    page.forget();
    let body = json!({"email": "buyer@nexus.example", "password": "Corr3ct-horse"}).to_string();
    let options =
        json!({"method": "POST", "headers": {"Content-Type": "text/plain"}, "body": body});
    let blocked = page.call("request", json!([nobody.url_of("/auth/register"), options])).await;
    assert_eq!(blocked, json!({"blocked": "TypeError: Failed to fetch"}));
    page.wait_for_console("blocked by CORS policy").await;
    assert_eq!(stack.contents().await, before);
}

#[tokio::test]
async fn a_page_of_the_frontend_connects_over_every_transport() {
    let (pages, stack) = Pages::open().await;
    let page = pages.frontend();
    let organiser = stack.user().await;
    let event = stack.event(&organiser, &[("VIP", 100.0, 50)]).await;
    let buyer = stack.user().await;
    for (number, transports) in TRANSPORTS.into_iter().enumerate() {
        let options = json!({"transports": transports, "auth": {"token": buyer.token}});
        let connected = page.call("connect", json!([stack.api_url(0), options])).await;
        assert_eq!(connected, json!({"transport": transports.last()}));
        let (over_socket, over_http) = (format!("S{number}"), format!("H{number}"));
        let seat = json!({"eventId": event.id, "seatTypeId": event.seat_type("VIP"), "seat_label": over_socket});
        let response = page.call("command", json!(["lock_seat", seat])).await;
        assert_eq!(response["data"]["lock"]["user_id"], buyer.id, "{response}");
        organiser.lock(&event, "VIP", &over_http).await.ok();
        eventually("the page hears of both seats", SOON, async || {
            let events = page.call("events", json!([])).await;
            let heard = |name: &str, is_it: &dyn Fn(&Value) -> bool| {
                events
                    .as_array()
                    .unwrap()
                    .iter()
                    .any(|event| event["event"] == name && is_it(&event["payload"]))
            };
            let both = heard("lock_seat_response", &|heard| *heard == response)
                && heard("seat_locked", &|broadcast| broadcast["seat_label"] == over_http);
            seen(both, events.clone())
        })
        .await;
    }
}

#[tokio::test]
async fn a_page_of_another_origin_connects_over_no_transport() {
    let (pages, stack) = Pages::open().await;
    let page = pages.stranger();
    let buyer = stack.user().await;
    for (transports, console) in TRANSPORTS.into_iter().zip([
        "blocked by CORS policy",
        "Unexpected response code: 403",
        "blocked by CORS policy",
    ]) {
        page.forget();
        let options = json!({"transports": transports, "auth": {"token": buyer.token}});
        let connected = page.call("connect", json!([stack.api_url(0), options])).await;
        let error = if transports[0] == "polling" { "xhr poll error" } else { "websocket error" };
        assert_eq!(connected, json!({"error": error}), "{transports:?}");
        page.wait_for_console(console).await;
    }
}
