//! The official clients that frontends use, each over every transport: what clients could rely on
//! with the Node service works, and goes on working when the API is restarted.

use nexus_tests::shop::event_request;
use nexus_tests::{Client, Event, SOON, SocketClient, Stack, Value, eventually, json, seen};

/// A client library, and the transports that it may use: one, or those before and after the
/// upgrade.
#[derive(Clone, Copy)]
struct Cell {
    client: &'static str,
    transports: &'static [&'static str],
}

/// Every test below for one client over one transport.
macro_rules! cell {
    ($name:ident, $client:literal, $transports:expr) => {
        mod $name {
            use super::super::Cell;

            const CELL: Cell = Cell { client: $client, transports: &$transports };

            #[tokio::test]
            async fn commands_are_answered_and_broadcasts_heard() {
                super::super::commands_are_answered_and_broadcasts_heard(CELL).await;
            }

            #[tokio::test]
            async fn whoever_joined_an_event_hears_of_that_event_only() {
                super::super::whoever_joined_an_event_hears_of_that_event_only(CELL).await;
            }

            #[tokio::test]
            async fn long_messages_foreign_scripts_and_bytes_are_carried() {
                super::super::long_messages_foreign_scripts_and_bytes_are_carried(CELL).await;
            }

            #[tokio::test]
            async fn clients_return_by_themselves_when_the_api_does() {
                super::super::clients_return_by_themselves_when_the_api_does(CELL).await;
            }
        }
    };
}

macro_rules! client {
    ($name:ident, $client:literal) => {
        mod $name {
            cell!(polling, $client, ["polling"]);
            cell!(websocket, $client, ["websocket"]);
            cell!(upgrade, $client, ["polling", "websocket"]);
        }
    };
}

client!(socket_io_client_4_8, "socket.io-client");
client!(socket_io_client_4_0, "socket.io-client-4.0");
client!(socket_io_client_3_1, "socket.io-client-3.1");
client!(python_socketio, "python-socketio");

/// The largest message that the server takes, as it says in every handshake.
const MAX_PAYLOAD: usize = 1_000_000;

impl Cell {
    /// A connected client of `who`, over the transport that it ends up with.
    async fn socket(self, stack: &Stack, name: &str, who: &Client) -> SocketClient {
        self.socket_with(stack, name, who, json!({})).await
    }

    async fn socket_with(
        self,
        stack: &Stack,
        name: &str,
        who: &Client,
        mut options: Value,
    ) -> SocketClient {
        options["client"] = json!(self.client);
        options["transports"] = json!(self.transports);
        let socket = stack.socket_with(name, who, options).await;
        self.connected(&socket).await;
        socket
    }

    /// Waits until the client is connected, and upgraded if it should.
    async fn connected(self, socket: &SocketClient) {
        let connected = socket.wait_for_line("connect", SOON).await;
        match self.transports {
            [first, second] => {
                let upgraded = socket.wait_for_line("upgrade", SOON).await;
                assert_eq!(upgraded["transport"], *second, "from {first}: {}", socket.describe());
            }
            only => assert_eq!(connected["transport"], only[0], "{}", socket.describe()),
        }
    }
}

/// What the command's callback got, which the response event has brought, too.
async fn answered(socket: &SocketClient, command: &str, payload: Value) -> Value {
    let acknowledged = socket.call(command, &[payload]).await;
    let is_same = |response: &Value| *response == acknowledged;
    socket.wait_for(&format!("{command}_response"), is_same, SOON).await
}

async fn succeeds(socket: &SocketClient, command: &str, payload: Value) -> Value {
    let mut response = answered(socket, command, payload).await;
    assert_eq!(response["success"], true, "{command}: {response}");
    response["data"].take()
}

fn seat(event: &Event, label: &str) -> Value {
    json!({"eventId": event.id, "seatTypeId": event.seat_type("VIP"), "seat_label": label})
}

async fn hears_of_lock(socket: &SocketClient, label: &str) {
    socket.wait_for("seat_locked", |broadcast| broadcast["seat_label"] == label, SOON).await;
}

/// The seats whose locks were heard of, oldest first.
fn locks_heard_of(socket: &SocketClient) -> Vec<Value> {
    socket.received("seat_locked").iter().map(|broadcast| broadcast["seat_label"].clone()).collect()
}

async fn commands_are_answered_and_broadcasts_heard(cell: Cell) {
    let stack = Stack::builder().workers([]).start().await;
    let organiser = stack.user().await;
    let event = stack.event(&organiser, &[("VIP", 100.0, 50)]).await;
    let (ann, ben, nobody) = (stack.user().await, stack.user().await, stack.anonymous());
    let with_token = cell.socket(&stack, "Ann, with auth.token", &ann).await;
    let header = format!("Bearer {}", ben.token.as_deref().unwrap_or_default());
    let header = json!({"extraHeaders": {"Authorization": header}});
    let with_header = cell.socket_with(&stack, "Ben, with a header", &nobody, header).await;
    let viewer = cell.socket(&stack, "the viewer", &nobody).await;

    let locked = succeeds(&with_token, "lock_seat", seat(&event, "A1")).await;
    assert_eq!(locked["lock"]["user_id"], ann.id, "{locked}");
    hears_of_lock(&with_header, "A1").await;
    hears_of_lock(&viewer, "A1").await;

    let locked = succeeds(&with_header, "lock_seat", seat(&event, "A2")).await;
    assert_eq!(locked["lock"]["user_id"], ben.id, "{locked}");
    hears_of_lock(&with_token, "A2").await;
    hears_of_lock(&viewer, "A2").await;

    let details = [json!({"seat_label": "A2", "seat_type_id": event.seat_type("VIP")})];
    let booking = json!({"event_id": event.id, "seat_details": details});
    let booked = succeeds(&with_header, "create_booking", booking).await;
    assert!(booked["booking"]["booking_reference"].is_string(), "{booked}");
    for other in [&with_token, &viewer] {
        other
            .wait_for("booking_created", |broadcast| broadcast["event_id"] == event.id, SOON)
            .await;
    }

    let taken =
        json!({"success": false, "error": "Seat A2 is already taken. Please select another seat."});
    assert_eq!(answered(&with_token, "lock_seat", seat(&event, "A2")).await, taken);
    let refused = json!({"success": false, "error": "Authentication required"});
    assert_eq!(viewer.call("lock_seat", &[seat(&event, "A3")]).await, refused);
    let error = viewer.wait_for_any("error").await;
    assert_eq!(error, json!({"message": "Authentication required"}));

    stack.user().await.lock(&event, "VIP", "A4").await.ok();
    for (socket, labels) in [
        (&with_token, &["A2", "A4"][..]),
        (&with_header, &["A1", "A4"]),
        (&viewer, &["A1", "A2", "A4"]),
    ] {
        hears_of_lock(socket, "A4").await;
        assert_eq!(locks_heard_of(socket), labels, "{}", socket.describe());
    }
    assert!(with_header.received("booking_created").is_empty(), "{}", with_header.describe());
    stack.assert_invariants().await;
}

async fn whoever_joined_an_event_hears_of_that_event_only(cell: Cell) {
    let stack = Stack::builder().workers([]).start().await;
    let organiser = stack.user().await;
    let first = stack.event(&organiser, &[("VIP", 100.0, 50)]).await;
    let second = stack.event(&organiser, &[("VIP", 100.0, 50)]).await;
    let viewer = cell.socket(&stack, "the viewer", &stack.anonymous()).await;
    let buyer = stack.user().await;

    succeeds(&viewer, "join_event", json!(first.id)).await;
    buyer.lock(&second, "VIP", "A1").await.ok();
    buyer.lock(&first, "VIP", "A2").await.ok();
    hears_of_lock(&viewer, "A2").await;

    succeeds(&viewer, "leave_event", json!(first.id)).await;
    succeeds(&viewer, "join_event", json!(second.id)).await;
    buyer.lock(&first, "VIP", "A3").await.ok();
    buyer.lock(&second, "VIP", "A4").await.ok();
    hears_of_lock(&viewer, "A4").await;
    assert_eq!(locks_heard_of(&viewer), ["A2", "A4"], "{}", viewer.describe());
}

async fn long_messages_foreign_scripts_and_bytes_are_carried(cell: Cell) {
    let stack = Stack::builder().workers([]).start().await;
    let organiser = stack.user().await;
    let event = stack.event(&organiser, &[("VIP", 100.0, 50)]).await;
    let buyer = cell.socket(&stack, "the buyer", &stack.user().await).await;
    let viewer = cell.socket(&stack, "the viewer", &stack.anonymous()).await;

    let mut request = event_request(&[("VIP", 100.0, 50)]);
    let (name, description) = ("दीपावली 🎆 Ärzte \u{2028}", "सपनों की रात 🪔 ".repeat(1_000));
    (request["name"], request["description"]) = (json!(name), json!(description.trim()));
    let created = succeeds(&buyer, "create_event", request).await;
    assert_eq!(created["event"]["description"], description.trim());
    let broadcast = viewer
        .wait_for(
            "event_created",
            |broadcast| broadcast["event"]["id"] == created["event"]["id"],
            SOON,
        )
        .await;
    assert_eq!(broadcast["event"]["name"], created["event"]["name"]);
    let told = broadcast["event"]["description"].as_str().unwrap().trim_end_matches('…');
    assert!(told.chars().count() == 999 && description.starts_with(told), "{told}");

    // To the byte: what Engine.IO counts is `42["lock_seat",{…}]`.
    let padded = |label: &str, length: usize| {
        let mut payload = seat(&event, label);
        payload["padding"] = json!("");
        let unpadded = format!("42{}", json!(["lock_seat", payload])).len();
        payload["padding"] = json!("x".repeat(length - unpadded));
        payload
    };
    buyer.emit("lock_seat", &[padded("A1", MAX_PAYLOAD)]).await;
    hears_of_lock(&viewer, "A1").await;
    buyer.forget();
    buyer.emit("lock_seat", &[padded("A2", MAX_PAYLOAD + 1)]).await;
    buyer.wait_for_line("disconnect", SOON).await;
    cell.connected(&buyer).await;

    let bytes = json!({"$bytes": "AAECAw=="});
    let mut with_bytes = seat(&event, "A3");
    with_bytes["seat_label"] = bytes.clone();
    assert_eq!(answered(&buyer, "lock_seat", with_bytes).await["success"], false);
    buyer.emit("nobody_defined_this", &[bytes.clone(), json!({"deep": [bytes]})]).await;

    succeeds(&buyer, "lock_seat", seat(&event, "A4")).await;
    hears_of_lock(&viewer, "A4").await;
    assert_eq!(locks_heard_of(&viewer), ["A1", "A4"], "{}", viewer.describe());
}

async fn clients_return_by_themselves_when_the_api_does(cell: Cell) {
    let mut stack = Stack::builder().workers([]).start().await;
    let organiser = stack.user().await;
    let event = stack.event(&organiser, &[("VIP", 100.0, 50)]).await;
    let buyer = cell.socket(&stack, "the buyer", &stack.user().await).await;
    let viewer = cell.socket(&stack, "the viewer", &stack.anonymous()).await;
    for signal in ["KILL", "TERM"] {
        for socket in [&buyer, &viewer] {
            socket.forget();
        }
        match signal {
            "KILL" => stack.api(0).kill_9().await,
            _ => assert!(stack.api(0).stop().await.success()),
        }
        for socket in [&buyer, &viewer] {
            socket.wait_for_line("disconnect", SOON).await;
        }
        stack.restart_api(0).await;
        for socket in [&buyer, &viewer] {
            cell.connected(socket).await;
        }
        let (over_socket, over_http) = (format!("{signal}1"), format!("{signal}2"));
        succeeds(&buyer, "lock_seat", seat(&event, &over_socket)).await;
        hears_of_lock(&viewer, &over_socket).await;
        stack.user().await.lock(&event, "VIP", &over_http).await.ok();
        hears_of_lock(&viewer, &over_http).await;
        hears_of_lock(&buyer, &over_http).await;
    }
    stack.assert_invariants().await;
}

#[tokio::test]
async fn a_broadcast_reaches_every_client_of_every_process() {
    let stack = Stack::builder().workers([]).api_processes(2).start().await;
    let organiser = stack.user().await;
    let event = stack.event(&organiser, &[("VIP", 100.0, 50)]).await;
    let mut viewers = Vec::new();
    for client in
        ["socket.io-client", "socket.io-client-4.0", "socket.io-client-3.1", "python-socketio"]
    {
        for (process, transports) in [&["polling"], &["websocket"]].into_iter().enumerate() {
            let (name, options) =
                (format!("{client} over {transports:?}"), json!({"url": stack.api_url(process)}));
            let cell = Cell { client, transports };
            viewers.push(cell.socket_with(&stack, &name, &stack.anonymous(), options).await);
        }
    }
    // The processes find each other through Redis, which takes a moment after the start.
    eventually("the processes hear of each other", SOON, async || {
        stack.event(&organiser, &[("Warm-up", 1.0, 1)]).await;
        let created: Vec<_> =
            viewers.iter().map(|viewer| viewer.received("event_created").len()).collect();
        seen(created.iter().all(|&count| count > 0), created)
    })
    .await;
    let (near, far) = (stack.user().await, stack.user().await.at(&stack.api_url(1)));
    near.lock(&event, "VIP", "A1").await.ok();
    far.lock(&event, "VIP", "A2").await.ok();
    for viewer in &viewers {
        hears_of_lock(viewer, "A1").await;
        hears_of_lock(viewer, "A2").await;
    }
}
