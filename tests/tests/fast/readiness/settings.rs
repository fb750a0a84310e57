//! Settings, providers that are not there, TLS, logs.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use nexus_sandbox::identity::Identity;
use nexus_tests::authority::Authority;
use nexus_tests::program::{Environment, Program, binary, command};
use nexus_tests::repository::file;
use nexus_tests::stack::QUEUES;
use nexus_tests::{Event, SOON, Stack, eventually, json, seen};

/// The settings are unusable (EX_CONFIG of sysexits.h).
const UNUSABLE: i32 = 78;

fn without(stack: &Stack, removed: &[&str]) -> Environment {
    stack.env().iter().filter(|(name, _)| !removed.contains(&name.as_str())).cloned().collect()
}

async fn started(
    stack: &Stack,
    binary: &str,
    arguments: &[&str],
    env: Environment,
) -> (i32, String) {
    let mut program = Program::new(&format!("{binary}-once"), binary, arguments, env, stack.dir());
    program.start();
    (program.exit_code().await.expect("an exit code"), program.log())
}

#[tokio::test]
async fn finding_02_no_secret_has_a_fallback_and_weak_ones_are_refused() {
    let stack = Stack::builder().workers([]).api_processes(0).start().await;
    let secrets = ["JWT_SECRET", "JWT_REFRESH_SECRET"];
    let (code, said) = started(&stack, "nexus-api", &["serve"], without(&stack, &secrets)).await;
    assert_eq!(code, UNUSABLE, "{said}");
    for name in secrets {
        assert!(said.contains(&format!("{name} is missing")), "{said}");
    }
    // What the Node service signed with when nothing was set, and what people write in its place.
    for weak in [
        "your-secret-key",
        "your-refresh-secret-key",
        "secret",
        "0123456789",
        "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
    ] {
        let mut env = without(&stack, &secrets);
        env.extend(secrets.map(|name| (name.to_owned(), weak.to_owned())));
        let (code, said) = started(&stack, "nexus-api", &["serve"], env).await;
        assert_eq!(code, UNUSABLE, "{weak}: {said}");
        for name in secrets {
            assert!(said.contains(&format!("{name} is too weak")), "{weak}: {said}");
        }
        assert!(!said.contains(weak) || weak == "secret", "a value is printed: {said}");
    }
}

#[tokio::test]
async fn finding_12_without_a_providers_credentials_only_what_needs_them_is_off() {
    const TWILIO: [&str; 3] = ["TWILIO_ACCOUNT_SID", "TWILIO_AUTH_TOKEN", "TWILIO_VERIFY_SID"];
    const RAZORPAY: [&str; 3] =
        ["RAZORPAY_KEY_ID", "RAZORPAY_KEY_SECRET", "RAZORPAY_WEBHOOK_SECRET"];
    let mut builder = Stack::builder().workers(["payments", "bookings", "notifications"]);
    for name in TWILIO.iter().chain(&RAZORPAY) {
        builder = builder.env(name, "");
    }
    let mut stack = builder.start().await;
    let log = stack.api(0).log();
    for names in [TWILIO.join(", "), RAZORPAY[..2].join(", "), RAZORPAY[2].to_owned()] {
        let lines = log.lines().filter(|line| {
            line.contains("WARN") && line.contains(&format!("not set: {names}. Off: "))
        });
        assert_eq!(lines.count(), 1, "one warning about {names} in {log}");
    }
    let anonymous = stack.anonymous();
    anonymous.get_root("/ready").await.ok();

    let off = "One-time passwords are not available here.";
    let phone = json!({"phone": "+919800000001", "otp": "123456", "newPassword": "longenough"});
    for path in ["/auth/send-otp", "/auth/verify-otp", "/auth/reset-password"] {
        let response = anonymous.post(path, phone.clone()).await;
        response.failed(503, off);
        assert_eq!(response.body["error"]["code"], "sms_unavailable", "{response}");
    }
    anonymous.post("/auth/send-otp", json!({})).await.failed(400, "Phone number is required");

    let organiser = stack.user().await;
    let event: Event = stack.event(&organiser, &[("VIP", 100.0, 50), ("Free", 0.0, 50)]).await;
    let buyer = stack.user().await;
    let booking = buyer.lock_and_book(&event, &[("VIP", "A1")]).await;
    let response = buyer.try_order(&booking).await;
    response.failed(503, "Payments are not available here.");
    assert_eq!(response.body["error"]["code"], "payments_unavailable", "{response}");
    let socket = stack.socket("the buyer", &buyer).await;
    let confirm = json!({"booking_id": booking.id, "payment_id": "pay_00000000000000"});
    let refused = socket.call("confirm_booking", &[confirm]).await;
    assert_eq!(refused, json!({"success": false, "error": "Payments are not available here."}));
    // Razorpay will send it again.
    let webhook = anonymous.request(nexus_tests::Method::POST, "/payments/webhook").body("{}");
    let webhook =
        nexus_tests::Response::to(webhook.header("content-type", "application/json")).await;
    assert_eq!(
        (webhook.status, &webhook.body["error"]),
        (503, &json!("Webhooks are not available here"))
    );

    // A free event is sold from end to end, e-mail included.
    let free = buyer.lock_and_book(&event, &[("Free", "A1")]).await;
    stack.until_tickets(&buyer, &free, 1).await;
    eventually("the tickets are mailed", SOON, async || {
        seen(!stack.providers.mail().is_empty(), ()).map(drop)
    })
    .await;
    // Jobs that have to wait are not lost.
    eventually("the reconciler waits", SOON, async || {
        let waits = stack
            .count("jobs WHERE kind = 'reconcile_orders' AND state = 'pending' AND available_at > now()")
            .await;
        seen(waits == 1, waits)
    })
    .await;
    let (code, said) = started(&stack, "nexus-worker-otp", &[], stack.env().clone()).await;
    assert!(code == UNUSABLE && said.contains("TWILIO_AUTH_TOKEN is missing"), "{said}");
    let reconcile = stack.jobs_cli_with_settings(&["reconcile", "--since", "1d"]).await;
    let said = String::from_utf8_lossy(&reconcile.stderr).into_owned();
    assert!(!reconcile.status.success() && said.contains("RAZORPAY_KEY_ID is missing"), "{said}");
}

#[tokio::test]
async fn finding_13_the_pool_has_the_size_and_the_patience_that_it_is_told() {
    let stack = Stack::builder()
        .workers([])
        .env("DATABASE_MAX_CONNECTIONS", 3)
        .env("DATABASE_ACQUIRE_TIMEOUT_MS", 2_000)
        .env("DATABASE_IDLE_SECONDS", 1)
        .env("DATABASE_STATEMENT_TIMEOUT_MS", 12_000)
        .start()
        .await;
    // As many requests as there are connections wait for a lock; the next one gets 503 after a
    // while.
    let held = "pg_stat_activity WHERE application_name = 'nexus-api'";
    let mut holder = stack.db.begin().await.expect("a transaction");
    sqlx::query("LOCK TABLE events").execute(&mut *holder).await.expect("a lock");
    let mut waiting = tokio::task::JoinSet::new();
    // Of different lists: those who ask for the same one share a connection.
    for limit in 1..=3 {
        let anonymous = stack.anonymous();
        let list = format!("/events?limit={limit}");
        waiting.spawn(async move { anonymous.get(&list).await.status });
    }
    eventually("every connection waits", SOON, async || {
        let waiting = stack.count(&format!("{held} AND wait_event_type = 'Lock'")).await;
        seen(waiting == 3, waiting)
    })
    .await;
    stack
        .anonymous()
        .get("/events")
        .await
        .failed(503, "Service temporarily unavailable. Please try again shortly.");
    assert_eq!(stack.count(held).await, 3);
    // PostgreSQL gives up what takes longer than it may.
    while let Some(status) = waiting.join_next().await {
        assert_eq!(status.expect("a response"), 503);
    }
    holder.rollback().await.expect("a rollback");
    stack.anonymous().get("/events").await.ok();
    eventually("idle connections are closed", SOON, async || {
        let open = stack.count(held).await;
        seen(open == 0, open)
    })
    .await;
}

#[tokio::test]
async fn finding_14_production_talks_tls_to_servers_that_prove_who_they_are() {
    let (authority, stranger) = (Authority::new("Nexus tests"), Authority::new("A stranger"));
    // An address of this machine that does not look like one.
    let names = ["0.0.0.0", "127.0.0.1"];
    let mut stack = Stack::builder()
        .workers(["cleanup"])
        .secured(authority.identity(&names), &authority.certificate)
        .env("NODE_ENV", "production")
        .env("DATABASE_TLS", "")
        .env("REDIS_TLS", "")
        .start()
        .await;
    let database = stack.plain_database_url().replace("127.0.0.1", "0.0.0.0");
    stack.restart_with(&[("DATABASE_URL", &database)]).await;
    let clear = "pg_stat_activity JOIN pg_stat_ssl USING (pid) WHERE application_name LIKE 'nexus-%' AND NOT ssl";
    assert_eq!(stack.count(clear).await, 0);

    let impostor: Identity = stranger.identity(&names);
    stack.postgres.secure(Some(&impostor)).await.expect("PostgreSQL");
    stack.redis.secure(Some(&impostor)).await.expect("Redis");
    let anonymous = stack.anonymous();
    eventually("an impostor is not talked to", SOON, async || {
        let ready = anonymous.get_root("/ready").await;
        let checks = &ready.body["checks"];
        seen(checks["postgresql"] == "failed" && checks["redis"] == "failed", ready.to_string())
    })
    .await;
    stack.api(0).wait_for_log("invalid peer certificate", SOON).await;

    for (name, url) in [
        ("DATABASE_URL", format!("{database}?sslmode=require")),
        ("REDIS_URL", "redis://redis.example:6379".to_owned()),
    ] {
        let mut env = without(&stack, &[name]);
        env.push((name.to_owned(), url));
        let (code, said) = started(&stack, "nexus-worker-cleanup", &[], env).await;
        assert!(code == UNUSABLE && said.contains(name), "{name}: {said}");
    }
}

#[tokio::test]
async fn finding_15_every_line_of_a_log_is_an_object_that_says_what_it_belongs_to() {
    let stack = Stack::builder().workers(["otp"]).env("NODE_ENV", "production").start().await;
    let response =
        stack.anonymous().post("/auth/send-otp", json!({"phone": "+919800000001"})).await;
    let id = response.headers["x-request-id"].to_str().expect("an id").to_owned();
    response.ok();
    let lines = |process: &str| -> Vec<nexus_tests::Value> {
        let log = &stack.logs()[process];
        assert!(!log.contains("9800000001"), "{log}");
        log.lines()
            .map(|line| serde_json::from_str(line).unwrap_or_else(|_| panic!("not JSON: {line}")))
            .collect()
    };
    eventually("the job's line leads back to the request's", SOON, async || {
        let trace = lines("nexus-api-1")
            .iter()
            .find(|line| line["request_id"] == *id)
            .map(|line| line["trace_id"].clone());
        let of_it = lines("nexus-worker-otp")
            .into_iter()
            .find(|line| Some(&line["trace_id"]) == trace.as_ref());
        of_it
            .filter(|line| line["job_id"].is_string() && line["outcome"] == "done")
            .ok_or(format!("{trace:?}"))
    })
    .await;
}

/// What a program reads, by its own word: each variable, and what it is taken for when it is not
/// set.
fn read_by(program: &str, arguments: &[&str]) -> Vec<(String, Option<String>)> {
    let mut listing = command(&binary(program), Path::new("/"), &vec![]);
    let output = listing.args(arguments).output().expect("a list");
    assert!(output.status.success(), "{program}: {}", String::from_utf8_lossy(&output.stderr));
    let parse = |line: &str| match line.split_once('=') {
        Some((name, default)) => (name.to_owned(), Some(default.to_owned())),
        None => (line.to_owned(), None),
    };
    String::from_utf8(output.stdout).expect("text").lines().map(parse).collect()
}

#[test]
fn finding_23_the_example_environment_is_what_the_processes_read() {
    let mut read: BTreeMap<String, BTreeSet<Option<String>>> = BTreeMap::new();
    let workers = QUEUES.map(|queue| (format!("nexus-worker-{queue}"), &["--list-config"][..]));
    let others = [
        ("nexus-api".to_owned(), &["check-config", "--list"][..]),
        ("nexus-jobs".to_owned(), &["list-config"]),
    ];
    for (program, arguments) in workers.into_iter().chain(others) {
        for (name, default) in read_by(&program, arguments) {
            read.entry(name).or_default().insert(default);
        }
    }
    let example = file(".env.example");
    let is_name = |name: &str| {
        !name.is_empty()
            && name.chars().all(|c| c.is_ascii_uppercase() || c.is_ascii_digit() || c == '_')
    };
    // `NAME=value` or, for what need not be set, `#NAME=value` with the default.
    let shown: BTreeMap<&str, (bool, &str)> = example
        .lines()
        .filter_map(|line| {
            let (name, value) = line.trim_start_matches('#').split_once('=')?;
            is_name(name).then_some((name, (line.starts_with('#'), value)))
        })
        .collect();
    let names: BTreeSet<&str> = read.keys().map(String::as_str).collect();
    let listed: BTreeSet<&str> = shown.keys().copied().collect();
    assert_eq!(names, listed, "left: read by a process; right: in .env.example");
    for (name, (is_commented, value)) in shown {
        let defaults: Vec<&str> = read[name]
            .iter()
            .flatten()
            .map(String::as_str)
            .filter(|default| !default.is_empty())
            .collect();
        if is_commented && !defaults.is_empty() {
            assert!(
                defaults.contains(&value),
                "{name} is {defaults:?} unless set, and {value} in .env.example"
            );
        }
    }
    // No code reads a variable past the settings: clippy, which is part of `make check`, refuses
    // it.
    assert!(file("clippy.toml").contains("\"std::env::var\","), "the rule is in force");
}
