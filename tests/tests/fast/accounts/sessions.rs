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
        session.has_ended().await;
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
    first.has_ended().await;
    second.has_ended().await;
}

#[tokio::test]
async fn ended_sessions_stay_ended_when_redis_forgets() {
    let stack = Stack::builder().workers([]).start().await;
    let (first, second) = logged_in_twice(&stack).await;
    first.post("/auth/logout-all", json!({})).await.ok();
    stack.redis_command("FLUSHALL").await;
    first.has_ended().await;
    second.has_ended().await;
}

#[tokio::test]
async fn a_password_reset_needs_the_phones_code_and_ends_every_session() {
    let stack = Stack::builder().workers(["otp"]).start().await;
    let (first, second) = logged_in_twice(&stack).await;
    let socket = stack.socket("the user", &first).await;
    let anonymous = stack.anonymous();
    let code = stack.otp_at(&anonymous, PHONE).await;
    let wrong = if code == "000000" { "111111" } else { "000000" };
    let reset =
        |otp: &str| json!({"phone": "98111 11111", "otp": otp, "newPassword": "monsoon-harbour"});

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
    first.has_ended().await;
    second.has_ended().await;
    let refusal = socket.call("create_event", &[json!({})]).await;
    assert_eq!(refusal, json!({"success": false, "error": "Authentication required"}));
    let old = json!({"email": "asha@nexus.example", "password": PASSWORD});
    anonymous.post("/auth/login", old).await.failed(401, "Invalid email or password");
    log_in(&anonymous, "monsoon-harbour").await;
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
    let code = stack.otp(PHONE).await;
    let nobody = json!({"phone": PHONE, "otp": code, "newPassword": "longenough"});
    let refusal = stack.anonymous().post("/auth/reset-password", nobody).await;
    refusal.failed(404, "User not found with this phone number");
}

#[tokio::test]
async fn a_logout_ends_all_tokens_of_the_session_and_no_other_one() {
    let stack = Stack::builder().workers([]).start().await;
    let (first, second) = logged_in_twice(&stack).await;
    let refreshed = refresh(&first, false).await.data();
    let refreshed = first.clone().with_token(first.id, refreshed["accessToken"].as_str().unwrap());
    first.post("/auth/logout", json!({})).await.ok();
    first.has_ended().await;
    refreshed.has_ended().await;
    second.get("/auth/me").await.ok();
    refresh(&second, false).await.ok();
    // Redis only helps to answer sooner.
    stack.redis_command("FLUSHALL").await;
    refreshed.has_ended().await;
    second.get("/auth/me").await.ok();
}

async fn refresh(session: &Client, rotate: bool) -> Response {
    let request = json!({"refreshToken": session.refresh_token, "rotate": rotate});
    session.post("/auth/refresh-token", request).await
}

/// The session with the tokens of a refresh that has replaced the refresh token.
async fn rotated(session: &Client) -> Client {
    let data = refresh(session, true).await.data();
    let mut next = session.clone();
    next.token = data["accessToken"].as_str().map(str::to_owned);
    next.refresh_token = data["refreshToken"].as_str().map(str::to_owned);
    assert_ne!(next.refresh_token, session.refresh_token);
    next
}

#[tokio::test]
async fn a_refresh_token_is_replaced_for_who_asks_for_it() {
    let stack = Stack::builder().workers([]).start().await;
    let (first, second) = logged_in_twice(&stack).await;
    assert_eq!(refresh(&first, false).await.data()["refreshToken"], Value::Null);
    let next = rotated(&first).await;
    next.get("/auth/me").await.ok();
    // The answer may have been lost: for a moment the old one is good for another try.
    let again = rotated(&first).await;
    assert_eq!(again.refresh_token, next.refresh_token);
    refresh(&next, false).await.ok();
    let all = first.post("/auth/logout-all", json!({})).await.data();
    assert_eq!(all["sessions_ended"], 2, "what could have been continued: {all}");
    for session in [&first, &next, &again, &second] {
        session.has_ended().await;
    }
}

#[tokio::test]
async fn windows_that_replace_a_refresh_token_at_once_go_on_with_the_same_one() {
    let stack = Stack::builder().workers([]).api_processes(2).start().await;
    let (first, _) = logged_in_twice(&stack).await;
    let elsewhere = first.clone().at(&stack.api_url(1));
    let windows = (0..8).map(|n| if n % 2 == 0 { &first } else { &elsewhere });
    let next = futures_util::future::join_all(windows.map(rotated)).await;
    let tokens: std::collections::BTreeSet<_> =
        next.iter().map(|session| session.refresh_token.clone()).collect();
    assert_eq!(tokens.len(), 1);
    assert_eq!(stack.count("refresh_tokens WHERE session_id IS NOT NULL").await, 3);
    rotated(&next[0]).await;
}

#[tokio::test]
async fn a_thief_who_replaces_a_refresh_token_at_once_keeps_no_line_of_their_own() {
    let stack = Stack::builder().workers([]).start().await;
    let (first, _) = logged_in_twice(&stack).await;
    let (owner, thief) = (rotated(&first).await, rotated(&first).await);
    let thief = rotated(&thief).await;
    stack
        .execute("UPDATE refresh_tokens SET rotated_at = rotated_at - interval '11 seconds'")
        .await;
    refresh(&owner, true).await.failed(401, "Refresh token has been revoked");
    refresh(&thief, true).await.failed(401, "Refresh token has been revoked");
    thief.has_ended().await;
}

#[tokio::test]
async fn a_session_is_continued_for_ninety_days_and_no_longer() {
    let stack = Stack::builder().workers([]).start().await;
    let (first, second) = logged_in_twice(&stack).await;
    stack.execute("UPDATE sessions SET created_at = now() - interval '89 days'").await;
    let next = rotated(&first).await;
    let capped = "refresh_tokens WHERE expires_at BETWEEN now() + interval '23 hours' AND now() + interval '1 day'";
    assert_eq!(stack.count(capped).await, 1, "the newest token ends with the session");
    stack.execute("UPDATE sessions SET created_at = now() - interval '91 days'").await;
    for session in [&next, &second] {
        for rotate in [true, false] {
            refresh(session, rotate).await.failed(401, "Invalid or expired refresh token");
        }
    }
}

#[tokio::test]
async fn who_uses_a_replaced_refresh_token_later_ends_the_session() {
    let stack = Stack::builder().workers([]).start().await;
    let (first, second) = logged_in_twice(&stack).await;
    let next = rotated(&first).await;
    stack
        .execute("UPDATE refresh_tokens SET rotated_at = rotated_at - interval '11 seconds'")
        .await;
    refresh(&first, false).await.failed(401, "Refresh token has been revoked");
    next.has_ended().await;
    refresh(&next, true).await.failed(401, "Refresh token has been revoked");
    second.get("/auth/me").await.ok();
}

#[tokio::test]
async fn a_user_sees_the_own_sessions_and_ends_one() {
    let stack = Stack::builder().workers([]).start().await;
    let (first, second) = logged_in_twice(&stack).await;
    let list = async |session: &Client| session.get("/auth/sessions").await.data();
    let sessions = list(&first).await;
    let sessions = sessions.as_array().unwrap();
    assert_eq!(sessions.len(), 2);
    let current: Vec<_> = sessions.iter().filter(|session| session["current"] == true).collect();
    assert_eq!(current.len(), 1);
    assert_eq!(current[0]["network"], first.address().to_string());
    let other = sessions.iter().find(|session| session["current"] == false).unwrap();
    let path = format!("/auth/sessions/{}", other["id"].as_str().unwrap());

    let stranger = stack.user().await;
    stranger.delete(&path).await.failed(404, "Session not found");
    assert_eq!(list(&stranger).await, json!([]));
    let socket = stack.socket("the other session", &second).await;
    first.delete(&path).await.ok();
    second.has_ended().await;
    let refusal = socket.call("create_event", &[json!({})]).await;
    assert_eq!(refusal, json!({"success": false, "error": "Authentication required"}));
    assert_eq!(list(&first).await.as_array().unwrap().len(), 1);
    first.delete(&path).await.failed(404, "Session not found");
    first.delete("/auth/sessions/1").await.failed(404, "Session not found");
    refresh(&first, false).await.ok();
}

#[tokio::test]
async fn a_session_ends_on_every_process_at_once() {
    let stack = Stack::builder().workers([]).api_processes(2).start().await;
    let (first, second) = logged_in_twice(&stack).await;
    let there = second.clone().at(&stack.api_url(1));
    there.get("/auth/me").await.ok();
    let sessions = first.get("/auth/sessions").await.data();
    let other = sessions.as_array().unwrap().iter().find(|session| session["current"] == false);
    let id = other.unwrap()["id"].as_str().unwrap().to_owned();
    first.delete(&format!("/auth/sessions/{id}")).await.ok();
    stack.redis_command("FLUSHALL").await;
    eventually("the other process knows", SOON, async || {
        let response = there.get("/auth/me").await;
        nexus_tests::seen(response.status == 401, response.to_string()).map(drop)
    })
    .await;
}

#[tokio::test]
async fn a_socket_hears_its_users_news_until_its_token_expires() {
    let stack = Stack::builder().workers([]).start().await;
    let user = stack.user().await;
    let now = std::time::SystemTime::UNIX_EPOCH.elapsed().unwrap().as_secs();
    let claims = json!({"userId": user.id, "type": "access", "iat": now, "exp": now + 5});
    let brief = user.clone().with_token(user.id, stack.sign_token(&claims));
    let sockets = [stack.socket("brief", &brief).await, stack.socket("long", &user).await];
    let mut request = nexus_tests::shop::event_request(&[("VIP", 100.0, 50)]);
    request["status"] = json!("draft");
    let draft = user.post("/events/create", request).await.data()["event"]["id"].take();
    for socket in &sockets {
        socket.wait_for_any("event_created").await;
    }
    eventually("the token has expired", SOON, async || {
        let response = brief.get("/auth/me").await;
        nexus_tests::seen(response.status == 401, response.to_string()).map(drop)
    })
    .await;
    // What comes now, both would hear in one order.
    let mut number = 0;
    eventually("only the other socket hears of the draft", SOON, async || {
        number += 1;
        let name = format!("After {number}");
        user.put(&format!("/events/{draft}"), json!({"name": name})).await.ok();
        let is_it = |broadcast: &Value| broadcast["event"]["name"] == *name;
        sockets[1].wait_for("event_updated", is_it, SOON).await;
        user.post("/events/create", nexus_tests::shop::event_request(&[("VIP", 1.0, 1)]))
            .await
            .ok();
        let heard = sockets[0].received("event_updated");
        nexus_tests::seen(!heard.iter().any(is_it), heard).map(drop)
    })
    .await;
}

#[tokio::test]
async fn tokens_of_the_key_before_are_good_until_they_expire() {
    let mut stack = Stack::builder().workers([]).start().await;
    let (first, _) = logged_in_twice(&stack).await;
    let key = |name: &str| {
        let found = stack.env().iter().find(|(known, _)| known == name);
        found.map(|(_, value)| value.clone()).unwrap()
    };
    let (access, refresh_key) = (key("JWT_SECRET"), key("JWT_REFRESH_SECRET"));
    let (new, newer) = (nexus_tests::settings::secret(), nexus_tests::settings::secret());
    let overlap = [
        ("JWT_SECRET", new.as_str()),
        ("JWT_SECRET_PREVIOUS", access.as_str()),
        ("JWT_REFRESH_SECRET", newer.as_str()),
        ("JWT_REFRESH_SECRET_PREVIOUS", refresh_key.as_str()),
    ];
    stack.restart_with(&overlap).await;
    let first = first.at(&stack.api_url(0));
    first.get("/auth/me").await.ok();
    let next = rotated(&first).await;
    stack.restart_with(&[("JWT_SECRET_PREVIOUS", ""), ("JWT_REFRESH_SECRET_PREVIOUS", "")]).await;
    let (first, next) = (first.at(&stack.api_url(0)), next.at(&stack.api_url(0)));
    first.get("/auth/me").await.failed(401, "Invalid or expired access token");
    refresh(&first, false).await.failed(401, "Invalid or expired refresh token");
    next.get("/auth/me").await.ok();
    refresh(&next, false).await.ok();
}
