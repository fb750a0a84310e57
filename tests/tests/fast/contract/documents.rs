//! The documents themselves: official tools accept them, they are complete, and what they do not
//! know is noticed. Every other test checks that they are true: the harness checks each response
//! and event against them.

use std::collections::BTreeSet;
use std::path::Path;

use nexus_tests::client::http_client;
use nexus_tests::conformance::{ASYNCAPI, OPENAPI, check_event, check_response};
use nexus_tests::program::command;
use nexus_tests::settings::TempDir;
use nexus_tests::{Method, Outcome, Response, SOON, Stack, Value, eventually, json, seen};

fn clients() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/clients"))
}

/// Every operation over HTTP: method and path.
fn operations() -> Vec<(Method, &'static str)> {
    let paths = OPENAPI.whole["paths"].as_object().unwrap().iter();
    let methods = |item: &'static Value| item.as_object().unwrap().keys();
    let method = |name: &String| name.to_uppercase().parse().unwrap();
    paths
        .flat_map(|(path, item)| methods(item).map(move |name| (method(name), path.as_str())))
        .collect()
}

/// The operations over sockets that go that way.
fn over_sockets(action: &str) -> BTreeSet<&'static str> {
    let operations = ASYNCAPI.whole["operations"].as_object().unwrap().iter();
    operations
        .filter(|(_, operation)| operation["action"] == action)
        .map(|(name, _)| name.as_str())
        .collect()
}

#[tokio::test]
async fn the_documents_and_the_page_are_served() {
    let stack = Stack::builder().workers([]).start().await;
    let anonymous = stack.anonymous();
    assert_eq!(anonymous.get_root("/openapi.json").await.ok(), OPENAPI.whole);
    assert_eq!(anonymous.get_root("/asyncapi.json").await.ok(), ASYNCAPI.whole);

    let page = anonymous.get_root("/docs/socketio").await;
    for name in over_sockets("receive").union(&over_sockets("send")) {
        assert!(page.text.contains(&format!("<code>{name}</code>")), "{name} is not on the page");
    }
    // They have to work without the Internet.
    for page in [page, anonymous.get_root("/docs").await] {
        assert!(!page.text.contains("://"), "{page}");
    }
}

/// The texts of a schema that may be of any length, each with its place.
fn endless(document: &Value, schema: &Value, place: &str, found: &mut BTreeSet<String>) {
    if let Some(target) = schema["$ref"].as_str() {
        let schema = document.pointer(target.trim_start_matches('#')).expect("what it refers to");
        return endless(document, schema, target, found);
    }
    let is_text = schema["type"] == "string"
        || schema["type"].as_array().is_some_and(|types| types.contains(&json!("string")));
    let is_a_word = schema["enum"].is_array() || schema["const"].is_string();
    let is_formal = ["date-time", "uuid"].iter().any(|format| schema["format"] == *format);
    if is_text && !is_a_word && !is_formal && schema["maxLength"].is_null() {
        found.insert(place.to_owned());
    }
    for (name, property) in schema["properties"].as_object().into_iter().flatten() {
        // Whatever is no UUID is no code.
        if name == "share_code" {
            continue;
        }
        endless(document, property, &format!("{place}/{name}"), found);
    }
    for several in ["anyOf", "oneOf", "allOf"] {
        for (index, one) in schema[several].as_array().into_iter().flatten().enumerate() {
            endless(document, one, &format!("{place}/{several}/{index}"), found);
        }
    }
    if schema["items"].is_object() {
        endless(document, &schema["items"], &format!("{place}/items"), found);
    }
}

#[test]
fn every_text_of_a_request_has_a_longest_length() {
    let mut found = BTreeSet::new();
    let document = &OPENAPI.whole;
    for (path, item) in document["paths"].as_object().unwrap() {
        for (method, operation) in item.as_object().unwrap() {
            let place = format!("{method} {path}");
            for parameter in operation["parameters"].as_array().into_iter().flatten() {
                // Those of the path and of the head are bounded by their length.
                if parameter["in"] == "query" && parameter["name"] != "share_code" {
                    let place = format!("{place} {}", parameter["name"]);
                    endless(document, &parameter["schema"], &place, &mut found);
                }
            }
            for (kind, content) in
                operation["requestBody"]["content"].as_object().into_iter().flatten()
            {
                endless(document, &content["schema"], &format!("{place} {kind}"), &mut found);
            }
        }
    }
    let document = &ASYNCAPI.whole;
    for name in over_sockets("receive") {
        let operation = &document["operations"][name];
        for message in operation["messages"].as_array().into_iter().flatten() {
            let mut message = message;
            while let Some(target) = message["$ref"].as_str() {
                message = document.pointer(target.trim_start_matches('#')).expect("a message");
            }
            endless(document, &message["payload"], name, &mut found);
        }
    }
    assert!(found.is_empty(), "{found:#?}");
}

#[test]
fn openapi_is_what_the_official_validator_takes() {
    let file = TempDir::create();
    let document = file.join("openapi.json");
    std::fs::write(&document, OPENAPI.whole.to_string()).unwrap();
    let output = command(&clients().join(".venv/bin/openapi-spec-validator"), &file, &vec![])
        .arg(&document)
        .output()
        .expect("openapi-spec-validator: run `make python-deps`");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
}

#[test]
fn asyncapi_is_what_the_official_schema_says() {
    let version = ASYNCAPI.whole["asyncapi"].as_str().unwrap();
    let file = clients().join(format!("node_modules/@asyncapi/specs/schemas/{version}.json"));
    let schema = std::fs::read(&file)
        .unwrap_or_else(|error| panic!("{}: {error}: run `make node-deps`", file.display()));
    let schema: Value = serde_json::from_slice(&schema).unwrap();
    let validator = jsonschema::validator_for(&schema).unwrap();
    let problems = validator
        .iter_errors(&ASYNCAPI.whole)
        .map(|error| format!("{}: {error}", error.instance_path()));
    assert_eq!(problems.collect::<Vec<_>>(), Vec::<String>::new());
}

#[test]
fn every_reference_leads_somewhere() {
    fn references(value: &Value, found: &mut Vec<String>) {
        found.extend(value["$ref"].as_str().map(str::to_owned));
        match value {
            Value::Array(items) => items.iter().for_each(|item| references(item, found)),
            Value::Object(fields) => fields.values().for_each(|field| references(field, found)),
            _ => {}
        }
    }
    for document in [&*OPENAPI, &*ASYNCAPI] {
        let mut found = Vec::new();
        references(&document.whole, &mut found);
        let leads = |reference: &&String| {
            document.whole.pointer(reference.trim_start_matches('#')).is_some()
        };
        assert!(!found.is_empty());
        assert_eq!(
            found.iter().filter(|reference| !leads(reference)).collect::<Vec<_>>(),
            Vec::<&String>::new()
        );
    }
}

#[tokio::test]
async fn every_operation_is_where_the_document_says() {
    let stack = Stack::builder().workers([]).start().await;
    let token = stack.user().await.token.unwrap();
    for (method, path) in operations() {
        let path =
            path.split('/').map(|segment| if segment.starts_with('{') { "1" } else { segment });
        let url = stack.api_url(0) + &path.collect::<Vec<_>>().join("/");
        let response = Response::to(http_client().request(method, url).bearer_auth(&token)).await;
        let code = response.body["error"]["code"].as_str();
        assert!(!matches!(code, Some("route_not_found" | "method_not_allowed")), "{response}");
    }
}

#[tokio::test]
async fn every_command_of_the_document_is_answered() {
    let stack = Stack::builder().workers([]).start().await;
    let socket = stack.socket("the user", &stack.user().await).await;
    for command in over_sockets("receive") {
        let response = socket.call(command, &[json!({})]).await;
        assert_eq!(response["success"], false, "{command}: {response}");
    }
}

#[tokio::test]
async fn every_event_of_the_document_is_heard() {
    let stack = Stack::start().await;
    let organiser = stack.user().await;
    let buyer = stack.user().await;
    let stranger = stack.socket("a stranger", &stack.anonymous()).await;
    let socket = stack.socket("the buyer", &buyer).await;

    let event = stack.event(&organiser, &[("VIP", 100.0, 50)]).await;
    let path = format!("/events/{}", event.id);
    let renamed = json!({"name": "Renamed", "max_tickets_per_user": 20});
    organiser.put(&path, renamed).await.ok();
    let many = json!({"best_available": {"seat_type_id": event.seat_type("VIP"), "count": 11}});
    organiser.post(&format!("/seats/{}/locks", event.id), many).await.ok();
    let types = format!("/seats/{}/seat-types", event.id);
    let made =
        organiser.post(&types, json!({"name": "Floor", "price": 1, "quantity": 1})).await.data();
    let floor = format!("{types}/{}", made["seat_type"]["id"]);
    organiser.put(&floor, json!({"quantity": 2})).await.ok();
    organiser.delete(&floor).await.ok();
    let (booking, _) = stack.sell(&buyer, &event, &[("VIP", "A1")]).await;
    stack.until_tickets(&buyer, &booking, 1).await;
    buyer.cancel(&booking).await.ok();
    organiser.delete(&path).await.ok();
    let event = stack.event(&organiser, &[("VIP", 100.0, 50)]).await;
    let (booking, _) = stack.sell(&buyer, &event, &[("VIP", "A1")]).await;
    let ticket = stack.until_tickets(&buyer, &booking, 1).await.remove(0);
    let scan = json!({"ticket_id": ticket["ticket_id"]});
    let seller = stack.socket("the organiser", &organiser).await;
    organiser.post(&format!("/events/{}/check-ins", event.id), scan).await.ok();
    stranger.call("lock_seat", &[json!({})]).await;
    // Paid twice, one of which goes back.
    let other = stack.event(&organiser, &[("VIP", 100.0, 50)]).await;
    let booking = buyer.lock_and_book(&other, &[("VIP", "A1")]).await;
    let order = buyer.order(&booking).await;
    stack.pay(&order, Outcome::Captured);
    stack.pay(&order, Outcome::Captured);

    let room = format!(
        "INSERT INTO waiting_rooms (event_id, opens_at, seed, pace) VALUES ({}, now(), sha256('seed'), 600)",
        other.id
    );
    stack.execute(&room).await;

    stranger.wait_for_any("offset").await;
    let documented = over_sockets("send").into_iter().filter(|name| *name != "offset");
    let documented: Vec<_> = documented.collect();
    eventually("every event is heard", SOON, async || {
        let names: BTreeSet<String> =
            [&socket, &stranger, &seller].iter().flat_map(|socket| socket.event_names()).collect();
        let missing: Vec<_> = documented.iter().filter(|name| !names.contains(**name)).collect();
        seen(missing.is_empty(), missing).map(drop)
    })
    .await;
}

/// What the harness makes of this response to `GET /events/1`.
fn check(status: u16, body: Value) {
    let request = http_client().get("http://localhost/api/v1/events/1").build().unwrap();
    let headers = [("x-request-id", "12345678"), ("content-type", "application/json")];
    let headers = headers.map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap()));
    let text = body.to_string();
    check_response(
        &request,
        &Response {
            request: String::new(),
            status,
            headers: headers.into_iter().collect(),
            bytes: vec![],
            text,
            body,
        },
    );
}

fn not_found() -> Value {
    json!({"error": {"message": "Event not found", "code": "event_not_found", "request_id": "12345678"}})
}

#[test]
fn a_documented_answer_passes() {
    check(404, not_found());
}

#[test]
#[should_panic(expected = "this status is not documented")]
fn an_undocumented_status_does_not_pass() {
    check(418, not_found());
}

#[test]
#[should_panic(expected = "'more' was unexpected")]
fn an_undocumented_field_does_not_pass() {
    let mut body = not_found();
    body["error"]["more"] = json!(1);
    check(404, body);
}

#[test]
#[should_panic(expected = "\"taken\" is not one of")]
fn an_undocumented_code_does_not_pass() {
    let mut body = not_found();
    body["error"]["code"] = json!("taken");
    check(404, body);
}

#[test]
#[should_panic(expected = "this event is not documented")]
fn an_undocumented_event_does_not_pass() {
    check_event(&json!({"event": "seat_sold", "args": [{}]}));
}

#[test]
#[should_panic(expected = "\"reason\" is a required property")]
fn an_incomplete_event_does_not_pass() {
    check_event(&json!({"event": "booking_cancelled", "args": [{"booking_id": 1}]}));
}
