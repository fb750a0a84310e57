//! Clients that read too slowly: what waits for one is bounded, it is let go, and nobody else
//! notices (docs/realtime.md#limits).

use nexus_tests::client::http_client;
use nexus_tests::metrics::Metrics;
use nexus_tests::wire::{Wire, text_frame};
use nexus_tests::{Client, Event, SOON, SocketClient, Stack, Value, eventually, json, seen};

const LET_GO: &str = r#"nexus_slow_sockets_total{bound="bytes"}"#;

/// Broadcasts kilobyte after kilobyte, which the reader hears at once, until somebody is let go.
async fn until_somebody_is_let_go(
    stack: &Stack,
    organiser: &Client,
    event: &Event,
    reader: &SocketClient,
) {
    // Four bytes a character, of which broadcasts have the first thousand.
    let filler = "🎆".repeat(1_000);
    for number in 0..250 {
        let description = format!("{number} {filler}");
        let is_it = |said: &Value| {
            let told = said["event"]["description"].as_str();
            told.is_some_and(|told| told.starts_with(&format!("{number} ")))
        };
        let path = format!("/events/{}", event.id);
        organiser.put(&path, json!({"description": description})).await.ok();
        reader.wait_for("event_updated", is_it, SOON).await;
        if Metrics::read(&stack.metrics_urls()["api"]).await.unwrap().value(LET_GO) == Some(1.0) {
            return;
        }
    }
    panic!("A megabyte waits for somebody");
}

async fn start() -> (Stack, Client, Event, SocketClient) {
    let stack = Stack::builder().workers([]).measured().start().await;
    let organiser = stack.user().await;
    let event = stack.event(&organiser, &[("VIP", 100.0, 50)]).await;
    let reader = stack.socket("the reader", &stack.anonymous()).await;
    (stack, organiser, event, reader)
}

#[tokio::test]
async fn a_websocket_that_nobody_reads_is_closed() {
    let (stack, organiser, event, reader) = start().await;
    let mut stalled = Wire::connect_with(&stack.api_url(0), Some(4_096)).await.unwrap();
    stalled.open_websocket().await;
    until_somebody_is_let_go(&stack, &organiser, &event, &reader).await;
    stalled.until_closed().await;
    let gone = |page: &Metrics| page.value("nexus_sockets") == Some(1.0);
    Metrics::until(&stack.metrics_urls()["api"], "one client", gone).await;
}

/// A client that polls, by hand.
struct Polling {
    http: reqwest::Client,
    url: String,
}

impl Polling {
    async fn connect(stack: &Stack) -> Self {
        let http = http_client();
        let url = format!("{}/socket.io/?EIO=4&transport=polling", stack.api_url(0));
        let opened = http.get(&url).send().await.unwrap().text().await.unwrap();
        let opened: Value = serde_json::from_str(&opened[1..]).unwrap();
        let url = format!("{url}&sid={}", opened["sid"].as_str().unwrap());
        let client = Polling { http, url };
        for packet in ["40", "3"] {
            client.http.post(&client.url).body(packet).send().await.unwrap();
        }
        let is_told = |said: &str| said.split('\x1e').any(|packet| packet.starts_with("40"));
        while !is_told(&client.poll().await.1) {}
        client
    }

    async fn poll(&self) -> (u16, String) {
        let response = self.http.get(&self.url).send().await.unwrap();
        (response.status().as_u16(), response.text().await.unwrap())
    }
}

#[tokio::test]
async fn a_client_that_does_not_poll_finds_its_session_gone() {
    let (stack, organiser, event, reader) = start().await;
    let stalled = Polling::connect(&stack).await;
    until_somebody_is_let_go(&stack, &organiser, &event, &reader).await;
    assert_eq!(stalled.poll().await.0, 400);
}

#[tokio::test]
async fn a_session_whose_upgrade_fails_is_closed() {
    let stack = Stack::builder().workers([]).start().await;
    let polling = Polling::connect(&stack).await;
    let query = polling.url.split_once('?').unwrap().1.replace("polling", "websocket");
    let mut websocket = stack.wire().await;
    websocket.upgrade(&query).await;
    websocket.send(text_frame("nonsense")).await;
    websocket.until_closed().await;
    eventually("the session is unknown", SOON, async || {
        let (status, said) = polling.poll().await;
        seen(status == 400, said)
    })
    .await;
}
