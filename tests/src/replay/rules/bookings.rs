//! Bookings and their cancellation.

use serde_json::{Value, json};

use crate::replay::mapping::any;
use crate::replay::outcome::{merge, silence, succeed, tell};
use crate::replay::rule::{Rule, rule};

pub(super) fn bookings() -> Vec<Rule> {
    let cancelled =
        |booking: i64| json!({"message": "Booking cancelled successfully", "booking_id": booking});
    vec![
        rule("docs/contract.md#transport", "numeric text is accepted where a number is meant").on([294], |case, outcome| {
            let mut data = case.find(283).data().clone();
            let booking = json!({"id": 901, "booking_reference": any::REFERENCE});
            merge(&mut data, json!({"booking": booking, "seats": [{"seat_id": 17, "seat_label": "V8"}]}));
            succeed(case.exchange, outcome, &data);
            let broadcast = json!({"event_id": 1, "total_amount": 1500.5, "status": "pending", "booking_reference": any::REFERENCE});
            tell(outcome, "booking_created", &broadcast);
        }),
        rule("docs/contract.md#transport", "a cancellation needs no body").on([319], |case, outcome| {
            let cancelled = case.find(324);
            succeed(case.exchange, outcome, cancelled.data());
            outcome["broadcasts"] = cancelled.outcome["broadcasts"].clone();
        }),
        rule("docs/contract.md#change-11", "an unpaid booking that is cancelled is not refunded").says(325, json!({"body": {"data": {"booking": {"payment_status": "cancelled"}}}})),
        rule("docs/contract.md#broadcasts", "a cancellation is told once").on([326, 330, 332, 479, 480], |_, outcome| {
            silence(outcome)
        }),
        rule("docs/contract.md#change-12", "an idempotency key is its user's own").refused(333, 403, "You are not authorized to cancel this booking"),
        rule("docs/contract.md#change-12", "an idempotency key goes on meaning what it meant").on([334], |case, outcome| {
            succeed(case.exchange, outcome, case.find(330).data());
        }),
        rule("docs/contract.md#bookings", "a booking that is being cancelled is cancelled already").on([517], move |_, outcome| {
                let again = json!({"message": "Booking is already cancelled", "booking_id": 25, "already_cancelled": true});
                thrice(outcome, &cancelled(25), &again);
            }),
        rule("docs/contract.md#bookings", "a key that is in use means what it will mean").on([518], move |_, outcome| {
            let message = "Booking cancelled successfully (idempotent retry)";
            let again = json!({"message": message, "booking_id": 26, "idempotent": true, "cached_response": cancelled(26)});
            thrice(outcome, &cancelled(26), &again);
        }),
        rule("docs/contract.md#change-14", "a confirmed booking can be cancelled").on([481], move |case, outcome| {
            succeed(case.exchange, outcome, &cancelled(21));
            tell(outcome, "booking_cancelled", &json!({"booking_id": 21, "reason": "Cancelled by user"}));
        }),
        rule("docs/contract.md#change-14", "a confirmed booking that was cancelled is not active any more").failed(485, "Cannot delete event. There are 1 active booking(s). Please cancel all bookings first or change event status to 'cancelled'."),
    ]
}

/// Of three at once, one is the first.
fn thrice(outcome: &mut Value, first: &Value, other: &Value) {
    let bodies = [first, other, other].map(|data| json!({"success": true, "data": data}));
    merge(&mut outcome["data"], json!({"statuses": [200, 200, 200]}));
    outcome["data"]["bodies"] = json!(bodies);
}
