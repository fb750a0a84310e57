//! Sessions: what the API tells a logged-in user of themselves, and what ends all of their sessions
//! at once.

use nexus_tests::shop::PASSWORD;
use nexus_tests::{Client, Method, Response, SOON, Stack, Value, eventually, json};

const PHONE: &str = "+919811111111";

/// A user with a password and a phone, logged in twice.
async fn logged_in_twice(stack: &Stack) -> (Client, Client) {
    let account = json!({"email": "asha@nexus.example", "phone": PHONE, "name": "Asha", "password": PASSWORD});
    let anonymous = stack.anonymous();
    let first = anonymous.post("/auth/register", account).await.data();
    let second = log_in(&anonymous, PASSWORD).await;
    (anonymous.clone().logged_in(&first), anonymous.logged_in(&second))
}

async fn log_in(anonymous: &Client, password: &str) -> Value {
    anonymous
        .post("/auth/login", json!({"email": "asha@nexus.example", "password": password}))
        .await
        .data()
}

/// Checks that neither token of a session is good for anything.
async fn has_ended(session: &Client) {
    session.get("/auth/me").await.failed(401, "Token has been revoked");
    let refresh = json!({"refreshToken": session.refresh_token});
    session
        .post("/auth/refresh-token", refresh)
        .await
        .failed(401, "Refresh token has been revoked");
}

/// Has a code sent to the phone; returns it.
async fn otp(stack: &Stack) -> String {
    stack.anonymous().post("/auth/send-otp", json!({"phone": PHONE})).await.ok();
    eventually("the code is sent", SOON, async || stack.providers.otp(PHONE).ok_or("none".into()))
        .await
        .code
}

#[tokio::test]
async fn me_is_the_user_of_the_token() {
    let stack = Stack::builder().workers([]).start().await;
    let (user, _) = logged_in_twice(&stack).await;
    let mut me = user.get("/auth/me").await.data()["user"].take();
    assert!(me["created_at"].as_str().is_some_and(|time| time.ends_with('Z')), "{me}");
    me["created_at"] = Value::Null;
    let expected = json!({"id": user.id, "username": null, "name": "Asha", "email": "asha@nexus.example",
                          "phone": PHONE, "created_at": null});
    assert_eq!(me, expected);
    stack.anonymous().get("/auth/me").await.failed(401, "Access token is required");
}

#[tokio::test]
async fn logout_all_ends_every_session_and_no_later_one() {
    let stack = Stack::builder().workers([]).start().await;
    let (first, second) = logged_in_twice(&stack).await;
    let stranger = stack.user().await;
    let refreshed = first
        .post("/auth/refresh-token", json!({"refreshToken": first.refresh_token}))
        .await
        .data();
    let refreshed = first.clone().with_token(first.id, refreshed["accessToken"].as_str().unwrap());

    let response = first.post("/auth/logout-all", json!({})).await.data();
    assert_eq!(response, json!({"message": "Logged out of all sessions", "sessions_ended": 2}));
    for session in [&first, &second, &refreshed] {
        has_ended(session).await;
    }
    stranger.get("/bookings/my-bookings").await.ok();
    let anew = stack.anonymous().logged_in(&log_in(&first, PASSWORD).await);
    anew.get("/auth/me").await.ok();
    anew.post("/auth/refresh-token", json!({"refreshToken": anew.refresh_token})).await.ok();
}

#[tokio::test]
async fn logout_all_reads_no_body() {
    let stack = Stack::builder().workers([]).start().await;
    let (first, second) = logged_in_twice(&stack).await;
    let request = first.request(Method::POST, "/auth/logout-all");
    Response::to(request.header("content-type", "text/plain").body("[")).await.ok();
    has_ended(&first).await;
    has_ended(&second).await;
}

#[tokio::test]
async fn ended_sessions_stay_ended_when_redis_forgets() {
    let stack = Stack::builder().workers([]).start().await;
    let (first, second) = logged_in_twice(&stack).await;
    first.post("/auth/logout-all", json!({})).await.ok();
    stack.redis_command("FLUSHALL").await;
    has_ended(&first).await;
    has_ended(&second).await;
}

#[tokio::test]
async fn a_password_reset_needs_the_phones_code_and_ends_every_session() {
    let stack = Stack::builder().workers(["otp"]).start().await;
    let (first, second) = logged_in_twice(&stack).await;
    let socket = stack.socket("the user", &first).await;
    let anonymous = stack.anonymous();
    let code = otp(&stack).await;
    let wrong = if code == "000000" { "111111" } else { "000000" };
    let reset = |otp: &str| json!({"phone": "98111 11111", "otp": otp, "newPassword": "aaaaaaaa"});

    anonymous
        .post("/auth/reset-password", reset(wrong))
        .await
        .failed(401, "Invalid OTP. Please try again.");
    first.get("/auth/me").await.ok();
    let response = anonymous.post("/auth/reset-password", reset(&code)).await.data();
    assert_eq!(
        response,
        json!({
            "message": "Password reset successful. Please login with your new password.",
            "security_note": "All existing sessions have been terminated for security.",
        })
    );
    has_ended(&first).await;
    has_ended(&second).await;
    let refusal = socket.call("create_event", &[json!({})]).await;
    assert_eq!(refusal, json!({"success": false, "error": "Authentication required"}));
    let old = json!({"email": "asha@nexus.example", "password": PASSWORD});
    anonymous.post("/auth/login", old).await.failed(401, "Invalid email or password");
    log_in(&anonymous, "aaaaaaaa").await;
    // The code was good for one reset.
    let again = anonymous.post("/auth/reset-password", reset(&code)).await;
    again.failed(410, "OTP not found or expired. Please request a new OTP.");
}

#[tokio::test]
async fn a_reset_is_refused_in_the_contracts_words() {
    let stack = Stack::builder().workers(["otp"]).start().await;
    let too_short = "Password must be at least 8 characters long";
    let by_email =
        "Email-based password reset requires phone OTP verification. Please provide phone number.";
    let cases = vec![
        (json!({}), 400, too_short),
        (json!({"phone": PHONE, "otp": "123456", "newPassword": "short"}), 400, too_short),
        (json!({"phone": PHONE, "otp": "123456", "newPassword": 12345678}), 400, too_short),
        (
            json!({"phone": PHONE, "otp": "123456", "newPassword": "x".repeat(129)}),
            400,
            "Password must be less than 128 characters",
        ),
        (
            json!({"phone": PHONE, "newPassword": "longenough"}),
            400,
            "OTP is required for password reset",
        ),
        (
            json!({"phone": PHONE, "otp": "12", "newPassword": "longenough"}),
            400,
            "Invalid OTP format. OTP must be 4-6 digits.",
        ),
        (
            json!({"email": "a@b.example", "otp": "123456", "newPassword": "longenough"}),
            400,
            by_email,
        ),
        (
            json!({"otp": "123456", "newPassword": "longenough"}),
            400,
            "Email or phone number is required",
        ),
        (
            json!({"phone": "12345", "otp": "123456", "newPassword": "longenough"}),
            400,
            "Invalid phone number format",
        ),
    ];
    stack.refuses(&stack.anonymous(), "/auth/reset-password", cases).await;
    let code = otp(&stack).await;
    let nobody = json!({"phone": PHONE, "otp": code, "newPassword": "longenough"});
    let refusal = stack.anonymous().post("/auth/reset-password", nobody).await;
    refusal.failed(404, "User not found with this phone number");
}
