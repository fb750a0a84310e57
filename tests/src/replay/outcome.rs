//! What rules do to an expected outcome (for its form see [`recording`](super::recording)).

use serde_json::{Value, json};

use super::mapping::any;
use super::recording::{Exchange, Request};

/// It is refused with this status (over HTTP) and message, and no client hears of it.
pub fn refuse(exchange: &Exchange, outcome: &mut Value, status: u64, message: &str) {
    match &exchange.request {
        Request::Http { path, .. } => respond_http(outcome, status, failure(path, message)),
        Request::Command { event, .. } => {
            respond(outcome, event, json!({"success": false, "error": message}));
        }
        Request::Observation => panic!("an observation is not refused"),
    }
    silence(outcome);
}

/// It succeeds with this `data`.
pub fn succeed(exchange: &Exchange, outcome: &mut Value, data: &Value) {
    match &exchange.request {
        Request::Http { path, .. } if says_success(path) => {
            respond_http(outcome, 200, json!({"success": true, "data": data}))
        }
        Request::Http { .. } => respond_http(outcome, 200, json!({"data": data})),
        Request::Command { event, .. } => {
            respond(outcome, event, json!({"success": true, "data": data}))
        }
        Request::Observation => panic!("an observation does not succeed"),
    }
}

/// Whether answers there say in the body whether they are successes (docs/contract.md#transport and
/// docs/contract.md#failures).
fn says_success(path: &str) -> bool {
    ["/api/v1/bookings", "/api/v1/payments"].iter().any(|prefix| path.starts_with(prefix))
}

/// The body of a failed request (docs/contract.md#failures).
pub fn failure(path: &str, message: &str) -> Value {
    let error = json!({"message": message, "code": any::CODE, "request_id": any::ID});
    if says_success(path) {
        json!({"success": false, "error": error})
    } else {
        json!({"error": error})
    }
}

/// A request is answered with this JSON.
pub fn respond_http(outcome: &mut Value, status: u64, body: Value) {
    let fields = outcome.as_object_mut().expect("an outcome");
    fields.remove("thrown");
    fields.insert("status".into(), json!(status));
    fields.insert("body".into(), body);
    outcome["headers"]["content-type"] = json!("application/json");
}

/// A command is answered with this.
pub fn respond(outcome: &mut Value, command: &str, response: Value) {
    outcome["received"] = json!([{"event": format!("{command}_response"), "args": [response]}]);
}

/// What each of the other clients hears.
pub fn everybody(outcome: &mut Value) -> impl Iterator<Item = &mut Vec<Value>> {
    let broadcasts = outcome.get_mut("broadcasts").and_then(Value::as_object_mut);
    broadcasts.into_iter().flat_map(|heard| heard.values_mut()).filter_map(Value::as_array_mut)
}

/// No client hears of it.
pub fn silence(outcome: &mut Value) {
    everybody(outcome).for_each(Vec::clear);
}

/// All clients hear this, too.
pub fn tell(outcome: &mut Value, event: &str, payload: &Value) {
    for heard in everybody(outcome) {
        heard.push(json!({"event": event, "args": [payload]}));
    }
}

/// The payloads of every broadcast of that name.
pub fn payloads<'a>(outcome: &'a mut Value, event: &str) -> impl Iterator<Item = &'a mut Value> {
    everybody(outcome)
        .flatten()
        .filter(move |broadcast| broadcast["event"] == event)
        .map(|broadcast| &mut broadcast["args"][0])
}

/// Fields of objects are put over those that there are, and elements over those of the same place;
/// anything else is replaced.
pub fn merge(target: &mut Value, patch: Value) {
    match (target, patch) {
        (Value::Object(fields), Value::Object(patch)) => {
            for (name, value) in patch {
                merge(fields.entry(name).or_insert(Value::Null), value);
            }
        }
        (Value::Array(elements), Value::Array(patch))
            if !elements.is_empty() && elements.len() == patch.len() =>
        {
            for (element, value) in elements.iter_mut().zip(patch) {
                merge(element, value);
            }
        }
        (target, patch) => *target = patch,
    }
}

/// The object at a place, which there must be.
pub fn object<'a>(outcome: &'a mut Value, place: &str) -> &'a mut Value {
    outcome
        .pointer_mut(place)
        .filter(|found| found.is_object())
        .unwrap_or_else(|| panic!("no object at {place}"))
}
