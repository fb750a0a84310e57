//! The stand-ins behave as the real providers do.

use std::time::{Duration, Instant};

use lettre::message::{Attachment, Mailbox, MultiPart, SinglePart, header::ContentType};
use lettre::{AsyncSmtpTransport, AsyncTransport, Message, Tokio1Executor};
use nexus_sandbox::providers::{Fault, Outcome, Pay, Providers, ProvidersConfig, Target, sign};
use reqwest::{Client, Method, RequestBuilder};
use serde_json::{Value, json};
use tokio::sync::mpsc;

async fn providers() -> Providers {
    let config = ProvidersConfig {
        webhook_retry: Duration::from_millis(50),
        refund_delay: Duration::from_millis(20),
        otp_validity: Duration::from_millis(500),
        ..ProvidersConfig::default()
    };
    Providers::start(config).await.unwrap()
}

fn client() -> Client {
    let _ = rustls::crypto::ring::default_provider().install_default();
    Client::builder().no_proxy().build().unwrap()
}

fn razorpay(providers: &Providers, method: Method, path: &str) -> RequestBuilder {
    let config = providers.config();
    client()
        .request(method, format!("{}{path}", providers.razorpay_url()))
        .basic_auth(&config.razorpay_key_id, Some(&config.razorpay_key_secret))
}

async fn answer(request: RequestBuilder) -> (u16, Value) {
    let response = request.send().await.unwrap();
    (response.status().as_u16(), response.json().await.unwrap())
}

async fn order(providers: &Providers, amount: i64) -> String {
    let body =
        json!({"amount": amount, "currency": "INR", "receipt": "BKG-1", "notes": {"a": "b"}});
    let (status, order) = answer(razorpay(providers, Method::POST, "/v1/orders").json(&body)).await;
    assert_eq!((status, &order["amount_due"]), (200, &json!(amount)), "{order}");
    order["id"].as_str().unwrap().to_owned()
}

/// A receiver of webhooks that answers with the given statuses in turn, then 200.
async fn receiver(answers: &[u16]) -> (String, mpsc::UnboundedReceiver<(String, String, String)>) {
    use axum::http::{HeaderMap, StatusCode};
    let (sender, inbox) = mpsc::unbounded_channel();
    let answers = std::sync::Arc::new(std::sync::Mutex::new(answers.to_vec()));
    let handler = async move |headers: HeaderMap, body: String| {
        let header = |name: &str| headers[name].to_str().unwrap().to_owned();
        sender.send((header("x-razorpay-event-id"), header("x-razorpay-signature"), body)).unwrap();
        let mut answers = answers.lock().unwrap();
        let status = if answers.is_empty() { 200 } else { answers.remove(0) };
        StatusCode::from_u16(status).unwrap()
    };
    let router = axum::Router::new().route("/hook", axum::routing::post(handler));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/hook", listener.local_addr().unwrap());
    tokio::spawn(async move { axum::serve(listener, router).await });
    (url, inbox)
}

async fn eventually(what: &str, mut happened: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(5);
    while !happened() {
        assert!(Instant::now() < deadline, "never happened: {what}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

#[test]
fn signatures_are_hmac_sha256_in_lower_case_hex() {
    // RFC 4231, test case 2.
    let expected = "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843";
    assert_eq!(sign("Jefe", b"what do ya want for nothing?"), expected);
}

#[tokio::test]
async fn a_paid_order_sends_signed_webhooks_until_they_are_accepted() {
    let providers = providers().await;
    let (url, mut inbox) = receiver(&[500, 503, 500]).await;
    providers.set_webhook_url(url);
    let order = order(&providers, 150_000).await;
    let paid = providers.pay(&Pay::order(&order, Outcome::Captured)).unwrap();
    let secret = &providers.config().razorpay_key_secret;
    assert_eq!(
        paid.razorpay_signature,
        sign(secret, format!("{order}|{}", paid.payment.id).as_bytes())
    );

    eventually("delivery", || providers.webhooks().iter().all(|event| event.state == "delivered"))
        .await;
    let (mut ids, mut events) = (Vec::new(), Vec::new());
    while let Ok((id, signature, body)) = inbox.try_recv() {
        assert_eq!(signature, sign(&providers.config().razorpay_webhook_secret, body.as_bytes()));
        events.push(serde_json::from_str::<Value>(&body).unwrap());
        ids.push(id);
    }
    assert_eq!(ids.len(), 5, "three refusals, two acceptances");
    ids.sort();
    ids.dedup();
    assert_eq!(ids.len(), 2, "the same id on redelivery");
    let paid_event = events.iter().find(|event| event["event"] == "order.paid").unwrap();
    assert_eq!(paid_event["payload"]["order"]["entity"]["status"], "paid");
    assert_eq!(paid_event["payload"]["payment"]["entity"]["order_id"], order.as_str());

    assert_eq!(providers.replay(&ids[0], 3).await.unwrap().len(), 3);
    assert_eq!(providers.count(Target::Webhook).succeeded, 5);
}

#[tokio::test]
async fn webhooks_can_be_lost_doubled_and_late() {
    let providers = providers().await;
    let (url, mut inbox) = receiver(&[]).await;
    providers.set_webhook_url(url);
    providers.fault(Target::Webhook, Some(1), Fault::lost());
    providers.fault(Target::Webhook, Some(1), Fault::duplicated(2));
    let lost = providers.send_webhook("a.lost", json!({}));
    let doubled = providers.send_webhook("a.doubled", json!({}));
    for _ in 0..3 {
        assert_eq!(inbox.recv().await.unwrap().0, doubled);
    }
    providers.fault(Target::Webhook, Some(1), Fault::reordered());
    let first = providers.send_webhook("a.first", json!({}));
    let second = providers.send_webhook("a.second", json!({}));
    assert_eq!(inbox.recv().await.unwrap().0, second);
    assert_eq!(inbox.recv().await.unwrap().0, first);
    assert!(inbox.try_recv().is_err());
    assert_eq!(
        providers.webhooks().iter().find(|event| event.event_id == lost).unwrap().state,
        "lost"
    );
}

#[tokio::test]
async fn orders_are_validated_and_found() {
    let providers = providers().await;
    let unauthorised = client().get(format!("{}/v1/orders/order_x", providers.razorpay_url()));
    assert_eq!(answer(unauthorised).await.0, 401);
    for (body, field) in [
        (json!({"currency": "INR"}), "amount"),
        (json!({"amount": 99, "currency": "INR"}), "amount"),
        (json!({"amount": 100.5, "currency": "INR"}), "amount"),
        (json!({"amount": 100}), "currency"),
        (json!({"amount": 100, "currency": "XXX"}), "currency"),
        (json!({"amount": 100, "currency": "INR", "receipt": "x".repeat(41)}), "receipt"),
    ] {
        let (status, error) =
            answer(razorpay(&providers, Method::POST, "/v1/orders").json(&body)).await;
        assert_eq!((status, &error["error"]["code"]), (400, &json!("BAD_REQUEST_ERROR")), "{body}");
        assert_eq!(error["error"]["field"], field);
    }
    let id = order(&providers, 100).await;
    let (_, found) = answer(razorpay(&providers, Method::GET, "/v1/orders?receipt=BKG-1")).await;
    assert_eq!((&found["count"], &found["items"][0]["id"]), (&json!(1), &json!(id)));

    providers.pay(&Pay::order(&id, Outcome::Failed)).unwrap();
    providers.pay(&Pay::order(&id, Outcome::Captured)).unwrap();
    let (_, payments) =
        answer(razorpay(&providers, Method::GET, &format!("/v1/orders/{id}/payments"))).await;
    assert_eq!(payments["items"][0]["status"], "captured");
    assert_eq!(payments["items"][1]["status"], "failed");
    let (_, order) = answer(razorpay(&providers, Method::GET, &format!("/v1/orders/{id}"))).await;
    assert_eq!(
        (&order["status"], &order["attempts"], &order["amount_due"]),
        (&json!("paid"), &json!(2), &json!(0))
    );
}

#[tokio::test]
async fn a_payment_is_captured_once() {
    let providers = providers().await;
    let order = order(&providers, 5_000).await;
    let payment = providers.pay(&Pay::order(&order, Outcome::Authorized)).unwrap().payment;
    let capture = |amount: i64| {
        razorpay(&providers, Method::POST, &format!("/v1/payments/{}/capture", payment.id))
            .json(&json!({"amount": amount, "currency": "INR"}))
    };
    assert_eq!(answer(capture(4_999)).await.0, 400);
    let (status, captured) = answer(capture(5_000)).await;
    assert_eq!((status, &captured["status"]), (200, &json!("captured")));
    let (status, error) = answer(capture(5_000)).await;
    assert_eq!(status, 400);
    assert_eq!(error["error"]["description"], "This payment has already been captured");
    let count = providers.count(Target::RazorpayCapture);
    assert_eq!((count.calls, count.succeeded), (3, 1));
}

#[tokio::test]
async fn a_refund_key_makes_one_refund() {
    let providers = providers().await;
    let order = order(&providers, 5_000).await;
    let payment = providers.pay(&Pay::order(&order, Outcome::Captured)).unwrap().payment.id;
    let refund = |key: &'static str, amount: i64| {
        razorpay(&providers, Method::POST, &format!("/v1/payments/{payment}/refund"))
            .header("X-Refund-Idempotency", key)
            .json(&json!({"amount": amount}))
    };
    assert_eq!(answer(refund("short", 1_000)).await.0, 400);

    // The first answer is lost on its way; the second request is made while the first is still
    // being worked on.
    providers.fault(
        Target::RazorpayRefund,
        Some(1),
        Fault { delay_ms: 200, drop_after: true, ..Fault::default() },
    );
    let first = tokio::spawn(refund("refund-key-1", 1_000).send());
    tokio::time::sleep(Duration::from_millis(100)).await;
    assert_eq!(answer(refund("refund-key-1", 1_000)).await.0, 409);
    assert!(first.await.unwrap().is_err());

    let (status, again) = answer(refund("refund-key-1", 1_000)).await;
    assert_eq!((status, &again["amount"]), (200, &json!(1_000)));
    assert_eq!(providers.refunds().len(), 1);
    assert_eq!(answer(refund("refund-key-1", 2_000)).await.0, 409, "another body");
    assert_eq!(answer(refund("refund-key-2", 4_001)).await.0, 400, "more than is left");
    assert_eq!(answer(refund("refund-key-2", 4_000)).await.0, 200);
    assert_eq!(answer(refund("refund-key-3", 100)).await.0, 400, "nothing is left");
    eventually("processing", || {
        providers.refunds().iter().all(|refund| refund.status == "processed")
    })
    .await;
    let payment = &providers.payments()[0];
    assert_eq!((payment.status, payment.refund_status), ("refunded", Some("full")));
    let events: Vec<_> = providers.webhooks().into_iter().map(|event| event.event).collect();
    assert_eq!(events.iter().filter(|event| *event == "refund.processed").count(), 2);
}

#[tokio::test]
async fn one_time_passwords_follow_verifys_rules() {
    let providers = providers().await;
    let config = providers.config().clone();
    let call = |path: &str, form: &[(&str, &str)]| {
        client()
            .post(format!(
                "{}/v2/Services/{}/{path}",
                providers.twilio_verify_url(),
                config.twilio_verify_sid
            ))
            .basic_auth(&config.twilio_account_sid, Some(&config.twilio_auth_token))
            .form(form)
    };
    let send = |to: &str| call("Verifications", &[("To", to), ("Channel", "sms")]);
    let check = |to: &str, code: &str| call("VerificationCheck", &[("To", to), ("Code", code)]);
    let (status, error) = answer(send("98765")).await;
    assert_eq!((status, &error["code"]), (400, &json!(60200)));
    assert_eq!(answer(check("+919876543210", "123456")).await.1["code"], 20404);

    let (status, sent) = answer(send("+919876543210")).await;
    assert_eq!((status, &sent["status"], &sent["valid"]), (201, &json!("pending"), &json!(false)));
    let otp = providers.otp("+919876543210").unwrap();
    answer(send("+919876543210")).await;
    assert_eq!(providers.otp("+919876543210").unwrap().code, otp.code);
    for phone in ["+919876543210", "%2B919876543210"] {
        let read = client().get(format!("{}/sandbox/otp/{phone}", providers.url()));
        assert_eq!(answer(read).await.1["code"], otp.code.as_str());
    }
    let (status, wrong) = answer(check("+919876543210", "0000")).await;
    assert_eq!((status, &wrong["status"]), (200, &json!("pending")));
    let (status, right) = answer(check("+919876543210", &otp.code)).await;
    assert_eq!(
        (status, &right["status"], &right["valid"]),
        (200, &json!("approved"), &json!(true))
    );
    assert_eq!(answer(check("+919876543210", &otp.code)).await.0, 404);

    answer(send("+911111111111")).await;
    for _ in 0..5 {
        assert_eq!(answer(check("+911111111111", "0000")).await.0, 200);
    }
    let code = providers.otp("+911111111111").unwrap().code;
    let (status, error) = answer(check("+911111111111", &code)).await;
    assert_eq!((status, &error["code"]), (429, &json!(60202)));
    for _ in 0..4 {
        assert_eq!(answer(send("+911111111111")).await.0, 201);
    }
    let (status, error) = answer(send("+911111111111")).await;
    assert_eq!((status, &error["code"]), (429, &json!(60203)));

    answer(send("+912222222222")).await;
    let code = providers.otp("+912222222222").unwrap().code;
    tokio::time::sleep(Duration::from_millis(550)).await;
    assert_eq!(answer(check("+912222222222", &code)).await.0, 404, "expired");
}

#[tokio::test]
async fn breached_passwords_are_found_by_the_beginning_of_their_hash() {
    let providers = providers().await;
    providers.breach("password");
    let range = async |beginning: &str, padding: &str| {
        let url = format!("{}/{beginning}", providers.breaches_url());
        let response = client().get(url).header("add-padding", padding).send().await.unwrap();
        (response.status().as_u16(), response.text().await.unwrap())
    };
    let found = "1E4C9B93F3F0682250B6CF8331B7EE68FD8:3".to_owned();
    assert_eq!(range("5BAA6", "false").await, (200, found.clone()));
    assert_eq!(range("00000", "false").await, (200, String::new()));
    let (_, padded) = range("5baa6", "true").await;
    let lines: Vec<&str> = padded.lines().collect();
    assert_eq!((lines.len(), lines[0]), (800, found.as_str()));
    assert!(lines[1..].iter().all(|line| line.ends_with(":0")), "{padded}");
    for wrong in ["5BAA", "5BAA61", "XYZXY"] {
        assert_eq!(range(wrong, "true").await.0, 400, "{wrong}");
    }
    providers.fault(Target::BreachesRange, Some(1), Fault::status(503));
    assert_eq!(range("5BAA6", "true").await.0, 503);
    assert_eq!(providers.count(Target::BreachesRange).calls, 7);
}

#[tokio::test]
async fn faults_and_outages() {
    let providers = providers().await;
    let config = providers.config().clone();
    let sms = |to: &str| {
        let url = format!(
            "{}/2010-04-01/Accounts/{}/Messages.json",
            providers.twilio_url(),
            config.twilio_account_sid
        );
        client()
            .post(url)
            .basic_auth(&config.twilio_account_sid, Some(&config.twilio_auth_token))
            .form(&[("To", to), ("From", "+15005550006"), ("Body", "Your tickets")])
    };
    let script = client()
        .post(format!("{}/sandbox/faults", providers.url()))
        .json(&json!({"target": "twilio.sms", "times": 1, "fault": {"status": 503}}));
    assert_eq!(answer(script).await.0, 200);
    let (status, error) = answer(sms("+919876543210")).await;
    assert_eq!((status, &error["status"]), (503, &json!(503)));
    providers.fault(Target::TwilioSms, Some(1), Fault::dropped());
    assert!(sms("+919876543210").send().await.is_err());
    assert!(providers.sms().is_empty());
    assert_eq!(answer(sms("12345")).await.1["code"], 21211);

    providers.stop().await;
    assert!(sms("+919876543210").send().await.unwrap_err().is_connect());
    providers.resume().await.unwrap();
    assert_eq!(answer(sms("+919876543210")).await.0, 201);
    assert_eq!(providers.sms().len(), 1);
    let statuses: Vec<_> =
        providers.calls(Target::TwilioSms).iter().map(|call| call.status).collect();
    assert_eq!(statuses, [Some(503), None, Some(400), Some(201)]);
}

#[tokio::test]
async fn mail_arrives_with_its_attachments() {
    let providers = providers().await;
    let mailer =
        AsyncSmtpTransport::<Tokio1Executor>::from_url(&providers.smtp_url()).unwrap().build();
    let image: Vec<u8> = (0..=255).cycle().take(5_000).collect();
    let attachment = Attachment::new("ticket.png".into())
        .body(image.clone(), ContentType::parse("image/png").unwrap());
    let text =
        SinglePart::plain("Dear Zoë,\r\n.a line that begins with a dot\r\n.\r\nBye".to_owned());
    let mail = Message::builder()
        .message_id(Some("<ticket-1@nexus.example>".to_owned()))
        .from("Nexus <tickets@nexus.example>".parse::<Mailbox>().unwrap())
        .to("Zoë <zoe@example.com>".parse().unwrap())
        .subject("Your tickets for “Zoë live”")
        .multipart(MultiPart::mixed().singlepart(text).singlepart(attachment))
        .unwrap();

    providers.fault(Target::Smtp, Some(1), Fault::status(451));
    assert!(mailer.send(mail.clone()).await.unwrap_err().is_transient());
    providers.fault(Target::Smtp, Some(1), Fault::dropped());
    assert!(mailer.send(mail.clone()).await.is_err());
    assert!(providers.mail().is_empty());

    mailer.send(mail).await.unwrap();
    let received = providers.mail().remove(0);
    assert_eq!(
        (received.from.as_str(), received.to[0].as_str()),
        ("tickets@nexus.example", "zoe@example.com")
    );
    assert_eq!(received.subject, "Your tickets for “Zoë live”");
    assert_eq!(received.message_id.as_deref(), Some("ticket-1@nexus.example"));
    assert!(
        received.text.contains("Zoë") && received.text.contains("\n.a line"),
        "{}",
        received.text
    );
    let attachment = &received.attachments[0];
    assert_eq!(
        (attachment.filename.as_str(), attachment.content_type.as_str()),
        ("ticket.png", "image/png")
    );
    assert_eq!(attachment.content(), image);
    assert_eq!(providers.count(Target::Smtp).calls, 3);
}
