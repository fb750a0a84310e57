//! The AsyncAPI document: the operations as commands over Socket.IO, and the broadcasts
//! (docs/contract.md#commands and docs/contract.md#broadcasts).

use nexus_common::{
    Error,
    bookings::broadcasts::{BookingCancelled, BookingConfirmed, BookingCreated},
    door::counts::DoorCounts,
    events::{
        broadcasts::{
            EventChanged, EventCreated, EventDeleted, SeatTypeCreated, SeatTypeDeleted,
            SeatTypeUpdated,
        },
        inventory::SeatCounts,
    },
    payments::broadcasts::PaymentRefunded,
    realtime::Payload,
    seats::broadcasts::{SeatBooked, SeatLocked, SeatUnlocked, SeatsChanged},
    tickets::broadcasts::TicketsReady,
    types::{ids::EventId, puzzle::Puzzle},
    waiting_rooms::broadcasts::WaitingRoomUpdate,
};
use serde_json::{Map, Value, json};

use super::{
    components::at_least_one,
    operation::{Access, Operation},
    schemas::{Schemas, exactly},
};

const DESCRIPTION: &str = "Socket.IO 4.x (Engine.IO 4), polling and websocket. A client connects with the access token in `auth.token` or \
an `Authorization: Bearer` header; without one it may listen, join and leave. Command `x` is answered by the event `x_response`, and with \
the same object through the acknowledgement callback, if there is one. What changes something can also be asked for over HTTP: see \
`/openapi.json`. Too many commands are answered `success: false`; who goes on is disconnected. A payload may name a W3C `traceparent`, which the command's trace then continues.";

const CHANNEL: &str = "#/channels/nexus";

pub(super) fn document(commands: &[Operation]) -> Value {
    let mut channel = Channel::default();
    for command in commands {
        channel.add_command(command);
    }
    let refused = exactly(json!({ "message": { "const": "Authentication required" } }));
    channel.add_event(
        "error",
        "Instead of a response: who sent the command has not logged in.",
        "Who sent it.",
        refused,
    );
    channel.add_event(
        "offset",
        "Follows broadcasts. A client that has lost its connection, and connects to the same process \
         within two minutes with its `pid` and the last of these, as socket.io-client does, hears \
         what it has missed.",
        "Who has heard that broadcast.",
        json!({ "type": "string", "pattern": "^[0-9a-f]{16}$" }),
    );
    channel.add_broadcast::<EventCreated>();
    channel.add_broadcast::<EventChanged>();
    channel.add_broadcast::<EventDeleted>();
    channel.add_broadcast::<SeatTypeCreated>();
    channel.add_broadcast::<SeatTypeUpdated>();
    channel.add_broadcast::<SeatTypeDeleted>();
    channel.add_broadcast::<SeatLocked>();
    channel.add_broadcast::<SeatUnlocked>();
    channel.add_broadcast::<SeatBooked>();
    channel.add_broadcast::<SeatsChanged>();
    channel.add_broadcast::<SeatCounts>();
    channel.add_broadcast::<WaitingRoomUpdate>();
    channel.add_broadcast::<BookingCreated>();
    channel.add_broadcast::<BookingConfirmed>();
    channel.add_broadcast::<BookingCancelled>();
    channel.add_broadcast::<PaymentRefunded>();
    channel.add_broadcast::<TicketsReady>();
    channel.add_broadcast::<DoorCounts>();

    let Channel { schemas, messages, operations } = channel;
    json!({
        "asyncapi": "3.1.0",
        "info": { "title": "Nexus over Socket.IO", "version": env!("CARGO_PKG_VERSION"), "description": DESCRIPTION },
        "defaultContentType": "application/json",
        "servers": {
            "nexus": {
                "host": "{host}",
                "pathname": "/socket.io/",
                "protocol": "socket.io",
                "protocolVersion": "5",
                "variables": { "host": { "description": "Where the API is.", "default": "localhost:3000" } },
            },
        },
        "channels": {
            "nexus": {
                "address": "/",
                "description": "The Socket.IO namespace; a message's name is the name of the event, its payload the event's argument.",
                "messages": messages,
            },
        },
        "operations": operations,
        "components": {
            "schemas": schemas.finish(),
            "securitySchemes": { "token": { "type": "http", "scheme": "bearer", "bearerFormat": "JWT", "description": "In `auth.token` or the header." } },
        },
    })
}

#[derive(Default)]
struct Channel {
    schemas: Schemas,
    messages: Map<String, Value>,
    operations: Map<String, Value>,
}

impl Channel {
    fn add_command(&mut self, command: &Operation) {
        let name = command.name;
        let payload = command.input(&mut self.schemas).unwrap_or_default();
        let data = command.success.as_ref().map(|success| success.data(&mut self.schemas));
        let failures: Vec<_> =
            command.failures.iter().map(|failure| format!("- {}", failure.message)).collect();
        let overloaded = Error::overloaded();
        let response = format!("{name}_response");
        let about_response =
            format!("What became of `{name}`. Failures, among others:\n\n{}", failures.join("\n"));
        self.add_message(name, command.summary, payload);
        let mut responses = vec![
            exactly(json!({ "success": { "const": true }, "data": data })),
            exactly(json!({ "success": { "const": false }, "error": { "type": "string" } })),
            exactly(json!({
                "success": { "const": false },
                "error": { "const": overloaded.to_string() },
                "code": { "const": overloaded.code() },
                "retryAfter": at_least_one("Seconds after which to send the command again."),
            })),
        ];
        let work = Error::work_needed();
        if command.failures.iter().any(|failure| failure.code == work.code()) {
            let puzzle = self.schemas.output::<Puzzle>();
            responses.push(exactly(json!({
                "success": { "const": false },
                "error": { "const": work.to_string() },
                "code": { "const": work.code() },
                "puzzle": puzzle,
            })));
        }
        let queue = Error::QueueRequired(EventId(1));
        if command.failures.iter().any(|failure| failure.code == queue.code()) {
            responses.push(exactly(json!({
                "success": { "const": false },
                "error": { "const": queue.to_string() },
                "code": { "const": queue.code() },
                "queue": { "type": "string", "description": "The path of the waiting room." },
            })));
        }
        self.add_message(&response, &about_response, json!({ "oneOf": responses }));
        let security = match command.access {
            Access::User | Access::Keeper => {
                json!([{ "$ref": "#/components/securitySchemes/token" }])
            }
            Access::Anybody | Access::MaybeUser => json!([]),
        };
        self.operations.insert(
            name.to_owned(),
            json!({
                "action": "receive",
                "channel": { "$ref": CHANNEL },
                "summary": command.summary,
                "description": command.description,
                "security": security,
                "messages": [message(name)],
                "reply": { "channel": { "$ref": CHANNEL }, "messages": [message(&response)] },
            }),
        );
    }

    fn add_event(&mut self, name: &str, summary: &str, audience: &str, payload: Value) {
        self.add_message(name, summary, payload);
        self.operations.insert(
            name.to_owned(),
            json!({
                "action": "send",
                "channel": { "$ref": CHANNEL },
                "summary": summary,
                "description": format!("Sent to: {audience}"),
                "messages": [message(name)],
            }),
        );
    }

    fn add_broadcast<P: Payload>(&mut self) {
        let payload = self.schemas.output::<P>();
        let summary =
            self.schemas.resolve(&payload)["description"].as_str().unwrap_or_default().to_owned();
        self.add_event(P::EVENT, &summary, P::LISTENERS.description(), payload);
    }

    fn add_message(&mut self, name: &str, summary: &str, payload: Value) {
        self.messages.insert(
            name.to_owned(),
            json!({ "name": name, "summary": summary, "payload": payload }),
        );
    }
}

fn message(name: &str) -> Value {
    json!({ "$ref": format!("{CHANNEL}/messages/{name}") })
}
