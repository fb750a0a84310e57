//! Money that goes back in other ways than asked for: authorisations that are not captured, refunds
//! that the bank cannot make.

use std::time::{Duration, Instant};

use nexus_sandbox::providers::{Outcome, Pay, Providers, ProvidersConfig};
use reqwest::{Client, Method, RequestBuilder};
use serde_json::{Value, json};

async fn providers() -> Providers {
    let config = ProvidersConfig {
        razorpay_minute: Duration::from_millis(20),
        refund_delay: Duration::from_millis(20),
        ..ProvidersConfig::default()
    };
    Providers::start(config).await.unwrap()
}

fn razorpay(providers: &Providers, method: Method, path: &str) -> RequestBuilder {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let config = providers.config();
    Client::builder()
        .no_proxy()
        .build()
        .unwrap()
        .request(method, format!("{}{path}", providers.razorpay_url()))
        .basic_auth(&config.razorpay_key_id, Some(&config.razorpay_key_secret))
}

async fn answer(request: RequestBuilder) -> (u16, Value) {
    let response = request.send().await.unwrap();
    (response.status().as_u16(), response.json().await.unwrap())
}

/// An order whose authorisations may be captured for so many of Razorpay's minutes.
async fn order(providers: &Providers, minutes: u32) -> String {
    let options = json!({"automatic_expiry_period": 12, "manual_expiry_period": minutes, "refund_speed": "normal"});
    let payment = json!({"capture": "automatic", "capture_options": options});
    let body = json!({"amount": 500, "currency": "INR", "receipt": "BKG-1", "payment": payment});
    let (status, order) = answer(razorpay(providers, Method::POST, "/v1/orders").json(&body)).await;
    assert_eq!(status, 200, "{order}");
    order["id"].as_str().unwrap().to_owned()
}

async fn until_events(providers: &Providers, expected: &[&str]) {
    let deadline = Instant::now() + Duration::from_secs(5);
    loop {
        let events: Vec<String> =
            providers.webhooks().into_iter().map(|webhook| webhook.event).collect();
        if events == expected {
            return;
        }
        assert!(Instant::now() < deadline, "{events:?} instead of {expected:?}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

#[tokio::test]
async fn an_authorisation_goes_back_unless_it_is_captured_in_time() {
    let providers = providers().await;
    let order = order(&providers, 12).await;
    let lapsed = providers.pay(&Pay::order(&order, Outcome::Authorized)).unwrap().payment;
    until_events(&providers, &["payment.authorized", "refund.processed"]).await;
    let payment = &providers.payments()[0];
    assert_eq!(
        (payment.status, payment.captured, payment.amount_refunded),
        ("refunded", false, 500)
    );
    let capture = json!({"amount": 500, "currency": "INR"});
    let path = format!("/v1/payments/{}/capture", lapsed.id);
    let (status, refusal) = answer(razorpay(&providers, Method::POST, &path).json(&capture)).await;
    assert_eq!(status, 400, "{refusal}");
}

#[tokio::test]
async fn a_captured_authorisation_stays() {
    let providers = providers().await;
    let order = order(&providers, 12).await;
    let payment = providers.pay(&Pay::order(&order, Outcome::Authorized)).unwrap().payment;
    let path = format!("/v1/payments/{}/capture", payment.id);
    let capture = json!({"amount": 500, "currency": "INR"});
    let (status, captured) = answer(razorpay(&providers, Method::POST, &path).json(&capture)).await;
    assert_eq!((status, &captured["status"]), (200, &json!("captured")), "{captured}");
    // Longer than Razorpay's twelve minutes take here.
    tokio::time::sleep(Duration::from_millis(400)).await;
    until_events(&providers, &["payment.authorized", "payment.captured", "order.paid"]).await;
}

#[tokio::test]
async fn a_refund_that_the_bank_cannot_make_can_be_asked_for_again() {
    let providers = providers().await;
    let order = order(&providers, 12).await;
    let payment = providers.pay(&Pay::order(&order, Outcome::Captured)).unwrap().payment;
    providers.fail_refunds(1);
    let path = format!("/v1/payments/{}/refund", payment.id);
    let refund = async |key: &str| {
        let body = json!({"amount": 500});
        answer(
            razorpay(&providers, Method::POST, &path)
                .header("x-refund-idempotency", key)
                .json(&body),
        )
        .await
    };
    refund("the-first-key").await;
    let before = ["payment.captured", "order.paid", "refund.created", "refund.failed"];
    until_events(&providers, &before).await;
    assert_eq!(providers.payments()[0].status, "captured");

    let (status, same) = refund("the-first-key").await;
    assert_eq!(
        (status, &same["status"]),
        (200, &json!("failed")),
        "a key stands for one refund: {same}"
    );
    refund("another-key").await;
    until_events(&providers, &[&before[..], &["refund.created", "refund.processed"]].concat())
        .await;
    assert_eq!(providers.payments()[0].status, "refunded");
}
