//! How often somebody may ask (`docs/limits.md`): each limit at its edge, for whom it counts, and that none of them keeps out whoever has done
//! nothing.

#![allow(clippy::expect_used, clippy::unwrap_used, clippy::panic, reason = "helpers of tests are tests")]

use std::future::Future;
use std::process::Command;
use std::time::{Duration, Instant};

use futures_util::future::join_all;
use nexus_tests::client::http_client;
use nexus_tests::program::Program;
use nexus_tests::shop::PASSWORD;
use nexus_tests::{Answer, Client, Method, Outcome, SOON, Stack, Value, eventually, json, seen};

const TOO_MANY: &str = "Too many requests. Please try again later.";
const PHONE: &str = "+919812345678";
const EMAIL: &str = "asha@nexus.example";

async fn start(settings: &[(&str, &str)]) -> Stack {
    let builder = Stack::builder().workers(["otp"]);
    settings.iter().fold(builder, |builder, (name, value)| builder.env(name, value)).start().await
}

/// Sends all at once; returns their statuses, sorted.
async fn statuses<F: Future<Output = Answer>>(requests: impl IntoIterator<Item = F>) -> Vec<u16> {
    let mut statuses: Vec<u16> = join_all(requests).await.iter().map(|answer| answer.status).collect();
    statuses.sort_unstable();
    statuses
}

/// So many of one and so many of another.
fn counts(statuses: &[u16], expected: [(u16, usize); 2]) {
    let expected: Vec<u16> =
        expected.iter().flat_map(|(status, count)| std::iter::repeat_n(*status, *count)).collect();
    assert_eq!(statuses, expected);
}

async fn log_in(client: &Client, login: &str, password: &str) -> Answer {
    let field = if login.starts_with('+') { "phone" } else { "email" };
    client.post("/auth/login", json!({field: login, "password": password})).await
}

async fn send_code(client: &Client, phone: &str) -> Answer {
    client.post("/auth/send-otp", json!({"phone": phone})).await
}

async fn verify(client: &Client, code: &str) -> Answer {
    client.post("/auth/verify-otp", json!({"phone": PHONE, "otp": code})).await
}

/// The code that a phone has got.
async fn code(stack: &Stack) -> String {
    eventually("the code arrives", SOON, async || {
        stack.providers.otp(PHONE).map(|otp| otp.code).ok_or_else(|| "none".to_owned())
    })
    .await
}

/// Somebody with an account, at the address from which it was made.
async fn owner(stack: &Stack) -> Client {
    let owner = stack.anonymous();
    owner.post("/auth/register", json!({"email": EMAIL, "phone": PHONE, "password": PASSWORD})).await.ok();
    owner
}

/// Requests that come from there.
async fn get_from(stack: &Stack, forwarded_for: &str) -> Answer {
    let url = stack.anonymous().url_of("/events");
    Answer::to(http_client().get(url).header("x-forwarded-for", forwarded_for)).await
}

#[tokio::test]
async fn the_last_one_allowed_passes_the_next_is_told_when_to_try_again_and_then_passes() {
    let stack = start(&[("RATE_LIMIT_ANONYMOUS", "3/5s")]).await;
    let client = stack.anonymous();
    for left in [2, 1, 0] {
        let answer = client.get("/events").await;
        assert_eq!(answer.status, 200, "{answer}");
        assert_eq!(answer.headers["x-ratelimit-limit"], "3");
        assert_eq!(answer.headers["x-ratelimit-remaining"], left.to_string());
    }
    let refused = client.get("/events").await;
    refused.failed(429, TOO_MANY);
    let error = &refused.body["error"];
    assert_eq!(
        (&error["code"], &error["limit"], &error["current"]),
        (&json!("rate_limited"), &json!(3), &json!(3))
    );
    let wait = error["retryAfter"].as_u64().unwrap();
    assert!((1..=5).contains(&wait), "{refused}");
    assert_eq!(refused.headers["retry-after"], wait.to_string());
    assert_eq!(refused.headers["x-ratelimit-remaining"], "0");
    // Others are not concerned.
    stack.anonymous().get("/events").await.ok();
    let booking = client.get("/bookings/1").await;
    assert_eq!((booking.status, &booking.body["success"]), (429, &json!(false)), "{booking}");

    // Refusals have not counted.
    tokio::time::sleep(Duration::from_secs(wait)).await;
    client.get("/events").await.ok();
}

#[tokio::test]
async fn pages_of_the_frontend_may_read_when_to_try_again() {
    let stack = start(&[("RATE_LIMIT_ANONYMOUS", "1/1m")]).await;
    let client = stack.anonymous();
    client.get("/events").await.ok();
    let from_page = client.request(Method::GET, "/events").header("origin", "http://localhost:5173");
    let refused = Answer::to(from_page).await;
    assert_eq!(refused.status, 429, "{refused}");
    assert_eq!(refused.headers["access-control-allow-origin"], "http://localhost:5173");
    let exposed = refused.headers["access-control-expose-headers"].to_str().unwrap();
    for name in ["retry-after", "x-ratelimit-limit", "x-ratelimit-remaining", "x-ratelimit-reset"] {
        assert!(exposed.contains(name), "{name} in {exposed}");
    }
}

#[tokio::test]
async fn fifty_logins_at_once_over_two_processes_are_five() {
    let stack = Stack::builder().workers([]).api_processes(2).start().await;
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
    let stack = start(&[("RATE_LIMIT_LOGIN_FAILURES", "3/1h"), ("RATE_LIMIT_OTP_FAILURES", "3/1h")]).await;
    let owner = owner(&stack).await;
    for _ in 0..3 {
        log_in(&stack.anonymous(), EMAIL, "Wr0ng-horse").await.failed(401, "Invalid email or password");
    }
    // Even the right password is not looked at any more,
    log_in(&stack.anonymous(), EMAIL, PASSWORD).await.failed(429, TOO_MANY);
    // except from where the owner has been before, whose mistakes count there.
    log_in(&owner, EMAIL, "Wr0ng-horse").await.failed(401, "Invalid email or password");
    log_in(&owner, EMAIL, PASSWORD).await.ok();

    // From anywhere else there is the code, and with it the password again.
    let elsewhere = stack.anonymous();
    send_code(&elsewhere, PHONE).await.ok();
    let code = code(&stack).await;
    verify(&elsewhere, &code).await.ok();
    log_in(&elsewhere, EMAIL, PASSWORD).await.ok();
}

#[tokio::test]
async fn a_stranger_cannot_use_up_an_owners_codes() {
    let stack = start(&[("RATE_LIMIT_OTP_FAILURES", "3/1h"), ("RATE_LIMIT_PASSWORD_RESET", "1/1h")]).await;
    let owner = owner(&stack).await;
    for _ in 0..5 {
        send_code(&stack.anonymous(), PHONE).await.ok();
    }
    send_code(&stack.anonymous(), PHONE).await.failed(429, TOO_MANY);
    send_code(&owner, PHONE).await.ok();

    let code = code(&stack).await;
    let wrong = if code == "000000" { "000001" } else { "000000" };
    for _ in 0..2 {
        verify(&stack.anonymous(), wrong).await.failed(401, "Invalid OTP. Please try again.");
    }
    let reset = |otp: &str| json!({"phone": PHONE, "otp": otp, "newPassword": "An0ther-horse"});
    let with_wrong = stack.anonymous().post("/auth/reset-password", reset(wrong)).await;
    with_wrong.failed(401, "Invalid OTP. Please try again.");
    // Neither way is left to strangers, and the owner has both.
    verify(&stack.anonymous(), &code).await.failed(429, TOO_MANY);
    stack.anonymous().post("/auth/reset-password", reset(&code)).await.failed(429, TOO_MANY);
    owner.post("/auth/reset-password", reset(&code)).await.ok();
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
        log_in(&stack.anonymous(), EMAIL, "Wr0ng-horse").await.failed(401, "Invalid email or password");
    }
    log_in(&stack.anonymous(), EMAIL, PASSWORD).await.failed(429, TOO_MANY);
}

#[tokio::test]
async fn limits_do_not_tell_whether_there_is_an_account() {
    let stack = start(&[("RATE_LIMIT_LOGIN_FAILURES", "2/1h")]).await;
    owner(&stack).await;
    let mut told = Vec::new();
    for email in [EMAIL, "nobody@nexus.example"] {
        let mut answers = Vec::new();
        for _ in 0..3 {
            let mut answer = log_in(&stack.anonymous(), email, "Wr0ng-horse").await;
            for varying in ["request_id", "retryAfter"] {
                answer.body["error"].as_object_mut().unwrap().remove(varying);
            }
            answers.push((answer.status, answer.body));
        }
        told.push(answers);
    }
    assert_eq!(told[0], told[1]);
    assert_eq!(told[0][2].0, 429);
}

#[tokio::test]
async fn registrations_and_resets_are_limited_and_input_that_breaks_a_rule_does_not_count() {
    let stack = start(&[]).await;
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
    let stack = start(&[("OTP_DAILY_CAP", "91:7,*:1"), ("RATE_LIMIT_OTP_SEND", "3/30m")]).await;
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
async fn a_user_has_one_budget_wherever_from_and_an_invalid_token_none() {
    let stack = start(&[("RATE_LIMIT_USER", "4/1m"), ("RATE_LIMIT_ANONYMOUS", "2/1m")]).await;
    let user = stack.user().await;
    let elsewhere = stack.anonymous().with_token(user.id, stack.mint_token(user.id));
    for client in [&user, &elsewhere, &user, &elsewhere] {
        client.get("/auth/me").await.ok();
    }
    user.get("/auth/me").await.failed(429, TOO_MANY);
    elsewhere.get("/events").await.failed(429, TOO_MANY);

    let liar = stack.anonymous().with_token(1, "not.a.token");
    for _ in 0..2 {
        liar.get("/auth/me").await.failed(401, "Invalid or expired access token");
    }
    liar.get("/auth/me").await.failed(429, TOO_MANY);
}

#[tokio::test]
async fn who_is_no_proxy_of_ours_cannot_choose_an_address() {
    let stack = start(&[("RATE_LIMIT_ANONYMOUS", "3/1m"), ("TRUSTED_PROXIES", "192.0.2.1")]).await;
    for _ in 0..3 {
        stack.anonymous().get("/events").await.ok();
    }
    stack.anonymous().get("/events").await.failed(429, TOO_MANY);
}

#[tokio::test]
async fn behind_our_proxies_the_address_is_the_last_that_is_none_and_ipv6_counts_by_64() {
    let stack = start(&[("RATE_LIMIT_ANONYMOUS", "2/1m")]).await;
    for client in [
        ["198.51.100.1", "203.0.113.9, 198.51.100.1", "203.0.113.8, 198.51.100.1, 127.0.0.2"],
        ["2001:db8:1:2::1", "2001:db8:1:2::2", "2001:db8:1:2:ffff::3"],
        ["198.51.100.2", "::ffff:198.51.100.2", "198.51.100.2:4711"],
        // Beyond what is no address nothing is believed: it is the proxy's.
        ["203.0.113.1, garbage", "203.0.113.2, garbage", "203.0.113.3, 1.2.3"],
    ] {
        get_from(&stack, client[0]).await.ok();
        get_from(&stack, client[1]).await.ok();
        get_from(&stack, client[2]).await.failed(429, TOO_MANY);
    }
    get_from(&stack, "2001:db8:1:3::1").await.ok();
}

#[tokio::test]
async fn without_redis_the_process_counts_and_redis_counts_again_when_it_is_back() {
    let mut stack = start(&[("RATE_LIMIT_ANONYMOUS", "5/1h")]).await;
    let five_of_eight = async |stack: &Stack| {
        let client = stack.anonymous();
        counts(&statuses((0..8).map(|_| client.get("/events"))).await, [(200, 5), (429, 3)]);
        client
    };
    five_of_eight(&stack).await;
    stack.redis.kill().await.unwrap();
    let meanwhile = five_of_eight(&stack).await;
    meanwhile.get("/events").await.failed(429, TOO_MANY);
    for _ in 0..10 {
        assert_ne!(log_in(&meanwhile, EMAIL, PASSWORD).await.status, 401, "the same address");
    }

    stack.redis.restart().await.unwrap();
    eventually("Redis counts again", SOON, async || {
        stack.anonymous().get("/events").await.ok();
        let keys = stack.redis_keys().await;
        seen(keys.iter().any(|key| key.starts_with("limit:anonymous:")), keys).map(drop)
    })
    .await;
    five_of_eight(&stack).await;
}

#[tokio::test]
async fn a_redis_that_hangs_delays_nobody_for_long() {
    let stack = start(&[("RATE_LIMIT_ANONYMOUS", "5/1h")]).await;
    let (client, redis) = (stack.anonymous(), stack.redis.id().unwrap().to_string());
    let signal =
        |signal: &str| assert!(Command::new("kill").args([signal, &redis]).status().unwrap().success());
    signal("-STOP");
    let started = Instant::now();
    let asked = statuses((0..8).map(|_| client.get("/events"))).await;
    let took = started.elapsed();
    signal("-CONT");
    counts(&asked, [(200, 5), (429, 3)]);
    // Redis gets a second, whoever asks; the rest is a busy machine's.
    assert!(took < Duration::from_secs(15), "{took:?}");
}

#[tokio::test]
async fn what_redis_remembers_names_nobody_and_expires() {
    let stack = start(&[]).await;
    let owner = owner(&stack).await;
    send_code(&owner, PHONE).await.ok();
    log_in(&owner, EMAIL, "Wr0ng-horse").await.failed(401, "Invalid email or password");
    let keys = stack.redis_keys().await;
    let limits: Vec<_> = keys.iter().filter(|key| key.starts_with("limit:")).collect();
    assert!(limits.len() >= 6, "{keys:?}");
    for key in limits {
        for name in [EMAIL, &PHONE[3..], &owner.address().to_string()] {
            assert!(!key.contains(name), "{key}");
        }
        let left = stack.redis_command(&format!("PTTL {key}")).await;
        assert!(left.trim_start_matches(':').parse::<i64>().unwrap() > 0, "{key} stays for ever: {left}");
    }
}

#[tokio::test]
async fn operators_logins_are_limited_like_everybodys() {
    let stack = start(&[]).await;
    let client = stack.anonymous();
    let address = client.address().to_string();
    let log_in_there = async || {
        let request = client.request_root(Method::POST, "/admin/login").header("x-forwarded-for", &address);
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
async fn webhooks_are_taken_however_many_forged_ones_come_from_the_same_address() {
    let stack = Stack::builder().workers(["payments"]).env("RATE_LIMIT_ANONYMOUS", "1/1h").start().await;
    let (buyer, _, booking, order) = stack.booked().await;
    let url = stack.anonymous().url_of("/payments/webhook");
    for _ in 0..10 {
        let forged = http_client().post(&url).header("x-razorpay-signature", "0".repeat(64)).json(&json!({}));
        assert_eq!(Answer::to(forged).await.status, 400);
    }
    stack.pay(&order, Outcome::Captured);
    stack.until_booking(&buyer, &booking, "confirmed", "completed").await;
    for path in ["/health", "/ready", "/"] {
        for _ in 0..3 {
            assert_eq!(stack.anonymous().get_root(path).await.status, 200);
        }
    }
}

#[tokio::test]
async fn what_is_refused_is_counted_and_logged_without_a_name() {
    let stack = Stack::builder().workers([]).measured().env("RATE_LIMIT_ANONYMOUS", "1/1h");
    let mut stack = stack.start().await;
    let client = stack.anonymous();
    client.get("/events").await.ok();
    client.get("/events").await.failed(429, TOO_MANY);
    let counted = r#"nexus_rate_limited_total{limit="anonymous"}"#;
    let url = stack.metrics_urls()["api"].clone();
    nexus_tests::metrics::Metrics::until(&url, counted, |page| page.value(counted) == Some(1.0)).await;
    let log = stack.api(0).log();
    let lines: Vec<_> = log.lines().filter(|line| line.contains("rate_limited")).collect();
    assert_eq!(lines.len(), 1, "{lines:?}");
    assert!(
        lines[0].contains("status=429") && !lines[0].contains(&client.address().to_string()),
        "{lines:?}"
    );
}

#[tokio::test]
async fn limits_that_cannot_be_read_and_no_limits_in_production_are_refused() {
    let stack = Stack::builder().workers([]).start().await;
    let check = async |settings: &[(&str, &str)]| {
        let mut env = stack.env().clone();
        env.retain(|(name, _)| settings.iter().all(|(changed, _)| changed != name));
        env.extend(settings.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())));
        let name = format!("check-{}", settings.len());
        let mut program = Program::new(&name, "nexus-api", &["check-config"], env, stack.dir());
        program.start();
        (program.exit_code().await, program.log())
    };
    let wrong = [
        ("RATE_LIMIT_LOGIN", "hunter2"),
        ("RATE_LIMIT_USER", "0/1m"),
        ("RATE_LIMIT_OTP_SEND", "5/2d"),
        ("OTP_DAILY_CAP", "91:hunter3"),
        ("TRUSTED_PROXIES", "10.0.0.0/33"),
        ("RATE_LIMITS", "off"),
        ("NODE_ENV", "production"),
    ];
    let (code, said) = check(&wrong).await;
    assert_eq!(code, Some(78), "{said}");
    for (name, value) in &wrong[..5] {
        assert!(said.contains(name) && !said.contains(value), "{name}: {said}");
    }
    assert!(said.contains("RATE_LIMITS=off is refused when NODE_ENV is production"), "{said}");
    let (code, said) = check(&[("RATE_LIMITS", "off")]).await;
    assert_eq!(code, Some(0), "{said}");
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
    let clean_up = "INSERT INTO jobs (id, queue, kind, payload, max_attempts) VALUES (gen_random_uuid(), 'cleanup', 'clean_up', '{}', 3)";
    stack.execute(clean_up).await;
    eventually("old networks are forgotten", SOON, async || {
        let left = stack.count("login_networks").await;
        seen(left == 0, left)
    })
    .await;
}
