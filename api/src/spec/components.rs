//! What many operations have in common in the OpenAPI document: headers, parameters, and the
//! envelopes of failures.

use serde_json::{Value, json};

use super::schemas::exactly;

/// Headers of responses.
pub(super) fn headers() -> Value {
    json!({
        "X-Request-Id": {
            "description": "The request's own `X-Request-Id`, or a new one. It is in the log, too.",
            "required": true,
            "schema": { "type": "string", "pattern": "^[A-Za-z0-9-]{8,64}$" },
        },
        "Idempotent-Replayed": {
            "description": "The response is the one that the first request with this `Idempotency-Key` got.",
            "schema": { "const": "true" },
        },
        "ETag": {
            "description": "For `If-None-Match`.",
            "schema": { "type": "string" },
        },
        "X-RateLimit-Limit": {
            "description": "So many requests are allowed: of this user, or of this address without a token; with 429, what has refused this one. Not there while limits are off.",
            "schema": { "type": "integer", "minimum": 1 },
        },
        "X-RateLimit-Remaining": {
            "description": "So many are left.",
            "schema": { "type": "integer", "minimum": 0 },
        },
        "X-RateLimit-Reset": {
            "description": "The Unix time at which the next of them counts no more.",
            "schema": { "type": "integer", "minimum": 1 },
        },
        "Retry-After": {
            "description": RETRY_AFTER,
            "required": true,
            "schema": { "type": "integer", "minimum": 1 },
        },
    })
}

/// Headers of requests.
pub(super) fn parameters() -> Value {
    json!({
        "Idempotency-Key": {
            "name": "Idempotency-Key",
            "in": "header",
            "description": "Sent again with the same key, the same request is answered what it was answered before, for 24 hours.",
            "schema": { "type": "string", "minLength": 1, "maxLength": 255, "pattern": "^[!-~]+$" },
        },
        "If-None-Match": {
            "name": "If-None-Match",
            "in": "header",
            "description": "The `ETag` of a response that the client has: 304 if that is still the response.",
            "schema": { "type": "string" },
        },
    })
}

/// The envelope of failures (docs/contract.md#failures).
pub(super) fn failure(with_success: bool) -> Value {
    let mut fields = json!({ "error": exactly(json!({
        "message": { "type": "string", "description": "For people." },
        "code": { "type": "string", "description": "For programs." },
        "request_id": { "type": "string", "description": "The log knows the request by it." },
    })) });
    if with_success {
        fields["success"] = json!({ "const": false });
    }
    exactly(fields)
}

/// The envelope of 403 where somebody may have to wait for their turn.
pub(super) fn not_called() -> Value {
    let mut envelope = failure(false);
    envelope["properties"]["error"]["properties"]["queue"] = json!({
        "type": "string",
        "description": "With `queue_required` only: the path of the waiting room.",
    });
    envelope
}

/// The envelope of 503, which may say when to come again.
pub(super) fn unavailable(with_success: bool) -> Value {
    let mut envelope = failure(with_success);
    envelope["properties"]["error"]["properties"]["retryAfter"] = at_least_one(RETRY_AFTER);
    envelope
}

const RETRY_AFTER: &str = "Seconds after which trying again makes sense.";

/// A number from 1.
pub(super) fn at_least_one(description: &str) -> Value {
    json!({ "type": "integer", "minimum": 1, "description": description })
}

/// The envelope of 429, which says more.
pub(super) fn too_many(with_success: bool) -> Value {
    let mut envelope = failure(with_success);
    let error = &mut envelope["properties"]["error"];
    for (name, description) in [
        ("retryAfter", RETRY_AFTER),
        ("limit", "So many are allowed."),
        ("current", "So many count now."),
    ] {
        error["properties"][name] = at_least_one(description);
        if let Some(required) = error["required"].as_array_mut() {
            required.push(json!(name));
        }
    }
    error["properties"]["puzzle"] = json!({
        "$ref": "#/components/schemas/Puzzle",
        "description": "With `proof_of_work_needed` only.",
    });
    envelope
}
