//! Connections, requests and accounts.

use serde_json::json;

use crate::replay::mapping::any;
use crate::replay::outcome::{merge, respond_http, succeed};
use crate::replay::recording::Request;
use crate::replay::rule::{Rule, rule};

pub(super) fn transport() -> Vec<Rule> {
    vec![
        rule(
            "docs/readiness.md, finding 8",
            "only pages of the frontend's origin may call, and with credentials",
        )
        .on([2, 10, 11, 18], |case, outcome| {
            let Request::Http { headers, .. } = &case.exchange.request else { return };
            let allowed = json!({
                "access-control-allow-origin": headers["Origin"],
                "access-control-allow-credentials": "true",
            });
            merge(&mut outcome["headers"], allowed);
        }),
        rule("docs/contract.md#transport", "Engine.IO 3 is refused, with a code that is text")
            .says(19, json!({"body": {"code": "5"}})),
        rule("docs/contract.md#transport", "an absent body counts as {}")
            .refused(
                52,
                400,
                "Validation failed: Either email or phone number is required, Password is required",
            )
            .refused(76, 400, "Refresh token is required")
            .refused(183, 400, "No fields to update")
            .refused(229, 400, "Missing required fields: name, price, quantity")
            .refused(258, 400, "Seat label is required in request body"),
        rule("docs/contract.md#failures", "a body of another content type is 415").refused(
            16,
            415,
            "Content-Type must be application/json",
        ),
        rule("docs/contract.md#failures", "a body over 100 KB is refused").refused(
            17,
            413,
            "Request body is too large",
        ),
    ]
}

pub(super) fn accounts() -> Vec<Rule> {
    vec![
        rule("docs/contract.md#accounts", "one can log in with a phone number").succeeds(
            61,
            json!({
                "user": {"id": 3, "username": null, "name": null, "email": null, "phone": "+14155550100"},
                "accessToken": any::TOKEN,
                "refreshToken": any::TOKEN,
                "message": "Login successful",
            }),
        ),
        rule("docs/contract.md#accounts", "phones are normalised when a password is reset, too").on([133], |case, outcome| {
            succeed(case.exchange, outcome, case.find(134).data());
        }),
        rule("docs/contract.md#change-12", "a logout needs no body")
            .succeeds(91, json!({"message": "Logout successful"}))
            .refused(92, 401, "Token has been revoked"),
        rule("docs/contract.md#change-12", "a logout does not end another user's session").succeeds(
            103,
            json!({"accessToken": any::TOKEN, "message": "Access token refreshed successfully"}),
        ),
        rule("docs/contract.md#change-12", "a password reset ends access tokens, too").refused(135, 401, "Token has been revoked"),
        rule("docs/contract.md#change-16", "no token is issued twice")
            .says(65, json!({"data": {"same_access_token": false, "same_refresh_token": false}}))
            .says(70, json!({"body": {"data": {"accessToken": any::TOKEN}}}))
            .says(116, json!({"body": {"data": {"accessToken": any::TOKEN, "refreshToken": any::TOKEN}}})),
        rule("docs/contract.md#change-16", "a logout ends one session").on([67], |case, outcome| {
            respond_http(outcome, 200, case.find(88).outcome["body"].clone());
        }),
        rule("docs/contract.md#change-16", "a token has a jti")
            .says(68, json!({"data": {"payload": {"jti": any::ID}, "refresh_payload": {"jti": any::ID}}})),
        rule("docs/contract.md#change-36", "tokens name their session and their key")
            .says(68, json!({"data": {"header": {"kid": any::ID}, "payload": {"sid": any::ID}, "refresh_payload": {"sid": any::ID}}})),
        rule("docs/contract.md#change-36", "a logout ends all tokens of the session").refused(
            100,
            401,
            "Refresh token has been revoked",
        ),
        rule("docs/contract.md#change-49", "a code comes with a challenge").on(
            [104, 115, 117, 131, 137],
            |_, outcome| merge(&mut outcome["body"], json!({"data": {"challenge_id": any::ID}})),
        ),
        rule("docs/contract.md#change-35", "tickets are mailed to proved addresses only").on([420], |_, outcome| {
            let tickets = outcome["body"]["data"]["tickets"].as_array_mut();
            for ticket in tickets.into_iter().flatten() {
                merge(ticket, json!({"email_sent": false, "delivered_at": null}));
            }
        }),
    ]
}

pub(super) fn caches() -> Vec<Rule> {
    let personal = ["/api/v1/auth", "/api/v1/bookings", "/api/v1/payments"];
    vec![
        rule(
            "docs/readiness.md, finding 7",
            "caches keep nothing personal and no failure, and ask again about the rest",
        )
        .everywhere(move |case, outcome| {
            let Request::Http { headers, .. } = &case.exchange.request else { return };
            let Some(status) = outcome["status"].as_u64() else { return };
            let path = case.exchange.path().to_ascii_lowercase();
            let cache = match () {
                () if status >= 400
                    || personal.iter().any(|personal| path.starts_with(personal)) =>
                {
                    "no-store"
                }
                () if headers.contains_key("Authorization") => "private, no-cache",
                () => "no-cache",
            };
            if outcome["headers"]["cache-control"].is_null() {
                outcome["headers"]["cache-control"] = json!(cache);
            }
        }),
    ]
}
