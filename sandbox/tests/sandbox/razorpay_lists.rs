//! What Razorpay lists, and webhooks that go wrong by chance.

use nexus_sandbox::providers::{Fault, Outcome, Pay, Providers, ProvidersConfig, Target};
use serde_json::{Value, json};

async fn get(providers: &Providers, path: &str) -> Value {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let config = providers.config();
    let request = reqwest::Client::builder().no_proxy().build().unwrap();
    let request = request
        .get(format!("{}{path}", providers.razorpay_url()))
        .basic_auth(&config.razorpay_key_id, Some(&config.razorpay_key_secret));
    request.send().await.unwrap().json().await.unwrap()
}

fn ids(collection: &Value) -> Vec<&str> {
    collection["items"]
        .as_array()
        .unwrap()
        .iter()
        .map(|item| item["id"].as_str().unwrap())
        .collect()
}

#[tokio::test]
async fn payments_and_refunds_of_a_span_come_newest_first_and_in_pages() {
    let providers = Providers::start(ProvidersConfig::default()).await.unwrap();
    let order = providers.create_order(&json!({"amount": 20_000, "currency": "INR"})).unwrap();
    let pay = |at: i64| Pay { created_at: Some(at), ..Pay::order(&order.id, Outcome::Captured) };
    let paid: Vec<_> =
        (1_000..1_005).map(|at| providers.pay(&pay(at)).unwrap().payment.id).collect();

    let listed = get(&providers, "/v1/payments?from=1001&to=1003").await;
    assert_eq!(ids(&listed), [&paid[3], &paid[2], &paid[1]]);
    let listed = get(&providers, "/v1/payments?from=1001&to=1003&count=2&skip=2").await;
    assert_eq!(ids(&listed), [&paid[1]]);

    let part = providers.refund_manually(&paid[0], Some(5_000)).unwrap();
    let rest = providers.refund_manually(&paid[0], None).unwrap();
    assert_eq!((part.amount, rest.amount), (5_000, 15_000));
    let listed = get(&providers, &format!("/v1/payments/{}/refunds", paid[0])).await;
    assert_eq!(ids(&listed), [&rest.id, &part.id]);
    assert_eq!(ids(&get(&providers, "/v1/refunds?from=1&count=1").await), [&rest.id]);
    assert!(ids(&get(&providers, "/v1/refunds?to=1000").await).is_empty());
    let payment = get(&providers, &format!("/v1/payments/{}", paid[0])).await;
    assert_eq!(
        (&payment["status"], &payment["amount_refunded"]),
        (&json!("refunded"), &json!(20_000))
    );
}

#[tokio::test]
async fn a_chance_can_be_scripted_over_http() {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let providers = Providers::start(ProvidersConfig::default()).await.unwrap();
    let script = async |percent: u8| {
        let fault = json!({"target": "webhook", "percent": percent, "seed": 7, "fault": {"late_up_to_ms": 9}});
        let client = reqwest::Client::builder().no_proxy().build().unwrap();
        let request = client.post(format!("{}/sandbox/faults", providers.url())).json(&fault);
        request.send().await.unwrap().status().as_u16()
    };
    assert_eq!((script(30).await, script(0).await, script(101).await), (200, 400, 400));
}

#[tokio::test]
async fn faults_by_chance_take_their_share_and_the_same_seed_draws_the_same() {
    let mut draws = Vec::new();
    for _ in 0..2 {
        let providers = Providers::start(ProvidersConfig::default()).await.unwrap();
        let shares = [(30, Fault::lost()), (20, Fault::duplicated(1))];
        providers.faults_by_chance(Target::Webhook, 7, &shares);
        for _ in 0..1_000 {
            providers.send_webhook("invoice.paid", json!({}));
        }
        // An event is lost as soon as its delivery has had its turn; the others wait for an
        // address.
        for _ in 0..5_000 {
            tokio::task::yield_now().await;
        }
        let webhooks = providers.webhooks();
        draws.push(webhooks.iter().map(|webhook| webhook.state == "lost").collect::<Vec<_>>());
    }
    let lost = draws[0].iter().filter(|lost| **lost).count();
    assert!((250..350).contains(&lost), "{lost} of 1,000 were lost, not about 300");
    assert_eq!(draws[0], draws[1]);
}
