//! Failures: the same messages, in JSON, with statuses that say what they are.

use serde_json::{Value, json};

use crate::replay::outcome::{failure, respond_http};
use crate::replay::rule::{Rule, rule};

pub(super) fn failures() -> Vec<Rule> {
    vec![
        rule(
            "docs/contract.md#failures",
            "a message has no prefix of the function that it came through",
        )
        .everywhere(|_, outcome| {
            for place in ["/thrown", "/received/0/args/0/error"] {
                if let Some(Value::String(message)) = outcome.pointer_mut(place) {
                    for prefix in ["Failed to acquire seat lock: ", "OTP verification failed: "] {
                        *message = message.replacen(prefix, "", 1);
                    }
                }
            }
        }),
        rule(
            "docs/contract.md#failures",
            "a failure is JSON with the same message, and its own status",
        )
        .everywhere(|case, outcome| {
            let thrown =
                outcome["thrown"].as_str().and_then(|thrown| thrown.strip_prefix("Error: "));
            let said = outcome["body"]["error"]["message"].as_str();
            let Some(message) = thrown.or(said).map(str::to_owned) else { return };
            if let Some(status) = status_of(&message) {
                respond_http(outcome, status, failure(case.exchange.path(), &message));
            }
        }),
        rule("docs/contract.md#failures", "429 says when to try again")
            .says(118, json!({"body": {"error": {"limit": 5, "current": 5, "retryAfter": 600}}})),
        rule(
            "docs/contract.md#change-13",
            "who asks too often is told so, and everybody how much is left",
        )
        .says(53, json!({"data": {"ratelimit_headers": RATE_LIMIT_HEADERS}}))
        .says(64, json!({"data": {"last_status": 429, "ratelimit_headers": RATE_LIMIT_HEADERS}})),
        rule(
            "docs/contract.md#failures",
            "what was an accident of the code has a message and a status",
        )
        .refused(6, 404, "Route not found")
        .refused(7, 405, "Method not allowed")
        .refused(11, 400, "Request body is not valid JSON")
        .refused(12, 400, "Request body must be a JSON object")
        .refused(13, 400, "Request body must be a JSON object")
        .refused(47, 400, "Validation failed: Invalid phone number format")
        .refused(62, 400, "Validation failed: Password is required")
        .refused(87, 401, "Invalid or expired access token")
        .refused(107, 400, "Invalid phone number format")
        .refused(108, 400, "Invalid phone number format")
        .refused(124, 400, "Username is required")
        .refused(151, 400, "Quantity must be greater than or equal to 0")
        .refused(161, 400, "name must be at most 255 characters long")
        .refused(163, 401, "Invalid or expired access token")
        .refused(187, 400, "is_public must be true or false")
        .refused(202, 400, "limit and offset must not be negative")
        .refused(203, 400, "limit and offset must not be negative")
        .refused(223, 400, "Quantity must be greater than or equal to 0")
        .refused(224, 400, "Missing required fields: name, price, quantity")
        .refused(259, 401, "Invalid or expired access token")
        .refused(302, 400, "Each seat detail must have seat_label and seat_type_id")
        .refused(317, 400, "limit and offset must not be negative")
        .refused(337, 400, "idempotency_key must be text of 1 to 255 characters")
        .refused(338, 404, "Route not found")
        .refused(356, 400, "Invalid booking ID"),
    ]
}

const RATE_LIMIT_HEADERS: [&str; 3] =
    ["x-ratelimit-limit", "x-ratelimit-remaining", "x-ratelimit-reset"];

/// The status of each failure (docs/contract.md#failures); `*` stands for anything.
const FAILURES: [(u64, &[&str]); 8] = [
    (
        400,
        &[
            "Validation failed: *",
            "Refresh token is required",
            "Invalid phone number format",
            "Invalid OTP format. OTP must be 4-6 digits.",
            "Phone number and OTP are required",
            "Username is required",
            "Password must be at least 8 characters long",
            "OTP is required for password reset",
            "Email-based password reset requires phone OTP verification. Please provide phone number.",
            "Missing required fields: *",
            "At least one seat type is required",
            "Seat type * is missing required fields: name, price, quantity",
            "No fields to update",
            "Invalid * ID",
            "Price must be greater than or equal to 0",
            "Quantity must be greater than or equal to 0",
            "Seat label is required*",
            "Invalid seat label format. Only alphanumeric characters allowed.",
            "Event ID is required",
            "At least one seat detail is required",
            "Each seat detail must have seat_label and seat_type_id",
            "Valid amount is required",
        ],
    ),
    (
        401,
        &[
            "Access token is required",
            "Token has been revoked",
            "Invalid or expired access token",
            "Invalid token type",
            "Invalid email or password",
            "Invalid or expired refresh token",
            "Refresh token has been revoked",
            "Invalid OTP. Please try again.",
        ],
    ),
    (403, &["You are not authorized to *"]),
    (
        404,
        &[
            "* not found",
            "Booking not found or you don't have permission to pay for this booking",
            "User not found with this phone number",
        ],
    ),
    (
        409,
        &[
            "User with this email, username or phone already exists",
            "Cannot delete *",
            "Event is not available for booking",
            "Event has already started. Booking is closed.",
            "Seat * is already taken. Please select another seat.",
            "No seats available for this seat type",
            "One or more seats are *",
            "A cancellation request with this idempotency key is already in progress.",
            "Booking is *, cannot create payment order",
        ],
    ),
    (410, &["OTP not found or expired. Please request a new OTP."]),
    (422, &["Amount mismatch. Booking total is *"]),
    (429, &["Maximum verification attempts reached. Please request a new OTP."]),
];

/// The status of a failure with this message.
fn status_of(message: &str) -> Option<u64> {
    let is_it = |pattern: &&str| match pattern.split_once('*') {
        Some((start, end)) => message.starts_with(start) && message.ends_with(end),
        None => message == *pattern,
    };
    FAILURES.iter().find(|(_, patterns)| patterns.iter().any(is_it)).map(|(status, _)| *status)
}
