//! No buyer pays for nothing: what each kind of payment leads to.

use nexus_tests::{
    Booking, Fault, Outcome, Pay, SOON, Stack, Target, Value, eventually, json, seen,
};

/// Waits until so many refunds have been carried out and followed; returns `refunds` rows.
async fn until_refunded(stack: &Stack, count: usize) -> Vec<Value> {
    eventually(&format!("{count} refunds are processed"), SOON, async || {
        let rows = stack
            .rows("SELECT payment_id, amount_paise, reason, status FROM refunds ORDER BY id")
            .await;
        let done = rows.iter().filter(|row| row["status"] == "processed").count();
        seen(done == count && rows.len() == count, rows)
    })
    .await
}

#[tokio::test]
async fn a_payment_that_failed_and_then_succeeded_confirms() {
    let stack = Stack::start().await;
    let (buyer, _, booking, order) = stack.booked().await;
    stack.pay(&order, Outcome::Failed);
    stack.until_booking(&buyer, &booking, "pending", "failed").await;
    assert_eq!(buyer.order(&booking).await, order, "the open order is offered again");
    let payment = stack.pay(&order, Outcome::Captured);
    let shown = stack.until_booking(&buyer, &booking, "confirmed", "completed").await;
    assert_eq!(shown["booking"]["payment_id"], payment.id);
    stack.until_tickets(&buyer, &booking, 2).await;
    stack.assert_invariants().await;
}

#[tokio::test]
async fn the_same_payment_may_change_its_mind_days_later() {
    let stack = Stack::start().await;
    let (buyer, _, booking, order) = stack.booked().await;
    let failed = stack.pay(&order, Outcome::Failed);
    stack.until_booking(&buyer, &booking, "pending", "failed").await;
    let late =
        Pay { payment_id: Some(failed.id.clone()), ..Pay::order(&order, Outcome::Authorized) };
    stack.pay_with(&late);
    let shown = stack.until_booking(&buyer, &booking, "confirmed", "completed").await;
    assert_eq!(shown["booking"]["payment_id"], failed.id);
    stack.assert_invariants().await;
}

#[tokio::test]
async fn an_authorized_payment_is_captured_by_us_once() {
    let stack = Stack::start().await;
    let (buyer, _, booking, order) = stack.booked().await;
    stack.pay(&order, Outcome::Authorized);
    stack.until_booking(&buyer, &booking, "confirmed", "completed").await;
    stack.assert_invariants().await;
    assert_eq!(stack.providers.count(Target::RazorpayCapture).succeeded, 1, "captures");
    let payments = stack.providers.payments();
    assert_eq!(payments.iter().map(|payment| payment.status).collect::<Vec<_>>(), ["captured"]);
}

#[tokio::test]
async fn a_second_payment_for_a_booking_goes_back() {
    let stack = Stack::start().await;
    let (buyer, _, booking, order) = stack.booked().await;
    let first = stack.pay(&order, Outcome::Captured);
    stack.until_booking(&buyer, &booking, "confirmed", "completed").await;
    let second = stack.pay(&order, Outcome::Captured);
    let refunds = until_refunded(&stack, 1).await;
    assert_eq!(
        refunds,
        [
            json!({"payment_id": second.id, "amount_paise": 20_000, "reason": "already_paid", "status": "processed"})
        ]
    );
    let shown = stack.until_booking(&buyer, &booking, "confirmed", "completed").await;
    assert_eq!(shown["booking"]["payment_id"], first.id);
    assert_eq!(stack.providers.refunds().len(), 1, "refunds at the provider");
    stack.assert_invariants().await;
}

#[tokio::test]
async fn two_payments_at_once_confirm_one_and_refund_the_other() {
    let stack = Stack::start().await;
    let (buyer, _, booking, order) = stack.booked().await;
    for _ in 0..4 {
        stack.pay(&order, Outcome::Authorized);
    }
    stack.until_booking(&buyer, &booking, "confirmed", "completed").await;
    let refunds = until_refunded(&stack, 3).await;
    assert!(refunds.iter().all(|refund| refund["reason"] == "already_paid"), "{refunds:?}");
    stack.until_tickets(&buyer, &booking, 2).await;
    stack.assert_invariants().await;
}

#[tokio::test]
async fn a_payment_of_another_amount_or_currency_goes_back_and_the_right_one_confirms() {
    let stack = Stack::start().await;
    let (buyer, _, booking, order) = stack.booked().await;
    let captured = || Pay::order(&order, Outcome::Captured);
    stack.pay_with(&Pay { amount: Some(100), ..captured() });
    stack.pay_with(&Pay { amount: Some(20_001), ..captured() });
    stack.pay_with(&Pay { currency: Some("USD".into()), ..captured() });
    let refunds = until_refunded(&stack, 3).await;
    let mut amounts: Vec<_> =
        refunds.iter().map(|refund| refund["amount_paise"].as_i64()).collect();
    amounts.sort();
    assert_eq!(amounts, [Some(100), Some(20_000), Some(20_001)]);
    assert!(refunds.iter().all(|refund| refund["reason"] == "amount_mismatch"), "{refunds:?}");
    stack.until_booking(&buyer, &booking, "pending", "pending").await;
    assert_eq!(stack.count("tickets").await, 0);

    stack.pay(&order, Outcome::Captured);
    stack.until_booking(&buyer, &booking, "confirmed", "completed").await;
    stack.until_tickets(&buyer, &booking, 2).await;
    stack.assert_invariants().await;
}

#[tokio::test]
async fn a_cancelled_confirmed_booking_gets_its_money_back_and_its_seats_return() {
    let stack = Stack::start().await;
    let organiser = stack.user().await;
    let event = stack.event(&organiser, &[("VIP", 100.0, 50)]).await;
    let buyer = stack.user().await;
    let (booking, payment) = stack.sell(&buyer, &event, &[("VIP", "A1"), ("VIP", "A2")]).await;
    stack.until_tickets(&buyer, &booking, 2).await;
    let viewer = stack.socket("the viewer", &stack.anonymous()).await;

    let response = buyer.cancel(&booking).await.data();
    assert_eq!(
        response,
        json!({"message": "Booking cancelled successfully", "booking_id": booking.id})
    );
    assert_eq!(stack.available(event.seat_type("VIP")).await, 50);
    for label in ["A1", "A2"] {
        let broadcast = viewer
            .wait_for("seat_unlocked", |broadcast| broadcast["seat_label"] == label, SOON)
            .await;
        let expected = json!({
            "event_id": event.id,
            "seat_type_id": event.seat_type("VIP"),
            "seat_label": label,
            "available_quantity": 50,
            "version": broadcast["version"],
            "reason": "cancelled",
        });
        assert_eq!(broadcast, expected);
    }
    let expected = json!({"booking_id": booking.id, "reason": "Cancelled by user"});
    assert_eq!(viewer.wait_for_any("booking_cancelled").await, expected);
    stack.user().await.lock(&event, "VIP", "A1").await.ok();

    let refunds = until_refunded(&stack, 1).await;
    assert_eq!(refunds[0]["payment_id"], payment.id);
    stack.until_booking(&buyer, &booking, "cancelled", "refunded").await;
    let again = buyer.cancel(&booking).await.data();
    let expected = json!({"message": "Booking is already cancelled", "booking_id": booking.id, "already_cancelled": true});
    assert_eq!(again, expected);
    stack.assert_invariants().await;
    assert_eq!(stack.providers.refunds().len(), 1, "refunds at the provider");
    assert_eq!(viewer.received("booking_cancelled").len(), 1, "{}", viewer.describe());
}

#[tokio::test]
async fn a_payment_under_way_when_its_booking_was_cancelled_gets_the_seats_or_goes_back() {
    let stack = Stack::start().await;
    let (buyer, event, booking, order) = stack.booked().await;
    buyer.cancel(&booking).await.ok();
    stack.until_booking(&buyer, &booking, "cancelled", "cancelled").await;
    stack.user().await.lock(&event, "VIP", "A2").await.ok();
    stack.pay(&order, Outcome::Captured);
    assert_eq!(until_refunded(&stack, 1).await[0]["reason"], "seats_gone");
    stack.until_booking(&buyer, &booking, "cancelled", "refunded").await;

    let booking = buyer.lock_and_book(&event, &[("VIP", "B1")]).await;
    let order = buyer.order(&booking).await;
    buyer.cancel(&booking).await.ok();
    stack.pay(&order, Outcome::Captured);
    stack.until_booking(&buyer, &booking, "confirmed", "completed").await;
    stack.assert_invariants().await;
}

#[tokio::test]
async fn a_free_booking_is_confirmed_without_an_order() {
    let stack = Stack::start().await;
    let organiser = stack.user().await;
    let event = stack.event(&organiser, &[("Guest", 0.0, 5)]).await;
    let buyer = stack.user().await;
    buyer.lock(&event, "Guest", "G1").await.ok();
    let data = buyer.book(&event, &[("Guest", "G1")]).await.data();
    assert_eq!(
        (&data["payment_required"], &data["booking"]["total_amount"]),
        (&json!(false), &json!(0))
    );
    let booking = Booking::from_created(&data);
    buyer.try_order(&booking).await.failed(400, "Valid amount is required");
    stack.until_booking(&buyer, &booking, "confirmed", "completed").await;
    stack.until_tickets(&buyer, &booking, 1).await;
    assert!(stack.providers.orders().is_empty(), "no order is created");

    buyer.cancel(&booking).await.ok();
    stack.assert_invariants().await;
    assert!(stack.providers.refunds().is_empty(), "nothing is refunded");
    assert_eq!(stack.available(event.seat_type("Guest")).await, 5);
}

/// An authorized payment is captured and later refunded although each call goes wrong once.
async fn capture_and_refund_survive(faults: &[Fault]) {
    let stack = Stack::start().await;
    for (n, fault) in faults.iter().enumerate() {
        let (buyer, _, booking, order) = stack.booked().await;
        stack.providers.fault(Target::RazorpayCapture, Some(1), fault.clone());
        stack.pay(&order, Outcome::Authorized);
        stack.until_booking(&buyer, &booking, "confirmed", "completed").await;

        stack.providers.fault(Target::RazorpayRefund, Some(1), fault.clone());
        buyer.cancel(&booking).await.ok();
        stack.until_booking(&buyer, &booking, "cancelled", "refunded").await;
        assert_eq!(
            stack.providers.refunds().len(),
            n + 1,
            "refunds at the provider after {fault:?}"
        );
    }
    stack.assert_invariants().await;
}

#[tokio::test]
async fn a_provider_that_fails_delays_captures_and_refunds_and_loses_neither() {
    let faults = [Fault::status(500), Fault::status(502), Fault::dropped(), Fault::dropped_after()];
    capture_and_refund_survive(&faults).await;
}

#[tokio::test]
async fn a_provider_that_is_too_busy_delays_captures_and_refunds_and_loses_neither() {
    capture_and_refund_survive(&[Fault::status(429)]).await;
}

#[tokio::test]
async fn an_order_that_we_did_not_live_to_remember_is_found_by_its_receipt() {
    let stack = Stack::start().await;
    let (buyer, _, booking, order) = stack.booked().await;
    // As if the API had died between Razorpay's answer and its own commit.
    stack.execute("DELETE FROM payment_orders").await;
    stack.execute("UPDATE bookings SET payment_id = NULL, payment_gateway = NULL").await;
    stack.pay(&order, Outcome::Captured);
    stack.until_booking(&buyer, &booking, "confirmed", "completed").await;
    stack.assert_invariants().await;
}
