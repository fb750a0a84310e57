//! Bad input over REST: locks, bookings, payments.

use nexus_tests::invariants::ENDLESS;
use nexus_tests::refusals::NOT_LOCKED;
use nexus_tests::{Booking, Fault, SOON, Stack, Target, Value, eventually, json, seen};

#[tokio::test]
async fn locks() {
    let stack = Stack::builder().workers([]).start().await;
    let (organiser, buyer, other) = (stack.user().await, stack.user().await, stack.user().await);
    let event = stack.event(&organiser, &[("VIP", 100.0, 1), ("Standard", 10.0, 5)]).await;
    let elsewhere = stack.event(&organiser, &[("VIP", 100.0, 50)]).await;
    let draft = stack.event(&organiser, &[("VIP", 100.0, 50)]).await;
    organiser.put(&format!("/events/{}", draft.id), json!({"status": "draft"})).await.ok();
    other.lock(&event, "VIP", "A1").await.ok();
    other.lock(&event, "Standard", "S1").await.ok();

    let before = stack.contents().await;
    let standard = format!("/seats/{}/seat-types/{}/lock", event.id, event.seat_type("Standard"));
    let no_label = "Invalid seat label format. Only alphanumeric characters allowed.";
    for (body, message) in [
        (json!({}), "Seat label is required in request body"),
        (json!({"seat_label": ""}), "Seat label is required in request body"),
        (json!({"seat_label": null}), "Seat label is required in request body"),
        (json!({"seat_label": "  "}), "Seat label is required"),
        (json!({"seat_label": ["A1"]}), "Seat label is required"),
        (json!({"seat_label": "A-1"}), no_label),
        (json!({"seat_label": "É1"}), no_label),
        (json!({"seat_label": "A1'; DROP TABLE seats --"}), no_label),
        (json!({"seat_label": "A".repeat(21)}), "Seat label too long (max 20 characters)"),
    ] {
        eprintln!("{body}");
        buyer.post(&standard, body).await.failed(400, message);
    }
    buyer
        .lock(&event, "Standard", " s1 ")
        .await
        .failed(409, "Seat S1 is already taken. Please select another seat.");
    buyer.lock(&event, "VIP", "A2").await.failed(409, "No seats available for this seat type");
    buyer.lock(&draft, "VIP", "A1").await.failed(404, "Event not found");
    stack.anonymous().lock(&event, "Standard", "S2").await.failed(401, "Access token is required");
    let label = json!({"seat_label": "S2"});
    for (path, status, message) in [
        ("/seats/999/seat-types/1/lock".to_owned(), 404, "Event not found"),
        (format!("/seats/{}/seat-types/999/lock", event.id), 404, "Seat type not found"),
        (
            format!("/seats/{}/seat-types/{}/lock", event.id, elsewhere.seat_type("VIP")),
            404,
            "Seat type not found",
        ),
        ("/seats/abc/seat-types/1/lock".to_owned(), 400, "Invalid event ID"),
        (format!("/seats/{}/seat-types/abc/lock", event.id), 400, "Invalid seat type ID"),
    ] {
        eprintln!("{path}");
        buyer.post(&path, label.clone()).await.failed(status, message);
    }
    // A version counts every hold of an inventory, even one that changes nothing.
    let relevant = |contents: Vec<Value>| {
        contents.into_iter().filter(|table| table["name"] != "event_inventory").collect::<Vec<_>>()
    };
    assert_eq!(relevant(stack.contents().await), relevant(before), "rows");
    // A refusal leaves nothing behind in Redis: the seat can be had as soon as there is one.
    let vip = format!("/seats/{}/seat-types/{}", event.id, event.seat_type("VIP"));
    organiser.put(&vip, json!({"quantity": 2})).await.ok();
    other.lock(&event, "VIP", "A2").await.ok();
}

#[tokio::test]
async fn bookings() {
    let stack = Stack::builder().workers([]).start().await;
    let (organiser, buyer, other) = (stack.user().await, stack.user().await, stack.user().await);
    let event = stack.event(&organiser, &[("VIP", 100.0, 50), ("Standard", 10.0, 5)]).await;
    let booking = buyer.lock_and_book(&event, &[("VIP", "A1")]).await;
    buyer.lock(&event, "VIP", "A2").await.ok();
    other.lock(&event, "VIP", "B1").await.ok();

    let before = stack.contents().await;
    let detail = |label: &str| json!({"seat_label": label, "seat_type_id": event.seat_type("VIP")});
    let request = |details: Value| json!({"event_id": event.id, "seat_details": details});
    let details = "Each seat detail must have seat_label and seat_type_id";
    let none = "At least one seat detail is required";
    let linked =
        "One or more seats are already linked to another booking. Please lock the seats again.";
    let of_other_type = json!({"seat_label": "A2", "seat_type_id": event.seat_type("Standard")});
    for (body, status, message) in [
        (json!({}), 400, "Event ID is required"),
        (json!({"seat_details": [detail("A2")]}), 400, "Event ID is required"),
        (json!({"event_id": "abc", "seat_details": [detail("A2")]}), 400, "Event ID is required"),
        (json!({"event_id": event.id}), 400, none),
        (request(json!([])), 400, none),
        (request(json!("A2")), 400, none),
        (
            request(Value::from(vec![json!({}); 1001])),
            400,
            "At most 1000 seats can be booked at once",
        ),
        (request(json!([{"seat_label": "A2"}])), 400, details),
        (request(json!([{"seat_type_id": 1}])), 400, details),
        (request(json!([detail("A2"), {}])), 400, details),
        (request(json!([detail("A2"), null])), 400, details),
        (json!({"event_id": 999, "seat_details": [detail("A2")]}), 404, "Event not found"),
        (request(json!([detail("C1")])), 409, NOT_LOCKED),
        (request(json!([detail("B1")])), 409, NOT_LOCKED),
        (request(json!([detail("A2"), detail("B1")])), 409, NOT_LOCKED),
        (request(json!([detail("A2"), detail(" a2 ")])), 409, NOT_LOCKED),
        (request(json!([of_other_type])), 409, NOT_LOCKED),
        (request(json!([detail("A1")])), 409, linked),
        (request(json!([detail("A2"), detail("A1")])), 409, linked),
    ] {
        eprintln!("{body}");
        buyer.post("/bookings/create", body).await.failed(status, message);
    }
    let anonymous = stack.anonymous();
    anonymous.post("/bookings/create", json!({})).await.failed(401, "Access token is required");
    for path in ["/bookings/my-bookings", "/bookings/1", "/bookings/1/tickets"] {
        anonymous.get(path).await.failed(401, "Access token is required");
    }
    let own = format!("/bookings/{}", booking.id);
    other.get(&own).await.failed(404, "Booking not found");
    buyer.get("/bookings/999").await.failed(404, "Booking not found");
    buyer.get("/bookings/abc").await.failed(400, "Invalid booking ID");
    other.get(&format!("{own}/tickets")).await.failed(404, "Booking not found or unauthorized");
    buyer.get("/bookings/999/tickets").await.failed(404, "Booking not found or unauthorized");
    other.cancel(&booking).await.failed(403, "You are not authorized to cancel this booking");
    buyer.post("/bookings/999/cancel", json!({})).await.failed(404, "Booking not found");
    buyer.post("/bookings/abc/cancel", json!({})).await.failed(400, "Invalid booking ID");
    assert_eq!(stack.contents().await, before, "rows");

    stack.execute("UPDATE events SET start_date = now() - interval '1 minute', end_date = now() + interval '1 hour'").await;
    let started = "Event has already started. Booking is closed.";
    buyer.book(&event, &[("VIP", "A2")]).await.failed(409, started);
    stack
        .execute(
            "UPDATE bookings SET status = 'confirmed', payment_status = 'completed', confirmed_at = now()",
        )
        .await;
    buyer
        .cancel(&booking)
        .await
        .failed(409, "Cannot cancel confirmed booking. The event has already started.");
    assert_eq!(stack.count("bookings WHERE status = 'confirmed'").await, 1);
}

#[tokio::test]
async fn idempotency_keys_belong_to_a_user_and_a_booking() {
    let stack = Stack::builder().workers([]).start().await;
    let organiser = stack.user().await;
    let event = stack.event(&organiser, &[("VIP", 100.0, 50)]).await;
    let (buyer, other) = (stack.user().await, stack.user().await);
    let first = buyer.lock_and_book(&event, &[("VIP", "A1")]).await;
    let second = buyer.lock_and_book(&event, &[("VIP", "A2")]).await;
    let others = other.lock_and_book(&event, &[("VIP", "A3")]).await;
    let cancel = |booking: &Booking| format!("/bookings/{}/cancel", booking.id);
    let body = json!({"idempotency_key": "one-key", "reason": "changed my mind"});
    let done = buyer.post(&cancel(&first), body.clone()).await.data();
    let again = buyer.post(&cancel(&first), body.clone()).await.data();
    let expected = json!({
        "message": "Booking cancelled successfully (idempotent retry)",
        "booking_id": first.id,
        "idempotent": true,
        "cached_response": done,
    });
    assert_eq!(again, expected);
    let reused = buyer.post(&cancel(&second), body.clone()).await;
    assert_eq!(reused.status, 409, "a key of another booking: {reused}");
    assert_eq!(
        other.post(&cancel(&others), body).await.data(),
        json!({"message": "Booking cancelled successfully", "booking_id": others.id})
    );
    assert_eq!(stack.count("bookings WHERE status = 'pending'").await, 1, "pending bookings");
    for key in [json!(""), json!(7), json!("k".repeat(256))] {
        let response = buyer.post(&cancel(&second), json!({"idempotency_key": key})).await;
        assert_eq!(response.status, 400, "key {key}: {response}");
    }
    buyer.post(&cancel(&second), json!({"reason": {}})).await.failed(400, "reason must be text");
    buyer.post(&cancel(&second), json!({"idempotency_key": "é".repeat(255)})).await.ok();
    stack.assert_invariants().await;
}

#[tokio::test]
async fn payments() {
    let mut stack = Stack::builder().workers(["payments", "bookings"]).start().await;
    let (organiser, buyer, other) = (stack.user().await, stack.user().await, stack.user().await);
    let event = stack.event(&organiser, &[("VIP", 1500.5, 50)]).await;
    let booking = buyer.lock_and_book(&event, &[("VIP", "A1")]).await;
    let cancelled = buyer.lock_and_book(&event, &[("VIP", "A2")]).await;
    buyer.cancel(&cancelled).await.ok();
    let (paid, _) = stack.sell(&buyer, &event, &[("VIP", "A3")]).await;
    stack.until_tickets(&buyer, &paid, 1).await;
    eventually("the work is done", SOON, async || {
        let open = stack
            .count(&format!(
                "jobs WHERE queue IN ('payments', 'bookings') AND state IN ('pending', 'queued', 'running') AND NOT {ENDLESS}"
            ))
            .await;
        seen(open == 0, open)
    })
    .await;
    // It goes on looking.
    stack.worker("payments").stop().await;

    let before = stack.contents().await;
    let order = |booking: i64, amount: Value| json!({"booking_id": booking, "amount": amount, "currency": "INR"});
    let amount = "Valid amount is required";
    let unknown = "Booking not found or you don't have permission to pay for this booking";
    let mut cases = vec![
        (json!({}), 400, "Booking ID is required".to_owned()),
        (json!({"amount": 1500.5}), 400, "Booking ID is required".to_owned()),
        (json!({"booking_id": booking.id}), 400, amount.to_owned()),
        (order(999, json!(1)), 404, unknown.to_owned()),
        (
            order(booking.id, json!(1500)),
            422,
            "Amount mismatch. Booking total is 1500.50".to_owned(),
        ),
        (
            order(booking.id, json!("1500.51")),
            422,
            "Amount mismatch. Booking total is 1500.50".to_owned(),
        ),
        (
            order(cancelled.id, json!(1500.5)),
            409,
            "Booking is cancelled, cannot create payment order".to_owned(),
        ),
        (
            order(paid.id, json!(1500.5)),
            409,
            "Booking is confirmed, cannot create payment order".to_owned(),
        ),
        (
            json!({"booking_id": booking.id, "amount": 1500.5, "currency": "USD"}),
            400,
            "Currency must be INR".to_owned(),
        ),
    ];
    for bad in [
        json!(0),
        json!(-1),
        json!("abc"),
        json!("NaN"),
        json!("Infinity"),
        json!(1e300),
        json!({}),
    ] {
        cases.push((order(booking.id, bad), 400, amount.to_owned()));
    }
    let created = stack.providers.orders().len();
    for (body, status, message) in cases {
        eprintln!("{body}");
        buyer.post("/payments/create-order", body).await.failed(status, &message);
    }
    other.try_order(&booking).await.failed(404, unknown);
    stack.anonymous().try_order(&booking).await.failed(401, "Access token is required");
    assert_eq!(stack.providers.orders().len(), created, "orders at the provider");
    let known =
        buyer.get(&format!("/bookings/{}", paid.id)).await.data()["booking"]["payment_id"].clone();
    let verify = format!("/payments/verify/{}", known.as_str().unwrap());
    buyer.get(&verify).await.ok();
    other.get(&verify).await.failed(404, "Order not found");
    buyer.get("/payments/verify/order_unknown").await.failed(404, "Order not found");
    stack.anonymous().get(&verify).await.failed(401, "Access token is required");

    // A failure of the provider is not the buyer's fault, and leaves nothing behind.
    let away = "The provider could not be reached. Please try again shortly.";
    let refused = "The payment provider does not accept an order for this booking. Trying again will not help.";
    for (fault, said) in
        [(Fault::status(500), away), (Fault::status(400), refused), (Fault::dropped(), away)]
    {
        stack.providers.fault(Target::RazorpayOrders, Some(1), fault);
        buyer.try_order(&booking).await.failed(502, said);
    }
    assert_eq!(stack.contents().await, before, "rows");
    buyer.order(&booking).await;
    stack.assert_invariants().await;
}
