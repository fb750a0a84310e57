//! Bad input over REST: the contract's message, the right status, and nothing stored. Accounts
//! here; events and seat types are in `events/bad_input.rs`, locks, bookings and payments in
//! `bookings/bad_input.rs`, input that is no API request in `http/bad_requests.rs`, sockets in
//! `realtime/bad_input.rs`.

use nexus_tests::refusals::{Refusal, with};
use nexus_tests::shop::PASSWORD;
use nexus_tests::{SOON, Stack, Value, eventually, json, seen};

#[tokio::test]
async fn registration() {
    let stack = Stack::builder().workers([]).without_limits().start().await;
    let good = json!({"email": "asha@nexus.example", "phone": "9812345678", "username": "asha", "password": PASSWORD});
    stack.anonymous().post("/auth/register", good.clone()).await.ok();
    let new = json!({"email": "new@nexus.example", "password": PASSWORD});
    let mut cases: Vec<Refusal> = Vec::new();
    for (username, problem) in [
        (json!(""), "Validation failed: Username is required"),
        (json!("ab"), "Validation failed: Username must be at least 3 characters long"),
        (json!("a".repeat(31)), "Validation failed: Username must be less than 30 characters"),
        (json!("1abc"), "Validation failed: Username must start with a letter"),
        (
            json!("a.bc"),
            "Validation failed: Username can only contain letters, numbers, underscores, and hyphens",
        ),
        (
            json!("a__b"),
            "Validation failed: Username cannot have consecutive underscores or hyphens",
        ),
    ] {
        cases.push((with(&new, "username", username), 400, problem));
    }
    for (password, problem) in [
        (Value::Null, "Validation failed: Password is required"),
        (json!(""), "Validation failed: Password is required"),
        (json!("Ab1!efg"), "Validation failed: Password must be at least 8 characters long"),
        (json!("Ab1!".repeat(33)), "Validation failed: Password must be less than 128 characters"),
        (
            json!("corr3ct-horse"),
            "Validation failed: Password must contain at least one uppercase letter",
        ),
        (
            json!("CORR3CT-HORSE"),
            "Validation failed: Password must contain at least one lowercase letter",
        ),
        (json!("Correct-horse"), "Validation failed: Password must contain at least one number"),
        (
            json!("Corr3cthorse"),
            "Validation failed: Password must contain at least one special character",
        ),
    ] {
        cases.push((with(&new, "password", password), 400, problem));
    }
    let long = format!("{}@nexus.example", "a".repeat(250));
    for email in
        [json!("no address"), json!("a@b"), json!("@b.cd"), json!("a@@b.cd"), json!(7), json!(long)]
    {
        cases.push((with(&new, "email", email), 400, "Validation failed: Invalid email format"));
    }
    for phone in [
        "12345",
        "0123456789",
        "98765x3210",
        "+1234567890123456",
        "+91 98123-4567",
        "+91 98123-456789",
        "00 98123 45678",
    ]
    .map(|phone| json!(phone))
    .into_iter()
    .chain([json!({})])
    {
        cases.push((
            with(&new, "phone", phone),
            400,
            "Validation failed: Invalid phone number format",
        ));
    }
    for name in [json!("A"), json!("<b></b>"), json!("x".repeat(101)), json!({})] {
        cases.push((
            with(&new, "name", name),
            400,
            "Validation failed: Name must be between 2 and 100 characters",
        ));
    }
    cases.extend([
        (json!({"password": PASSWORD}), 400, "Validation failed: Either email or phone number is required"),
        (json!({}), 400, "Validation failed: Either email or phone number is required, Password is required"),
        (
            json!({"username": "_", "email": "x", "phone": "1", "password": "x", "name": "A"}),
            400,
            "Validation failed: Username must be at least 3 characters long, Invalid email format, Invalid phone number format, \
             Password must be at least 8 characters long, Name must be between 2 and 100 characters",
        ),
    ]);
    let exists = "User with this email, username or phone already exists";
    for (field, value) in [
        ("email", "ASHA@Nexus.example "),
        ("phone", "+91 98123-45678"),
        ("phone", "098123 45678"),
        ("phone", "+91 0 98123 45678"),
        ("username", "Asha"),
    ] {
        cases.push((with(&new, field, json!(value)), 409, exists));
    }
    stack.refuses(&stack.anonymous(), "/auth/register", cases).await;
}

#[tokio::test]
async fn logins_and_tokens() {
    let stack = Stack::builder().workers([]).start().await;
    let good = json!({"email": "asha@nexus.example", "phone": "9812345678", "password": PASSWORD});
    let data = stack.anonymous().post("/auth/register", good.clone()).await.data();
    let asha = stack.anonymous().logged_in(&data);
    let anonymous = stack.anonymous();
    let wrong = "Invalid email or password";
    stack
        .refuses(
            &anonymous,
            "/auth/login",
            vec![
                (json!({}), 400, "Validation failed: Email or phone number is required"),
                (
                    json!({"password": PASSWORD}),
                    400,
                    "Validation failed: Email or phone number is required",
                ),
                (
                    json!({"email": "", "password": PASSWORD}),
                    400,
                    "Validation failed: Email or phone number is required",
                ),
                (
                    json!({"email": "no address", "password": PASSWORD}),
                    400,
                    "Validation failed: Invalid email format",
                ),
                (
                    with(&good, "password", Value::Null),
                    400,
                    "Validation failed: Password is required",
                ),
                (with(&good, "password", json!("Wr0ng-horse")), 401, wrong),
                (json!({"email": "nobody@nexus.example", "password": PASSWORD}), 401, wrong),
                (json!({"phone": "9899999999", "password": PASSWORD}), 401, wrong),
            ],
        )
        .await;
    let refresh = asha.refresh_token.clone().unwrap();
    let disguised = stack.sign_token(
        &json!({"userId": asha.id, "type": "refresh", "iat": 0, "exp": 9_999_999_999_u64}),
    );
    stack
        .refuses(
            &anonymous,
            "/auth/refresh-token",
            vec![
                (json!({}), 400, "Refresh token is required"),
                (json!({"refreshToken": ""}), 400, "Refresh token is required"),
                (json!({"refreshToken": "garbage"}), 401, "Invalid or expired refresh token"),
                (json!({"refreshToken": 7}), 401, "Invalid or expired refresh token"),
                (json!({"refreshToken": asha.token}), 401, "Invalid or expired refresh token"),
            ],
        )
        .await;

    let me = |token: Option<&str>| {
        let client = stack.anonymous();
        let client = token.map_or(client.clone(), |token| client.with_token(asha.id, token));
        async move { client.get("/bookings/my-bookings").await }
    };
    me(None).await.failed(401, "Access token is required");
    for token in ["garbage", "a.b.c", &refresh] {
        me(Some(token)).await.failed(401, "Invalid or expired access token");
    }
    me(Some(&disguised)).await.failed(401, "Invalid token type");
    let expired =
        stack.sign_token(&json!({"userId": asha.id, "type": "access", "iat": 1, "exp": 2}));
    me(Some(&expired)).await.failed(401, "Invalid or expired access token");
    let unsigned =
        format!("eyJhbGciOiJub25lIiwidHlwIjoiSldUIn0.{}.", expired.split('.').nth(1).unwrap());
    me(Some(&unsigned)).await.failed(401, "Invalid or expired access token");

    // Logging out ends both tokens, and only one's own.
    let other = anonymous.post("/auth/login", good.clone()).await.data();
    let other = stack.anonymous().logged_in(&other);
    stack.anonymous().post("/auth/logout", json!({})).await.failed(401, "Access token is required");
    let stranger = stack.user().await;
    stranger.post("/auth/logout", json!({"refreshToken": refresh})).await.ok();
    anonymous.post("/auth/refresh-token", json!({"refreshToken": refresh})).await.ok();
    asha.post("/auth/logout", json!({"refreshToken": refresh})).await.ok();
    me(asha.token.as_deref()).await.failed(401, "Token has been revoked");
    anonymous
        .post("/auth/refresh-token", json!({"refreshToken": refresh}))
        .await
        .failed(401, "Refresh token has been revoked");
    other.get("/bookings/my-bookings").await.ok();
    stack.execute("DELETE FROM refresh_tokens").await;
    let forgotten = json!({"refreshToken": other.refresh_token});
    anonymous
        .post("/auth/refresh-token", forgotten)
        .await
        .failed(401, "Refresh token not found or has been revoked");
}

#[tokio::test]
async fn one_time_passwords_and_usernames() {
    let stack = Stack::builder().workers(["otp"]).start().await;
    let anonymous = stack.anonymous();
    let format = "Invalid phone number format";
    let otp_format = "Invalid OTP format. OTP must be 4-6 digits.";
    stack
        .refuses(
            &anonymous,
            "/auth/send-otp",
            vec![
                (json!({}), 400, "Phone number is required"),
                (json!({"phone": ""}), 400, "Phone number is required"),
                (json!({"phone": "12345"}), 400, format),
                (json!({"phone": 9_812_345_678_u64}), 400, format),
                (json!({"phone": "+0123456789"}), 400, format),
            ],
        )
        .await;
    stack
        .refuses(
            &anonymous,
            "/auth/check-unique-username",
            vec![
                (json!({}), 400, "Username is required"),
                (json!({"username": "  "}), 400, "Username is required"),
                (json!({"username": []}), 400, "Username is required"),
            ],
        )
        .await;
    anonymous.post("/auth/send-otp", json!({"phone": "9812345678"})).await.ok();
    let otp = eventually("the code is sent", SOON, async || {
        stack.providers.otp("+919812345678").ok_or("none".into())
    });
    let right = otp.await.code;
    let wrong = if right == "000000" { "000001" } else { "000000" };
    let code = |otp: &str| json!({"phone": "9812345678", "otp": otp});
    let wrong_twice = (0..2).map(|_| (code(wrong), 401, "Invalid OTP. Please try again."));
    let mut cases = vec![
        (json!({}), 400, "Phone number and OTP are required"),
        (json!({"phone": "9812345678"}), 400, "Phone number and OTP are required"),
        (json!({"otp": "123456"}), 400, "Phone number and OTP are required"),
        (code("123"), 400, otp_format),
        (code("1234567"), 400, otp_format),
        (code("12a4"), 400, otp_format),
        (json!({"phone": "12345", "otp": "1234"}), 400, format),
    ];
    cases.push((
        json!({"phone": "9899999999", "otp": "123456"}),
        410,
        "OTP not found or expired. Please request a new OTP.",
    ));
    cases.extend(wrong_twice);
    cases.push((
        code(&right),
        429,
        "Maximum verification attempts reached. Please request a new OTP.",
    ));
    eventually("the job is done", SOON, async || {
        let open = stack.count("jobs WHERE state <> 'done'").await;
        seen(open == 0, open)
    })
    .await;
    stack.refuses(&anonymous, "/auth/verify-otp", cases).await;
}
