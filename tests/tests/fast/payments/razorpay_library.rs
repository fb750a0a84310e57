//! Razorpay's own library agrees: with what our webhook takes and refuses, and with what the
//! stand-in signs and answers.

use nexus_sandbox::providers::{OpenDispute, sign};
use nexus_tests::lines::Lines;
use nexus_tests::{Method, Outcome, Pay, Response, SOON, Stack, Value, eventually, json, seen};

async fn ask(library: &Lines, call: &str, args: Value) -> Value {
    let id = format!("{call} {args}");
    library.write(&json!({"id": id, "call": call, "args": args})).await;
    eventually("the library answers", SOON, async || {
        let responses = library.log().of("result");
        let response = responses.iter().rev().find(|response| response["id"] == id.as_str());
        response.map(|response| response["result"].clone()).ok_or(library.describe())
    })
    .await
}

#[tokio::test]
async fn the_webhook_takes_exactly_what_the_library_calls_signed() {
    let stack = Stack::builder().workers(["payments"]).start().await;
    let library = Lines::node("Razorpay's library", "razorpay.mjs");
    let secret = stack.providers.config().razorpay_webhook_secret.clone();
    let body = r#"{"entity":"event","event":"invoice.paid","payload":{"name":"Zo\u00eb Zoë ₹"}}"#;
    let right = sign(&secret, body.as_bytes());
    let spaced = body.replace(':', ": ");
    let cases = [
        (body, right.clone(), true),
        (spaced.as_str(), right.clone(), false),
        (spaced.as_str(), sign(&secret, spaced.as_bytes()), true),
        (body, sign("another secret", body.as_bytes()), false),
        (body, right.to_uppercase(), false),
        (body, right[..63].to_owned(), false),
        (body, format!("{right}0"), false),
        (body, "garbage".to_owned(), false),
    ];
    for (number, (body, signature, signed)) in cases.iter().enumerate() {
        let args = json!({"body": body, "signature": signature, "secret": secret});
        assert_eq!(ask(&library, "webhook", args).await, *signed, "the library, case {number}");
        let request =
            stack.anonymous().request(Method::POST, "/payments/webhook").body((*body).to_owned());
        let request = request
            .header("content-type", "application/json")
            .header("x-razorpay-event-id", format!("evt_{number}"))
            .header("x-razorpay-signature", signature);
        let status = if *signed { 200 } else { 400 };
        assert_eq!(Response::to(request).await.status, status, "our webhook, case {number}");
    }
    stack.assert_invariants().await;
}

#[tokio::test]
async fn what_the_stand_in_signs_the_library_verifies() {
    let stack = Stack::start().await;
    let library = Lines::node("Razorpay's library", "razorpay.mjs");
    let (buyer, _, booking, order) = stack.booked().await;
    let paid = stack.providers.pay(&Pay::order(&order, Outcome::Captured)).expect("a payment");
    stack.until_booking(&buyer, &booking, "confirmed", "completed").await;
    let config = stack.providers.config();
    let stored = async || seen(stack.count("webhook_events").await == 2, ());
    eventually("both webhooks are stored", SOON, stored).await;
    for webhook in stack.providers.webhooks() {
        let query = format!(
            "SELECT convert_from(body, 'UTF8') AS body, headers->>'x-razorpay-signature' AS signature FROM webhook_events WHERE event_id = '{}'",
            webhook.event_id
        );
        let mut args = stack.row(&query).await;
        args["secret"] = json!(config.razorpay_webhook_secret);
        assert_eq!(ask(&library, "webhook", args).await, true, "{}", webhook.event);
    }
    let proof = |payment: &str| json!({"order_id": order, "payment_id": payment, "signature": paid.razorpay_signature, "secret": config.razorpay_key_secret});
    assert_eq!(ask(&library, "payment", proof(&paid.payment.id)).await, true);
    assert_eq!(ask(&library, "payment", proof("pay_another")).await, false);
}

#[tokio::test]
async fn the_library_creates_an_order_as_we_do_and_finds_it_by_its_receipt() {
    let stack = Stack::builder().workers([]).start().await;
    let library = Lines::node("Razorpay's library", "razorpay.mjs");
    let config = stack.providers.config();
    let order = |options: Value| {
        json!({"url": stack.providers.razorpay_url(), "key_id": config.razorpay_key_id, "key_secret": config.razorpay_key_secret,
               "order": {"amount": 20_000, "currency": "INR", "receipt": "BKG-1", "payment": {"capture": "automatic", "capture_options": options}}})
    };
    let options = json!({"automatic_expiry_period": 15, "manual_expiry_period": 75, "refund_speed": "normal"});
    let made = ask(&library, "order", order(options)).await;
    assert_eq!(
        (&made["created"]["amount"], &made["created"]["status"]),
        (&json!(20_000), &json!("created")),
        "{made}"
    );
    assert_eq!(made["found"]["items"], json!([made["created"]]));
    let refused = ask(&library, "order", order(json!({"automatic_expiry_period": 11}))).await;
    assert_eq!(refused["error"], "The automatic expiry period must be at least 12.");
    let refused = ask(
        &library,
        "order",
        order(json!({"automatic_expiry_period": 15, "manual_expiry_period": 14})),
    )
    .await;
    let why = "The manual expiry period must be between the automatic expiry period and 7200.";
    assert_eq!(refused["error"], why);
}

#[tokio::test]
async fn the_library_lists_accepts_and_fetches_disputes() {
    let stack = Stack::builder().workers(["payments", "bookings"]).start().await;
    let library = Lines::node("Razorpay's library", "razorpay.mjs");
    let config = stack.providers.config();
    let (_, _, _, payment) = stack.sold().await;
    let open = |amount| OpenDispute {
        payment_id: payment.id.clone(),
        amount: Some(amount),
        ..OpenDispute::default()
    };
    let first = stack.providers.open_dispute(&open(1_000)).expect("a dispute");
    let second = stack.providers.open_dispute(&open(2_000)).expect("a dispute");
    let args = json!({"url": stack.providers.razorpay_url(), "key_id": config.razorpay_key_id, "key_secret": config.razorpay_key_secret, "accept": first.id});
    let said = ask(&library, "disputes", args.clone()).await;
    assert_eq!(
        (&said["all"]["entity"], &said["all"]["count"]),
        (&json!("collection"), &json!(2)),
        "{said}"
    );
    assert_eq!(said["all"]["items"][0]["id"], second.id, "{said}");
    assert_eq!(said["all"]["items"][1]["amount_deducted"], 0, "{said}");
    let lost = &said["fetched"];
    assert_eq!(said["accepted"], *lost);
    assert_eq!(
        (&lost["status"], &lost["amount_deducted"]),
        (&json!("lost"), &json!(1_000)),
        "{said}"
    );
    let again = ask(&library, "disputes", json!({"again": true, "accept": first.id, "url": args["url"], "key_id": args["key_id"], "key_secret": args["key_secret"]})).await;
    assert_eq!(again["error"], "Action not allowed as the dispute is already closed");
    // Our books know the dispute that the library has accepted.
    let lost = async || seen(stack.count("disputes WHERE status = 'lost'").await == 1, ());
    eventually("the loss is heard of", SOON, lost).await;
}
