//! Money that goes back without a cancellation: its buyer, and no one else, is told why, once.

use nexus_tests::{
    Booking, Client, Fault, Outcome, Pay, SOON, Stack, Target, Value, eventually, json, seen,
};

/// The only mail about a refund, which has gone to this buyer.
async fn until_mail(stack: &Stack, buyer: &Client) -> String {
    let address = stack.row(&format!("SELECT email FROM users WHERE id = {}", buyer.id)).await;
    eventually("a mail about the refund", SOON, async || {
        let mails = stack.providers.mail().into_iter();
        let mails: Vec<_> = mails.filter(|mail| mail.text.contains("goes back to you")).collect();
        let found = mails.len() == 1
            && mails[0].to.contains(&address["email"].as_str().unwrap_or_default().to_owned());
        seen(found, mails).map(|mails| mails[0].text.clone())
    })
    .await
}

/// No job about it is left, so no second message comes.
async fn until_quiet(stack: &Stack) {
    eventually("every message is sent", SOON, async || {
        let left = stack.rows("SELECT kind, state::text FROM jobs WHERE queue IN ('payments', 'notifications') AND kind NOT LIKE 'reconcile%' AND state <> 'done'").await;
        seen(left.is_empty(), left).map(drop)
    })
    .await;
}

/// Lets a booking's deadline pass.
async fn expire(stack: &Stack, buyer: &Client, booking: &Booking) {
    stack.execute("UPDATE bookings SET expires_at = now() - interval '1 second'").await;
    stack
        .execute(
            "UPDATE seats SET expires_at = now() - interval '1 second' WHERE status = 'locked'",
        )
        .await;
    stack.until_booking(buyer, booking, "expired", "cancelled").await;
}

#[tokio::test]
async fn a_buyer_hears_once_of_a_second_payment_by_mail_sms_and_socket() {
    let stack = Stack::start().await;
    let (buyer, _, booking, order) = stack.booked().await;
    stack.set_phone(&buyer, "+919812345678").await;
    let socket = stack.socket("the buyer", &buyer).await;
    let other = stack.socket("somebody else", &stack.user().await).await;
    stack.pay(&order, Outcome::Captured);
    stack.until_booking(&buyer, &booking, "confirmed", "completed").await;
    let second = stack.pay(&order, Outcome::Captured);

    let heard = socket.wait_for_any("payment_refunded").await;
    let expected = json!({
        "booking_id": booking.id, "booking_reference": booking.reference, "payment_id": second.id,
        "amount": 200, "currency": "INR", "reason": "already_paid",
    });
    assert_eq!(heard, expected);
    let said = format!(
        "payment of ₹200.00 for booking {} goes back to you: the booking had been paid before.",
        booking.reference
    );
    let mail = until_mail(&stack, &buyer).await;
    assert!(mail.contains(&format!("your {said}")) && mail.contains(&second.id), "{mail}");
    until_quiet(&stack).await;
    let sms: Vec<_> =
        stack.providers.sms().into_iter().filter(|sms| sms.body.contains("goes back")).collect();
    assert_eq!(
        sms.iter().map(|sms| sms.body.clone()).collect::<Vec<_>>(),
        [format!("Your {said}")]
    );
    assert_eq!(socket.received("payment_refunded").len(), 1);
    assert!(other.received("payment_refunded").is_empty(), "others hear nothing of it");
    stack.assert_invariants().await;
}

#[tokio::test]
async fn messages_go_to_a_contact_only_once_it_is_proved() {
    const PHONE: &str = "+919812345678";
    const EMAIL: &str = "asha@nexus.example";
    let stack = Stack::builder().without_limits().start().await;
    let event = stack.event(&stack.user().await, &[("VIP", 100.0, 50)]).await;
    let anonymous = stack.anonymous();
    let account = json!({"email": EMAIL, "phone": PHONE, "password": "Correct-Horse-1"});
    let buyer =
        anonymous.clone().logged_in(&anonymous.post("/auth/register", account).await.data());
    let pay_twice = async |seat: &str| {
        let booking = buyer.lock_and_book(&event, &[("VIP", seat)]).await;
        let order = buyer.order(&booking).await;
        stack.pay(&order, Outcome::Captured);
        stack.until_booking(&buyer, &booking, "confirmed", "completed").await;
        stack.pay(&order, Outcome::Captured);
        eventually("the second payment goes back", SOON, async || {
            let refunds = stack.count(&format!("refunds WHERE booking_id = {}", booking.id)).await;
            seen(refunds == 1, refunds).map(drop)
        })
        .await;
        stack.until_idle(&["bookings"]).await;
        until_quiet(&stack).await;
        buyer.cancel(&booking).await.ok();
        stack.until_booking(&buyer, &booking, "cancelled", "refunded").await;
        until_quiet(&stack).await;
    };

    let sent = || (stack.providers.mail().len(), stack.providers.sms().len());
    pay_twice("A1").await;
    assert_eq!(sent(), (1, 0), "nothing but the code to who may be a stranger");

    let code = stack.mailed_code(EMAIL).await;
    buyer.post("/auth/verify-email", json!({"code": code})).await.ok();
    pay_twice("A2").await;
    assert_eq!(sent(), (4, 0), "tickets, refund and cancellation");

    let otp = stack.otp(PHONE).await;
    buyer.post("/auth/change-phone", json!({"phone": PHONE, "otp": otp})).await.ok();
    pay_twice("A3").await;
    assert_eq!(sent(), (7, 3));
    stack.assert_invariants().await;
}

#[tokio::test]
async fn a_buyer_hears_once_of_each_part_that_goes_back_by_hand() {
    let stack = Stack::start().await;
    let (buyer, _, booking, payment) = stack.sold().await;
    stack.set_phone(&buyer, "+919812345678").await;
    let socket = stack.socket("the buyer", &buyer).await;
    // Razorpay tells of everything twice, and is asked once more in the end.
    stack.providers.fault(Target::Webhook, None, Fault::duplicated(1));
    for (number, part) in [2_000, 1_500].into_iter().enumerate() {
        stack
            .providers
            .refund_manually(&payment.id, Some(part))
            .unwrap_or_else(|refused| panic!("{refused:?}"));
        eventually("the buyer hears of it", SOON, async || {
            let heard = socket.received("payment_refunded");
            seen(heard.len() == number + 1, heard).map(drop)
        })
        .await;
    }
    stack.jobs_cli_with_settings(&["reconcile", "--since", "1d"]).await;

    let heard = |amount: u64| {
        json!({
            "booking_id": booking.id, "booking_reference": booking.reference, "payment_id": payment.id,
            "amount": amount, "currency": "INR", "reason": "not_ours",
        })
    };
    assert_eq!(socket.received("payment_refunded"), [heard(20), heard(15)]);
    until_quiet(&stack).await;
    let said = |part: &str| {
        let reference = &booking.reference;
        format!(
            "{part} of your payment of ₹100.00 for booking {reference} goes back to you: it has been returned by hand. Your booking stands."
        )
    };
    let mut sms: Vec<_> = stack.providers.sms().into_iter().map(|sms| sms.body).collect();
    sms.retain(|body| body.contains("goes back"));
    sms.sort();
    assert_eq!(sms, [said("₹15.00"), said("₹20.00")]);
    let mut mails: Vec<_> = stack.providers.mail().into_iter().map(|mail| mail.text).collect();
    mails.retain(|text| text.contains("goes back"));
    mails.sort();
    assert_eq!(mails.len(), 2, "{mails:?}");
    assert!(mails[0].contains(&said("₹15.00")) && mails[1].contains(&said("₹20.00")), "{mails:?}");
    stack.until_booking(&buyer, &booking, "confirmed", "completed").await;
    stack.assert_invariants().await;
}

#[tokio::test]
async fn each_reason_is_said_in_words() {
    let stack = Stack::builder().env("BOOKING_SECONDS", 2).start().await;
    let (buyer, event, booking, order) = stack.booked().await;
    expire(&stack, &buyer, &booking).await;
    stack.user().await.lock(&event, "VIP", "A2").await.ok();
    stack.pay(&order, Outcome::Captured);
    let mail = until_mail(&stack, &buyer).await;
    assert!(
        mail.contains("it came after the booking had expired, and a seat is somebody else's now"),
        "{mail}"
    );
    assert!(mail.contains("Monsoon Jazz Night"), "{mail}");
    stack.assert_invariants().await;
}

#[tokio::test]
async fn a_buyer_whose_booking_went_with_its_event_is_told_all_the_same() {
    let stack = Stack::builder().env("BOOKING_SECONDS", 2).start().await;
    let organiser = stack.user().await;
    let event = stack.event(&organiser, &[("VIP", 100.0, 5)]).await;
    let buyer = stack.user().await;
    let socket = stack.socket("the buyer", &buyer).await;
    let booking = buyer.lock_and_book(&event, &[("VIP", "A1")]).await;
    let order = buyer.order(&booking).await;
    expire(&stack, &buyer, &booking).await;
    organiser.delete(&format!("/events/{}", event.id)).await.ok();
    stack.pay(&order, Outcome::Captured);
    let mail = until_mail(&stack, &buyer).await;
    assert!(
        mail.contains(
            "your payment of ₹100.00 goes back to you: the event does not take place here"
        ),
        "{mail}"
    );
    let heard = socket.wait_for_any("payment_refunded").await;
    assert_eq!(
        (&heard["reason"], &heard["booking_reference"]),
        (&json!("booking_gone"), &Value::Null)
    );
    stack.assert_invariants().await;
}

#[tokio::test]
async fn a_payment_of_another_amount_is_told_of_and_a_cancelled_booking_once() {
    let stack = Stack::start().await;
    let (buyer, _, _, order) = stack.booked().await;
    stack.pay_with(&Pay { amount: Some(12_345), ..Pay::order(&order, Outcome::Captured) });
    let mail = until_mail(&stack, &buyer).await;
    assert!(
        mail.contains("payment of ₹123.45")
            && mail.contains("not the amount that the booking costs"),
        "{mail}"
    );

    // A buyer who cancels gets the notice of the cancellation, and no other.
    let (seller, _, sold, _) = stack.sold().await;
    let socket = stack.socket("who cancels", &seller).await;
    seller.cancel(&sold).await.ok();
    stack.until_booking(&seller, &sold, "cancelled", "refunded").await;
    until_quiet(&stack).await;
    until_mail(&stack, &buyer).await;
    assert!(socket.received("payment_refunded").is_empty());
    stack.assert_invariants().await;
}
