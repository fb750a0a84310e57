//! How often a client may ask (`docs/limits.md`): each limit at its edge, for whom it counts, and
//! that none of them keeps out the innocent.

mod accounts;
mod messages;
mod networks;

use nexus_tests::refusals::TOO_MANY;
use std::future::Future;
use std::process::Command;
use std::time::{Duration, Instant};

use futures_util::future::join_all;
use nexus_tests::client::http_client;
use nexus_tests::program::Program;
use nexus_tests::shop::PASSWORD;
use nexus_tests::{Client, Method, Outcome, Response, SOON, Stack, eventually, json, seen};

const PHONE: &str = "+919812345678";
const EMAIL: &str = "asha@nexus.example";

async fn start(settings: &[(&str, &str)]) -> Stack {
    Stack::builder().workers(["otp"]).settings(settings).start().await
}

/// Sends all at once; returns their statuses, sorted.
async fn statuses<F: Future<Output = Response>>(requests: impl IntoIterator<Item = F>) -> Vec<u16> {
    let mut statuses: Vec<u16> =
        join_all(requests).await.iter().map(|response| response.status).collect();
    statuses.sort_unstable();
    statuses
}

/// So many of one and so many of another.
fn counts(statuses: &[u16], expected: [(u16, usize); 2]) {
    let expected: Vec<u16> =
        expected.iter().flat_map(|(status, count)| std::iter::repeat_n(*status, *count)).collect();
    assert_eq!(statuses, expected);
}

async fn log_in(client: &Client, login: &str, password: &str) -> Response {
    let field = if login.starts_with('+') { "phone" } else { "email" };
    client.post("/auth/login", json!({field: login, "password": password})).await
}

/// A user who has proved phone and address, at the network address from which the account was made.
async fn owner(stack: &Stack) -> Client {
    let owner = stack.anonymous();
    owner
        .post("/auth/register", json!({"email": EMAIL, "phone": PHONE, "password": PASSWORD}))
        .await
        .ok();
    stack.execute("UPDATE users SET email_verified_at = now(), phone_verified_at = now()").await;
    owner
}

/// Requests that come from there.
async fn get_from(stack: &Stack, forwarded_for: &str) -> Response {
    let url = stack.anonymous().url_of("/events");
    Response::to(http_client().get(url).header("x-forwarded-for", forwarded_for)).await
}

#[tokio::test]
async fn the_last_one_allowed_passes_the_next_is_told_when_to_try_again_and_then_passes() {
    let stack = start(&[("RATE_LIMIT_ANONYMOUS", "3/5s")]).await;
    let client = stack.anonymous();
    for left in [2, 1, 0] {
        let response = client.get("/events").await;
        assert_eq!(response.status, 200, "{response}");
        assert_eq!(response.headers["x-ratelimit-limit"], "3");
        assert_eq!(response.headers["x-ratelimit-remaining"], left.to_string());
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
    let from_page =
        client.request(Method::GET, "/events").header("origin", "http://localhost:5173");
    let refused = Response::to(from_page).await;
    assert_eq!(refused.status, 429, "{refused}");
    assert_eq!(refused.headers["access-control-allow-origin"], "http://localhost:5173");
    let exposed = refused.headers["access-control-expose-headers"].to_str().unwrap();
    for name in ["retry-after", "x-ratelimit-limit", "x-ratelimit-remaining", "x-ratelimit-reset"] {
        assert!(exposed.contains(name), "{name} in {exposed}");
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
async fn requests_that_come_at_once_are_each_counted_for_their_user() {
    let settings = [
        ("RATE_LIMIT_USER", "5/1h"),
        ("RATE_LIMIT_LOGIN", "7/1h"),
        ("RATE_LIMIT_ANONYMOUS", "50/1h"),
    ];
    let stack = start(&settings).await;
    let owner = owner(&stack).await;
    let users = [stack.user().await, stack.user().await, stack.user().await];
    let lists = users.iter().map(|user| statuses((0..20).map(|_| user.get("/auth/me"))));
    // Each of these counts for two budgets.
    let logins = statuses((0..20).map(|_| log_in(&owner, EMAIL, "wrong-password-1")));
    let (lists, logins) = tokio::join!(join_all(lists), logins);
    for list in lists {
        counts(&list, [(200, 5), (429, 15)]);
    }
    counts(&logins, [(401, 7), (429, 13)]);
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
        // Nothing beyond an entry that is no address is believed: the proxy's address counts.
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
    let signal = |signal: &str| {
        assert!(Command::new("kill").args([signal, &redis]).status().unwrap().success())
    };
    signal("-STOP");
    let started = Instant::now();
    let asked = statuses((0..8).map(|_| client.get("/events"))).await;
    let took = started.elapsed();
    signal("-CONT");
    counts(&asked, [(200, 5), (429, 3)]);
    // The process waits a second for Redis; the rest is for a busy machine.
    assert!(took < Duration::from_secs(15), "{took:?}");
}

#[tokio::test]
async fn what_redis_remembers_names_nobody_and_expires() {
    let stack = start(&[]).await;
    let owner = owner(&stack).await;
    accounts::send_code(&owner, PHONE).await.ok();
    log_in(&owner, EMAIL, "Wr0ng-horse").await.failed(401, "Invalid email or password");
    let keys = stack.redis_keys().await;
    let limits: Vec<_> = keys.iter().filter(|key| key.starts_with("limit:")).collect();
    assert!(limits.len() >= 6, "{keys:?}");
    for key in limits {
        for name in [EMAIL, &PHONE[3..], &owner.address().to_string()] {
            assert!(!key.contains(name), "{key}");
        }
        let left = stack.redis_command(&format!("PTTL {key}")).await;
        assert!(
            left.trim_start_matches(':').parse::<i64>().unwrap() > 0,
            "{key} stays for ever: {left}"
        );
    }
}

#[tokio::test]
async fn webhooks_are_taken_however_many_forged_ones_come_from_the_same_address() {
    let stack =
        Stack::builder().workers(["payments"]).env("RATE_LIMIT_ANONYMOUS", "1/1h").start().await;
    let (buyer, _, booking, order) = stack.booked().await;
    let url = stack.anonymous().url_of("/payments/webhook");
    for _ in 0..10 {
        let forged = http_client()
            .post(&url)
            .header("x-razorpay-signature", "0".repeat(64))
            .json(&json!({}));
        assert_eq!(Response::to(forged).await.status, 400);
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
async fn the_operators_pages_count_for_the_user_of_their_cookie_or_for_the_address() {
    // The login looks at a page, too.
    let stack = start(&[("RATE_LIMIT_USER", "4/1h"), ("RATE_LIMIT_ANONYMOUS", "4/1h")]).await;
    let admin = stack.admin().await;
    let url = format!("{}/admin", stack.api_url(0));
    let page = async |cookie: &str| {
        Response::to(http_client().get(&url).header("cookie", cookie)).await.status
    };
    let own = admin.operator.as_ref().unwrap().cookie.clone();
    let mut asked = Vec::new();
    for _ in 0..4 {
        asked.push(page(&own).await);
    }
    assert_eq!(asked, [200, 200, 200, 429]);
    admin.get("/auth/me").await.failed(429, TOO_MANY);

    let stranger = stack.anonymous();
    let mut asked = Vec::new();
    for path in ["/admin", "/admin/login", "/admin/style.css", "/admin/nothing", "/ADMIN/"] {
        asked.push(Response::to(stranger.request_root(Method::GET, path)).await.status);
    }
    assert_eq!(asked, [303, 200, 200, 404, 429]);
    stranger.get("/events").await.failed(429, TOO_MANY);

    // The cookie is the pages': elsewhere it is nothing.
    let elsewhere = stack.anonymous().request(Method::GET, "/auth/me").header("cookie", own);
    Response::to(elsewhere).await.failed(401, "Access token is required");
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
    nexus_tests::metrics::Metrics::until(&url, counted, |page| page.value(counted) == Some(1.0))
        .await;
    let log = stack.api(0).log();
    let lines: Vec<_> = log.lines().filter(|line| line.contains("rate_limited")).collect();
    assert_eq!(lines.len(), 1, "{lines:?}");
    assert!(
        lines[0].contains("status=429")
            && lines[0].contains(r#"route="/api/v1/events""#)
            && !lines[0].contains(&client.address().to_string()),
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
