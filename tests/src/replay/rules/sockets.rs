//! Commands over sockets, and what all clients hear.

use serde_json::{Value, json};

use crate::replay::mapping::any;
use crate::replay::outcome::{everybody, merge, object, payloads, silence};
use crate::replay::rule::{Case, Rule, rule};
use crate::shop::MASKED_REFERENCE;

pub(super) fn sockets() -> Vec<Rule> {
    vec![
        rule("docs/contract.md#commands", "an acknowledgement callback gets the response, too").on([429], |_, outcome| {
            outcome["acknowledged"] = outcome["received"][0]["args"][0].clone();
        }),
        rule("docs/contract.md#commands", "a command fails with its HTTP twin's message").failed(455, "Seat label is required in request body").failed(464, "At least one seat detail is required").failed(466, "Each seat detail must have seat_label and seat_type_id").failed(467, "Event ID is required"),
        rule("docs/contract.md#change-13", "a command's payload is validated").failed(437, "Event not found").failed(458, "Event not found").failed(459, "Invalid event ID"),
        rule("docs/contract.md#change-1", "only the owner confirms a booking, with a payment for it").failed(471, "Booking not found").failed(472, "Payment could not be verified for this booking"),
        rule("docs/contract.md#change-1", "a booking that nobody has paid for is pending").says(473, json!({"body": {"data": {
                    "booking": {"status": "pending", "payment_status": "pending", "payment_id": null, "payment_gateway": null, "confirmed_at": null},
                    "seats": [{"status": "locked", "booked_at": null}],
                }}})),
        rule("docs/contract.md#broadcasts", "booking_confirmed has the booking's id, whoever caused it").on([474], |_, outcome| {
            payloads(outcome, "booking_confirmed").for_each(|broadcast| merge(broadcast, json!({"booking_id": 22})));
        }),
        rule("docs/contract.md#commands", "a ticket job's id is text of any form").on([474], |_, outcome| {
            object(outcome, "/received/0/args/0/data/ticket_generation")["jobId"] = json!(any::ID);
        }),
        rule("docs/contract.md#transport", "an access token is one that says so").on([499], unauthenticated),
        rule("docs/contract.md#change-12", "a socket is its user's no longer than its token is valid").on([504, 506], unauthenticated),
    ]
}

fn unauthenticated(_: &Case, outcome: &mut Value) {
    outcome["received"] =
        json!([{"event": "error", "args": [{"message": "Authentication required"}]}]);
    silence(outcome);
}

/// What all clients hear.
pub(super) fn broadcasts() -> Vec<Rule> {
    vec![
        rule("docs/contract.md#broadcasts", "ids are numbers").everywhere(|_, outcome| {
            everybody(outcome).flatten().for_each(|broadcast| ids_to_numbers(&mut broadcast["args"][0]));
            outcome.pointer_mut("/received/0/args/0/data").into_iter().for_each(ids_to_numbers);
        }),
        rule("docs/contract.md#change-10", "tickets:ready is for the buyer only").everywhere(|_, outcome| {
            for client in ["organizer", "anonymous"] {
                if let Some(Value::Array(heard)) = outcome.pointer_mut(&format!("/broadcasts/{client}")) {
                    heard.retain(|broadcast| broadcast["event"] != "tickets:ready");
                }
            }
        }),
        rule("docs/contract.md#broadcasts", "booking_confirmed says how many tickets there will be").everywhere(|_, outcome| {
            for broadcast in payloads(outcome, "booking_confirmed") {
                broadcast["total_tickets"] = json!(seats_of(&broadcast["booking_id"]).len());
            }
        }),
        rule("docs/contract.md#broadcasts", "seat_booked tells of every seat that is sold").everywhere(|case, outcome| {
            each_seat(case, outcome, "booking_confirmed", "seat_booked");
        }),
        rule("docs/contract.md#broadcasts", "seat_unlocked tells of every seat that is free again").everywhere(|case, outcome| {
            each_seat(case, outcome, "booking_cancelled", "seat_unlocked");
            payloads(outcome, "seat_unlocked").for_each(|broadcast| merge(broadcast, json!({"reason": "cancelled"})));
        }),
        rule("docs/contract.md#change-8", "seat_locked says what is left after the lock").everywhere(|case, outcome| {
            for broadcast in payloads(outcome, "seat_locked") {
                let seat_type = broadcast["seat_type_id"].as_i64().unwrap_or_default();
                broadcast["available_quantity"] = json!(case.truth.available(seat_type));
            }
        }),
        rule("docs/contract.md#change-42", "a buyer's words are the buyer's").everywhere(|_, outcome| {
            let heard = outcome.pointer_mut("/broadcasts/organizer").and_then(Value::as_array_mut);
            let cancelled = heard.into_iter().flatten().filter(|heard| heard["event"] == "booking_cancelled");
            cancelled.for_each(|heard| merge(&mut heard["args"][0], json!({"reason": "Cancelled by user"})));
        }),
        rule("docs/contract.md#change-17", "a booking's reference, amount and words are its buyer's and its organiser's").everywhere(|_, outcome| {
            // Every recorded booking is the buyer's, of an event that is the organizer's.
            let Some(Value::Array(heard)) = outcome.pointer_mut("/broadcasts/anonymous") else { return };
            for broadcast in heard {
                let masked = match broadcast["event"].as_str() {
                    Some("booking_created") => json!({"booking_reference": MASKED_REFERENCE, "total_amount": null}),
                    Some("booking_confirmed") => json!({"booking_reference": MASKED_REFERENCE}),
                    Some("booking_cancelled") => json!({"reason": "Cancelled by user"}),
                    _ => continue,
                };
                merge(&mut broadcast["args"][0], masked);
            }
        }),
        rule("docs/contract.md#broadcasts", "event:seats-update follows every change of an event's counts").everywhere(|case, outcome| {
                if case.truth.changed.is_empty() || outcome.get("broadcasts").is_none() {
                    return;
                }
                let counts = case.truth.changed.iter().map(|event| {
                let types = case.truth.seat_types.iter().filter(|seat_type| seat_type.event == *event);
                let types: Vec<Value> = types
                    .map(|known| json!({"seat_type_id": known.id, "quantity": known.quantity, "available_quantity": known.available}))
                    .collect();
                (event.to_string(), json!({"event_id": event, "version": null, "seat_types": types}))
            });
                outcome["counts"] = counts.collect();
            }),
        rule("docs/contract.md#change-43", "whose lock it is only the user is told").everywhere(|_, outcome| {
            for (client, user) in [("organizer", 1), ("buyer", 2), ("anonymous", 0)] {
                let Some(Value::Array(heard)) = outcome.pointer_mut(&format!("/broadcasts/{client}")) else { continue };
                let locked = heard.iter_mut().filter(|heard| heard["event"] == "seat_locked").map(|heard| &mut heard["args"][0]);
                for locked in locked.filter(|locked| locked["user_id"] != user) {
                    merge(locked, json!({"user_id": any::PSEUDONYM, "lock": {"user_id": any::PSEUDONYM}}));
                }
            }
        }),
    ]
}

fn ids_to_numbers(payload: &mut Value) {
    let fields = payload.as_object_mut().into_iter().flatten();
    for (_, value) in fields.filter(|(name, _)| name.ends_with("_id")) {
        if let Some(id) = value.as_str().and_then(|id| id.parse::<i64>().ok()) {
            *value = json!(id);
        }
    }
}

/// Where all clients hear of a booking, they hear `broadcast` of each of its seats as well.
fn each_seat(case: &Case, outcome: &mut Value, of: &str, broadcast: &str) {
    for heard in everybody(outcome) {
        let bookings = heard.iter().filter(|heard| heard["event"] == of);
        let seats: Vec<_> =
            bookings.flat_map(|heard| seats_of(&heard["args"][0]["booking_id"])).collect();
        for (seat_type, label) in seats {
            let known = case
                .truth
                .seat_types
                .iter()
                .find(|known| known.id == *seat_type)
                .expect("a seat type");
            let payload = json!({
                "event_id": known.event,
                "seat_type_id": known.id,
                "seat_label": label,
                "available_quantity": known.available,
            });
            heard.push(json!({"event": broadcast, "args": [payload]}));
        }
    }
}

/// The seats of the bookings that are confirmed or cancelled: type and label.
fn seats_of(booking: &Value) -> &'static [(i64, &'static str)] {
    match booking.as_i64().unwrap_or_default() {
        3 => &[(19, "B1")],
        4 => &[(1, "V1")],
        7 => &[(1, "V8"), (2, "V8")],
        8 => &[(2, "C1")],
        9 => &[(2, "C2")],
        10 => &[(2, "C3")],
        12 => &[(2, "P1")],
        13 => &[(2, "P2")],
        14 => &[(2, "P3")],
        16 => &[(2, "T1")],
        17 => &[(2, "T2")],
        18 => &[(2, "T3"), (2, "T4")],
        19 => &[(2, "T5")],
        21 => &[(20, "K1")],
        22 => &[(20, "K3")],
        23 => &[(20, "K2")],
        27 => &[(2, "W3")],
        _ => &[],
    }
}
