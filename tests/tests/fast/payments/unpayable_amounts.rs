//! Amounts that the payment provider cannot charge are refused before a buyer owes them; one that
//! it refuses all the same is no outage.

use nexus_tests::{Event, Fault, Stack, Target, json};

/// An event of an organiser who is gone, with a price from before prices were checked.
async fn set_price(stack: &Stack, event: &Event, price: &str) {
    stack
        .execute(&format!(
            "UPDATE event_seat_types SET price = {price} WHERE event_id = {}",
            event.id
        ))
        .await;
}

#[tokio::test]
async fn a_price_that_cannot_be_paid_is_refused_wherever_it_is_set() {
    let stack = Stack::builder().workers([]).without_limits().start().await;
    let organiser = stack.user().await;
    let event = stack
        .event(&organiser, &[("Free", 0.0, 5), ("Least", 1.0, 5), ("Most", 500_000.0, 5)])
        .await;
    let said = "Price must be 0, or between ₹1.00 and ₹5,00,000.00: no other amount can be paid";
    let types = format!("/seats/{}/seat-types", event.id);
    let one = format!("{types}/{}", event.seat_type("Free"));
    let socket = stack.socket("the organiser", &organiser).await;
    for price in [0.004, 0.01, 0.99, 500_000.01] {
        let seat_type = json!({"name": "VIP", "price": price, "quantity": 5});
        organiser.post(&types, seat_type.clone()).await.failed(422, said);
        organiser.put(&one, json!({"price": price})).await.failed(422, said);
        let mut request = nexus_tests::shop::event_request(&[("VIP", 100.0, 5)]);
        request["seat_types"][0]["price"] = json!(price);
        organiser.post("/events/create", request.clone()).await.failed(422, said);
        for (command, payload) in [
            ("create_event", request),
            (
                "create_seat_type",
                json!({"eventId": event.id, "name": "VIP", "price": price, "quantity": 5}),
            ),
            (
                "update_seat_type",
                json!({"eventId": event.id, "seatTypeId": event.seat_type("Free"), "price": price}),
            ),
        ] {
            let response = socket.call(command, &[payload]).await;
            assert!(response.to_string().contains(said), "{command}: {response}");
        }
    }
    assert_eq!(stack.count("events").await, 1);
    assert_eq!(stack.count("event_seat_types").await, 3);
}

#[tokio::test]
async fn the_maximum_is_a_setting() {
    let stack = Stack::builder().workers([]).env("RAZORPAY_MAX_PAISE", 20_000).start().await;
    let organiser = stack.user().await;
    let event = stack.event(&organiser, &[("VIP", 200.0, 5)]).await;
    let types = format!("/seats/{}/seat-types", event.id);
    let seat_type = json!({"name": "Royal", "price": 200.01, "quantity": 5});
    let said = "Price must be 0, or between ₹1.00 and ₹200.00: no other amount can be paid";
    organiser.post(&types, seat_type).await.failed(422, said);
}

#[tokio::test]
async fn a_booking_whose_total_cannot_be_paid_is_refused_and_its_seats_stay_locked() {
    let stack = Stack::builder().workers([]).start().await;
    let event = stack.event(&stack.user().await, &[("VIP", 300_000.0, 5)]).await;
    let buyer = stack.user().await;
    for label in ["A1", "A2"] {
        buyer.lock(&event, "VIP", label).await.ok();
    }
    let refused = buyer.book(&event, &[("VIP", "A1"), ("VIP", "A2")]).await;
    refused.failed(
        422,
        "A payment can be between ₹1.00 and ₹5,00,000.00. The total of ₹6,00,000.00 cannot be paid.",
    );
    assert_eq!(refused.body["error"]["code"], "total_not_payable");
    assert_eq!(stack.count("bookings").await, 0);
    buyer.book(&event, &[("VIP", "A1")]).await.ok();
}

#[tokio::test]
async fn a_price_from_before_stays_as_it_is_and_can_be_sent_again() {
    let stack = Stack::builder().workers([]).start().await;
    let organiser = stack.user().await;
    let event = stack.event(&organiser, &[("VIP", 100.0, 5)]).await;
    set_price(&stack, &event, "0.50").await;
    let one = format!("/seats/{}/seat-types/{}", event.id, event.seat_type("VIP"));
    let changed = organiser.put(&one, json!({"name": "Very important", "price": 0.5})).await.data();
    assert_eq!(changed["seat_type"]["price"], 0.5);

    // Two of them can be paid, one cannot.
    let buyer = stack.user().await;
    for label in ["A1", "A2", "A3"] {
        buyer.lock(&event, "VIP", label).await.ok();
    }
    let refused = buyer.book(&event, &[("VIP", "A1")]).await;
    refused.failed(
        422,
        "A payment can be between ₹1.00 and ₹5,00,000.00. The total of ₹0.50 cannot be paid.",
    );
    buyer.book(&event, &[("VIP", "A2"), ("VIP", "A3")]).await.ok();
}

#[tokio::test]
async fn an_order_that_the_provider_refuses_is_told_as_a_refusal() {
    let stack = Stack::builder().workers([]).start().await;
    let event = stack.event(&stack.user().await, &[("VIP", 100.0, 5)]).await;
    let buyer = stack.user().await;
    let mut booking = buyer.lock_and_book(&event, &[("VIP", "A1")]).await;

    stack.providers.fault(Target::RazorpayOrders, Some(1), Fault::status(400));
    let refused = buyer.try_order(&booking).await;
    let said = "The payment provider does not accept an order for this booking. Trying again will not help.";
    refused.failed(502, said);
    assert_eq!(refused.body["error"]["code"], "order_refused", "{refused}");
    assert!(!refused.headers.contains_key("retry-after"), "{refused}");

    // A booking from before totals were checked.
    stack.execute("UPDATE bookings SET total_amount = 0.50").await;
    booking.total = 0.5;
    let refused = buyer.try_order(&booking).await;
    refused.failed(
        422,
        "The payment provider does not accept a payment of ₹0.50. Trying again will not help.",
    );
    assert_eq!(refused.body["error"]["code"], "amount_refused", "{refused}");

    stack.providers.fault(Target::RazorpayOrders, Some(1), Fault::status(503));
    let failed = buyer.try_order(&booking).await;
    failed.failed(502, "The provider could not be reached. Please try again shortly.");
}
