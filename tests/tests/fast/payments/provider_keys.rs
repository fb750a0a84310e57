//! A provider that refuses our key, or another of our settings: jobs that need it wait, operators
//! get one alert, and everything is done once it is right.

use std::time::Duration;

use nexus_tests::{Client, Fault, SOON, Stack, Target, eventually, json, seen};

const PATIENCE: Duration = Duration::from_secs(90);

async fn until_alert(stack: &Stack, provider: &str, open: bool) {
    eventually(&format!("the alert about {provider} is open: {open}"), SOON, async || {
        let query = "SELECT subject, closed_at IS NULL AS open FROM payment_alerts WHERE reason = 'provider_refuses_key'";
        let alerts = stack.rows(query).await;
        seen(alerts.contains(&json!({"subject": provider, "open": open})), alerts).map(drop)
    })
    .await;
}

/// Waits until every job of a kind is done, and checks that none used up an attempt before.
async fn until_done(stack: &Stack, kind: &str, count: i64) {
    eventually(&format!("{count} jobs of {kind} are done"), PATIENCE, async || {
        let query =
            format!("SELECT state::text, attempt FROM jobs WHERE kind = '{kind}' ORDER BY id");
        let jobs = stack.rows(&query).await;
        seen(jobs.iter().filter(|job| job["state"] == "done").count() as i64 == count, &jobs)
            .map(drop)
    })
    .await;
    assert_eq!(
        stack.count(&format!("jobs WHERE kind = '{kind}' AND attempt > 1")).await,
        0,
        "of {kind}"
    );
}

#[tokio::test]
async fn a_wrong_key_pauses_refunds_with_one_alert_and_all_are_made_when_the_key_is_right() {
    let mut stack = Stack::start().await;
    let event = stack.event(&stack.user().await, &[("VIP", 100.0, 50)]).await;
    let buyers: Vec<Client> = stack.users(12).await;
    let mut bookings = Vec::new();
    for (n, buyer) in buyers.iter().enumerate() {
        bookings.push(stack.sell(buyer, &event, &[("VIP", &format!("A{}", n + 1))]).await.0);
    }
    let right =
        stack.env().iter().find(|(name, _)| name == "RAZORPAY_KEY_SECRET").cloned().expect("a key");
    let worker = stack.worker("payments");
    worker.stop().await;
    worker.set_env("RAZORPAY_KEY_SECRET", "not-the-right-one-of-this-account");
    worker.start();
    for (buyer, booking) in buyers.iter().zip(&bookings) {
        buyer.cancel(booking).await.ok();
    }
    until_alert(&stack, "Razorpay", true).await;
    eventually("every refund has been put off", SOON, async || {
        let put_off =
            "jobs WHERE kind = 'refund_payment' AND state = 'pending' AND started_at IS NOT NULL";
        let count = stack.count(put_off).await;
        seen(count == 12, count)
    })
    .await;
    assert_eq!(stack.count("jobs WHERE state = 'dead'").await, 0, "dead letters");
    assert_eq!(stack.count("payment_alerts").await, 1, "one alert, not one a job");
    assert!(stack.providers.refunds().is_empty());

    let worker = stack.worker("payments");
    worker.stop().await;
    worker.set_env("RAZORPAY_KEY_SECRET", &right.1);
    worker.start();
    until_done(&stack, "refund_payment", 12).await;
    assert_eq!(stack.providers.refunds().len(), 12);
    until_alert(&stack, "Razorpay", false).await;
    assert_eq!(stack.count("payment_alerts").await, 1);
    stack.assert_invariants().await;
}

#[tokio::test]
async fn messages_wait_while_twilio_or_the_mail_server_refuses_the_key_and_are_sent_once_it_is_accepted()
 {
    let stack = Stack::builder().without_limits().start().await;
    let event = stack.event(&stack.user().await, &[("VIP", 100.0, 50)]).await;
    stack.providers.fault(Target::TwilioVerify, None, Fault::status(401));
    stack.providers.fault(Target::Smtp, None, Fault::status(535));
    let phones: Vec<String> = (10..50).map(|n| format!("+9198123456{n}")).collect();
    for phone in &phones {
        stack.anonymous().post("/auth/send-otp", json!({"phone": phone})).await.ok();
    }
    for (n, buyer) in stack.users(3).await.iter().enumerate() {
        stack.sell(buyer, &event, &[("VIP", &format!("A{}", n + 1))]).await;
    }
    until_alert(&stack, "Twilio", true).await;
    until_alert(&stack, "SMTP", true).await;
    assert_eq!(stack.count("jobs WHERE state = 'dead'").await, 0, "dead letters");
    let asked = stack.providers.calls(Target::TwilioVerify).len();
    assert!(asked < phones.len(), "a key that is refused is not tried by every job: {asked} calls");

    stack.providers.clear_faults();
    until_done(&stack, "send_otp", 40).await;
    until_done(&stack, "email_tickets", 3).await;
    assert!(phones.iter().all(|phone| stack.providers.otp(phone).is_some()));
    assert_eq!(stack.providers.mail().len(), 3);
    until_alert(&stack, "Twilio", false).await;
    until_alert(&stack, "SMTP", false).await;
    stack.assert_invariants().await;
}

/// Starts a worker again with one of its settings changed; returns what it was.
async fn set_anew(stack: &mut Stack, queue: &str, name: &str, value: &str) -> String {
    let before =
        stack.env().iter().find(|(known, _)| known == name).map(|(_, value)| value.clone());
    let worker = stack.worker(queue);
    worker.stop().await;
    worker.set_env(name, value);
    worker.start();
    before.expect("a setting")
}

#[tokio::test]
async fn messages_wait_while_their_service_or_their_sender_is_refused_and_are_sent_once_it_is_right()
 {
    let mut stack = Stack::builder().without_limits().start().await;
    let event = stack.event(&stack.user().await, &[("VIP", 100.0, 50)]).await;
    let phones = ["+919812345671", "+919812345672", "+919812345673"];

    let right =
        set_anew(&mut stack, "otp", "TWILIO_VERIFY_SID", "VA00000000000000000000000000000000")
            .await;
    for phone in phones {
        stack.anonymous().post("/auth/send-otp", json!({"phone": phone})).await.ok();
    }
    until_alert(&stack, "Twilio", true).await;
    assert_eq!(stack.count("jobs WHERE state = 'dead'").await, 0, "dead letters");
    set_anew(&mut stack, "otp", "TWILIO_VERIFY_SID", &right).await;
    until_done(&stack, "send_otp", 3).await;
    until_alert(&stack, "Twilio", false).await;

    let sender = set_anew(&mut stack, "notifications", "TWILIO_FROM", "+15005550001").await;
    let from =
        set_anew(&mut stack, "notifications", "MAIL_FROM", "Nexus <tickets@nexus.invalid>").await;
    for (n, (buyer, phone)) in stack.users(3).await.iter().zip(phones).enumerate() {
        stack.set_phone(buyer, phone).await;
        stack.sell(buyer, &event, &[("VIP", &format!("A{}", n + 1))]).await;
    }
    until_alert(&stack, "Twilio", true).await;
    until_alert(&stack, "SMTP", true).await;
    assert_eq!(stack.count("jobs WHERE state = 'dead'").await, 0, "dead letters");
    set_anew(&mut stack, "notifications", "TWILIO_FROM", &sender).await;
    set_anew(&mut stack, "notifications", "MAIL_FROM", &from).await;
    until_done(&stack, "sms_tickets", 3).await;
    until_done(&stack, "email_tickets", 3).await;
    until_alert(&stack, "Twilio", false).await;
    until_alert(&stack, "SMTP", false).await;
    assert_eq!((stack.providers.mail().len(), stack.providers.sms().len()), (3, 3));
    stack.assert_invariants().await;
}

#[tokio::test]
async fn a_buyer_is_told_to_try_again_while_the_key_is_wrong_and_operators_that_it_is() {
    let stack = Stack::builder().workers([]).start().await;
    let event = stack.event(&stack.user().await, &[("VIP", 100.0, 5)]).await;
    let buyer = stack.user().await;
    let booking = buyer.lock_and_book(&event, &[("VIP", "A1")]).await;
    stack.providers.fault(Target::RazorpayOrders, Some(1), Fault::status(401));
    let refused = buyer.try_order(&booking).await;
    refused.failed(502, "The provider could not be reached. Please try again shortly.");
    until_alert(&stack, "Razorpay", true).await;
    eventually("the key is tried again", SOON, async || {
        let response = buyer.try_order(&booking).await;
        seen(response.status == 200, response.to_string()).map(drop)
    })
    .await;
    until_alert(&stack, "Razorpay", false).await;
}
