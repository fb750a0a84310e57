//! Orders, payments and webhooks: no buyer pays for nothing.

use serde_json::{Value, json};

use super::seats::seat;
use crate::replay::mapping::any;
use crate::replay::outcome::{merge, object, payloads, respond_http, silence, succeed, tell};
use crate::replay::rule::{Case, Rule, rule};

pub(super) fn payments() -> Vec<Rule> {
    vec![
        rule("docs/contract.md#payments", "the checkout form is filled in").on([278, 357, 359, 361], |_, outcome| {
            let buyer = json!({"name": "Buyer", "email": "buyer@example.com"});
            merge(outcome, json!({"body": {"data": {"checkout_options": {"prefill": buyer}}}}));
        }),
        rule("docs/contract.md#payments", "the checkout closes when the booking expires").on([278, 357, 359, 361], |_, outcome| {
            merge(outcome, json!({"body": {"data": {"checkout_options": {"timeout": any::SECONDS_LEFT}}}}));
        }),
        rule("docs/contract.md#change-6", "the currency is not the client's to choose")
            .refused(353, 400, "Currency must be INR")
            .refused(358, 400, "Currency must be INR"),
        rule("docs/contract.md#payments", "the amount equals the total").refused(
            360,
            422,
            "Amount mismatch. Booking total is 1500.50",
        ),
        rule("docs/contract.md#change-4", "asking for a second order gives the first").on([359, 361], |_, outcome| {
            let order = "order_xQvcFJLGgs9ruz";
            merge(
                outcome,
                json!({"body": {"data": {"order_id": order, "checkout_options": {"order_id": order}}}}),
            );
        }),
        rule("docs/contract.md#change-11", "an expired booking says so").refused(
            407,
            410,
            "Booking is expired, cannot create payment order",
        ),
        rule("docs/contract.md#change-10", "payments and ticket jobs are for their owner only")
            .refused(363, 404, "Order not found")
            .refused(385, 404, "Order not found")
            .refused(388, 404, "Ticket generation job not found"),
        rule("docs/contract.md#payments", "a payment is found by its order's id, after it as before").on([383], |case, outcome| {
            let mut data = case.find(384).data().clone();
            merge(&mut data, json!({"order_id": "order_pqI1FCarbm4sSl"}));
            succeed(case.exchange, outcome, &data);
        }),
        rule("docs/contract.md#change-4", "the first payment has confirmed the booking, and nothing is left to be paid")
            .says(399, json!({"data": {"order": false}})),
        rule("docs/contract.md#change-6", "a total is a number").on([422], |_, outcome| {
            let total = json!({"booking": {"total_amount": 5}, "seats": [{"price": 5}]});
            merge(object(outcome, "/body/data"), total);
            payloads(outcome, "booking_created").for_each(|broadcast| merge(broadcast, json!({"total_amount": 5})));
        }),
        rule("docs/contract.md#change-6", "no booking takes any amount").refused(
            423,
            422,
            "Amount mismatch. Booking total is 5.00",
        ),
        rule("docs/contract.md#change-9", "two seats with one label have two tickets").on([406], |_, outcome| {
            let tickets = outcome["body"]["data"]["tickets"].as_array_mut().expect("tickets");
            let ticket_id = |seat_type: i64| format!("TKT-BKG-2026-1123-224643-E3C5-V8-{seat_type}");
            let mut other = tickets[0].clone();
            merge(&mut tickets[0], json!({"ticket_id": ticket_id(1)}));
            merge(
                &mut other,
                json!({"id": 5, "ticket_id": ticket_id(2), "seat_type_name": "Std", "price_paid": 500}),
            );
            tickets.push(other);
        }),
    ]
}

/// Webhooks: no buyer pays for nothing.
pub(super) fn webhooks() -> Vec<Rule> {
    const STORED: [u32; 17] =
        [281, 369, 370, 371, 373, 375, 376, 377, 378, 380, 392, 397, 400, 402, 408, 415, 475];
    let accepted = || json!({"success": true, "message": "Webhook processed successfully"});
    vec![
        rule("docs/contract.md#payments", "a webhook without a valid signature is 400").on([367, 368, 512], |_, outcome| {
            respond_http(outcome, 400, json!({"success": false, "error": "Invalid webhook signature"}));
        }),
        rule("docs/contract.md#payments", "a webhook is accepted when it is stored")
            .on(STORED, move |_, outcome| respond_http(outcome, 200, accepted())),
        rule("docs/contract.md#payments", "of two deliveries of a webhook, both are accepted").on([404], move |_, outcome| {
            outcome["data"]["responses"] = json!([accepted(), accepted()]);
        }),
        // So booking 4 is paid here, and has been paid when the recording's other payments for it
        // come.
        rule("docs/contract.md#payments", "what is signed are the bytes, whatever content type they are said to have")
            .on([371], |case, outcome| {
                outcome["broadcasts"] = case.find(379).outcome["broadcasts"].clone();
            })
            .on([379], |_, outcome| silence(outcome)),
        rule("docs/contract.md#change-4", "money that comes late, or after a failure, buys the same seats")
            .on([281, 397, 402, 408], confirm),
        rule("docs/contract.md#change-4", "a booking that was paid late, or after a failure, is confirmed").on(
            [282, 398, 403, 409],
            |case, outcome| {
                let booked = || json!(any::TIME);
                let (payment, seats) = match case.exchange.seq {
                    282 => ("pay_gone1", json!([seat(10, "B1", "Gone", 100, "booked", booked())])),
                    398 => ("pay_f2", json!([seat(25, "P2", "Std", 500, "booked", booked())])),
                    403 => ("pay_c", json!([seat(26, "P3", "Std", 500, "booked", booked())])),
                    _ => ("pay_late", json!([seat(28, "T1", "Std", 500, "booked", booked())])),
                };
                show_confirmed(outcome, payment, seats);
            },
        ),
        rule("docs/contract.md#change-4", "such a booking is listed as confirmed").on([312, 318, 410], |_, outcome| {
            let bookings = outcome["body"]["data"].as_array_mut().into_iter().flatten();
            for booking in bookings.filter(|booking| booking["id"] == 3 || booking["id"] == 16) {
                merge(
                    booking,
                    json!({"status": "confirmed", "payment_status": "completed", "confirmed_at": any::TIME}),
                );
            }
        }),
        rule("docs/contract.md#change-4", "such a booking is not listed as pending")
            .says(313, json!({"body": {"pagination": {"total": 5}}})),
        rule("docs/contract.md#change-4", "money that comes a second time goes back, and its buyer hears of it").on(
            [378, 400],
            |case, outcome| {
                let (booking, reference, payment, amount) = match case.exchange.seq {
                    378 => (4, "BKG-2026-1123-224640-B4D8", "pay_0", json!(1500.5)),
                    _ => (13, "BKG-2026-1123-224655-7C18", "pay_f3", json!(500)),
                };
                let broadcast = json!({
                    "booking_id": booking,
                    "booking_reference": reference,
                    "payment_id": payment,
                    "amount": amount,
                    "currency": "INR",
                    "reason": "already_paid",
                });
                let buyer = outcome["broadcasts"]["buyer"].as_array_mut().expect("what the buyer hears");
                buyer.push(json!({"event": "payment_refunded", "args": [broadcast]}));
            },
        ),
        rule("docs/contract.md#change-3", "money for a live booking buys its seats, however old their locks are")
            .on([415], confirm),
        rule("docs/contract.md#change-3", "a booking that was paid in time is confirmed").on([416], |_, outcome| {
            show_confirmed(outcome, "pay_sw", json!([seat(29, "T2", "Std", 500, "booked", any::TIME)]));
        }),
        rule("docs/contract.md#change-3", "a booking that was paid in time has all its seats").on([417, 418], |case, outcome| {
            match case.exchange.seq {
                417 => {
                    payloads(outcome, "tickets:ready").for_each(|broadcast| merge(broadcast, json!({"ticketCount": 2})))
                }
                _ => {
                    outcome["body"]["data"]["seats"] = json!([
                        seat(30, "T3", "Std", 500, "booked", any::TIME),
                        seat(31, "T4", "Std", 500, "booked", any::TIME),
                    ])
                }
            }
        }),
    ]
}

/// All clients hear that the booking of this webhook is confirmed.
fn confirm(case: &Case, outcome: &mut Value) {
    let (booking, event, reference) = match case.exchange.seq {
        281 => (3, 18, "BKG-2026-1123-224639-ADC3"),
        397 => (13, 1, "BKG-2026-1123-224655-7C18"),
        402 => (14, 1, "BKG-2026-1123-224656-D9E7"),
        408 => (16, 1, "BKG-2026-1123-224657-72F4"),
        _ => (17, 1, "BKG-2026-1123-224657-5120"),
    };
    let broadcast = json!({
        "booking_id": booking,
        "booking_reference": reference,
        "event_id": event,
        "total_tickets": 1,
        "status": "confirmed",
    });
    tell(outcome, "booking_confirmed", &broadcast);
    let ready =
        json!({"bookingId": booking, "bookingReference": reference, "ticketCount": 1, "userId": 2});
    tell(outcome, "tickets:ready", &ready);
}

/// A booking shows that it is paid, and these seats.
fn show_confirmed(outcome: &mut Value, payment: &str, seats: Value) {
    let booking = json!({
        "status": "confirmed",
        "payment_status": "completed",
        "payment_id": payment,
        "confirmed_at": any::TIME,
        "cancelled_at": null,
    });
    merge(object(outcome, "/body/data/booking"), booking);
    outcome["body"]["data"]["seats"] = seats;
}
