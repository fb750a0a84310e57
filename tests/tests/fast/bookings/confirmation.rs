//! `confirm_booking` believes Razorpay and not the buyer (docs/contract.md#change-1); and the job
//! that it names.

use nexus_tests::refusals::TOO_MANY;
use nexus_tests::{
    Booking, Fault, Outcome, Pay, SOON, SocketClient, Stack, Target, Value, eventually, json, seen,
};

/// A buyer with a booking to pay, whose webhooks never come.
async fn confirm(socket: &SocketClient, booking: &Booking, payment_id: &str) -> Value {
    socket
        .call("confirm_booking", &[json!({"booking_id": booking.id, "payment_id": payment_id})])
        .await
}

fn refusal(error: &str) -> Value {
    json!({"success": false, "error": error})
}

const NOT_VERIFIED: &str = "Payment could not be verified for this booking";

#[tokio::test]
async fn a_captured_payment_confirms_and_names_the_job_that_makes_the_tickets() {
    let stack = Stack::start().await;
    let (buyer, event, booking, order) = stack.booked_without_webhooks().await;
    let socket = stack.socket("the buyer", &buyer).await;
    let viewer = stack.socket("the viewer", &stack.anonymous()).await;
    let payment = stack.pay(&order, Outcome::Captured);

    let mut data = socket
        .call_ok("confirm_booking", json!({"booking_id": booking.id, "payment_id": payment.id}))
        .await;
    let job = data["ticket_generation"]["jobId"].as_str().expect("a job id").to_owned();
    let shown = stack.until_booking(&buyer, &booking, "confirmed", "completed").await;
    assert_eq!(data["booking"]["confirmed_at"], shown["booking"]["confirmed_at"]);
    for (part, fields) in
        [("booking", &["booked_at", "confirmed_at"][..]), ("ticket_generation", &["jobId"])]
    {
        for field in fields {
            assert!(data[part][field].as_str().is_some(), "{part}.{field}");
            data[part][field] = json!("…");
        }
    }
    let email =
        &stack.row(&format!("SELECT email FROM users WHERE id = {}", buyer.id)).await["email"];
    let expected = json!({
        "booking": {"id": booking.id, "booking_reference": booking.reference, "event_id": event.id, "user_id": buyer.id,
                    "total_amount": 200, "status": "confirmed", "payment_status": "completed", "payment_id": payment.id,
                    "payment_gateway": "razorpay", "booked_at": "…", "confirmed_at": "…"},
        "event": {"id": event.id, "name": "Monsoon Jazz Night", "description": "Two sets under one roof.",
                  "start_date": "2099-05-01T18:00:00.000Z", "end_date": "2099-05-01T22:00:00.000Z",
                  "time_zone": "Asia/Kolkata", "location": "Mumbai", "venue_name": null, "image_url": null},
        "user": {"id": buyer.id, "name": "User 1", "email": email, "phone": null},
        "tickets": [],
        "total_tickets": 2,
        "ticket_generation": {"jobId": "…", "status": "queued",
                              "message": "2 ticket(s) are being generated. You'll be notified when ready."},
        "message": "Booking confirmed! 2 seat(s) booked successfully.",
    });
    assert_eq!(data, expected);
    assert_eq!(viewer.wait_for_any("booking_confirmed").await["booking_id"], booking.id);
    assert!(
        socket.received("booking_confirmed").is_empty(),
        "the sender hears a response, not the broadcast"
    );

    let path = format!("/bookings/ticket-status/{job}");
    let done = eventually("the job is done", SOON, async || {
        let status = buyer.get(&path).await.data();
        seen(status["status"] == "completed", &status).cloned()
    })
    .await;
    assert_eq!(
        done,
        json!({"status": "completed", "progress": 100, "result": {"ticketsGenerated": 2, "bookingId": booking.id}})
    );
    stack.user().await.get(&path).await.failed(404, "Ticket generation job not found");
    assert_eq!(
        confirm(&socket, &booking, "pay_another").await,
        refusal("Booking is already confirmed")
    );
    stack.assert_invariants().await;
}

#[tokio::test]
async fn who_confirms_after_the_webhook_did_gets_the_same_answer() {
    let stack = Stack::start().await;
    let (buyer, _, booking, order) = stack.booked().await;
    let socket = stack.socket("the buyer", &buyer).await;
    let payment = stack.pay(&order, Outcome::Captured);
    stack.until_tickets(&buyer, &booking, 2).await;
    let response = confirm(&socket, &booking, &payment.id).await;
    assert_eq!(response["data"]["booking"]["payment_id"], payment.id, "{response}");
    assert_eq!(response["data"]["tickets"].as_array().map(Vec::len), Some(2));
    stack.assert_invariants().await;
}

#[tokio::test]
async fn the_webhook_and_the_buyer_confirm_once_together() {
    let stack = Stack::start().await;
    let (buyer, _, booking, order) = stack.booked().await;
    let socket = stack.socket("the buyer", &buyer).await;
    let payment = stack.pay(&order, Outcome::Captured);
    let response = confirm(&socket, &booking, &payment.id).await;
    assert_eq!(response["success"], true, "{response}");
    stack.until_tickets(&buyer, &booking, 2).await;
    assert_eq!(stack.count("payments WHERE kind = 'sale'").await, 1);
    stack.assert_invariants().await;
}

#[tokio::test]
async fn an_authorized_payment_is_captured_first() {
    let stack = Stack::start().await;
    let (buyer, _, booking, order) = stack.booked_without_webhooks().await;
    let socket = stack.socket("the buyer", &buyer).await;
    let payment = stack.pay(&order, Outcome::Authorized);
    assert_eq!(confirm(&socket, &booking, &payment.id).await["success"], true);
    assert_eq!(stack.providers.count(Target::RazorpayCapture).succeeded, 1);
    stack.assert_invariants().await;
}

#[tokio::test]
async fn nothing_but_the_bookings_own_captured_payment_confirms_it() {
    let stack = Stack::start().await;
    let (buyer, event, booking, order) = stack.booked_without_webhooks().await;
    let socket = stack.socket("the buyer", &buyer).await;
    let failed = stack.pay(&order, Outcome::Failed);
    let stranger = stack.user().await;
    let their_booking = stranger.lock_and_book(&event, &[("VIP", "B1"), ("VIP", "B2")]).await;
    let theirs = stack.pay(&stranger.order(&their_booking).await, Outcome::Captured);

    for invented in ["i-paid-nothing", "pay_doesnotexist00", "../orders", &failed.id, &theirs.id] {
        assert_eq!(confirm(&socket, &booking, invented).await, refusal(NOT_VERIFIED), "{invented}");
    }
    let missing = refusal("Booking ID and Payment ID are required");
    for payload in
        [json!({}), json!({"booking_id": booking.id}), json!({"payment_id": "x"}), json!(null)]
    {
        assert_eq!(socket.call("confirm_booking", &[payload]).await, missing);
    }
    let paid = stack.pay(&order, Outcome::Captured);
    let thief = stack.socket("the thief", &stranger).await;
    assert_eq!(confirm(&thief, &booking, &paid.id).await, refusal("Booking not found"));
    stack.until_booking(&buyer, &booking, "pending", "pending").await;
    assert_eq!(stack.count("payments").await, 0);
}

#[tokio::test]
async fn razorpay_is_not_asked_for_what_is_no_payment_id() {
    let stack = Stack::builder().workers([]).start().await;
    let (buyer, _, booking, order) = stack.booked_without_webhooks().await;
    let socket = stack.socket("the buyer", &buyer).await;
    let long = format!("pay_{}", "a".repeat(41));
    for no_id in ["pay_", "pay_a/../b", "pay_\u{e4}", "PAY_a", "pay_a b", &order, &long] {
        assert_eq!(confirm(&socket, &booking, no_id).await, refusal(NOT_VERIFIED), "{no_id}");
    }
    assert_eq!(stack.providers.count(Target::RazorpayPaymentFetch).calls, 0);
}

#[tokio::test]
async fn who_invents_payment_ids_is_soon_not_asked_about_any_more() {
    let stack = Stack::builder().workers([]).env("RATE_LIMIT_CONFIRM_BOOKING", "3/1h").start();
    let stack = stack.await;
    let (buyer, event, booking, order) = stack.booked_without_webhooks().await;
    let sockets =
        [stack.socket("the buyer", &buyer).await, stack.socket("the buyer again", &buyer).await];
    for n in 0..3 {
        let invented = format!("pay_invented{n}");
        let answer = confirm(&sockets[n % 2], &booking, &invented).await;
        assert_eq!(answer, refusal(NOT_VERIFIED));
    }
    let paid = stack.pay(&order, Outcome::Captured);
    assert_eq!(confirm(&sockets[0], &booking, &paid.id).await, refusal(TOO_MANY));
    assert_eq!(stack.providers.count(Target::RazorpayPaymentFetch).calls, 3);

    let other = stack.user().await;
    let theirs = other.lock_and_book(&event, &[("VIP", "C1")]).await;
    let paid = stack.pay(&other.order(&theirs).await, Outcome::Captured);
    let socket = stack.socket("another buyer", &other).await;
    assert_eq!(confirm(&socket, &theirs, &paid.id).await["success"], true);
}

#[tokio::test]
async fn who_has_paid_may_confirm_as_many_bookings_as_there_are() {
    let stack = Stack::builder().workers([]).env("RATE_LIMIT_CONFIRM_BOOKING", "1/1h").start();
    let stack = stack.await;
    let (event, buyer) = stack.on_sale().await;
    let socket = stack.socket("the buyer", &buyer).await;
    for seat in ["A1", "A2", "A3"] {
        let booking = buyer.lock_and_book(&event, &[("VIP", seat)]).await;
        let paid = stack.pay(&buyer.order(&booking).await, Outcome::Captured);
        assert_eq!(confirm(&socket, &booking, &paid.id).await["success"], true, "{seat}");
    }
}

#[tokio::test]
async fn a_payment_of_another_amount_goes_back() {
    let stack = Stack::start().await;
    let (buyer, _, booking, order) = stack.booked_without_webhooks().await;
    let socket = stack.socket("the buyer", &buyer).await;
    let little =
        stack.pay_with(&Pay { amount: Some(100), ..Pay::order(&order, Outcome::Captured) });
    let response = confirm(&socket, &booking, &little.id).await;
    assert_eq!(
        response,
        refusal("The booking can no longer be confirmed. Your payment will be refunded.")
    );
    let refunded =
        "refunds WHERE status = 'requested' AND reason = 'amount_mismatch' AND amount_paise = 100";
    eventually("it is refunded", SOON, async || seen(stack.count(refunded).await == 1, ())).await;
    assert_eq!(stack.providers.count(Target::RazorpayRefund).succeeded, 1);
    stack.until_booking(&buyer, &booking, "pending", "pending").await;
}

#[tokio::test]
async fn a_booking_that_costs_nothing_needs_no_payment() {
    let stack = Stack::builder().workers([]).start().await;
    let organiser = stack.user().await;
    let event = stack.event(&organiser, &[("Free", 0.0, 5)]).await;
    let buyer = stack.user().await;
    let booking = buyer.lock_and_book(&event, &[("Free", "A1")]).await;
    let socket = stack.socket("the buyer", &buyer).await;
    let response = confirm(&socket, &booking, "free").await;
    assert_eq!(response["data"]["booking"]["status"], "confirmed", "{response}");
    assert_eq!(response["data"]["booking"]["payment_id"], Value::Null);
}

#[tokio::test]
async fn razorpay_away_is_said_and_changes_nothing() {
    let stack = Stack::start().await;
    let (buyer, _, booking, order) = stack.booked_without_webhooks().await;
    let socket = stack.socket("the buyer", &buyer).await;
    let payment = stack.pay(&order, Outcome::Captured);
    stack.providers.fault(Target::RazorpayPaymentFetch, Some(1), Fault::status(500));
    let response = confirm(&socket, &booking, &payment.id).await;
    assert_eq!(response["success"], false, "{response}");
    assert_eq!(confirm(&socket, &booking, &payment.id).await["success"], true);
}
