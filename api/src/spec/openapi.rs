//! The OpenAPI document, made from the routes' descriptions.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use http::Method;
use nexus_common::{
    Error,
    types::{page::Pagination, puzzle::Puzzle, usage::Usage},
};
use serde_json::{Map, Value, json};

use super::{
    components,
    operation::{Access, Header, Operation, Route, Success},
    schemas::{Schemas, exactly},
};
use crate::http::{
    api_error::{ApiError, WayOn},
    policy::Policy,
};

/// Sections of the document, in reading order.
const TAGS: [(&str, &str); 6] = [
    (
        "Auth",
        "Accounts and sessions. An access token is valid for 30 minutes, a refresh token for 7 days.",
    ),
    ("Events", "What organisers sell. Drafts and private events exist for their organiser only."),
    (
        "Seats",
        "Seat types, and locking single seats. Seats are virtual: one exists only while it is locked or booked.",
    ),
    ("Bookings", "Locked seats become a booking, a paid booking gets its tickets."),
    ("Payments", "Orders at Razorpay, and what becomes of them."),
    ("Service", "Whether the service lives, and these documents."),
];

const DESCRIPTION: &str = "Nexus sells seats for events. Bodies are JSON; an absent body counts as `{}`, fields that are not listed are \
ignored, and numeric text is accepted where a number is meant. A trailing slash and the case of a path make no difference. \
What changes something can also be asked for over Socket.IO: see [commands and broadcasts](docs/socketio), or `/asyncapi.json`. A W3C `traceparent` header is \
continued. How often one may ask is limited: every response says how much is left, and 429 when to try again.";

pub(super) fn document(routes: &[Route]) -> Value {
    let mut schemas = Schemas::default();
    let mut paths = Map::new();
    for route in routes {
        let item = paths.entry(route.path.clone()).or_insert_with(|| json!({}));
        item[route.method.as_str().to_ascii_lowercase()] = operation(route, &mut schemas);
    }
    // In the envelope of 429, which no type describes.
    schemas.output::<Puzzle>();
    let mut described = schemas.finish();
    described["ApiError"] = components::failure(false);
    described["FailureWithSuccess"] = components::failure(true);
    described["Unavailable"] = components::unavailable(false);
    described["NotCalled"] = components::not_called();
    described["UnavailableWithSuccess"] = components::unavailable(true);
    described["TooMany"] = components::too_many(false);
    described["TooManyWithSuccess"] = components::too_many(true);
    json!({
        "openapi": "3.1.0",
        "info": { "title": "Nexus", "version": env!("CARGO_PKG_VERSION"), "description": DESCRIPTION },
        "servers": [{ "url": "/" }],
        "tags": TAGS.map(|(name, description)| json!({ "name": name, "description": description })),
        "paths": paths,
        "components": {
            "schemas": described,
            "headers": components::headers(),
            "parameters": components::parameters(),
            "securitySchemes": {
                "bearer": { "type": "http", "scheme": "bearer", "bearerFormat": "JWT" },
                "doorKey": {
                    "type": "http",
                    "scheme": "bearer",
                    "bearerFormat": "nxd_…",
                    "description": "A token for a device that lets people in to one event: see `create_door_key`.",
                },
            },
        },
    })
}

fn operation(
    Route { method, path, tag, policy, operation }: &Route,
    schemas: &mut Schemas,
) -> Value {
    let (parameters, body) = input(method, path, operation, schemas);
    let mut described = json!({
        "operationId": operation.name,
        "summary": operation.summary,
        "description": operation.description,
        "tags": [tag],
        "security": match operation.access {
            Access::Anybody => json!([]),
            Access::MaybeUser => json!([{}, { "bearer": [] }]),
            Access::User => json!([{ "bearer": [] }]),
            Access::Keeper => json!([{ "bearer": [] }, { "doorKey": [] }]),
        },
        "parameters": parameters,
        "responses": responses(method, *policy, operation, schemas),
    });
    if let Some(body) = body {
        described["requestBody"] = json!({
            "required": body["required"] != json!([]) || body["anyOf"].is_array(),
            "content": { "application/json": { "schema": body } },
        });
    }
    described
}

/// The input's fields in HTTP: parameters, and the schema of the body.
fn input(
    method: &Method,
    path: &str,
    operation: &Operation,
    schemas: &mut Schemas,
) -> (Vec<Value>, Option<Value>) {
    let mut parameters: Vec<Value> = operation.headers.iter().map(header).collect();
    if method == Method::GET {
        parameters.push(json!({ "$ref": "#/components/parameters/If-None-Match" }));
    }
    if operation.once {
        parameters.push(json!({ "$ref": "#/components/parameters/Idempotency-Key" }));
    }
    let Some(mut body) = operation.input(schemas) else { return (parameters, None) };
    let required = body["required"].as_array().cloned().unwrap_or_default();
    let fields = body["properties"].as_object().cloned().unwrap_or_default();
    let has_body = operation.in_body || !matches!(*method, Method::GET | Method::DELETE);
    let (inside, outside): (Map<_, _>, Map<_, _>) =
        fields.into_iter().partition(|(name, _)| has_body && !is_segment(path, name));
    parameters.extend(outside.into_iter().map(|(name, field)| {
        let place = if is_segment(path, &name) { "path" } else { "query" };
        json!({
            "name": name,
            "in": place,
            "required": required.contains(&json!(name)),
            "description": field["description"].as_str().unwrap_or_default(),
            "schema": as_text(&field, schemas),
        })
    }));
    if inside.is_empty() {
        return (parameters, None);
    }
    body["required"] =
        required.into_iter().filter(|name| inside.keys().any(|field| field == name)).collect();
    body["properties"] = inside.into();
    (parameters, Some(body))
}

fn header(header: &Header) -> Value {
    json!({
        "name": header.name,
        "in": "header",
        "required": header.required,
        "description": header.description,
        "schema": { "type": "string" },
    })
}

fn is_segment(path: &str, name: &str) -> bool {
    path.split('/').any(|segment| {
        segment.strip_prefix('{').and_then(|rest| rest.strip_suffix('}')) == Some(name)
    })
}

/// In paths and queries everything is text and nothing is null, so the document need not say so.
fn as_text(field: &Value, schemas: &Schemas) -> Value {
    let not_null = |value: &&Value| **value != "null" && value["type"] != "null";
    let mut schema = match field["oneOf"].as_array() {
        Some(of) => schemas.resolve(of.iter().find(not_null).unwrap_or(field)),
        None => schemas.resolve(field),
    };
    schema = schema["anyOf"].get(0).unwrap_or(schema);
    let mut schema = schema.clone();
    if let Some(types) = schema["type"].as_array() {
        schema["type"] = types.iter().find(not_null).cloned().unwrap_or_default();
    }
    if let Some(schema) = schema.as_object_mut() {
        schema.remove("description");
    }
    schema
}

fn responses(
    method: &Method,
    policy: Policy,
    operation: &Operation,
    schemas: &mut Schemas,
) -> Value {
    let mut responses = BTreeMap::new();
    for plain in &operation.plain {
        let body = (plain.body)(schemas);
        responses.insert(plain.status, response(plain.description, plain.media_type, body));
    }
    if let Some(success) = operation.success {
        let done = match success {
            Success::File(media_types) => file(media_types),
            _ => response("Done.", "application/json", success_body(success, policy, schemas)),
        };
        responses.insert(200, done);
        for (status, reasons) in failures(method, policy, operation) {
            let mut about =
                response(&in_words(&reasons), "application/json", failed(policy, status, &reasons));
            if matches!(status, 429 | 503) {
                about["headers"]["Retry-After"] =
                    json!({ "$ref": "#/components/headers/Retry-After" });
            }
            responses.insert(status, about);
        }
    }
    if method == Method::GET {
        for status in [200, 304] {
            let headers = &mut responses.entry(status).or_insert_with(not_modified)["headers"];
            headers["ETag"] = json!({ "$ref": "#/components/headers/ETag" });
        }
    }
    if policy.is_limited {
        for about in responses.values_mut() {
            for name in ["X-RateLimit-Limit", "X-RateLimit-Remaining", "X-RateLimit-Reset"] {
                about["headers"][name] = json!({ "$ref": format!("#/components/headers/{name}") });
            }
        }
    }
    if operation.once {
        // Refusals are replayed, too.
        for (_, about) in responses.iter_mut().filter(|(status, _)| **status < 500) {
            about["headers"]["Idempotent-Replayed"] =
                json!({ "$ref": "#/components/headers/Idempotent-Replayed" });
        }
    }
    json!(responses)
}

fn file(media_types: &[&str]) -> Value {
    let mut about = response("The file.", "", json!({}));
    let content = json!({ "schema": { "type": "string", "format": "binary" } });
    about["content"] =
        media_types.iter().map(|name| ((*name).to_owned(), content.clone())).collect();
    about
}

fn not_modified() -> Value {
    json!({
        "description": "The client has the response already.",
        "headers": { "X-Request-Id": { "$ref": "#/components/headers/X-Request-Id" } },
    })
}

fn response(description: &str, media_type: &str, schema: Value) -> Value {
    json!({
        "description": description,
        "headers": { "X-Request-Id": { "$ref": "#/components/headers/X-Request-Id" } },
        "content": { media_type: { "schema": schema } },
    })
}

/// The envelope of a success (docs/contract.md#transport).
fn success_body(success: Success, policy: Policy, schemas: &mut Schemas) -> Value {
    let mut fields = json!({ "data": success.data(schemas) });
    if let Success::Page(_) = success {
        fields["pagination"] = schemas.output::<Pagination>();
    }
    if policy.envelope.has_success() {
        fields["success"] = json!({ "const": true });
    }
    exactly(fields)
}

/// The failures of an operation by status: its own, and those of all operations like it.
fn failures(
    method: &Method,
    policy: Policy,
    operation: &Operation,
) -> BTreeMap<u16, Vec<ApiError>> {
    let mut all: Vec<ApiError> = vec![
        Error::internal("").into(),
        Error::Unavailable("".into()).into(),
        ApiError::uri_too_long(),
    ];
    if policy.priority(method).is_some() {
        all.push(Error::overloaded().into());
    }
    if policy.is_limited {
        all.push(
            Error::RateLimited(Usage { limit: 1, used: 1, until_room: Duration::ZERO }).into(),
        );
    }
    if matches!(operation.access, Access::User | Access::Keeper) {
        all.extend(
            [Error::TokenMissing, Error::TokenInvalid, Error::TokenRevoked, Error::TokenType]
                .map(ApiError::from),
        );
    }
    if method != Method::GET {
        all.extend([
            ApiError::malformed_json(),
            ApiError::not_an_object(),
            ApiError::incomplete_body(),
            ApiError::request_timeout(),
            ApiError::body_too_large(),
            ApiError::unsupported_media_type(),
            ApiError::unsupported_content_encoding(),
        ]);
    }
    if operation.once {
        let keyed = [Error::RequestInFlight, Error::IdempotencyKeyReused, Error::ResponseNotKept];
        all.extend(keyed.map(ApiError::from));
    }
    all.extend(operation.failures.iter().cloned());
    let mut by_status: BTreeMap<u16, Vec<ApiError>> = BTreeMap::new();
    for failure in all {
        by_status.entry(failure.status.as_u16()).or_default().push(failure);
    }
    by_status
}

fn in_words(reasons: &[ApiError]) -> String {
    let lines = reasons.iter().map(|reason| format!("- `{}`: {}", reason.code, reason.message));
    lines.collect::<Vec<_>>().join("\n")
}

fn failed(policy: Policy, status: u16, reasons: &[ApiError]) -> Value {
    let leads_to_queue =
        reasons.iter().any(|reason| matches!(reason.way_on.as_deref(), Some(WayOn::Queue(_))));
    let envelope = match (status, policy.envelope.has_success()) {
        (_, false) if leads_to_queue => "NotCalled",
        (429, false) => "TooMany",
        (429, true) => "TooManyWithSuccess",
        (503, false) => "Unavailable",
        (503, true) => "UnavailableWithSuccess",
        (_, false) => "ApiError",
        (_, true) => "FailureWithSuccess",
    };
    let codes: BTreeSet<_> = reasons.iter().map(|reason| &reason.code).collect();
    json!({ "allOf": [
        { "$ref": format!("#/components/schemas/{envelope}") },
        { "properties": { "error": { "properties": { "code": { "enum": codes } } } } },
    ] })
}
