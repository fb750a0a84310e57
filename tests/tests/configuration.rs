//! Settings, readiness, and an end in good order.

#![allow(clippy::expect_used, reason = "helpers of tests are tests")]

use std::time::{Duration, Instant};

use nexus_tests::program::{Environment, Program};
use nexus_tests::stack::QUEUES;
use nexus_tests::{SOON, Stack, eventually, json, seen};

/// The settings are unusable (EX_CONFIG of sysexits.h).
const UNUSABLE: i32 = 78;
const STOPS_WITHIN: Duration = Duration::from_secs(8);

/// Runs a process to its end; returns its exit code and what it said.
async fn run(stack: &Stack, binary: &str, arguments: &[&str], env: Environment) -> (i32, String) {
    let mut program =
        Program::new(&format!("{binary}-{}", arguments.join("-")), binary, arguments, env, stack.dir());
    program.start();
    let code = program.exit_code().await.expect("an exit code");
    (code, program.log())
}

fn changed(stack: &Stack, changes: &[(&str, &str)]) -> Environment {
    let mut env = stack.env().clone();
    env.retain(|(name, _)| changes.iter().all(|(changed, _)| changed != name));
    env.extend(changes.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())));
    env
}

#[tokio::test]
async fn every_missing_setting_is_listed_at_once() {
    let stack = Stack::builder().workers([]).start().await;
    let nothing = vec![("NODE_ENV".to_owned(), "production".to_owned())];
    for command in ["serve", "check-config"] {
        let (code, said) = run(&stack, "nexus-api", &[command], nothing.clone()).await;
        assert_eq!(code, UNUSABLE, "nexus-api {command}: {said}");
        for name in [
            "DATABASE_URL",
            "REDIS_URL",
            "JWT_SECRET",
            "JWT_REFRESH_SECRET",
            "FRONTEND_URL",
            "TWILIO_ACCOUNT_SID",
            "TWILIO_AUTH_TOKEN",
            "TWILIO_VERIFY_SID",
            "RAZORPAY_KEY_ID",
            "RAZORPAY_KEY_SECRET",
            "RAZORPAY_WEBHOOK_SECRET",
        ] {
            assert!(said.contains(&format!("{name} is missing")), "{name} in nexus-api {command}: {said}");
        }
    }
    let own = [
        ("otp", ["TWILIO_ACCOUNT_SID", "TWILIO_AUTH_TOKEN"]),
        ("payments", ["RAZORPAY_KEY_ID", "RAZORPAY_KEY_SECRET"]),
        ("notifications", ["SMTP_URL", "MAIL_FROM"]),
        ("bookings", ["REDIS_URL", "DATABASE_URL"]),
        ("expiry", ["REDIS_URL", "DATABASE_URL"]),
        ("cleanup", ["REDIS_URL", "DATABASE_URL"]),
    ];
    for (queue, names) in own {
        let binary = format!("nexus-worker-{queue}");
        let (code, said) = run(&stack, &binary, &[], nothing.clone()).await;
        for name in names.iter().chain(&["DATABASE_URL", "REDIS_URL"]) {
            assert!(said.contains(&format!("{name} is missing")), "{name} in {binary}: {said}");
        }
        assert!(!said.contains("JWT_SECRET"), "{binary} needs no token secrets: {said}");
        assert_eq!(code, UNUSABLE, "{binary}: {said}");
    }
}

#[tokio::test]
async fn weak_and_malformed_settings_are_refused_and_never_printed() {
    let stack = Stack::builder().workers([]).start().await;
    let long = "k".repeat(64);
    let wrong = [
        ("JWT_SECRET", "hunter2-is-short", "JWT_SECRET is too weak"),
        ("JWT_REFRESH_SECRET", long.as_str(), "JWT_REFRESH_SECRET is too weak"),
        ("DATABASE_URL", "mysql://bob:hunter3@localhost/x", "DATABASE_URL must be a URL"),
        ("REDIS_URL", "not-a-url-hunter4", "REDIS_URL must be a URL"),
        ("PORT", "hunter5", "PORT is invalid"),
        ("SEAT_LOCK_SECONDS", "86401", "SEAT_LOCK_SECONDS must be between"),
        ("FRONTEND_URL", "hunter6", "FRONTEND_URL must list origins"),
        ("NODE_ENV", "hunter7", "NODE_ENV must be"),
    ];
    let env = changed(&stack, &wrong.map(|(name, value, _)| (name, value)));
    for command in ["check-config", "serve"] {
        let (code, said) = run(&stack, "nexus-api", &[command], env.clone()).await;
        assert_eq!(code, UNUSABLE, "{said}");
        for (name, value, problem) in &wrong {
            assert!(said.contains(problem), "{problem:?} in: {said}");
            assert!(
                !said.contains(value) && !said.contains("hunter"),
                "the value of {name} is printed: {said}"
            );
        }
    }
    let secret = &stack.env().iter().find(|(name, _)| name == "JWT_SECRET").unwrap().1;
    for (placeholder, why) in [
        ("your-super-secret-jwt-key-change-in-production", "a placeholder"),
        ("please-changeme-please-changeme-please", "a placeholder"),
        (secret.as_str(), "the other secret"),
    ] {
        let (code, said) = run(
            &stack,
            "nexus-api",
            &["check-config"],
            changed(&stack, &[("JWT_REFRESH_SECRET", placeholder)]),
        )
        .await;
        assert_eq!(code, UNUSABLE, "JWT_REFRESH_SECRET is {why}: {said}");
        assert!(said.contains("JWT_REFRESH_SECRET") && !said.contains(placeholder), "{said}");
    }
}

#[tokio::test]
async fn usable_settings_are_called_usable() {
    let stack = Stack::builder().workers([]).start().await;
    let (code, said) = run(&stack, "nexus-api", &["check-config"], stack.env().clone()).await;
    assert_eq!((code, said.trim()), (0, "The configuration is usable."));
}

#[tokio::test]
async fn readiness_follows_postgresql_without_a_restart_of_the_api() {
    let mut stack = Stack::builder().workers([]).start().await;
    let anonymous = stack.anonymous();
    assert_eq!(anonymous.get_root("/").await.text, "Backend is running");
    assert_eq!(anonymous.get_root("/health").await.ok()["status"], "ok");
    let ready = anonymous.get_root("/ready").await.ok();
    let ok = json!({"postgresql": "ok", "redis": "ok", "migrations": "ok"});
    assert_eq!(ready, json!({"status": "ready", "checks": ok}));

    stack.postgres.kill().await.unwrap();
    anonymous.get_root("/health").await.ok();
    let away = anonymous.get_root("/ready").await;
    assert_eq!((away.status, &away.body["checks"]["postgresql"]), (503, &json!("failed")), "{away}");
    assert_eq!(away.body["checks"]["redis"], "ok", "{away}");
    let refused = anonymous.get("/events").await;
    refused.failed(503, "Service temporarily unavailable. Please try again shortly.");
    assert!(refused.headers.contains_key("retry-after"), "{:?}", refused.headers);

    stack.postgres.restart().await.unwrap();
    eventually("the API is ready again", Duration::from_secs(5), async || {
        let answer = anonymous.get_root("/ready").await;
        seen(answer.status == 200, answer.to_string())
    })
    .await;
    anonymous.get("/events").await.ok();
}

#[tokio::test]
async fn a_database_that_is_not_migrated_is_not_ready_until_it_is() {
    let mut stack = Stack::builder().workers(["cleanup"]).start().await;
    stack.worker("cleanup").stop().await;
    stack.execute("DROP SCHEMA public CASCADE").await;
    stack.execute("CREATE SCHEMA public").await;
    let away = stack.anonymous().get_root("/ready").await;
    assert_eq!((away.status, &away.body["checks"]["migrations"]), (503, &json!("failed")), "{away}");
    stack.worker("cleanup").start();
    for _ in 0..2 {
        let (code, said) = run(&stack, "nexus-api", &["migrate"], stack.env().clone()).await;
        assert_eq!(code, 0, "{said}");
    }
    stack.until_ready(0).await;
    stack.worker("cleanup").wait_for_log("worker ready", SOON).await;
    stack.assert_invariants().await;
}

#[tokio::test]
async fn sigterm_ends_every_process_within_seconds_and_with_success() {
    let mut stack = Stack::start().await;
    let socket = stack.socket("a client", &stack.anonymous()).await;
    let polling =
        stack.socket_with("a polling client", &stack.anonymous(), json!({"transports": ["polling"]})).await;
    for queue in QUEUES {
        let worker = stack.worker(queue);
        worker.wait_for_log("worker ready", SOON).await;
        let started = Instant::now();
        let status = worker.stop().await;
        assert_eq!(status.code(), Some(0), "the {queue} worker:\n{}", worker.log());
        assert!(started.elapsed() < STOPS_WITHIN, "the {queue} worker took {:?}", started.elapsed());
    }
    let started = Instant::now();
    let api = stack.api(0);
    let status = api.stop().await;
    assert_eq!(status.code(), Some(0), "the API:\n{}", api.log());
    assert!(started.elapsed() < STOPS_WITHIN, "the API took {:?}", started.elapsed());
    for client in [&socket, &polling] {
        client.wait_for_line("disconnect", SOON).await;
    }
}
