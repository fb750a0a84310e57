//! How often a client may ask (finding 4).

use nexus_tests::{Client, Stack, json};

/// The response to a login with a wrong password.
async fn try_password(client: &Client, email: &str) -> nexus_tests::Response {
    client.post("/auth/login", json!({"email": email, "password": "Wr0ng-horse"})).await
}

#[tokio::test]
async fn finding_04_logins_registrations_codes_and_requests_are_limited() {
    let stack = Stack::builder().workers([]).settings(&[
        ("RATE_LIMIT_ANONYMOUS", "20/1m"),
        ("RATE_LIMIT_LOGIN", "5/15m"),
        ("RATE_LIMIT_REGISTRATION", "3/1h"),
    ]);
    let stack = stack.start().await;
    let client = stack.anonymous();
    for _ in 0..5 {
        try_password(&client, "asha@nexus.example").await.failed(401, "Invalid email or password");
    }
    let refused = try_password(&client, "asha@nexus.example").await;
    assert_eq!(
        (refused.status, &refused.body["error"]["code"]),
        (429, &json!("proof_of_work_needed")),
        "{refused}"
    );

    let client = stack.anonymous();
    for n in 0..3 {
        let account =
            json!({"email": format!("user-{n}@nexus.example"), "password": "Corr3ct-horse"});
        client.post("/auth/register", account).await.ok();
    }
    let account = json!({"email": "one-more@nexus.example", "password": "Corr3ct-horse"});
    assert_eq!(client.post("/auth/register", account).await.status, 429);

    let client = stack.anonymous();
    for _ in 0..5 {
        client.post("/auth/send-otp", json!({"phone": "9812345678"})).await.ok();
    }
    assert_eq!(client.post("/auth/send-otp", json!({"phone": "9812345678"})).await.status, 429);

    let client = stack.anonymous();
    for _ in 0..20 {
        client.get("/events").await.ok();
    }
    assert_eq!(client.get("/events").await.status, 429);
    assert_eq!(client.get_root("/health").await.status, 200);
}
