//! What the webhook accepts, however often and in any order that Razorpay delivers.

use std::time::{Duration, Instant};

use futures_util::future::join_all;
use nexus_sandbox::providers::sign;
use nexus_tests::{Fault, Outcome, Response, SOON, Stack, Target, Value, eventually, json, seen};
use reqwest::Method;
use sqlx::postgres::PgListener;

/// Sends a webhook as Razorpay would, signed or not.
async fn deliver(
    stack: &Stack,
    body: &str,
    signature: Option<&str>,
    event_id: Option<&str>,
) -> Response {
    let request = stack.anonymous().request(Method::POST, "/payments/webhook");
    let mut request = request.header("content-type", "application/json").body(body.to_owned());
    if let Some(signature) = signature {
        request = request.header("x-razorpay-signature", signature);
    }
    if let Some(event_id) = event_id {
        request = request.header("x-razorpay-event-id", event_id);
    }
    Response::to(request).await
}

fn accepted() -> Value {
    json!({"success": true, "message": "Webhook processed successfully"})
}

/// Waits until a webhook of that type has been acted on; returns what came of it.
async fn outcome(stack: &Stack, event_type: &str) -> Value {
    eventually(&format!("{event_type} is acted on"), SOON, async || {
        let query = format!("SELECT outcome FROM webhook_events WHERE event_type = '{event_type}' AND processed_at IS NOT NULL");
        let rows = stack.rows(&query).await;
        seen(rows.len() == 1, &rows).map(|rows| rows[0]["outcome"].clone())
    })
    .await
}

#[tokio::test]
async fn ten_copies_of_a_webhook_at_once_are_one_confirmation() {
    let stack = Stack::start().await;
    let (buyer, event, booking, order) = stack.booked().await;
    let viewer = stack.socket("the viewer", &stack.anonymous()).await;
    // payment.captured and order.paid, ten times each.
    stack.providers.fault(Target::Webhook, Some(2), Fault::duplicated(9));
    stack.pay(&order, Outcome::Captured);
    stack.until_booking(&buyer, &booking, "confirmed", "completed").await;
    stack.until_tickets(&buyer, &booking, 2).await;
    let deliveries = eventually("all copies are answered", SOON, async || {
        let webhooks = stack.providers.webhooks();
        let attempts: Vec<_> =
            webhooks.iter().flat_map(|webhook| webhook.attempts.clone()).collect();
        seen(attempts.len() == 20, attempts)
    })
    .await;
    assert!(deliveries.iter().all(|attempt| attempt.status == Some(200)), "{deliveries:?}");

    // Copies of what has long been done change nothing either.
    let captured = stack
        .providers
        .webhooks()
        .into_iter()
        .find(|webhook| webhook.event == "payment.captured")
        .unwrap();
    let again = stack.providers.replay(&captured.event_id, 10).await.unwrap();
    assert!(again.iter().all(|attempt| attempt.status == Some(200)), "{again:?}");
    stack.assert_invariants().await;

    let webhooks = stack
        .rows("SELECT event_type, count(*) AS n FROM webhook_events GROUP BY 1 ORDER BY 1")
        .await;
    let once = |event_type: &str| json!({"event_type": event_type, "n": 1});
    assert_eq!(webhooks, [once("order.paid"), once("payment.captured")]);
    let ledger = stack.rows("SELECT kind, amount_paise FROM payments ORDER BY id").await;
    assert_eq!(
        ledger,
        [
            json!({"kind": "capture", "amount_paise": 20_000}),
            json!({"kind": "sale", "amount_paise": -20_000})
        ]
    );
    assert_eq!(stack.count("tickets").await, 2);
    assert_eq!(stack.providers.mail().len(), 1, "mails");
    assert_eq!(stack.available(event.seat_type("VIP")).await, 48);
    viewer.wait_for_any("booking_confirmed").await;
    assert_eq!(viewer.received("booking_confirmed").len(), 1, "{}", viewer.describe());
}

#[tokio::test]
async fn what_razorpay_did_not_sign_is_refused_and_not_stored() {
    let stack = Stack::builder().workers(["payments"]).start().await;
    let secret = stack.providers.config().razorpay_webhook_secret.clone();
    let body = r#"{"entity":"event","event":"payment.captured","payload":{}}"#;
    let right = sign(&secret, body.as_bytes());
    let missing = json!({"success": false, "error": "Missing Razorpay signature header"});
    let invalid = json!({"success": false, "error": "Invalid webhook signature"});

    let response = deliver(&stack, body, None, Some("evt_1")).await;
    assert_eq!((response.status, &response.body), (400, &missing), "{response}");
    let altered = body.replace("captured", "failed");
    let spaced = body.replace(':', ": ");
    let other = sign("another secret that nobody uses here", body.as_bytes());
    let cases = [
        ("garbage", body, "garbage"),
        ("nothing", body, ""),
        ("half of the right one", body, &right[..32]),
        ("that of another secret", body, &other),
        ("that of another body", &altered, &right),
        ("that of the same JSON in other bytes", &spaced, &right),
    ];
    for (what, body, signature) in cases {
        let response = deliver(&stack, body, Some(signature), Some("evt_1")).await;
        assert_eq!(
            (response.status, &response.body),
            (400, &invalid),
            "signature is {what}: {response}"
        );
    }
    assert_eq!(stack.count("webhook_events").await, 0, "webhooks stored");
    assert_eq!(stack.count("jobs WHERE kind = 'process_webhook'").await, 0, "jobs enqueued");

    let response = deliver(&stack, body, Some(&right), Some("evt_1")).await;
    assert_eq!((response.status, &response.body), (200, &accepted()), "{response}");
    assert_eq!(stack.count("webhook_events").await, 1, "webhooks stored");
    stack.assert_invariants().await;
}

/// A webhook up to its body, which may never come.
fn head(signature: &str, framing: &str) -> String {
    format!(
        "POST /api/v1/payments/webhook HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\n\
         x-razorpay-signature: {signature}\r\n{framing}\r\n\r\n"
    )
}

#[tokio::test]
async fn no_body_is_waited_for_without_what_looks_like_a_signature() {
    let stack = Stack::builder().workers([]).start().await;
    let invalid = json!({"success": false, "error": "Invalid webhook signature"});
    for signature in ["garbage", &"0".repeat(63), &"0".repeat(65), &"g".repeat(64)] {
        let mut wire = stack.wire().await;
        let refused = wire.ask(head(signature, "content-length: 100000")).await;
        assert_eq!((refused.status, &refused.body), (400, &invalid), "{signature}");
    }
}

#[tokio::test]
async fn a_webhook_has_at_most_256_kb() {
    let stack = Stack::builder().workers([]).start().await;
    let secret = stack.providers.config().razorpay_webhook_secret.clone();
    let too_large = json!({"success": false, "error": "Request body is too large"});
    let of_length = |length: usize| {
        let body = format!(r#"{{"event":"{}"}}"#, "x".repeat(length - 12));
        (sign(&secret, body.as_bytes()), body)
    };
    let (signature, body) = of_length(256_000);
    assert_eq!(deliver(&stack, &body, Some(&signature), None).await.ok(), accepted());

    let (signature, body) = of_length(256_001);
    let refused = deliver(&stack, &body, Some(&signature), None).await;
    assert_eq!((refused.status, &refused.body), (413, &too_large), "{refused}");
    // In chunks, whose sum no header announces.
    let chunk = format!("{:x}\r\n{body}\r\n", body.len());
    let mut wire = stack.wire().await;
    let refused = wire.ask(head(&signature, "transfer-encoding: chunked") + &chunk).await;
    assert_eq!((refused.status, &refused.body), (413, &too_large));
}

#[tokio::test]
async fn who_holds_all_places_for_large_webhooks_keeps_out_large_ones_only() {
    let stack = Stack::builder().workers([]).start().await;
    let secret = stack.providers.config().razorpay_webhook_secret.clone();
    let large = format!(r#"{{"event":"{}"}}"#, "x".repeat(20_000));
    let signature = sign(&secret, large.as_bytes());
    let mut held = Vec::new();
    let refused = eventually("no place is left", SOON, async || {
        for framing in ["content-length: 20000", "transfer-encoding: chunked"].repeat(16) {
            let mut wire = stack.wire().await;
            wire.send(head(&"0".repeat(64), framing)).await;
            held.push(wire);
        }
        let refused = deliver(&stack, &large, Some(&signature), Some("evt_large")).await;
        seen(refused.status == 503, refused.status)?;
        Ok(refused)
    })
    .await;
    let busy = json!({"success": false, "error": "Too many webhooks at once"});
    assert_eq!(refused.body, busy);
    assert!(refused.headers.contains_key("retry-after"), "{refused}");

    let small = r#"{"event":"invoice.paid","payload":{}}"#;
    let signature_of_small = sign(&secret, small.as_bytes());
    let response = deliver(&stack, small, Some(&signature_of_small), Some("evt_small")).await;
    assert_eq!(response.ok(), accepted());
    drop(held);
    eventually("there is a place again", SOON, async || {
        let response = deliver(&stack, &large, Some(&signature), Some("evt_large")).await;
        seen(response.status == 200, &response.status).map(drop)
    })
    .await;
}

#[tokio::test]
async fn unknown_and_unreadable_events_are_accepted_and_ignored() {
    let stack = Stack::builder().workers(["payments"]).start().await;
    let secret = stack.providers.config().razorpay_webhook_secret.clone();
    let bodies = [
        r#"{"event":"invoice.paid","payload":{}}"#,
        r#"{"event":"payment.captured","payload":{"payment":{"entity":{"id":"pay_1"}}}}"#,
        r#"{"event":"refund.processed","payload":{"refund":null}}"#,
        r#"{"event":"payment.captured","payload":{"payment":{"entity":{"id":"pay_2","order_id":"order_ofAnotherShop","amount":100}}}}"#,
        r#"{"payload":[]}"#,
        "[]",
        "no JSON at all",
        "",
    ];
    for (n, body) in bodies.iter().enumerate() {
        let signature = sign(&secret, body.as_bytes());
        let response = deliver(&stack, body, Some(&signature), Some(&format!("evt_{n}"))).await;
        assert_eq!((response.status, &response.body), (200, &accepted()), "{body}: {response}");
    }
    // The same event without an id is recognised by its bytes.
    for _ in 0..3 {
        let signature = sign(&secret, bodies[0].as_bytes());
        assert_eq!(deliver(&stack, bodies[0], Some(&signature), None).await.ok(), accepted());
    }
    stack.assert_invariants().await;
    let open = stack
        .rows("SELECT event_id, event_type FROM webhook_events WHERE processed_at IS NULL")
        .await;
    assert!(open.is_empty(), "not looked at: {open:?}");
    assert_eq!(stack.count("webhook_events").await, bodies.len() as i64 + 1, "webhooks stored");
    assert_eq!(stack.count("payments").await, 0, "money moved");
}

#[tokio::test]
async fn a_webhook_secret_can_be_replaced_while_old_events_are_under_way() {
    let mut stack = Stack::builder().workers(["payments"]).start().await;
    let old = stack.providers.config().razorpay_webhook_secret.clone();
    let new = "the-new-secret-of-the-webhook";
    stack.api(0).stop().await;
    stack.api(0).set_env("RAZORPAY_WEBHOOK_SECRET", &format!("{new}, {old}"));
    stack.restart_api(0).await;
    for (n, secret) in [old.as_str(), new].into_iter().enumerate() {
        let body = format!(r#"{{"event":"invoice.paid","payload":{{"n":{n}}}}}"#);
        let response =
            deliver(&stack, &body, Some(&sign(secret, body.as_bytes())), Some(&format!("evt_{n}")))
                .await;
        assert_eq!((response.status, &response.body), (200, &accepted()), "secret {n}: {response}");
    }
    let combined = format!("{new}, {old}");
    let response = deliver(&stack, "{}", Some(&sign(&combined, b"{}")), Some("evt_3")).await;
    assert_eq!(response.status, 400, "the list itself is no secret: {response}");
    stack.assert_invariants().await;
}

#[tokio::test]
async fn an_order_that_is_paid_confirms_even_if_payment_captured_is_lost() {
    let stack = Stack::start().await;
    let (buyer, _, booking, order) = stack.booked().await;
    stack.providers.fault(Target::Webhook, Some(1), Fault::lost());
    stack.pay(&order, Outcome::Captured);
    stack.until_booking(&buyer, &booking, "confirmed", "completed").await;
    assert_eq!(outcome(&stack, "order.paid").await, "confirmed");
    stack.assert_invariants().await;
}

#[tokio::test]
async fn webhooks_in_the_wrong_order_lead_to_the_same_end() {
    let stack = Stack::start().await;
    let (buyer, _, booking, order) = stack.booked().await;
    // payment.failed of the first attempt arrives after payment.captured of the second.
    stack.providers.fault(Target::Webhook, Some(1), Fault::reordered());
    stack.pay(&order, Outcome::Failed);
    stack.pay(&order, Outcome::Captured);
    stack.until_booking(&buyer, &booking, "confirmed", "completed").await;
    assert_eq!(outcome(&stack, "payment.failed").await, "failure_noted");
    stack.until_booking(&buyer, &booking, "confirmed", "completed").await;

    // refund.processed arrives before refund.created.
    stack.providers.fault(Target::Webhook, Some(1), Fault::reordered());
    buyer.cancel(&booking).await.ok();
    stack.until_booking(&buyer, &booking, "cancelled", "refunded").await;
    assert_eq!(outcome(&stack, "refund.created").await, "refund_followed");
    let refund = stack.row("SELECT status FROM refunds").await;
    assert_eq!(refund["status"], "processed");
    stack.assert_invariants().await;
}

#[tokio::test]
async fn each_of_five_hundred_webhooks_in_a_second_is_stored_once_with_its_job() {
    let stack = Stack::builder().workers([]).start().await;
    let secret = stack.providers.config().razorpay_webhook_secret.clone();
    let begun = Instant::now();
    let sent = (0..500).map(async |n: u32| {
        tokio::time::sleep_until((begun + Duration::from_millis(2) * n).into()).await;
        let body = format!(r#"{{"event":"invoice.paid","payload":{{"n":{n}}}}}"#);
        let signature = sign(&secret, body.as_bytes());
        let id = format!("evt_{n}");
        // Razorpay sends again what could not be stored in time.
        eventually("the webhook is stored", SOON, async || {
            let response = deliver(&stack, &body, Some(&signature), Some(&id)).await;
            seen(response.status == 200, response.status).map(drop)
        })
        .await;
    });
    join_all(sent).await;
    assert_eq!(stack.count("webhook_events").await, 500, "webhooks stored");
    assert_eq!(stack.count("jobs WHERE kind = 'process_webhook'").await, 500, "each with its job");
}

#[tokio::test]
async fn relays_hear_of_a_job_from_its_process_and_not_from_its_transaction() {
    let stack = Stack::builder().workers([]).start().await;
    let mut relay = PgListener::connect_with(&stack.db).await.unwrap();
    relay.listen("nexus_jobs").await.unwrap();
    // A plain insert notifies no relay: a notice would hold up all other commits.
    stack.flood(1, json!(["done"])).await;
    let body = json!({"event": "payment.failed", "payload": {}}).to_string();
    let secret = &stack.providers.config().razorpay_webhook_secret;
    let signature = sign(secret, body.as_bytes());
    assert_eq!(deliver(&stack, &body, Some(&signature), Some("evt_1")).await.status, 200);
    let notice = tokio::time::timeout(SOON, relay.recv()).await.unwrap().unwrap();
    assert_eq!(notice.payload(), "payments");
}
