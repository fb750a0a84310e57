//! Seats: how many there are, who gets them, and what is shown of them.

use serde_json::{Value, json};

use crate::replay::outcome::{merge, object, payloads, succeed, tell};
use crate::replay::recording::Exchange;
use crate::replay::rule::{Case, Rule, rule};

pub(super) fn seats() -> Vec<Rule> {
    vec![
        // In 285 the locks themselves are refused, so that there is nothing to book.
        rule("docs/contract.md#change-7", "nobody holds more seats than max_tickets_per_user")
            .refused(268, 409, "You can hold at most 1 ticket(s) for this event")
            .refused(285, 409, NOT_LOCKED),
        rule("docs/contract.md#change-5", "available is the quantity without locked and booked seats").on([270], |_, outcome| {
            let available = json!({"seat_type": {"available_quantity": 0}});
            merge(object(outcome, "/body/data"), available.clone());
            payloads(outcome, "seat_type_updated").for_each(|broadcast| merge(broadcast, available.clone()));
        }),
        rule("docs/contract.md#change-5", "no seat is sold that is not there")
            .refused(271, 409, "No seats available for this seat type")
            .refused(273, 409, NOT_LOCKED),
        rule("docs/contract.md#change-5", "a booking of a seat that is not there does not exist")
            .says(315, json!({"body": {"data": [], "pagination": {"total": 0}}})),
        rule("docs/contract.md#change-5", "a quantity is not lowered below what is locked or booked").refused(
            515,
            409,
            "Quantity cannot be less than the 9 seat(s) that are locked or booked",
        ),
        rule("docs/contract.md#change-5", "a quantity that was not lowered leaves seats").on([516], |case, outcome| {
            lock(case, outcome, case.find(242), 902, "Q1");
        }),
        rule("docs/contract.md#change-8", "the seat of a cancelled booking is free at once").on([327], |case, outcome| {
            lock(case, outcome, case.find(303), 901, "C1");
        }),
        rule("docs/contract.md#change-3", "the seats of a live booking are not deleted with their type")
            .refused(
                279,
                409,
                "Cannot delete seat type. There are 1 booked seat(s). Please handle bookings first.",
            )
            .refused(
                513,
                409,
                "Cannot delete seat type. There are 8 booked seat(s). Please handle bookings first.",
            )
            .failed(
                514,
                "Cannot delete seat type. There are 8 booked seat(s). Please handle bookings first.",
            ),
        rule("docs/contract.md#change-3", "a live booking keeps its seats").refused(
            419,
            409,
            "Seat T2 is already taken. Please select another seat.",
        ),
        rule("docs/contract.md#change-3", "a live booking shows its seats")
            .says(
                280,
                json!({"body": {"data": {"seats": [seat(10, "B1", "Gone", 100, "locked", Value::Null)]}}}),
            )
            .says(
                414,
                json!({"body": {"data": {"seats": [seat(29, "T2", "Std", 500, "locked", Value::Null)]}}}),
            ),
        rule("docs/contract.md#seats", "a seat that nobody may book any more, its event having started, is not locked").refused(
            265,
            409,
            "Event is not available for booking",
        ),
        rule("docs/contract.md#change-44", "who may not know of an event locks no seat of it")
            .refused(262, 404, "Event not found")
            .refused(264, 404, "Event not found"),
        rule("docs/contract.md#change-3", "no lock of a live booking is swept away").on([413], |_, outcome| {
            let data = outcome["data"].as_object_mut().expect("data");
            data.remove("output");
            data.insert("released_locks".into(), json!(0));
        }),
        rule("docs/contract.md#change-5", "nothing is oversold in the end")
            .says(521, json!({"data": {"locked": "17", "booked": "15", "tickets": "16", "over": ""}})),
    ]
}

/// A seat is locked, in the same way as another was.
fn lock(case: &Case, outcome: &mut Value, like: &Exchange, id: i64, label: &str) {
    let mut data = like.data().clone();
    let message = format!("Seat {label} locked successfully. Lock expires in 10 minutes.");
    merge(&mut data, json!({"lock": {"id": id, "seat_label": label}, "message": message}));
    let lock = &data["lock"];
    succeed(case.exchange, outcome, &data);
    tell(
        outcome,
        "seat_locked",
        &json!({
            "event_id": lock["event_id"],
            "seat_type_id": lock["event_seat_type_id"],
            "seat_label": label,
            "user_id": lock["user_id"],
            "available_quantity": null,
            "lock": lock,
        }),
    );
}

/// A seat as its booking shows it.
pub(super) fn seat(
    id: i64,
    label: &str,
    seat_type: &str,
    price: i64,
    status: &str,
    booked_at: impl Into<Value>,
) -> Value {
    json!({
        "seat_id": id,
        "seat_label": label,
        "seat_type_name": seat_type,
        "price": price,
        "status": status,
        "booked_at": booked_at.into(),
    })
}

const NOT_LOCKED: &str = "One or more seats are not locked by you, have expired, or do not exist. Please lock the seats again.";
