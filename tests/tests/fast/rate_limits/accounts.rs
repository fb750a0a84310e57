//! Logins, registrations, codes and password resets: how often, and that strangers cannot keep an
//! owner out.

use nexus_sandbox::providers::OTHER_VERIFY_SID;
use nexus_tests::refusals::TOO_MANY;
use nexus_tests::shop::PASSWORD;
use nexus_tests::{Client, Method, Response, SOON, Stack, Value, eventually, json, seen};

use super::{EMAIL, PHONE, counts, log_in, owner, start, statuses};

pub(crate) async fn send_code(client: &Client, phone: &str) -> Response {
    client.post("/auth/send-otp", json!({"phone": phone})).await
}

async fn verify(client: &Client, code: &str) -> Response {
    client.post("/auth/verify-otp", json!({"phone": PHONE, "otp": code})).await
}

/// The code that a phone has got.
async fn code(stack: &Stack) -> String {
    eventually("the code arrives", SOON, async || {
        stack.providers.otp(PHONE).map(|otp| otp.code).ok_or_else(|| "none".to_owned())
    })
    .await
}

#[tokio::test]
async fn fifty_logins_at_once_over_two_processes_are_five() {
    let stack = Stack::builder().workers([]).api_processes(2).env("RATE_LIMIT_LOGIN", "5/15m");
    let stack = stack.start().await;
    let client = stack.anonymous();
    let logins = (0..50).map(|n| {
        let client = client.clone().at(&stack.api_url(n % 2));
        async move { log_in(&client, &format!("user-{n}@nexus.example"), "Wr0ng-horse").await }
    });
    counts(&statuses(logins).await, [(401, 5), (429, 45)]);
}

#[tokio::test]
async fn fifty_wrong_passwords_at_once_for_one_account_are_ten() {
    let stack = Stack::builder().workers([]).api_processes(2).start().await;
    owner(&stack).await;
    let logins = (0..50).map(|n| {
        let client = stack.anonymous().at(&stack.api_url(n % 2));
        async move { log_in(&client, EMAIL, "Wr0ng-horse").await }
    });
    counts(&statuses(logins).await, [(401, 10), (429, 40)]);
}

#[tokio::test]
async fn a_stranger_cannot_keep_an_owner_out() {
    let stack = start(&[("RATE_LIMIT_LOGIN_FAILURES", "3/1h")]).await;
    let owner = owner(&stack).await;
    for _ in 0..3 {
        log_in(&stack.anonymous(), EMAIL, "Wr0ng-horse")
            .await
            .failed(401, "Invalid email or password");
    }
    // Even the right password is not looked at any more,
    log_in(&stack.anonymous(), EMAIL, PASSWORD).await.failed(429, TOO_MANY);
    // except from where the owner has been before, whose mistakes count there.
    log_in(&owner, EMAIL, "Wr0ng-horse").await.failed(401, "Invalid email or password");
    log_in(&owner, EMAIL, PASSWORD).await.ok();

    // From anywhere else the owner has the code, and after it the password again.
    let elsewhere = stack.anonymous();
    send_code(&elsewhere, PHONE).await.ok();
    let code = code(&stack).await;
    verify(&elsewhere, &code).await.ok();
    log_in(&elsewhere, EMAIL, PASSWORD).await.ok();
}

/// Another code than this one.
fn wrong(code: &str) -> &'static str {
    if code == "000000" { "000001" } else { "000000" }
}

async fn verify_with(client: &Client, code: &str, challenge: &Value) -> Response {
    let body = json!({"phone": PHONE, "otp": code, "challenge_id": challenge});
    client.post("/auth/verify-otp", body).await
}

const WRONG: &str = "Invalid OTP. Please try again.";
const ANOTHER: &str = "Maximum verification attempts reached. Please request a new OTP.";
const EXPIRED: &str = "OTP not found or expired. Please request a new OTP.";

#[tokio::test]
async fn a_stranger_cannot_use_up_an_owners_codes() {
    let stack = start(&[("RATE_LIMIT_PASSWORD_RESET", "1/1h")]).await;
    let owner = owner(&stack).await;
    for _ in 0..5 {
        send_code(&stack.anonymous(), PHONE).await.ok();
    }
    send_code(&stack.anonymous(), PHONE).await.failed(429, TOO_MANY);
    send_code(&owner, PHONE).await.ok();

    let code = code(&stack).await;
    let reset = |otp: &str| json!({"phone": PHONE, "otp": otp, "newPassword": "An0ther-horse"});
    let with_wrong = stack.anonymous().post("/auth/reset-password", reset(wrong(&code))).await;
    with_wrong.failed(401, WRONG);
    // Neither way is left to strangers, and the owner has both.
    verify(&stack.anonymous(), &code).await.failed(429, ANOTHER);
    stack.anonymous().post("/auth/reset-password", reset(&code)).await.failed(429, TOO_MANY);
    owner.post("/auth/reset-password", reset(&code)).await.ok();
    log_in(&owner, EMAIL, "An0ther-horse").await.ok();
}

#[tokio::test]
async fn strangers_wrong_codes_leave_the_owner_tries_at_home_and_when_logged_in() {
    for is_logged_in in [false, true] {
        let stack = start(&[]).await;
        let owner = owner(&stack).await;
        let askers = [stack.anonymous(), stack.anonymous()];
        for asker in &askers {
            send_code(asker, PHONE).await.ok();
        }
        let code = code(&stack).await;
        let mut guesses = Vec::new();
        for stranger in askers.iter().chain([&stack.anonymous(), &stack.anonymous()]) {
            for _ in 0..3 {
                guesses.push(verify(stranger, wrong(&code)).await.status);
            }
        }
        // Three by those who have asked, one by all others: Twilio checks five.
        assert_eq!(guesses, [401, 401, 429, 401, 429, 429, 401, 429, 429, 429, 429, 429]);
        let owner = match is_logged_in {
            false => owner,
            true => {
                let user = stack.row("SELECT id FROM users").await["id"].as_i64().unwrap();
                stack.anonymous().with_token(user, stack.mint_token(user))
            }
        };
        verify(&owner, wrong(&code)).await.failed(401, WRONG);
        verify(&owner, wrong(&code)).await.failed(429, ANOTHER);
        if is_logged_in {
            continue;
        }
        send_code(&owner, PHONE).await.ok();
        let another = eventually("another code comes", SOON, async || {
            let now = stack.providers.otp(PHONE).map(|otp| otp.code);
            now.filter(|now| *now != code).ok_or_else(|| "the same".to_owned())
        })
        .await;
        verify(&owner, &another).await.ok();
    }
}

#[tokio::test]
async fn the_owner_logs_in_at_home_with_the_code_that_strangers_have_guessed_at() {
    let stack = start(&[]).await;
    let owner = owner(&stack).await;
    send_code(&owner, PHONE).await.ok();
    let code = code(&stack).await;
    for _ in 0..5 {
        verify(&stack.anonymous(), wrong(&code)).await;
    }
    verify(&owner, &code).await.ok();
}

#[tokio::test]
async fn wrong_codes_spend_the_challenge_of_who_guesses_even_behind_one_address() {
    let stack = start(&[]).await;
    let stranger = stack.anonymous();
    let asha = stranger.clone();
    let theirs = send_code(&stranger, PHONE).await.data()["challenge_id"].clone();
    let own = send_code(&asha, PHONE).await.data()["challenge_id"].clone();
    assert_ne!(theirs, own);
    let code = code(&stack).await;
    for status in [401, 401, 429, 429, 429] {
        assert_eq!(verify_with(&stranger, wrong(&code), &theirs).await.status, status);
    }
    verify_with(&asha, &code, &own).await.ok();
}

#[tokio::test]
async fn after_a_wrong_guess_another_code_comes_with_all_its_tries() {
    let stack = start(&[]).await;
    let asha = stack.anonymous();
    send_code(&asha, PHONE).await.ok();
    let first = code(&stack).await;
    for _ in 0..2 {
        verify(&asha, wrong(&first)).await.failed(401, WRONG);
    }
    verify(&asha, &first).await.failed(429, ANOTHER);
    send_code(&asha, PHONE).await.ok();
    let second = eventually("another code comes", SOON, async || {
        let now = stack.providers.otp(PHONE).map(|otp| otp.code);
        now.filter(|now| *now != first).ok_or_else(|| "the same".to_owned())
    })
    .await;
    verify(&asha, wrong(&second)).await.failed(401, WRONG);
    verify(&asha, &second).await.ok();
}

#[tokio::test]
async fn a_challenge_is_good_for_its_phone_and_purpose_and_a_made_up_one_for_nothing() {
    let stack = start(&[]).await;
    let asha = stack.anonymous();
    let send = async |phone: &str, purpose: &str| {
        let sent = asha.post("/auth/send-otp", json!({"phone": phone, "purpose": purpose})).await;
        sent.data()["challenge_id"].clone()
    };
    asha.post("/auth/send-otp", json!({"phone": PHONE, "purpose": "ring"}))
        .await
        .failed(400, "purpose must be login or reset_password");
    let to_reset = send(PHONE, "reset_password").await;
    let of_another = send("+919812345679", "login").await;
    let code = code(&stack).await;
    for challenge in [&to_reset, &of_another, &json!("invented")] {
        verify_with(&asha, &code, challenge).await.failed(410, EXPIRED);
    }
    let to_log_in = send(PHONE, "login").await;
    let reset = json!({"phone": PHONE, "otp": code, "newPassword": "An0ther-horse", "challenge_id": to_log_in});
    asha.post("/auth/reset-password", reset).await.failed(410, EXPIRED);
    verify_with(&asha, &code, &to_log_in).await.ok();
}

#[tokio::test]
async fn with_a_service_of_their_own_only_codes_for_it_reset_passwords() {
    let stack = start(&[("TWILIO_VERIFY_RESET_SID", OTHER_VERIFY_SID)]).await;
    let owner = owner(&stack).await;
    let reset = |otp: &str| json!({"phone": PHONE, "otp": otp, "newPassword": "An0ther-horse"});
    send_code(&owner, PHONE).await.ok();
    let general = code(&stack).await;
    // As if it had never been sent.
    owner.post("/auth/reset-password", reset(&general)).await.failed(410, EXPIRED);
    owner.post("/auth/send-otp", json!({"phone": PHONE, "purpose": "reset_password"})).await.ok();
    let own = eventually("the other code arrives", SOON, async || {
        let sent = stack.providers.otp_of(OTHER_VERIFY_SID, PHONE);
        sent.map(|otp| otp.code).ok_or_else(|| "none".to_owned())
    })
    .await;
    if own != general {
        verify(&owner, &own).await.failed(401, WRONG);
    }
    owner.post("/auth/reset-password", reset(&own)).await.ok();
    log_in(&owner, EMAIL, "An0ther-horse").await.ok();
}

#[tokio::test]
async fn only_wrong_passwords_count_for_an_account() {
    let stack = start(&[("RATE_LIMIT_LOGIN_FAILURES", "2/1h")]).await;
    owner(&stack).await;
    for _ in 0..4 {
        log_in(&stack.anonymous(), EMAIL, PASSWORD).await.ok();
    }
    for _ in 0..2 {
        log_in(&stack.anonymous(), EMAIL, "Wr0ng-horse")
            .await
            .failed(401, "Invalid email or password");
    }
    log_in(&stack.anonymous(), EMAIL, PASSWORD).await.failed(429, TOO_MANY);
}

#[tokio::test]
async fn limits_do_not_tell_whether_there_is_an_account() {
    let stack = start(&[("RATE_LIMIT_LOGIN_FAILURES", "2/1h")]).await;
    owner(&stack).await;
    let mut told = Vec::new();
    for email in [EMAIL, "nobody@nexus.example"] {
        let mut responses = Vec::new();
        for _ in 0..3 {
            let mut response = log_in(&stack.anonymous(), email, "Wr0ng-horse").await;
            for varying in ["request_id", "retryAfter"] {
                response.body["error"].as_object_mut().unwrap().remove(varying);
            }
            responses.push((response.status, response.body));
        }
        told.push(responses);
    }
    assert_eq!(told[0], told[1]);
    assert_eq!(told[0][2].0, 429);
}

#[tokio::test]
async fn registrations_and_resets_are_limited_and_input_that_breaks_a_rule_does_not_count() {
    let stack = start(&[("RATE_LIMIT_REGISTRATION", "3/1h")]).await;
    let client = stack.anonymous();
    let register = async |n: usize, password: &str| {
        let account = json!({"email": format!("user-{n}@nexus.example"), "password": password});
        client.post("/auth/register", account).await
    };
    for n in 0..3 {
        assert_eq!(register(n, "weak").await.status, 400);
        register(n, PASSWORD).await.ok();
    }
    register(3, PASSWORD).await.failed(429, TOO_MANY);
    assert_eq!(register(3, "weak").await.status, 400);

    let reset = json!({"phone": PHONE, "otp": "123456", "newPassword": PASSWORD});
    for _ in 0..3 {
        assert_eq!(client.post("/auth/reset-password", reset.clone()).await.status, 410);
    }
    client.post("/auth/reset-password", reset.clone()).await.failed(429, TOO_MANY);
    stack.anonymous().post("/auth/reset-password", reset).await.failed(429, TOO_MANY);
}

#[tokio::test]
async fn codes_are_limited_by_address_and_by_country_and_a_refused_one_counts_for_neither() {
    let settings = [
        ("OTP_DAILY_CAP", "91:70,*:10"),
        ("OTP_FREE_PERCENT", "10"),
        ("RATE_LIMIT_OTP_SEND_ADDRESS", "3/30m"),
    ];
    let stack = start(&settings).await;
    let client = stack.anonymous();
    for n in 0..3 {
        send_code(&client, &format!("+9198123456{n:02}")).await.ok();
    }
    for n in 3..10 {
        send_code(&client, &format!("+9198123456{n:02}")).await.failed(429, TOO_MANY);
    }
    for n in 3..7 {
        send_code(&stack.anonymous(), &format!("+9198123456{n:02}")).await.ok();
    }
    send_code(&stack.anonymous(), "+919812345607").await.failed(429, TOO_MANY);
    for country in ["+44770090012", "+35381234567"] {
        send_code(&stack.anonymous(), &format!("{country}1")).await.ok();
        send_code(&stack.anonymous(), &format!("{country}2")).await.failed(429, TOO_MANY);
    }
}

#[tokio::test]
async fn operators_logins_are_limited_like_everybodys() {
    let stack = start(&[("RATE_LIMIT_LOGIN", "5/15m")]).await;
    let client = stack.anonymous();
    let address = client.address().to_string();
    let log_in_there = async || {
        let request =
            client.request_root(Method::POST, "/admin/login").header("x-forwarded-for", &address);
        request.form(&[("login", EMAIL), ("password", "Wr0ng-horse")]).send().await.unwrap()
    };
    for _ in 0..5 {
        assert_eq!(log_in_there().await.status(), 401);
    }
    let refused = log_in_there().await;
    assert_eq!(refused.status(), 429);
    assert!(refused.headers().contains_key("retry-after"));
    assert!(refused.text().await.unwrap().contains("Too many attempts"));
    log_in(&client, EMAIL, PASSWORD).await.failed(429, TOO_MANY);
}

#[tokio::test]
async fn the_newest_networks_of_an_account_are_remembered_for_a_while() {
    let stack = Stack::builder().workers(["cleanup"]).start().await;
    let owner = owner(&stack).await;
    let user = stack.row("SELECT id FROM users").await["id"].as_i64().unwrap();
    let old = format!(
        "INSERT INTO login_networks SELECT {user}, '192.0.2.' || n, now() - interval '1 day' * n FROM generate_series(1, 30) n"
    );
    assert_eq!(stack.execute(&old).await, 30);
    log_in(&owner, EMAIL, PASSWORD).await.ok();
    assert_eq!(stack.count("login_networks").await, 20);
    let networks: Vec<Value> =
        stack.rows("SELECT network FROM login_networks ORDER BY last_login_at DESC").await;
    assert_eq!(networks[0]["network"], owner.address().to_string());
    assert_eq!(networks[19]["network"], "192.0.2.19");

    stack.execute("UPDATE login_networks SET last_login_at = now() - interval '91 days'").await;
    stack.run_now("cleanup", "clean_up").await;
    eventually("old networks are forgotten", SOON, async || {
        let left = stack.count("login_networks").await;
        seen(left == 0, left)
    })
    .await;
}
