//! Passwords: which ones are accepted wherever one is set, how a user changes theirs, and what the
//! owner of an account is told.

use nexus_tests::shop::PASSWORD;
use nexus_tests::{Client, SOON, Stack, eventually, json, seen};

const EMAIL: &str = "asha@nexus.example";
const PHONE: &str = "+919812345678";
const GUESSABLE: &str = "Password is too easy to guess";

async fn registered(stack: &Stack) -> Client {
    let account = json!({"email": EMAIL, "password": PASSWORD});
    let anonymous = stack.anonymous();
    let user = anonymous.clone().logged_in(&anonymous.post("/auth/register", account).await.data());
    stack.prove_emails().await;
    user
}

#[tokio::test]
async fn a_password_that_everybody_tries_first_is_refused_wherever_one_is_set() {
    let stack = Stack::builder().workers(["otp"]).without_limits().start().await;
    let anonymous = stack.anonymous();
    // They have every kind of character.
    for common in ["P@ssw0rd", "Pa$$w0rd", "Nexus2026!", "AshaRao@123"] {
        let account = json!({"email": "asha.rao@nexus.example", "password": common});
        let refused = anonymous.post("/auth/register", account).await;
        refused.failed(422, GUESSABLE);
    }
    let user = registered(&stack).await;
    stack.set_phone(&user, PHONE).await;
    for known in ["Asha@2026", "9812345678!"] {
        let change = json!({"currentPassword": PASSWORD, "newPassword": known});
        user.post("/auth/change-password", change).await.failed(422, GUESSABLE);
    }
    for common in ["password", "12345678", "aaaaaaaa"] {
        let change = json!({"currentPassword": PASSWORD, "newPassword": common});
        user.post("/auth/change-password", change).await.failed(422, GUESSABLE);
        let reset = json!({"phone": PHONE, "otp": "123456", "newPassword": common});
        anonymous.post("/auth/reset-password", reset).await.failed(422, GUESSABLE);
    }
    // Length alone is enough where the contract asks for no kinds of characters.
    let change = json!({"currentPassword": PASSWORD, "newPassword": "monsoon over the harbour"});
    user.post("/auth/change-password", change).await.ok();
}

#[tokio::test]
async fn a_user_changes_the_password_with_the_old_one_and_goes_on_in_a_new_session() {
    let stack = Stack::builder().workers(["notifications"]).without_limits().start().await;
    let user = registered(&stack).await;
    let login = json!({"email": EMAIL, "password": PASSWORD});
    let anonymous = stack.anonymous();
    let other =
        anonymous.clone().logged_in(&anonymous.post("/auth/login", login.clone()).await.data());
    let change = async |current: Option<&str>| {
        let wanted = json!({"currentPassword": current, "newPassword": "An0ther-horse"});
        user.post("/auth/change-password", wanted).await
    };
    change(None).await.failed(403, "Password is required");
    change(Some("Wr0ng-horse")).await.failed(403, "Current password is incorrect");
    user.get("/auth/me").await.ok();
    let changed = change(Some(PASSWORD)).await.data();
    assert_eq!(changed["message"], "Password changed");
    user.has_ended().await;
    other.has_ended().await;
    let again = anonymous.clone().logged_in(&changed);
    again.get("/auth/me").await.ok();
    again.post("/auth/refresh-token", json!({"refreshToken": again.refresh_token})).await.ok();
    anonymous.post("/auth/login", login).await.failed(401, "Invalid email or password");
    let told = stack.mailed(EMAIL, "Your password was changed").await;
    assert!(told.text.contains("If that was not you"), "{}", told.text);
}

#[tokio::test]
async fn who_has_none_sets_a_password_with_a_code_of_the_phone() {
    let stack = Stack::builder().workers(["otp"]).without_limits().start().await;
    let otp = stack.otp(PHONE).await;
    let anonymous = stack.anonymous();
    let data = anonymous.post("/auth/verify-otp", json!({"phone": PHONE, "otp": otp})).await.data();
    let user = anonymous.clone().logged_in(&data);
    let set = |otp: Option<String>| json!({"currentOtp": otp, "newPassword": "An0ther-horse"});
    let refused = user.post("/auth/change-password", set(None)).await;
    refused.failed(403, "OTP of the current phone number is required");
    let otp = stack.otp(PHONE).await;
    user.post("/auth/change-password", set(Some(otp))).await.ok();
    let login = json!({"phone": PHONE, "password": "An0ther-horse"});
    anonymous.post("/auth/login", login).await.ok();
}

#[tokio::test]
async fn wrong_current_passwords_are_limited_by_user() {
    let stack = Stack::builder().workers([]).env("RATE_LIMIT_LOGIN_FAILURES", "2/1h").start().await;
    let user = registered(&stack).await;
    let change = async |current: &str| {
        let wanted = json!({"currentPassword": current, "newPassword": "An0ther-horse"});
        user.post("/auth/change-password", wanted).await
    };
    for _ in 0..2 {
        change("Wr0ng-horse").await.failed(403, "Current password is incorrect");
    }
    change(PASSWORD).await.failed(429, nexus_tests::refusals::TOO_MANY);
}

#[tokio::test]
async fn the_owner_is_told_of_a_reset_and_of_a_login_with_a_new_device() {
    let stack = Stack::builder().workers(["otp", "notifications"]).without_limits().start().await;
    let user = registered(&stack).await;
    stack.set_phone(&user, PHONE).await;
    let log_in = async |client: &Client, agent: &str, password: &str| {
        let request = client.request(nexus_tests::Method::POST, "/auth/login");
        let request = request.header("user-agent", agent);
        let login = json!({"email": EMAIL, "password": password});
        nexus_tests::Response::to(request.json(&login)).await.ok();
    };
    let told = async |subject: &str, count: usize| {
        eventually(&format!("{count} mails: {subject}"), SOON, async || {
            let mails = stack.providers.mail();
            let found = mails.iter().filter(|mail| mail.subject == subject).count();
            seen(found == count, mails.len()).map(drop)
        })
        .await;
    };
    // The same network with another client, and the other way round, are known.
    log_in(&user, "phone", PASSWORD).await;
    log_in(&stack.anonymous(), "phone", PASSWORD).await;
    log_in(&stack.anonymous(), "thief", PASSWORD).await;
    told("A new login to your account", 1).await;

    let otp = stack.otp(PHONE).await;
    let reset = json!({"phone": PHONE, "otp": otp, "newPassword": "An0ther-horse"});
    stack.anonymous().post("/auth/reset-password", reset).await.ok();
    told("Your password was reset", 1).await;
    told("A new login to your account", 1).await;
}
