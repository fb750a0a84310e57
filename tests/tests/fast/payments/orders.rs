//! `create-order`: a booking has one order to pay, however often and however concurrently it is
//! asked for.

use std::collections::BTreeSet;

use nexus_tests::{Fault, Outcome, Pay, Stack, Target, json};

#[tokio::test]
async fn two_orders_asked_for_at_once_are_one_for_the_buyer() {
    let stack = Stack::start().await;
    let organiser = stack.user().await;
    let event = stack.event(&organiser, &[("VIP", 100.0, 50)]).await;
    let buyer = stack.user().await;
    let booking = buyer.lock_and_book(&event, &[("VIP", "A1")]).await;
    // None of them finds an order, so each asks Razorpay for one.
    stack.providers.fault(
        Target::RazorpayOrders,
        None,
        Fault::delay(std::time::Duration::from_millis(300)),
    );
    let (a, b, c) =
        tokio::join!(buyer.order(&booking), buyer.order(&booking), buyer.order(&booking));
    assert_eq!(BTreeSet::from([&a, &b, &c]).len(), 1, "{a} {b} {c}");
    assert_eq!(stack.providers.orders().len(), 3, "orders at the provider");
    assert_eq!(stack.count("payment_orders WHERE superseded_at IS NULL").await, 1, "live orders");
    assert_eq!(buyer.order(&booking).await, a, "and ever after");

    // Should one of the others be paid all the same, it counts.
    let other =
        stack.providers.orders().into_iter().find(|order| order.id != a).map(|order| order.id);
    stack.pay(&other.unwrap_or_default(), Outcome::Captured);
    stack.until_booking(&buyer, &booking, "confirmed", "completed").await;
    stack.assert_invariants().await;
}

#[tokio::test]
async fn an_order_that_is_not_of_the_total_is_replaced_and_stays_known() {
    let stack = Stack::start().await;
    let (buyer, _, booking, old) = stack.booked().await;
    stack.execute("UPDATE payment_orders SET currency = 'USD'").await;
    let new = buyer.order(&booking).await;
    assert_ne!(new, old);
    let orders = stack
        .rows("SELECT order_id, superseded_at IS NULL AS live FROM payment_orders ORDER BY live")
        .await;
    assert_eq!(
        orders,
        [json!({"order_id": old, "live": false}), json!({"order_id": new, "live": true})]
    );
    stack.pay(&new, Outcome::Captured);
    stack.until_booking(&buyer, &booking, "confirmed", "completed").await;
    stack.assert_invariants().await;
}

#[tokio::test]
async fn the_checkout_closes_when_the_booking_expires() {
    let stack = Stack::builder().workers([]).env("BOOKING_SECONDS", 120).start().await;
    let organiser = stack.user().await;
    let event = stack.event(&organiser, &[("VIP", 100.0, 50)]).await;
    let buyer = stack.user().await;
    let booking = buyer.lock_and_book(&event, &[("VIP", "A1")]).await;
    let timeout =
        async || buyer.try_order(&booking).await.data()["checkout_options"]["timeout"].as_i64();
    let left = timeout().await;
    assert!(left.is_some_and(|left| (100..=120).contains(&left)), "{left:?}");
    stack.execute("UPDATE bookings SET expires_at = expires_at - interval '90 seconds'").await;
    let left = timeout().await;
    assert!(left.is_some_and(|left| (10..=30).contains(&left)), "{left:?}");
    let order = &stack.providers.orders()[0];
    assert_eq!(order.capture_minutes, Some(12 + 60), "what is authorized late goes back by itself");
    assert_eq!(order.receipt.as_deref(), Some(booking.reference.as_str()));
}

#[tokio::test]
async fn an_order_whose_payment_went_back_is_not_handed_out_again() {
    let stack = Stack::start().await;
    let (buyer, _, booking, order) = stack.booked().await;
    let payment =
        stack.pay_with(&Pay { amount: Some(100), ..Pay::order(&order, Outcome::Captured) });
    stack.until_refund(&payment).await;
    for id in [&order, &payment.id] {
        let state = buyer.get(&format!("/payments/verify/{id}")).await.data();
        assert_eq!(
            (&state["status"], &state["payment_status"]),
            (&json!("pending"), &json!("refunded")),
            "{state}"
        );
    }
    let another = buyer.order(&booking).await;
    assert_ne!(another, order);
    let state = buyer.get(&format!("/payments/verify/{another}")).await.data();
    assert_eq!(state["payment_status"], "pending", "{state}");
    stack.pay(&another, Outcome::Captured);
    stack.until_booking(&buyer, &booking, "confirmed", "completed").await;
    let state = buyer.get(&format!("/payments/verify/{order}")).await.data();
    assert_eq!(state["is_confirmed"], true, "{state}");
    stack.assert_invariants().await;
}

#[tokio::test]
async fn a_payment_that_came_when_the_event_was_over_is_refunded_and_nobody_is_asked_for_another() {
    let stack = Stack::start().await;
    let (buyer, event, booking, order) = stack.booked().await;
    stack.execute(&format!("UPDATE events SET status = 'completed' WHERE id = {}", event.id)).await;
    let payment = stack.pay(&order, Outcome::Captured);
    stack.until_refund(&payment).await;
    let state = buyer.get(&format!("/payments/verify/{order}")).await.data();
    assert_eq!(state["payment_status"], "refunded", "{state}");
    let refusal = buyer.try_order(&booking).await;
    assert_eq!(
        (refusal.status, &refusal.body["error"]["code"]),
        (409, &json!("event_not_on_sale")),
        "{refusal}"
    );
    stack.assert_invariants().await;
}
