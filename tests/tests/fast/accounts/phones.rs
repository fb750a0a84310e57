//! Whose a phone number is: what becomes of an account that has claimed one when somebody proves it,
//! at home or elsewhere, and how an account gets another.

use nexus_tests::settings::PUBLIC_URL;
use nexus_tests::shop::PASSWORD;
use nexus_tests::{Client, Event, SOON, Stack, Value, eventually, json, seen};

use super::contacts::{EMAIL, EXISTS, PHONE, VERIFY, WRONG, log_in, register, verify_email};

/// Logs in with a code, as somebody who has the phone.
async fn owner_of_phone(stack: &Stack, phone: &str) -> (Client, Value) {
    let otp = stack.otp(phone).await;
    let anonymous = stack.anonymous();
    let data = anonymous.post("/auth/verify-otp", json!({"phone": phone, "otp": otp})).await.data();
    (anonymous.logged_in(&data), data)
}

#[tokio::test]
async fn the_first_code_takes_an_account_from_the_stranger_who_made_it_with_the_phone() {
    let stack = Stack::builder().workers(["otp"]).without_limits().start().await;
    let account = json!({"email": "mallory@nexus.example", "phone": PHONE, "password": PASSWORD});
    let stranger = register(&stack, account).await;
    let socket = stack.socket("the stranger", &stranger).await;

    let (owner, data) = owner_of_phone(&stack, PHONE).await;
    assert_eq!(
        (&data["isNewUser"], &data["user"]["email"], owner.id),
        (&json!(false), &Value::Null, stranger.id)
    );
    stranger.has_ended().await;
    let refusal = socket.call("create_event", &[json!({})]).await;
    assert_eq!(refusal, json!({"success": false, "error": "Authentication required"}));
    log_in(&stack, "email", "mallory@nexus.example", PASSWORD).await.failed(401, WRONG);
    log_in(&stack, "phone", PHONE, PASSWORD).await.failed(401, WRONG);
    // The owner's own session is whole, and later logins end nothing.
    owner.get("/auth/me").await.ok();
    owner.post("/auth/refresh-token", json!({"refreshToken": owner.refresh_token})).await.ok();
    let (again, _) = owner_of_phone(&stack, PHONE).await;
    assert_eq!(again.id, owner.id);
    owner.get("/auth/me").await.ok();
}

/// A user with a name and an address who has registered with the phone, and only claims it.
async fn with_mistyped_phone(stack: &Stack, username: &str, password: &str) -> Client {
    let account = json!({
        "email": format!("{username}@nexus.example"), "phone": PHONE, "password": password,
        "username": username, "name": "Mistaken Person",
        "address": "1 Park Street", "city": "Mumbai", "zip": "400001",
    });
    register(stack, account).await
}

#[tokio::test]
async fn tickets_and_events_are_not_given_to_who_has_the_phone_that_was_mistyped() {
    let stack = Stack::builder().workers(["otp"]).without_limits().start().await;
    let organiser = stack.user().await;
    let event = stack.event(&organiser, &[("VIP", 100.0, 5)]).await;
    let buyer = with_mistyped_phone(&stack, "buyer", PASSWORD).await;
    let cancelled = buyer.lock_and_book(&event, &[("VIP", "A1")]).await;
    buyer.cancel(&cancelled).await.ok();
    let seller = with_mistyped_phone(&stack, "seller", "An0ther-horse").await;
    stack.event(&seller, &[("VIP", 100.0, 5)]).await;

    let otp = stack.otp(PHONE).await;
    let reset = json!({"phone": PHONE, "otp": otp, "newPassword": "An0ther-horse"});
    let refused = stack.anonymous().post("/auth/reset-password", reset).await;
    refused.failed(404, "User not found with this phone number");
    let (owner, data) = owner_of_phone(&stack, PHONE).await;
    assert_eq!((&data["isNewUser"], &data["user"]["name"]), (&json!(true), &Value::Null));
    assert_eq!(owner.get("/bookings/my-bookings").await.data(), json!([]));
    for former in [&buyer, &seller] {
        assert_ne!(owner.id, former.id);
        let me = former.get("/auth/me").await.data();
        assert_eq!(
            (&me["user"]["phone"], &me["user"]["name"]),
            (&Value::Null, &json!("Mistaken Person"))
        );
        former
            .post("/auth/refresh-token", json!({"refreshToken": former.refresh_token}))
            .await
            .ok();
    }
    // The right number is proved as ever.
    let otp = stack.otp("+919812345679").await;
    let change = json!({"phone": "+919812345679", "otp": otp, "password": PASSWORD});
    buyer.post("/auth/change-phone", change).await.ok();
    assert_eq!(buyer.get("/bookings/my-bookings").await.data().as_array().unwrap().len(), 1);
}

#[tokio::test]
async fn who_can_log_in_with_the_phone_only_finds_the_tickets_from_elsewhere() {
    let stack = Stack::builder().workers(["otp"]).without_limits().start().await;
    let event = stack.event(&stack.user().await, &[("VIP", 100.0, 5)]).await;
    let buyer = register(&stack, json!({"phone": PHONE, "password": PASSWORD})).await;
    buyer.lock_and_book(&event, &[("VIP", "A1")]).await;
    let (owner, _) = owner_of_phone(&stack, PHONE).await;
    assert_eq!(owner.id, buyer.id);
    assert_eq!(owner.get("/bookings/my-bookings").await.data().as_array().unwrap().len(), 1);
}

#[tokio::test]
async fn a_strangers_claim_does_not_come_before_the_account_that_has_paid() {
    let stack = Stack::builder().workers(["otp", "payments"]).without_limits().start().await;
    let (event, _) = stack.on_sale().await;
    register(&stack, json!({"phone": PHONE, "password": "An0ther-horse"})).await;
    let buyer = register(&stack, json!({"phone": PHONE, "password": PASSWORD})).await;
    stack.sell(&buyer, &event, &[("VIP", "A1")]).await;
    let (owner, _) = owner_of_phone(&stack, PHONE).await;
    assert_eq!(owner.id, buyer.id);
}

#[tokio::test]
async fn a_suspended_account_takes_no_phone_with_it() {
    let stack = Stack::builder().workers(["otp"]).without_limits().start().await;
    let stranger = register(&stack, json!({"phone": PHONE, "password": PASSWORD})).await;
    stack.api_cli_ok(&["suspend", &stranger.id.to_string(), "--reason", "a fraud"]).await;
    let (owner, data) = owner_of_phone(&stack, PHONE).await;
    assert_eq!(data["isNewUser"], true);
    assert_ne!(owner.id, stranger.id);
}

/// Somebody who has registered with the phone, and may lock no seats for a while.
async fn stranger_who_cools_down() -> (Stack, Event, Client) {
    let stack = Stack::builder().workers(["otp"]).start().await;
    let event = stack.event(&stack.user().await, &[("VIP", 100.0, 5)]).await;
    let stranger = register(&stack, json!({"phone": PHONE, "password": PASSWORD})).await;
    for _ in 0..3 {
        let booking = stranger.lock_and_book(&event, &[("VIP", "A1")]).await;
        stranger.cancel(&booking).await.ok();
    }
    assert_eq!(stranger.lock(&event, "VIP", "A1").await.status, 429);
    (stack, event, stranger)
}

#[tokio::test]
async fn what_a_stranger_has_held_unpaid_is_not_held_against_the_phones_owner() {
    let (stack, event, stranger) = stranger_who_cools_down().await;
    let (owner, _) = owner_of_phone(&stack, PHONE).await;
    assert_eq!(owner.id, stranger.id);
    owner.lock(&event, "VIP", "A1").await.ok();
}

#[tokio::test]
async fn nor_is_it_if_the_owner_sets_another_password() {
    let (stack, event, stranger) = stranger_who_cools_down().await;
    let reset =
        json!({"phone": PHONE, "otp": stack.otp(PHONE).await, "newPassword": "An0ther-horse"});
    stack.anonymous().post("/auth/reset-password", reset).await.ok();
    let data = log_in(&stack, "phone", PHONE, "An0ther-horse").await.data();
    let owner = stack.anonymous().logged_in(&data);
    assert_eq!(owner.id, stranger.id);
    owner.lock(&event, "VIP", "A1").await.ok();
}

#[tokio::test]
async fn who_proves_a_phone_at_home_has_held_what_they_have_held() {
    let (stack, event, user) = stranger_who_cools_down().await;
    let mut at_home = user.clone();
    at_home.token = None;
    let login = json!({"phone": PHONE, "otp": stack.otp_at(&at_home, PHONE).await});
    let data = at_home.post("/auth/verify-otp", login).await.data();
    assert_eq!(data["user"]["id"], user.id);
    assert_eq!(at_home.logged_in(&data).lock(&event, "VIP", "A1").await.status, 429);
}

#[tokio::test]
async fn who_sets_another_password_from_elsewhere_learns_of_no_address() {
    let stack = Stack::builder().workers(["otp"]).without_limits().start().await;
    let former = with_mistyped_phone(&stack, "former", PASSWORD).await;
    let reset =
        json!({"phone": PHONE, "otp": stack.otp(PHONE).await, "newPassword": "An0ther-horse"});
    stack.anonymous().post("/auth/reset-password", reset).await.ok();
    // As somebody who has forgotten the password does.
    let data = log_in(&stack, "email", "former@nexus.example", "An0ther-horse").await.data();
    let owner = stack.anonymous().logged_in(&data);
    let export = owner.get("/auth/me/export").await.text;
    for known in ["Park Street", "Mumbai", "400001", &former.address().to_string()] {
        assert!(!export.contains(known), "{known} in {export}");
    }
}

#[tokio::test]
async fn strangers_who_claim_a_phone_first_do_not_keep_out_a_buyer_who_only_claims_it() {
    let stack = Stack::builder().without_limits().start().await;
    for n in 0..3 {
        let account = json!({"phone": PHONE, "password": format!("An0ther-horse-{n}")});
        register(&stack, account).await;
    }
    let buyer = with_mistyped_phone(&stack, "buyer", PASSWORD).await;
    log_in(&stack, "phone", PHONE, PASSWORD).await.failed(401, WRONG);
    let (event, _) = stack.on_sale().await;
    stack.sell(&buyer, &event, &[("VIP", "A1")]).await;
    let data = log_in(&stack, "phone", PHONE, PASSWORD).await.data();
    assert_eq!(data["user"]["id"], buyer.id);
}

#[tokio::test]
async fn who_proves_the_phone_at_home_keeps_tickets_and_name() {
    let stack = Stack::builder().workers(["otp"]).without_limits().start().await;
    let organiser = stack.user().await;
    let event = stack.event(&organiser, &[("VIP", 100.0, 5)]).await;
    let buyer = with_mistyped_phone(&stack, "buyer", PASSWORD).await;
    buyer.lock_and_book(&event, &[("VIP", "A1")]).await;
    let otp = stack.otp(PHONE).await;
    let mut at_home = buyer.clone();
    at_home.token = None;
    let data = at_home.post("/auth/verify-otp", json!({"phone": PHONE, "otp": otp})).await.data();
    assert_eq!(
        (&data["isNewUser"], &data["user"]["id"], &data["user"]["name"]),
        (&json!(false), &json!(buyer.id), &json!("Mistaken Person"))
    );
}

#[tokio::test]
async fn an_account_that_is_given_away_says_nothing_of_who_made_it() {
    let stack = Stack::builder().workers(["otp"]).without_limits().start().await;
    let stranger = with_mistyped_phone(&stack, "stranger", PASSWORD).await;
    let (owner, data) = owner_of_phone(&stack, PHONE).await;
    assert_eq!(owner.id, stranger.id);
    assert_eq!((&data["user"]["name"], &data["user"]["username"]), (&Value::Null, &Value::Null));
    let export = owner.get("/auth/me/export").await.text;
    // With its quotation marks, because a time may have the same digits.
    let zip = r#""400001""#;
    for known in ["Mistaken", "Park Street", "Mumbai", zip, &stranger.address().to_string()] {
        assert!(!export.contains(known), "{known} in {export}");
    }
}

#[tokio::test]
async fn an_account_with_a_proved_address_is_not_given_to_whoever_has_its_claimed_phone() {
    let stack = Stack::builder().workers(["otp", "notifications"]).without_limits().start().await;
    let account = json!({"email": EMAIL, "phone": PHONE, "password": PASSWORD});
    let user = register(&stack, account).await;
    verify_email(&stack, &user, EMAIL).await;

    let (owner, data) = owner_of_phone(&stack, PHONE).await;
    assert_eq!(data["isNewUser"], true);
    assert_ne!(owner.id, user.id);
    let me = user.get("/auth/me").await.data();
    assert_eq!((&me["user"]["phone"], &me["email_verified"]), (&Value::Null, &json!(true)));
    log_in(&stack, "email", EMAIL, PASSWORD).await.ok();
}

#[tokio::test]
async fn who_is_logged_in_proves_the_own_phone_and_loses_nothing() {
    let stack = Stack::builder().workers(["otp"]).without_limits().start().await;
    let account = json!({"email": EMAIL, "phone": PHONE, "password": PASSWORD});
    let user = register(&stack, account).await;
    let before = user.get("/auth/me").await.data();
    assert_eq!(
        (&before["phone_verified"], &before["email_verified"], &before["pending_email"]),
        (&json!(false), &json!(false), &json!(EMAIL))
    );
    let otp = stack.otp(PHONE).await;
    let data = user.post("/auth/verify-otp", json!({"phone": PHONE, "otp": otp})).await.data();
    assert_eq!((&data["user"]["id"], &data["user"]["email"]), (&json!(user.id), &json!(EMAIL)));
    assert_eq!(user.get("/auth/me").await.data()["phone_verified"], true);
    log_in(&stack, "email", EMAIL, PASSWORD).await.ok();
}

#[tokio::test]
async fn a_password_reset_by_the_phones_owner_locks_the_stranger_out() {
    let stack = Stack::builder().workers(["otp"]).without_limits().start().await;
    let account = json!({"email": "mallory@nexus.example", "phone": PHONE, "password": PASSWORD});
    let stranger = register(&stack, account).await;
    let otp = stack.otp(PHONE).await;
    let reset = json!({"phone": PHONE, "otp": otp, "newPassword": "An0ther-horse"});
    stack.anonymous().post("/auth/reset-password", reset).await.ok();
    stranger.has_ended().await;
    log_in(&stack, "email", "mallory@nexus.example", PASSWORD).await.failed(401, WRONG);
    log_in(&stack, "phone", PHONE, "An0ther-horse").await.ok();
}

#[tokio::test]
async fn another_phone_needs_its_code_and_the_password_and_the_old_one_is_told() {
    let stack = Stack::builder().workers(["otp", "notifications"]).without_limits().start().await;
    let other = "+919898989898";
    let user = register(&stack, json!({"phone": PHONE, "password": PASSWORD})).await;
    let change = async |phone: &str, otp: &str, password: Option<&str>| {
        let wanted = json!({"phone": phone, "otp": otp, "password": password});
        user.post("/auth/change-phone", wanted).await
    };
    let otp = stack.otp(PHONE).await;
    let verified = change(PHONE, &otp, None).await.data();
    assert_eq!(verified, json!({"message": "Phone number verified", "phone": PHONE}));
    let otp = stack.otp(other).await;
    change(other, &otp, None).await.failed(403, "Password is required");
    change(other, &otp, Some("Wr0ng-horse")).await.failed(403, "Current password is incorrect");
    change(other, &otp, Some(PASSWORD)).await.ok();
    eventually("the old number is told", SOON, async || {
        let sms = stack.providers.sms();
        seen(sms.iter().any(|sms| sms.to == PHONE && sms.body.contains("no longer")), sms).map(drop)
    })
    .await;
    log_in(&stack, "phone", other, PASSWORD).await.ok();
    log_in(&stack, "phone", PHONE, PASSWORD).await.failed(401, WRONG);

    let (owner, _) = owner_of_phone(&stack, PHONE).await;
    assert_ne!(owner.id, user.id, "the old number is free");
    let otp = stack.otp(PHONE).await;
    change(PHONE, &otp, Some(PASSWORD)).await.failed(409, EXISTS);
}

#[tokio::test]
async fn without_a_password_a_change_needs_a_code_of_the_current_phone() {
    let stack = Stack::builder().workers(["otp", "notifications"]).without_limits().start().await;
    let (user, _) = owner_of_phone(&stack, PHONE).await;
    let change = async |otp: Option<String>| {
        user.post("/auth/change-email", json!({"email": EMAIL, "currentOtp": otp})).await
    };
    change(None).await.failed(403, "OTP of the current phone number is required");
    let otp = stack.otp(PHONE).await;
    change(Some(otp)).await.ok();
    // No link: without a password, only who is logged in can prove it.
    let mail = stack.mailed(EMAIL, VERIFY).await;
    assert!(!mail.text.contains(PUBLIC_URL), "{}", mail.text);
    verify_email(&stack, &user, EMAIL).await;
    assert_eq!(user.get("/auth/me").await.data()["user"]["email"], EMAIL);
}

#[tokio::test]
async fn those_who_claim_a_phone_share_the_codes_that_may_be_tried_for_it() {
    let stack = Stack::builder().workers(["otp"]).start().await;
    let code = stack.otp(PHONE).await;
    let wrong = if code == "000000" { "000001" } else { "000000" };
    let mut statuses = Vec::new();
    for number in 0..3 {
        let account = json!({"phone": PHONE, "password": format!("Str4nger-horse-{number}")});
        let stranger = register(&stack, account).await;
        let guess = json!({"phone": PHONE, "otp": wrong});
        statuses.push(stranger.post("/auth/change-phone", guess).await.status);
    }
    assert_eq!(statuses, [401, 429, 429]);
}
