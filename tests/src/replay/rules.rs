//! Every intended difference between the Node service and Nexus, in the order in which they apply; see [`rule`](super::rule) for what a rule
//! is, and for how they name their sources. Exchanges are cited by their numbers in the recording.
//!
//! What an exchange created that Nexus refuses has been replaced by something legal with the same id before the next one
//! ([`arrangements`](super::arrangements)); ids from 901 on are of what Nexus creates where the Node service refused.

use serde_json::{Value, json};

use super::mapping::any;
use super::outcome::{answer, everybody, failure, merge, object, payloads, silence, succeed, tell};
use super::recording::{Exchange, Request};
use super::rule::{Case, Rule, rule};

/// All of them.
pub fn rules() -> Vec<Rule> {
    let topics = [
        failures(),
        transport(),
        accounts(),
        events(),
        lists(),
        seats(),
        bookings(),
        payments(),
        webhooks(),
        sockets(),
        news(),
    ];
    topics.into_iter().flatten().collect()
}

/// Failures: the same messages, in JSON, with statuses that say what they are.
fn failures() -> Vec<Rule> {
    vec![
        rule("§2, §4", "a message has no prefix of the function that it came through").everywhere(
            |_, outcome| {
                for place in ["/thrown", "/received/0/args/0/error"] {
                    if let Some(Value::String(message)) = outcome.pointer_mut(place) {
                        for prefix in ["Failed to acquire seat lock: ", "OTP verification failed: "] {
                            *message = message.replacen(prefix, "", 1);
                        }
                    }
                }
            },
        ),
        rule("§9", "a failure is JSON with the same message, and its own status").everywhere(
            |case, outcome| {
                let thrown = outcome["thrown"].as_str().and_then(|thrown| thrown.strip_prefix("Error: "));
                let said = outcome["body"]["error"]["message"].as_str();
                let Some(message) = thrown.or(said).map(str::to_owned) else { return };
                if let Some(status) = status_of(&message) {
                    answer(outcome, status, failure(case.exchange.path(), &message));
                }
            },
        ),
        rule("§9", "wrong passwords are 401, however many").says(64, json!({"data": {"last_status": 401}})),
        rule("§9", "what was an accident of the code has a message and a status")
            .refused(6, 404, "Route not found")
            .refused(7, 405, "Method not allowed")
            .refused(11, 400, "Request body is not valid JSON")
            .refused(12, 400, "Request body is not valid JSON")
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

fn transport() -> Vec<Rule> {
    vec![
        rule("review 8", "only pages of the frontend's origin may call, and with credentials").on(
            [2, 10, 11, 18],
            |case, outcome| {
                let Request::Http { headers, .. } = &case.exchange.request else { return };
                let allowed = json!({
                    "access-control-allow-origin": headers["Origin"],
                    "access-control-allow-credentials": "true",
                });
                merge(&mut outcome["headers"], allowed);
            },
        ),
        rule("§1", "Engine.IO 3 is refused, with a code that is text")
            .says(19, json!({"body": {"code": "5"}})),
        rule("§1", "an absent body counts as {}")
            .refused(
                52,
                400,
                "Validation failed: Either email or phone number is required, Password is required",
            )
            .refused(76, 400, "Refresh token is required")
            .refused(183, 400, "No fields to update")
            .refused(229, 400, "Missing required fields: name, price, quantity")
            .refused(258, 400, "Seat label is required in request body"),
        rule("§9", "a body of another content type is 415").refused(
            16,
            415,
            "Content-Type must be application/json",
        ),
        rule("§9", "a body of up to 1 MB is read").refused(17, 401, "Invalid email or password"),
    ]
}

fn accounts() -> Vec<Rule> {
    vec![
        rule("§2", "one can log in with a phone number").succeeds(
            61,
            json!({
                "user": {"id": 3, "username": null, "name": null, "email": null, "phone": "+14155550100"},
                "accessToken": any::TOKEN,
                "refreshToken": any::TOKEN,
                "message": "Login successful",
            }),
        ),
        rule("§2", "phones are normalised when a password is reset, too").on([133], |case, outcome| {
            succeed(case.exchange, outcome, case.find(134).data());
        }),
        rule("10.12", "a logout needs no body")
            .succeeds(91, json!({"message": "Logout successful"}))
            .refused(92, 401, "Token has been revoked"),
        rule("10.12", "a logout does not end another user's session").succeeds(
            103,
            json!({"accessToken": any::TOKEN, "message": "Access token refreshed successfully"}),
        ),
        rule("10.12", "a password reset ends access tokens, too").refused(135, 401, "Token has been revoked"),
        rule("10.16", "no token is issued twice")
            .says(65, json!({"data": {"same_access_token": false, "same_refresh_token": false}}))
            .says(70, json!({"body": {"data": {"accessToken": any::TOKEN}}}))
            .says(116, json!({"body": {"data": {"accessToken": any::TOKEN, "refreshToken": any::TOKEN}}})),
        rule("10.16", "a logout ends one session").on([67], |case, outcome| {
            answer(outcome, 200, case.find(88).outcome["body"].clone());
        }),
        rule("10.16", "a token has a jti")
            .says(68, json!({"data": {"payload": {"jti": any::ID}, "refresh_payload": {"jti": any::ID}}})),
    ]
}

fn events() -> Vec<Rule> {
    vec![
        rule("§3", "a new event has the status and the publicity that the request says").on(
            [141],
            |_, outcome| {
                let said = json!({"event": {"status": "cancelled", "is_public": false}});
                merge(object(outcome, "/body/data"), said.clone());
                payloads(outcome, "event_created").for_each(|news| merge(news, said.clone()));
            },
        ),
        rule("10.15", "a seat type may be free when its event is created").on([149], |case, outcome| {
            let mut data = case.find(142).data().clone();
            let free = json!({"id": 901, "name": "Free", "price": 0, "quantity": 1, "available_quantity": 1});
            merge(&mut data, json!({"event": {"id": 901}, "seat_types": [free], "total_seats_available": 1}));
            let mut news = data.clone();
            news.as_object_mut().expect("news").remove("message");
            let message = data["message"].as_str().unwrap_or_default().replace("50 virtual", "1 virtual");
            merge(&mut data, json!({"message": message}));
            succeed(case.exchange, outcome, &data);
            tell(outcome, "event_created", &news);
        }),
        rule("10.6", "a price is a number and not negative")
            .refused(153, 400, "Price must be greater than or equal to 0")
            .refused(154, 400, "Price must be greater than or equal to 0")
            .refused(222, 400, "Price must be greater than or equal to 0"),
        rule("10.13", "an event does not end before it starts")
            .refused(156, 400, "end_date must not be before start_date")
            .refused(158, 400, "end_date must not be before start_date"),
        rule("§3", "an event has one of four statuses, and a name")
            .refused(184, 400, "status must be one of draft, published, cancelled, completed")
            .refused(186, 400, "name must not be empty"),
        rule("10.10", "a draft or private event exists for its organiser only").refused(
            177,
            404,
            "Event not found",
        ),
        rule("10.16", "news of a draft or private event is for its organiser only").on(
            [141, 189, 261, 263],
            |_, outcome| {
                merge(outcome, json!({"broadcasts": {"buyer": [], "anonymous": []}}));
            },
        ),
        rule("10.10", "the organiser's e-mail address is for the organiser only").on(
            [165, 166, 170, 175, 260, 274],
            |_, outcome| {
                object(outcome, "/body/data")
                    .as_object_mut()
                    .and_then(|event| event.remove("organizer_email"));
            },
        ),
    ]
}

/// Lists of events.
fn lists() -> Vec<Rule> {
    vec![
        rule("§9", "a parameter that is sent twice is no failure").on([206], |case, outcome| {
            answer(outcome, 200, case.find(197).outcome["body"].clone());
        }),
        rule("§3", "a page has at most 100 entries")
            .says(204, json!({"body": {"pagination": {"limit": 100}}})),
        rule("10.16", "lists show published public events").on(
            [190, 191, 192, 194, 195, 196, 198, 199, 200, 201, 205],
            |case, outcome| {
                let shown = public(case.find(190).data());
                let wanted = case.exchange.query("is_public").is_none_or(|wanted| wanted == "true");
                list(case.exchange, outcome, if wanted { shown } else { vec![] });
            },
        ),
        rule("10.16", "a page is filled with events that may be shown").on([520], |case, outcome| {
            let mut shown = public(case.exchange.data());
            let mut next = case.find(274).data().clone();
            next.as_object_mut().expect("an event").retain(|field, _| shown[0].get(field).is_some());
            shown.push(next);
            list(case.exchange, outcome, shown);
            merge(&mut outcome["body"]["pagination"], json!({"total": 12, "has_more": true}));
        }),
        rule("10.5", "counts are right").on([274, 520], |case, outcome| {
            let count = |event: &mut Value| {
                let (total, left) = case.truth.of_event(event["id"].as_i64().unwrap_or_default());
                merge(
                    event,
                    json!({"total_seats": total, "available_seats": left, "booked_seats": total - left}),
                );
            };
            match &mut outcome["body"]["data"] {
                Value::Array(events) => events.iter_mut().for_each(count),
                event => {
                    count(event);
                    merge(event, json!({"occupancy_rate": "100.00"}));
                }
            }
        }),
        rule("10.6", "no event has less than no seats").on([190, 191, 199, 200, 201], |_, outcome| {
            named(outcome, "Neg")
                .for_each(|event| merge(event, json!({"total_seats": 0, "available_seats": 0})));
        }),
        rule("10.13", "no event ends before it starts").on([190, 191, 200, 201, 520], |_, outcome| {
            for name in ["Backwards", "NoZone"] {
                named(outcome, name).for_each(|event| event["end_date"] = event["start_date"].clone());
            }
        }),
    ]
}

fn public(events: &Value) -> Vec<Value> {
    events.as_array().into_iter().flatten().filter(|event| event["is_public"] == true).cloned().collect()
}

/// Answers the page of these events that the request asks for.
fn list(exchange: &Exchange, outcome: &mut Value, events: Vec<Value>) {
    let number = |name| exchange.query(name).and_then(|text| text.parse().ok()).filter(|number| *number != 0);
    let (limit, offset) = (number("limit").unwrap_or(10), number("offset").unwrap_or(0));
    let total = events.len();
    let page: Vec<Value> = events.into_iter().skip(offset).take(limit).collect();
    let pagination =
        json!({"total": total, "limit": limit, "offset": offset, "has_more": offset + limit < total});
    answer(outcome, 200, json!({"data": page, "pagination": pagination}));
}

fn named<'a>(outcome: &'a mut Value, name: &str) -> impl Iterator<Item = &'a mut Value> {
    outcome["body"]["data"].as_array_mut().into_iter().flatten().filter(move |event| event["name"] == name)
}

fn seats() -> Vec<Rule> {
    vec![
        // In 285 it is the locks that nobody gets, so that there is nothing to book.
        rule("10.7", "nobody holds more seats than max_tickets_per_user")
            .refused(268, 409, "You can hold at most 1 ticket(s) for this event")
            .refused(285, 409, NOT_LOCKED),
        rule("10.5", "available is the quantity without locked and booked seats").on([270], |_, outcome| {
            let available = json!({"seat_type": {"available_quantity": 0}});
            merge(object(outcome, "/body/data"), available.clone());
            payloads(outcome, "seat_type_updated").for_each(|news| merge(news, available.clone()));
        }),
        rule("10.5", "no seat is sold that is not there")
            .refused(271, 409, "No seats available for this seat type")
            .refused(273, 409, NOT_LOCKED),
        rule("10.5", "a booking of a seat that is not there does not exist")
            .says(315, json!({"body": {"data": [], "pagination": {"total": 0}}})),
        rule("10.5", "a quantity is not lowered below what is locked or booked").refused(
            515,
            409,
            "Quantity cannot be less than the 9 seat(s) that are locked or booked",
        ),
        rule("10.5", "a quantity that was not lowered leaves seats").on([516], |case, outcome| {
            lock(case, outcome, case.find(242), 902, "Q1");
        }),
        rule("10.8", "the seat of a cancelled booking is free at once").on([327], |case, outcome| {
            lock(case, outcome, case.find(303), 901, "C1");
        }),
        rule("10.3", "the seats of a live booking are not deleted with their type")
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
        rule("10.3", "a live booking keeps its seats").refused(
            419,
            409,
            "Seat T2 is already taken. Please select another seat.",
        ),
        rule("10.3", "a live booking shows its seats")
            .says(
                280,
                json!({"body": {"data": {"seats": [seat(10, "B1", "Gone", 100, "locked", Value::Null)]}}}),
            )
            .says(
                414,
                json!({"body": {"data": {"seats": [seat(29, "T2", "Std", 500, "locked", Value::Null)]}}}),
            ),
        rule("10.3", "no lock of a live booking is swept away").on([413], |_, outcome| {
            let data = outcome["data"].as_object_mut().expect("data");
            data.remove("output");
            data.insert("released_locks".into(), json!(0));
        }),
        rule("10.5", "nothing is oversold in the end")
            .says(521, json!({"data": {"locked": "19", "booked": "15", "tickets": "16", "over": ""}})),
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
fn seat(
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

fn bookings() -> Vec<Rule> {
    let cancelled =
        |booking: i64| json!({"message": "Booking cancelled successfully", "booking_id": booking});
    vec![
        rule("§1", "numeric text is accepted where a number is meant").on([294], |case, outcome| {
            let mut data = case.find(283).data().clone();
            let booking = json!({"id": 901, "booking_reference": any::REFERENCE});
            merge(&mut data, json!({"booking": booking, "seats": [{"seat_id": 17, "seat_label": "V8"}]}));
            succeed(case.exchange, outcome, &data);
            let news = json!({"event_id": 1, "total_amount": 1500.5, "status": "pending", "booking_reference": any::REFERENCE});
            tell(outcome, "booking_created", &news);
        }),
        rule("§1", "a cancellation needs no body").on([319], |case, outcome| {
            let cancelled = case.find(324);
            succeed(case.exchange, outcome, cancelled.data());
            outcome["broadcasts"] = cancelled.outcome["broadcasts"].clone();
        }),
        rule("10.11", "an unpaid booking that is cancelled is not refunded").says(325, json!({"body": {"data": {"booking": {"payment_status": "cancelled"}}}})),
        rule("§8", "a cancellation is told once").on([326, 330, 332, 479, 480], |_, outcome| {
            silence(outcome)
        }),
        rule("10.12", "an idempotency key is its user's own").refused(333, 403, "You are not authorized to cancel this booking"),
        rule("10.12", "an idempotency key goes on meaning what it meant").on([334], |case, outcome| {
            succeed(case.exchange, outcome, case.find(330).data());
        }),
        rule("§5", "a booking that is being cancelled is cancelled already").on([517], move |_, outcome| {
                let again = json!({"message": "Booking is already cancelled", "booking_id": 25, "already_cancelled": true});
                thrice(outcome, &cancelled(25), &again);
            }),
        rule("§5", "a key that is in use means what it will mean").on([518], move |_, outcome| {
            let message = "Booking cancelled successfully (idempotent retry)";
            let again = json!({"message": message, "booking_id": 26, "idempotent": true, "cached_response": cancelled(26)});
            thrice(outcome, &cancelled(26), &again);
        }),
        rule("10.14", "a confirmed booking can be cancelled").on([481], move |case, outcome| {
            succeed(case.exchange, outcome, &cancelled(21));
            tell(outcome, "booking_cancelled", &json!({"booking_id": 21, "reason": "Cancelled by user"}));
        }),
        rule("10.14", "a confirmed booking that was cancelled is not active any more").failed(485, "Cannot delete event. There are 1 active booking(s). Please cancel all bookings first or change event status to 'cancelled'."),
    ]
}

/// Of three at once, one is the first.
fn thrice(outcome: &mut Value, first: &Value, other: &Value) {
    let bodies = [first, other, other].map(|data| json!({"success": true, "data": data}));
    merge(&mut outcome["data"], json!({"statuses": [200, 200, 200]}));
    outcome["data"]["bodies"] = json!(bodies);
}

fn payments() -> Vec<Rule> {
    vec![
        rule("§6", "the checkout form is filled in").on([278, 357, 359, 361], |_, outcome| {
            let buyer = json!({"name": "Buyer", "email": "buyer@example.com"});
            merge(outcome, json!({"body": {"data": {"checkout_options": {"prefill": buyer}}}}));
        }),
        rule("§6", "the checkout closes when the booking expires").on([278, 357, 359, 361], |_, outcome| {
            merge(outcome, json!({"body": {"data": {"checkout_options": {"timeout": any::SECONDS_LEFT}}}}));
        }),
        rule("10.6", "the currency is not the client's to choose")
            .refused(353, 400, "Currency must be INR")
            .refused(358, 400, "Currency must be INR"),
        rule("§6", "the amount equals the total").refused(
            360,
            422,
            "Amount mismatch. Booking total is 1500.50",
        ),
        rule("10.4", "asking for a second order gives the first").on([359, 361], |_, outcome| {
            let order = "order_xQvcFJLGgs9ruz";
            merge(
                outcome,
                json!({"body": {"data": {"order_id": order, "checkout_options": {"order_id": order}}}}),
            );
        }),
        rule("10.11", "an expired booking says so").refused(
            407,
            410,
            "Booking is expired, cannot create payment order",
        ),
        rule("10.10", "payments and ticket jobs are for their owner only")
            .refused(363, 404, "Order not found")
            .refused(385, 404, "Order not found")
            .refused(388, 404, "Ticket generation job not found"),
        rule("§6", "a payment is found by its order's id, after it as before").on([383], |case, outcome| {
            let mut data = case.find(384).data().clone();
            merge(&mut data, json!({"order_id": "order_pqI1FCarbm4sSl"}));
            succeed(case.exchange, outcome, &data);
        }),
        rule("10.4", "the first payment has confirmed the booking, and nothing is left to be paid")
            .says(399, json!({"data": {"order": false}})),
        rule("10.6", "a total is a number").on([422], |_, outcome| {
            let total = json!({"booking": {"total_amount": 5}, "seats": [{"price": 5}]});
            merge(object(outcome, "/body/data"), total);
            payloads(outcome, "booking_created").for_each(|news| merge(news, json!({"total_amount": 5})));
        }),
        rule("10.6", "no booking takes any amount").refused(
            423,
            422,
            "Amount mismatch. Booking total is 5.00",
        ),
        rule("10.9", "two seats with one label have two tickets").on([406], |_, outcome| {
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

/// Webhooks: nobody pays for nothing.
fn webhooks() -> Vec<Rule> {
    const STORED: [u32; 17] =
        [281, 369, 370, 371, 373, 375, 376, 377, 378, 380, 392, 397, 400, 402, 408, 415, 475];
    let accepted = || json!({"success": true, "message": "Webhook processed successfully"});
    vec![
        rule("§6", "a webhook without a valid signature is 400").on([367, 368, 512], |_, outcome| {
            answer(outcome, 400, json!({"success": false, "error": "Invalid webhook signature"}));
        }),
        rule("§6", "a webhook is accepted when it is stored")
            .on(STORED, move |_, outcome| answer(outcome, 200, accepted())),
        rule("§6", "of two deliveries of a webhook, both are accepted").on([404], move |_, outcome| {
            outcome["data"]["responses"] = json!([accepted(), accepted()]);
        }),
        // So booking 4 is paid here, and has been paid when the recording's other payments for it come.
        rule("§6", "what is signed are the bytes, whatever content type they are said to have")
            .on([371], |case, outcome| {
                outcome["broadcasts"] = case.find(379).outcome["broadcasts"].clone();
            })
            .on([379], |_, outcome| silence(outcome)),
        rule("10.4", "money that comes late, or after a failure, buys the same seats")
            .on([281, 397, 402, 408], confirm),
        rule("10.4", "a booking that was paid late, or after a failure, is confirmed").on(
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
        rule("10.4", "such a booking is listed as confirmed").on([312, 318, 410], |_, outcome| {
            let bookings = outcome["body"]["data"].as_array_mut().into_iter().flatten();
            for booking in bookings.filter(|booking| booking["id"] == 3 || booking["id"] == 16) {
                merge(
                    booking,
                    json!({"status": "confirmed", "payment_status": "completed", "confirmed_at": any::TIME}),
                );
            }
        }),
        rule("10.4", "such a booking is not listed as pending")
            .says(313, json!({"body": {"pagination": {"total": 5}}})),
        rule("10.3", "money for a live booking buys its seats, however old their locks are")
            .on([415], confirm),
        rule("10.3", "a booking that was paid in time is confirmed").on([416], |_, outcome| {
            show_confirmed(outcome, "pay_sw", json!([seat(29, "T2", "Std", 500, "booked", any::TIME)]));
        }),
        rule("10.3", "a booking that was paid in time has all its seats").on([417, 418], |case, outcome| {
            match case.exchange.seq {
                417 => {
                    payloads(outcome, "tickets:ready").for_each(|news| merge(news, json!({"ticketCount": 2})))
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

/// Everybody hears that the booking of this webhook is confirmed.
fn confirm(case: &Case, outcome: &mut Value) {
    let (booking, event, reference) = match case.exchange.seq {
        281 => (3, 18, "BKG-2026-1123-224639-ADC3"),
        397 => (13, 1, "BKG-2026-1123-224655-7C18"),
        402 => (14, 1, "BKG-2026-1123-224656-D9E7"),
        408 => (16, 1, "BKG-2026-1123-224657-72F4"),
        _ => (17, 1, "BKG-2026-1123-224657-5120"),
    };
    let news = json!({
        "booking_id": booking,
        "booking_reference": reference,
        "event_id": event,
        "total_tickets": 1,
        "status": "confirmed",
    });
    tell(outcome, "booking_confirmed", &news);
    let ready = json!({"bookingId": booking, "bookingReference": reference, "ticketCount": 1, "userId": 2});
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

fn sockets() -> Vec<Rule> {
    vec![
        rule("§7", "an acknowledgement callback gets the response, too").on([429], |_, outcome| {
            outcome["acknowledged"] = outcome["received"][0]["args"][0].clone();
        }),
        rule("§7", "a command fails with its HTTP twin's message").failed(455, "Seat label is required in request body").failed(464, "At least one seat detail is required").failed(466, "Each seat detail must have seat_label and seat_type_id").failed(467, "Event ID is required"),
        rule("10.13", "a command's payload is validated").failed(437, "Event not found").failed(458, "Event not found").failed(459, "Invalid event ID"),
        rule("10.1", "only the owner confirms a booking, with a payment for it").failed(471, "Booking not found").failed(472, "Payment could not be verified for this booking"),
        rule("10.1", "a booking that nobody has paid for is pending").says(473, json!({"body": {"data": {
                    "booking": {"status": "pending", "payment_status": "pending", "payment_id": null, "payment_gateway": null, "confirmed_at": null},
                    "seats": [{"status": "locked", "booked_at": null}],
                }}})),
        rule("§8", "booking_confirmed has the booking's id, whoever caused it").on([474], |_, outcome| {
            payloads(outcome, "booking_confirmed").for_each(|news| merge(news, json!({"booking_id": 22})));
        }),
        rule("§7", "a ticket job's id is text of any form").on([474], |_, outcome| {
            object(outcome, "/received/0/args/0/data/ticket_generation")["jobId"] = json!(any::ID);
        }),
        rule("§1", "an access token is one that says so").on([499], unauthenticated),
        rule("10.12", "a socket is its user's no longer than its token is valid").on([504, 506], unauthenticated),
    ]
}

fn unauthenticated(_: &Case, outcome: &mut Value) {
    outcome["received"] = json!([{"event": "error", "args": [{"message": "Authentication required"}]}]);
    silence(outcome);
}

/// What everybody hears.
fn news() -> Vec<Rule> {
    vec![
        rule("§8", "ids are numbers").everywhere(|_, outcome| {
            everybody(outcome).flatten().for_each(|news| ids_to_numbers(&mut news["args"][0]));
            outcome.pointer_mut("/received/0/args/0/data").into_iter().for_each(ids_to_numbers);
        }),
        rule("10.10", "tickets:ready is for the buyer only").everywhere(|_, outcome| {
            for client in ["organizer", "anonymous"] {
                if let Some(Value::Array(heard)) = outcome.pointer_mut(&format!("/broadcasts/{client}")) {
                    heard.retain(|news| news["event"] != "tickets:ready");
                }
            }
        }),
        rule("§8", "booking_confirmed says how many tickets there will be").everywhere(|_, outcome| {
            for news in payloads(outcome, "booking_confirmed") {
                news["total_tickets"] = json!(seats_of(&news["booking_id"]).len());
            }
        }),
        rule("§8", "seat_booked tells of every seat that is sold").everywhere(|case, outcome| {
            each_seat(case, outcome, "booking_confirmed", "seat_booked");
        }),
        rule("§8", "seat_unlocked tells of every seat that is free again").everywhere(|case, outcome| {
            each_seat(case, outcome, "booking_cancelled", "seat_unlocked");
            payloads(outcome, "seat_unlocked").for_each(|news| merge(news, json!({"reason": "cancelled"})));
        }),
        rule("10.8", "seat_locked says what is left after the lock").everywhere(|case, outcome| {
            for news in payloads(outcome, "seat_locked") {
                let seat_type = news["seat_type_id"].as_i64().unwrap_or_default();
                news["available_quantity"] = json!(case.truth.available(seat_type));
            }
        }),
        rule("§8", "event:seats-update follows every change of an event's counts").everywhere(|case, outcome| {
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

/// Where everybody hears of a booking, they hear `news` of each of its seats as well.
fn each_seat(case: &Case, outcome: &mut Value, of: &str, news: &str) {
    for heard in everybody(outcome) {
        let bookings = heard.iter().filter(|heard| heard["event"] == of);
        let seats: Vec<_> = bookings.flat_map(|heard| seats_of(&heard["args"][0]["booking_id"])).collect();
        for (seat_type, label) in seats {
            let known =
                case.truth.seat_types.iter().find(|known| known.id == *seat_type).expect("a seat type");
            let payload = json!({
                "event_id": known.event,
                "seat_type_id": known.id,
                "seat_label": label,
                "available_quantity": known.available,
            });
            heard.push(json!({"event": news, "args": [payload]}));
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

const NOT_LOCKED: &str =
    "One or more seats are not locked by you, have expired, or do not exist. Please lock the seats again.";

/// The status of each failure (section 9); `*` stands for anything.
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
