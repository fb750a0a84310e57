//! Recovery of connection state: a client that was away for a moment hears what it has missed, once
//! (docs/realtime.md#recovery).

use nexus_tests::wire::{Wire, text_frame};
use nexus_tests::{Client, Event, SOON, SocketClient, Stack, Value, eventually, json, seen};

/// A client by hand.
struct Raw {
    wire: Wire,
    pid: String,
    /// Of the last broadcast.
    offset: Value,
    /// The seats that it has heard of.
    seats: Vec<String>,
}

impl Raw {
    async fn connect(url: &str, auth: &Value) -> Self {
        let mut wire = Wire::connect(url).await.unwrap();
        let connected = wire.connected(auth).await.expect("a websocket");
        let pid = connected["pid"].as_str().expect("a pid").to_owned();
        Raw { wire, pid, offset: Value::Null, seats: Vec::new() }
    }

    /// The same client comes back, with its token.
    async fn back(&self, url: &str, token: &Value) -> Self {
        let auth = json!({"pid": self.pid, "offset": self.offset, "token": token});
        Self::connect(url, &auth).await
    }

    /// Hears on until it hears of that seat, and that broadcast's number.
    async fn until_seat(&mut self, label: &str) {
        loop {
            let packet = self.wire.packet().await.expect("a packet");
            let Some(data) = packet.strip_prefix("42") else { continue };
            let data: Value = serde_json::from_str(data).unwrap();
            match data[0].as_str() {
                Some("seat_locked") => {
                    self.seats.push(data[1]["seat_label"].as_str().unwrap().to_owned());
                }
                Some("offset") => {
                    self.offset = data[1].clone();
                    if self.seats.last().is_some_and(|last| last == label) {
                        return;
                    }
                }
                _ => {}
            }
        }
    }
}

async fn start() -> (Stack, Event, Client) {
    let stack = Stack::builder().workers([]).start().await;
    let (event, buyer) = stack.on_sale().await;
    (stack, event, buyer)
}

#[tokio::test]
async fn who_comes_back_hears_what_it_has_missed_once_and_then_the_rest() {
    let (stack, event, buyer) = start().await;
    let url = stack.api_url(0);
    let mut first = Raw::connect(&url, &Value::Null).await;
    buyer.lock(&event, "VIP", "A1").await.ok();
    first.until_seat("A1").await;
    buyer.lock(&event, "VIP", "A2").await.ok();
    first.until_seat("A2").await;
    drop(std::mem::replace(&mut first.wire, stack.wire().await));
    for label in ["A3", "A4"] {
        buyer.lock(&event, "VIP", label).await.ok();
    }
    let mut second = first.back(&url, &Value::Null).await;
    assert_eq!(second.pid, first.pid, "it has recovered");
    buyer.lock(&event, "VIP", "A5").await.ok();
    second.until_seat("A5").await;
    assert_eq!(second.seats, ["A3", "A4", "A5"]);

    // It may come back again, also when nobody has noticed yet that it was gone.
    buyer.lock(&event, "VIP", "A6").await.ok();
    let mut third = second.back(&url, &Value::Null).await;
    assert_eq!(third.pid, first.pid);
    third.until_seat("A6").await;
    assert_eq!(third.seats, ["A6"]);
    second.wire.until_closed().await;
}

#[tokio::test]
async fn who_comes_back_hears_of_what_it_had_joined_only() {
    let (stack, event, buyer) = start().await;
    let other = stack.event(&buyer, &[("VIP", 100.0, 50)]).await;
    let url = stack.api_url(0);
    let mut first = Raw::connect(&url, &Value::Null).await;
    first.wire.send(text_frame(&format!(r#"42["join_event",{}]"#, event.id))).await;
    assert!(first.wire.says("join_event_response").await);
    drop(std::mem::replace(&mut first.wire, stack.wire().await));
    buyer.lock(&other, "VIP", "B1").await.ok();
    buyer.lock(&event, "VIP", "A1").await.ok();
    let mut second = first.back(&url, &Value::Null).await;
    buyer.lock(&other, "VIP", "B2").await.ok();
    buyer.lock(&event, "VIP", "A2").await.ok();
    second.until_seat("A2").await;
    assert_eq!(second.seats, ["A1", "A2"]);
}

#[tokio::test]
async fn what_is_its_users_alone_is_heard_with_the_users_token_only() {
    let (stack, event, buyer) = start().await;
    let url = stack.api_url(0);
    let token = json!(buyer.token);
    let first = Raw::connect(&url, &json!({"token": token})).await;
    let booked = buyer.lock_and_book(&event, &[("VIP", "A1")]).await;
    for (token, reference) in [(&token, booked.reference.as_str()), (&Value::Null, "BKG-****")] {
        let mut back = first.back(&url, token).await;
        assert_eq!(back.pid, first.pid);
        assert!(back.wire.says(&format!(r#""booking_reference":"{reference}"#)).await);
    }
}

#[tokio::test]
async fn who_comes_to_another_process_begins_anew() {
    let stack = Stack::builder().workers([]).api_processes(2).start().await;
    let first = Raw::connect(&stack.api_url(0), &Value::Null).await;
    let second = first.back(&stack.api_url(1), &Value::Null).await;
    assert_ne!(first.pid, second.pid);
}

#[tokio::test]
async fn who_has_missed_too_much_begins_anew() {
    let stack = Stack::builder().workers([]).start().await;
    let organiser = stack.user().await;
    let event = stack.event(&organiser, &[("VIP", 100.0, 50)]).await;
    let url = stack.api_url(0);
    let mut first = Raw::connect(&url, &Value::Null).await;
    organiser.lock(&event, "VIP", "A1").await.ok();
    first.until_seat("A1").await;
    drop(std::mem::replace(&mut first.wire, stack.wire().await));
    for number in 0..30 {
        let description = format!("{number} {}", "🎆".repeat(1_000));
        let path = format!("/events/{}", event.id);
        organiser.put(&path, json!({"description": description})).await.ok();
    }
    let mut second = first.back(&url, &Value::Null).await;
    assert_ne!(second.pid, first.pid);
    organiser.lock(&event, "VIP", "A2").await.ok();
    second.until_seat("A2").await;
}

/// The official client, over a transport.
async fn an_official_client_recovers(transports: &[&str]) {
    let (stack, event, buyer) = start().await;
    let options = json!({"transports": transports, "reconnectionDelay": 500});
    let viewer = stack.socket_with("the viewer", &stack.anonymous(), options).await;
    let heard = async |viewer: &SocketClient, label: &str| {
        viewer.wait_for("seat_locked", |said| said["seat_label"] == label, SOON).await;
    };
    buyer.lock(&event, "VIP", "A1").await.ok();
    heard(&viewer, "A1").await;
    viewer.lose_connection().await;
    viewer.wait_for_line("disconnect", SOON).await;
    buyer.lock(&event, "VIP", "A2").await.ok();
    eventually("the client has recovered", SOON, async || {
        let connected = viewer.wait_for_line("connect", SOON).await;
        seen(connected["recovered"] == true, connected)
    })
    .await;
    heard(&viewer, "A2").await;
    buyer.lock(&event, "VIP", "A3").await.ok();
    heard(&viewer, "A3").await;
    assert_eq!(viewer.received("seat_locked").len(), 3, "{}", viewer.describe());
}

#[tokio::test]
async fn an_official_client_recovers_over_websocket() {
    an_official_client_recovers(&["websocket"]).await;
}

#[tokio::test]
async fn an_official_client_recovers_over_polling() {
    an_official_client_recovers(&["polling"]).await;
}

#[tokio::test]
async fn an_official_client_recovers_after_an_upgrade() {
    an_official_client_recovers(&["polling", "websocket"]).await;
}

#[tokio::test]
async fn who_says_what_it_shows_is_told_whether_to_fetch_the_seat_map() {
    let stack = Stack::builder().workers([]).start().await;
    let organiser = stack.user().await;
    let event = stack.event(&organiser, &[("VIP", 100.0, 50)]).await;
    let viewer = stack.socket("the viewer", &stack.anonymous()).await;
    let join = async |version: &Value| {
        let joined =
            viewer.call_ok("join_event", json!({"event_id": event.id, "version": version})).await;
        joined["up_to_date"].clone()
    };
    let map = stack.anonymous().get(&format!("/seats/{}", event.id)).await.data();
    assert_eq!(join(&map["version"]).await, true);
    organiser.lock(&event, "VIP", "A1").await.ok();
    assert_eq!(join(&map["version"]).await, false);
    assert_eq!(join(&Value::Null).await, Value::Null);

    organiser.put(&format!("/events/{}", event.id), json!({"is_public": false})).await.ok();
    let map = organiser.get(&format!("/seats/{}", event.id)).await.data();
    assert_eq!(join(&map["version"]).await, false, "nobody may know");
}
