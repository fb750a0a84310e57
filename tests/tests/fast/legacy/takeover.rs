//! Nexus takes over from the Node service, with everything that is under way
//! (docs/contract.md#existing-data): sessions, locks, bookings, payments.

use nexus_tests::refusals::NOT_LOCKED;
use nexus_tests::stack::Builder;
use nexus_tests::{
    Booking, Event, Fault, LegacyShop, NodeService, Outcome, SOON, Stack, Target, Value,
    eventually, json, seen,
};

/// An installation with an event on sale, and a buyer.
async fn on_sale(builder: Builder) -> (Stack, NodeService, Event, i64) {
    let LegacyShop { node, stack, event, buyers: [buyer, _], .. } = LegacyShop::open(builder).await;
    (stack, node, event, buyer)
}

/// A value with `"ts"` for every time that has the contract's form.
fn without_times(mut value: Value) -> Value {
    match &mut value {
        Value::Object(fields) => {
            fields.values_mut().for_each(|field| *field = without_times(field.take()))
        }
        Value::Array(items) => items.iter_mut().for_each(|item| *item = without_times(item.take())),
        Value::String(text) => {
            let pattern: String =
                text.chars().map(|c| if c.is_ascii_digit() { '0' } else { c }).collect();
            if pattern == "0000-00-00T00:00:00.000Z" {
                return json!("ts");
            }
        }
        _ => {}
    }
    value
}

#[tokio::test]
async fn a_lock_is_booked_by_its_holder_and_taken_for_others() {
    let (mut stack, node, event, buyer) = on_sale(Stack::builder().workers([])).await;
    node.lock(buyer, &event, "VIP", "A1").await.unwrap();
    stack.cut_over().await;
    let (buyer, other) = (stack.client_of(buyer), stack.user().await);
    for who in [&other, &buyer] {
        let again = who.lock(&event, "VIP", "A1").await;
        again.failed(409, "Seat A1 is already taken. Please select another seat.");
    }
    other.book(&event, &[("VIP", "A1")]).await.failed(409, NOT_LOCKED);
    let booked = buyer.book(&event, &[("VIP", "A1")]).await.data();
    assert_eq!(booked["seats"][0]["price"], 100);
    assert_eq!(stack.available(event.seat_type("VIP")).await, 49);
    stack.assert_invariants().await;
}

#[tokio::test]
async fn a_lock_runs_out_at_its_deadline_and_its_seat_returns() {
    let builder = Stack::builder().workers(["expiry"]).env("SEAT_LOCK_SECONDS", 2);
    let (mut stack, node, event, buyer) = on_sale(builder).await;
    node.lock(buyer, &event, "VIP", "A1").await.unwrap();
    stack.cut_over().await;
    eventually("the seat is free", SOON, async || seen(stack.count("seats").await == 0, ())).await;
    assert_eq!(stack.available(event.seat_type("VIP")).await, 50);
    stack.client_of(buyer).book(&event, &[("VIP", "A1")]).await.failed(409, NOT_LOCKED);
    stack.user().await.lock(&event, "VIP", "A1").await.ok();
    stack.assert_invariants().await;
}

#[tokio::test]
async fn an_ordered_booking_is_paid_and_gets_its_tickets() {
    let (mut stack, node, event, buyer) = on_sale(Stack::builder()).await;
    let booking = node.lock_and_book(buyer, &event, "VIP", &["A1", "A2"]).await;
    let order = node.order(&booking).await;
    stack.cut_over().await;
    let buyer = stack.client_of(buyer);
    let state = buyer.get(&format!("/payments/verify/{order}")).await.data();
    assert_eq!(state["status"], "pending", "{state}");
    // A failed attempt used to be the end of it (docs/contract.md#change-4).
    stack.pay(&order, Outcome::Failed);
    stack.until_booking(&buyer, &booking, "pending", "failed").await;
    stack.pay(&order, Outcome::Captured);
    stack.until_booking(&buyer, &booking, "confirmed", "completed").await;
    let tickets = stack.until_tickets(&buyer, &booking, 2).await;
    assert_eq!(tickets[0]["ticket_id"], format!("TKT-{}-A1", booking.reference));
    stack.assert_invariants().await;
}

#[tokio::test]
async fn a_booking_is_paid_on_an_order_that_a_newer_one_had_replaced() {
    let (mut stack, node, event, buyer) = on_sale(Stack::builder()).await;
    let booking = node.lock_and_book(buyer, &event, "VIP", &["A1"]).await;
    let first = node.order(&booking).await;
    node.order(&booking).await;
    stack.cut_over().await;
    let buyer = stack.client_of(buyer);
    stack.pay(&first, Outcome::Captured);
    stack.until_booking(&buyer, &booking, "confirmed", "completed").await;
    stack.assert_invariants().await;
}

#[tokio::test]
async fn money_of_another_currency_goes_back() {
    let (mut stack, node, event, buyer) = on_sale(Stack::builder()).await;
    let booking = node.lock_and_book(buyer, &event, "VIP", &["A1"]).await;
    let in_dirham = async || {
        let request = json!({"bookingId": booking.id, "currency": "AED"});
        node.call_ok("order", request).await.as_str().unwrap().to_owned()
    };
    let orders = [in_dirham().await, in_dirham().await];
    stack.cut_over().await;
    let buyer = stack.client_of(buyer);
    for order in &orders {
        let payment = stack.pay(order, Outcome::Captured);
        stack.until_refund(&payment).await;
    }
    stack.until_booking(&buyer, &booking, "pending", "pending").await;
    stack.assert_invariants().await;
}

#[tokio::test]
async fn a_booking_that_has_lost_a_seat_is_refunded_and_not_confirmed_by_half() {
    let (mut stack, node, event, buyer) = on_sale(Stack::builder()).await;
    let booking = node.lock_and_book(buyer, &event, "VIP", &["A1", "A2"]).await;
    let order = node.order(&booking).await;
    stack.execute("UPDATE seats SET expires_at = now() WHERE seat_label = 'A2'").await;
    node.call_ok("sweep", json!({})).await;
    stack.cut_over().await;
    let buyer = stack.client_of(buyer);
    let payment = stack.pay(&order, Outcome::Captured);
    stack.until_refund(&payment).await;
    assert_eq!(stack.count("bookings WHERE status = 'confirmed'").await, 0);
    assert_eq!(stack.count("seats WHERE status = 'booked'").await, 0);
    buyer.get(&format!("/bookings/{}", booking.id)).await.ok();
    stack.assert_invariants().await;
}

#[tokio::test]
async fn an_unpaid_booking_expires_and_its_seats_return() {
    let builder = Stack::builder().workers(["expiry"]).env("BOOKING_SECONDS", 2);
    let (mut stack, node, event, buyer) = on_sale(builder).await;
    let booking = node.lock_and_book(buyer, &event, "VIP", &["A1"]).await;
    node.order(&booking).await;
    stack.cut_over().await;
    let buyer = stack.client_of(buyer);
    stack.until_booking(&buyer, &booking, "expired", "cancelled").await;
    assert_eq!(stack.available(event.seat_type("VIP")).await, 50);
    buyer.lock(&event, "VIP", "A1").await.ok();
    stack.assert_invariants().await;
}

#[tokio::test]
async fn an_unpaid_booking_keeps_its_seats_until_its_own_deadline() {
    let (mut stack, node, event, buyer) = on_sale(Stack::builder().workers([])).await;
    node.lock_and_book(buyer, &event, "VIP", &["A1", "A2"]).await;
    let both = "SELECT s.expires_at = b.expires_at AS one FROM seats s
                JOIN booking_seats bs ON bs.seat_id = s.id JOIN bookings b ON b.id = bs.booking_id";
    assert_eq!(stack.rows(both).await, [json!({"one": false}), json!({"one": false})]);
    stack.cut_over().await;
    assert_eq!(stack.rows(both).await, [json!({"one": true}), json!({"one": true})]);
}

#[tokio::test]
async fn a_confirmed_booking_that_has_no_tickets_yet_gets_them() {
    let (mut stack, node, event, buyer) = on_sale(Stack::builder()).await;
    let mut bookings = Vec::new();
    for (label, tickets) in [("A1", true), ("A2", false)] {
        let booking = node.lock_and_book(buyer, &event, "VIP", &[label]).await;
        let payment = stack.pay(&node.order(&booking).await, Outcome::Captured);
        let request = json!({"bookingId": booking.id, "paymentId": payment.id, "tickets": tickets});
        node.call_ok("confirm", request).await;
        bookings.push(booking);
    }
    stack.execute("UPDATE tickets SET generated_at = now() - interval '1 hour'").await;
    stack.cut_over().await;
    let buyer = stack.client_of(buyer);
    let tickets = stack.until_tickets(&buyer, &bookings[1], 1).await;
    assert_eq!(tickets[0]["ticket_id"], format!("TKT-{}-A2", bookings[1].reference));
    stack.assert_invariants().await;
    // Buyers who had their tickets get them again, once, as anybody could draw the old ones.
    let mut texts = eventually("both are mailed", SOON, async || {
        let mails = stack.providers.mail();
        let texts: Vec<_> = mails.into_iter().map(|mail| mail.text).collect();
        seen(texts.len() == 2, texts)
    })
    .await;
    texts.sort_by_key(|text| text.contains(&bookings[1].reference));
    for (text, booking) in texts.iter().zip(&bookings) {
        assert!(text.contains(&format!("TKT-{}", booking.reference)), "{text}");
    }
    assert_eq!(stack.count("tickets WHERE qr_nonce IS NULL").await, 0);
}

#[tokio::test]
async fn a_cancellation_is_answered_again_to_who_repeats_its_key() {
    let (mut stack, node, event, buyer) = on_sale(Stack::builder().workers([])).await;
    let booking = node.lock_and_book(buyer, &event, "VIP", &["A1"]).await;
    let request = json!({"userId": buyer, "bookingId": booking.id, "key": "key-1"});
    let first = node.call_ok("cancel", request).await;
    stack.cut_over().await;
    let path = format!("/bookings/{}/cancel", booking.id);
    let response =
        stack.client_of(buyer).post(&path, json!({"idempotency_key": "key-1"})).await.data();
    let expected = json!({"message": "Booking cancelled successfully (idempotent retry)", "booking_id": booking.id,
                          "idempotent": true, "cached_response": first});
    assert_eq!(response, expected);
    let stranger = stack.user().await.post(&path, json!({"idempotency_key": "key-1"})).await;
    stranger.failed(403, "You are not authorized to cancel this booking");
}

#[tokio::test]
async fn a_confirmed_booking_shows_its_tickets_and_is_refunded_when_it_is_cancelled() {
    let (mut stack, node, event, buyer) = on_sale(Stack::builder()).await;
    let booking = node.lock_and_book(buyer, &event, "VIP", &["A1", "A2"]).await;
    // The webhooks of this payment came to the Node service: Nexus knows of it from the booking
    // alone.
    stack.providers.fault(Target::Webhook, None, Fault::lost());
    let payment = stack.pay(&node.order(&booking).await, Outcome::Captured);
    stack.providers.clear_faults();
    node.confirm(&booking, &payment.id).await;
    stack.cut_over().await;
    let buyer = stack.client_of(buyer);
    let shown = buyer.get(&format!("/bookings/{}/tickets", booking.id)).await.data();
    assert_eq!(shown["status"], "ready", "{shown}");
    assert_eq!(shown["tickets"][1]["ticket_id"], format!("TKT-{}-A2", booking.reference));

    buyer.cancel(&booking).await.ok();
    stack.until_booking(&buyer, &booking, "cancelled", "refunded").await;
    let refunds =
        stack.providers.refunds().into_iter().map(|refund| (refund.payment_id, refund.amount));
    assert_eq!(refunds.collect::<Vec<_>>(), [(payment.id, 20_000)]);
    assert_eq!(stack.available(event.seat_type("VIP")).await, 50);
    stack.assert_invariants().await;
}

#[tokio::test]
async fn events_and_bookings_are_shown_as_the_contract_has_them() {
    let (mut stack, node, event, buyer) = on_sale(Stack::builder().workers([])).await;
    let booking = node.lock_and_book(buyer, &event, "VIP", &["A1"]).await;
    let payment = stack.pay(&node.order(&booking).await, Outcome::Captured);
    node.confirm(&booking, &payment.id).await;
    let cancelled = node.lock_and_book(buyer, &event, "VIP", &["B1"]).await;
    node.cancel(buyer, &cancelled).await.unwrap();
    stack.cut_over().await;
    let (anonymous, buyer) = (stack.anonymous(), stack.client_of(buyer));
    let organiser = stack.row("SELECT organizer_id FROM events").await["organizer_id"].take();

    let mut listed = json!({
        "id": event.id, "name": "Legacy Gig", "description": "Two sets under one roof.", "start_date": "ts", "end_date": "ts",
        "time_zone": "Asia/Kolkata", "image_url": null, "location": "Mumbai", "venue_name": null, "organizer_id": organiser, "status": "published",
        "is_public": true, "max_tickets_per_user": 10, "created_at": "ts", "updated_at": "ts", "organizer_name": "Legacy User",
        "total_seats": 52, "available_seats": 51, "booked_seats": 1,
    });
    let page = |total: usize| json!({"total": total, "limit": 10, "offset": 0, "has_more": false});
    let events = without_times(anonymous.get("/events").await.ok());
    assert_eq!(events, json!({"data": [listed], "pagination": page(1)}));
    listed["occupancy_rate"] = json!("1.92");
    let detail = without_times(anonymous.get(&format!("/events/{}", event.id)).await.ok());
    assert_eq!(detail, json!({"data": listed}));

    let in_list = |booking: &Booking, amount, status, payment_status, confirmed_at| {
        json!({
            "id": booking.id, "booking_reference": booking.reference, "event_id": event.id, "event_name": "Legacy Gig",
            "start_date": "ts", "end_date": "ts", "time_zone": "Asia/Kolkata", "image_url": null, "total_amount": amount, "status": status,
            "payment_status": payment_status, "booked_at": "ts", "confirmed_at": confirmed_at, "expires_at": "ts",
        })
    };
    let expected = [
        in_list(&cancelled, 100, "cancelled", "cancelled", Value::Null),
        in_list(&booking, 100, "confirmed", "completed", json!("ts")),
    ];
    let bookings = without_times(buyer.get("/bookings/my-bookings").await.ok());
    assert_eq!(bookings, json!({"success": true, "data": expected, "pagination": page(2)}));

    let seat = stack.row("SELECT id FROM seats").await["id"].take();
    let expected = json!({
        "booking": {
            "id": booking.id, "booking_reference": booking.reference, "event_id": event.id, "user_id": buyer.id,
            "total_amount": 100, "status": "confirmed", "payment_status": "completed", "payment_id": payment.id,
            "payment_gateway": "razorpay", "booked_at": "ts", "confirmed_at": "ts", "cancelled_at": null, "expires_at": "ts",
        },
        "event": {"id": event.id, "name": "Legacy Gig", "start_date": "ts", "end_date": "ts", "time_zone": "Asia/Kolkata", "location": "Mumbai",
                  "venue_name": null, "image_url": null},
        "seats": [{"seat_id": seat, "seat_label": "A1", "seat_type_name": "VIP", "price": 100, "status": "booked",
                   "booked_at": "ts"}],
    });
    let detail = buyer.get(&format!("/bookings/{}", booking.id)).await;
    assert_eq!(without_times(detail.data()), expected);

    let ticket = stack.row("SELECT id FROM tickets").await["id"].take();
    let expected = json!({
        "tickets": [{
            "id": ticket, "ticket_id": format!("TKT-{}-A1", booking.reference), "seat_label": "A1", "seat_type_name": "VIP",
            "price_paid": 100, "qr_code": "data:image/png;base64,iVBORw0KGgo=", "status": "generated", "email_sent": false,
            "sms_sent": false, "generated_at": "ts", "delivered_at": null,
        }],
        "status": "ready",
    });
    let tickets = buyer.get(&format!("/bookings/{}/tickets", booking.id)).await;
    assert_eq!(without_times(tickets.data()), expected);
}

#[tokio::test]
async fn a_sale_that_somebody_refunds_at_razorpay_is_cancelled_and_told_to_operators() {
    let shop = LegacyShop::open(Stack::builder()).await;
    let (booking, payment) = shop.confirmed(shop.buyers[0], "A1").await;
    let LegacyShop { node: _node, mut stack, event, buyers: [buyer, _], .. } = shop;
    stack.cut_over().await;
    let buyer = stack.client_of(buyer);
    stack.providers.refund_manually(&payment.id, None).unwrap();
    stack.until_booking(&buyer, &booking, "cancelled", "refunded").await;
    assert_eq!(stack.available(event.seat_type("VIP")).await, 50);
    let alert = stack.row("SELECT reason, subject FROM payment_alerts").await;
    assert_eq!(alert, json!({"reason": "foreign_refund", "subject": payment.id}));
    stack.assert_invariants().await;
}

#[tokio::test]
async fn an_organisers_row_no_longer_takes_along_what_others_have_paid_for() {
    let (mut stack, node, event, buyer) = on_sale(Stack::builder().workers([])).await;
    let booking = node.lock_and_book(buyer, &event, "VIP", &["A1"]).await;
    let payment = stack.pay(&node.order(&booking).await, Outcome::Captured);
    node.confirm(&booking, &payment.id).await;
    let deletions = [
        "DELETE FROM users WHERE id = (SELECT organizer_id FROM events)".to_owned(),
        format!("DELETE FROM users WHERE id = {buyer}"),
        format!("DELETE FROM events WHERE id = {}", event.id),
    ];
    stack.cut_over().await;
    for deletion in deletions {
        let refused = sqlx::query(sqlx::AssertSqlSafe(deletion.clone())).execute(&stack.db).await;
        assert!(refused.is_err(), "{deletion}");
    }
    assert_eq!(stack.count(&format!("bookings WHERE id = {}", booking.id)).await, 1);
    // The Node service goes on booking for its users.
    node.lock_and_book(buyer, &event, "VIP", &["B1"]).await;
}
