//! Settings, readiness, and an end in good order.

use std::process::Stdio;
use std::time::{Duration, Instant};

use futures_util::future::join_all;
use nexus_sandbox::ports;
use nexus_sandbox::process::{self, Process};
use nexus_tests::client::http_client;
use nexus_tests::program::{Environment, Program};
use nexus_tests::stack::QUEUES;
use nexus_tests::{Outcome, SOON, Stack, eventually, json, seen};

/// The settings are unusable (EX_CONFIG of sysexits.h).
const UNUSABLE: i32 = 78;
const STOPS_WITHIN: Duration = Duration::from_secs(8);

/// Runs a process to its end; returns its exit code and what it said.
async fn run(stack: &Stack, binary: &str, arguments: &[&str], env: Environment) -> (i32, String) {
    let mut program = Program::new(
        &format!("{binary}-{}", arguments.join("-")),
        binary,
        arguments,
        env,
        stack.dir(),
    );
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
        for name in
            ["DATABASE_URL", "REDIS_URL", "JWT_SECRET", "JWT_REFRESH_SECRET", "FRONTEND_URL"]
        {
            assert!(
                said.contains(&format!("{name} is missing")),
                "{name} in nexus-api {command}: {said}"
            );
        }
    }
    let own = [
        ("otp", ["TWILIO_ACCOUNT_SID", "TWILIO_AUTH_TOKEN"]),
        ("payments", ["REDIS_URL", "DATABASE_URL"]),
        ("notifications", ["SMTP_URL", "REDIS_URL"]),
        ("bookings", ["TICKET_SIGNING_KEY", "DATABASE_URL"]),
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
async fn half_a_providers_credentials_are_no_credentials() {
    let stack = Stack::builder().workers([]).api_processes(0).start().await;
    for (binary, command, removed) in [
        ("nexus-api", "check-config", "TWILIO_AUTH_TOKEN"),
        ("nexus-api", "check-config", "TWILIO_ACCOUNT_SID"),
        ("nexus-api", "check-config", "RAZORPAY_KEY_SECRET"),
        ("nexus-api", "check-config", "RAZORPAY_KEY_ID"),
        ("nexus-worker-notifications", "--check-config", "MAIL_FROM"),
        ("nexus-worker-payments", "--check-config", "RAZORPAY_KEY_SECRET"),
        ("nexus-worker-otp", "--check-config", "TWILIO_VERIFY_SID"),
    ] {
        let (code, said) = run(&stack, binary, &[command], changed(&stack, &[(removed, "")])).await;
        assert_eq!(code, UNUSABLE, "{binary} without {removed}: {said}");
        assert!(
            said.contains(&format!("{removed} is missing")),
            "{binary} without {removed}: {said}"
        );
    }
}

#[tokio::test]
async fn jobs_wait_for_a_provider_whose_credentials_are_not_set_and_are_done_once_they_are() {
    let mut stack = Stack::builder().start().await;
    let original = stack.env().clone();
    let value = |name: &str| original.iter().find(|(known, _)| known == name).unwrap().1.clone();
    let missing = [
        ("payments", &["RAZORPAY_KEY_ID", "RAZORPAY_KEY_SECRET"][..], "refund_payment"),
        ("notifications", &["SMTP_URL"], "email_tickets"),
    ];
    for (queue, names, _) in missing {
        let worker = stack.worker(queue);
        worker.stop().await;
        names.iter().for_each(|name| worker.set_env(name, ""));
        worker.start();
        worker.wait_for_log(&format!("not set: {}. Off: ", names.join(", ")), SOON).await;
    }
    let (buyer, _, booking, order) = stack.booked().await;
    // A payment whose webhook comes needs no call to Razorpay.
    let payment = stack.pay(&order, Outcome::Captured);
    stack.until_booking(&buyer, &booking, "confirmed", "completed").await;
    stack.until_tickets(&buyer, &booking, 2).await;
    let waits = |kind: &'static str| {
        format!(
            "jobs WHERE kind = '{kind}' AND state = 'pending' AND attempt = 0 AND last_error IS NULL AND available_at > now()"
        )
    };
    eventually("the e-mail waits", SOON, async || {
        seen(stack.count(&waits("email_tickets")).await == 1, "")
    })
    .await;
    buyer.cancel(&booking).await.ok();
    eventually("the refund waits", SOON, async || {
        seen(stack.count(&waits("refund_payment")).await == 1, "")
    })
    .await;
    assert!(stack.providers.mail().is_empty() && stack.providers.refunds().is_empty());

    for (queue, names, kind) in missing {
        let worker = stack.worker(queue);
        worker.stop().await;
        names.iter().for_each(|name| worker.set_env(name, &value(name)));
        worker.start();
        let due = stack
            .execute(&format!("UPDATE jobs SET available_at = now() WHERE kind = '{kind}'"))
            .await;
        assert_eq!(due, 1, "{kind}");
    }
    stack.until_refund(&payment).await;
    eventually("the e-mail is done with", SOON, async || {
        seen(stack.count("jobs WHERE kind = 'email_tickets' AND state = 'done'").await == 1, "")
    })
    .await;
}

#[tokio::test]
async fn production_refuses_what_anybody_could_guess_or_listen_to() {
    let stack = Stack::builder().workers([]).api_processes(0).start().await;
    let production = |changes: &[(&str, &str)]| {
        let mut env = changed(&stack, changes);
        env.retain(|(name, _)| name != "NODE_ENV");
        env.push(("NODE_ENV".to_owned(), "production".to_owned()));
        env
    };
    let (code, said) = run(&stack, "nexus-api", &["check-config"], production(&[])).await;
    assert_eq!(code, 0, "servers on this machine need no TLS: {said}");

    let of_stack =
        |name: &str| stack.env().iter().find(|(known, _)| known == name).unwrap().1.clone();
    let (jwt, key_secret) = (of_stack("JWT_SECRET"), of_stack("RAZORPAY_KEY_SECRET"));
    let database = |rest: &str| format!("postgres://nexus:hunter-Zk3vQp9wLx@{rest}");
    let not_verify_full = "DATABASE_URL must not say another sslmode than verify-full";
    let refused = [
        ("RAZORPAY_WEBHOOK_SECRET", "hunter2", "RAZORPAY_WEBHOOK_SECRET is too weak"),
        (
            "RAZORPAY_WEBHOOK_SECRET",
            "Zk3vQp9wLx7Tn2Rb8Y,hunter",
            "RAZORPAY_WEBHOOK_SECRET is too weak",
        ),
        (
            "RAZORPAY_WEBHOOK_SECRET",
            "hunter-your-webhook-secret",
            "RAZORPAY_WEBHOOK_SECRET is too weak",
        ),
        ("RAZORPAY_WEBHOOK_SECRET", &jwt, "RAZORPAY_WEBHOOK_SECRET must differ"),
        ("RAZORPAY_WEBHOOK_SECRET", &key_secret, "RAZORPAY_WEBHOOK_SECRET must differ"),
        ("RAZORPAY_KEY_SECRET", "hunter", "RAZORPAY_KEY_SECRET is too weak"),
        ("RAZORPAY_API_URL", "http://hunter.example", "RAZORPAY_API_URL must start with https://"),
        ("TWILIO_AUTH_TOKEN", "hunter-changeme-hunter", "TWILIO_AUTH_TOKEN is too weak"),
        (
            "DATABASE_URL",
            "postgres://nexus:hunter@127.0.0.1/nexus",
            "the password in DATABASE_URL is too weak",
        ),
        (
            "DATABASE_URL",
            "postgres://nexus:hunter-postgres-password@db/nexus",
            "the password in DATABASE_URL is too weak",
        ),
        ("DATABASE_URL", &database("db.example/nexus?sslmode=disable"), not_verify_full),
        ("DATABASE_URL", &database("db.example/nexus?sslmode=prefer"), not_verify_full),
        ("DATABASE_URL", &database("db.example/nexus?sslmode=require"), not_verify_full),
        ("DATABASE_URL", &database("db.example/nexus?sslmode=verify-ca"), not_verify_full),
        (
            "DATABASE_CA_FILE",
            "/hunter/authority.pem",
            "DATABASE_CA_FILE names a file that cannot be read",
        ),
        ("DATABASE_CA_FILE", "/dev/null", "DATABASE_CA_FILE names a file that is not PEM"),
        ("DATABASE_TLS", "hunter", "DATABASE_TLS must be required or optional"),
        (
            "REDIS_URL",
            "redis://:hunter-Zk3vQp9wLx@redis.example",
            "REDIS_URL must start with rediss://",
        ),
        ("REDIS_URL", "rediss://:hunter@redis.example", "the password in REDIS_URL is too weak"),
        ("REDIS_URL", "rediss://redis.example/0#insecure", "REDIS_URL must not end with #insecure"),
        ("RUST_LOG", "hunter=loud", "RUST_LOG must be a level"),
    ];
    for (name, value, problem) in refused {
        let (code, said) =
            run(&stack, "nexus-api", &["check-config"], production(&[(name, value)])).await;
        assert_eq!(code, UNUSABLE, "{name}={value}: {said}");
        assert!(said.contains(problem), "{problem:?} in: {said}");
        assert!(!said.contains("hunter") && !said.contains(&jwt), "a value is printed: {said}");
    }
    let mail =
        [("MAIL_FROM", "Tickets <tickets@example.com>"), ("SMTP_URL", "smtp://mail.example:587")];
    let (code, said) =
        run(&stack, "nexus-worker-notifications", &["--check-config"], production(&mail)).await;
    assert_eq!(code, UNUSABLE, "{said}");
    assert!(
        said.contains("MAIL_FROM must not be an example")
            && said.contains("SMTP_URL must start with smtps://"),
        "{said}"
    );

    let network = database("db.example/nexus?sslmode=disable");
    for accepted in [
        &[("DATABASE_URL", network.as_str()), ("DATABASE_TLS", "optional")][..],
        &[("DATABASE_URL", &database("db.example/nexus"))],
        &[("DATABASE_URL", &database("db.example/nexus?sslmode=verify-full"))],
        &[("DATABASE_URL", "postgres://nexus@%2Frun%2Fpostgresql/nexus")],
        &[("REDIS_URL", "redis://redis.example"), ("REDIS_TLS", "optional")],
        &[("REDIS_URL", "rediss://nexus:hunter-Zk3vQp9wLx@redis.example/3")],
    ] {
        let (code, said) = run(&stack, "nexus-api", &["check-config"], production(accepted)).await;
        assert_eq!(code, 0, "{accepted:?}: {said}");
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
    let away = stack.until_missing("postgresql").await;
    assert_eq!(away.body["checks"]["redis"], "ok", "{away}");
    let refused = anonymous.get("/events").await;
    refused.failed(503, "Service temporarily unavailable. Please try again shortly.");
    assert!(refused.headers.contains_key("retry-after"), "{:?}", refused.headers);

    stack.postgres.restart().await.unwrap();
    eventually("the API is ready again", Duration::from_secs(5), async || {
        let response = anonymous.get_root("/ready").await;
        seen(response.status == 200, response.to_string())
    })
    .await;
    anonymous.get("/events").await.ok();
}

#[tokio::test]
async fn however_many_ask_for_readiness_postgresql_is_asked_once() {
    let stack = Stack::builder().workers([]).start().await;
    let mut lock = stack.db.begin().await.unwrap();
    sqlx::query("LOCK TABLE _sqlx_migrations").execute(&mut *lock).await.unwrap();
    stack.until_missing("migrations").await;
    let anonymous = stack.anonymous();
    // One of these two has been answered before the crowd asks, and waits in PostgreSQL still.
    let waiting =
        "pg_stat_activity WHERE application_name = 'nexus-api' AND wait_event_type = 'Lock'";
    let before = stack.count(waiting).await;
    let answers = join_all((0..40).map(|_| anonymous.get_root("/ready"))).await;
    assert!(answers.iter().all(|answer| answer.status == 503), "{answers:?}");
    let more = stack.count(waiting).await - before;
    assert!(more <= 2, "{more} questions for 40 that came at once");
    lock.rollback().await.unwrap();
    stack.until_ready(0).await;
}

#[tokio::test]
async fn a_database_that_is_not_migrated_is_not_ready_until_it_is() {
    let mut stack = Stack::builder().workers(["cleanup"]).start().await;
    stack.worker("cleanup").stop().await;
    stack.execute("DROP SCHEMA public CASCADE").await;
    stack.execute("CREATE SCHEMA public").await;
    stack.until_missing("migrations").await;
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
async fn a_database_of_an_unreleased_build_is_not_ready_and_migrate_says_what_to_do() {
    let stack = Stack::builder().workers([]).start().await;
    for history in [
        "UPDATE _sqlx_migrations SET checksum = '\\x00' WHERE version = 1",
        "INSERT INTO _sqlx_migrations SELECT 59, description, installed_on, success, checksum, execution_time
         FROM _sqlx_migrations WHERE version = 1",
    ] {
        stack.execute(history).await;
        let (code, said) = run(&stack, "nexus-api", &["migrate"], stack.env().clone()).await;
        assert_eq!(code, 1, "{said}");
        assert!(said.contains("`make clean-data`"), "{said}");
        stack.until_missing("migrations").await;
    }
}

#[tokio::test]
async fn sigterm_ends_every_process_within_seconds_and_with_success() {
    let mut stack = Stack::start().await;
    let socket = stack.socket("a client", &stack.anonymous()).await;
    let polling = stack
        .socket_with("a polling client", &stack.anonymous(), json!({"transports": ["polling"]}))
        .await;
    for queue in QUEUES {
        let worker = stack.worker(queue);
        worker.wait_for_log("worker ready", SOON).await;
        let started = Instant::now();
        let status = worker.stop().await;
        assert_eq!(status.code(), Some(0), "the {queue} worker:\n{}", worker.log());
        assert!(
            started.elapsed() < STOPS_WITHIN,
            "the {queue} worker took {:?}",
            started.elapsed()
        );
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

#[tokio::test]
async fn a_redis_cluster_and_a_sentinel_are_refused_in_plain_words() {
    let stack = Stack::builder().workers([]).start().await;
    let schemes = changed(&stack, &[("REDIS_URL", "redis-sentinel://127.0.0.1:26379")]);
    let (code, said) = run(&stack, "nexus-api", &["check-config"], schemes).await;
    assert!(said.contains("REDIS_URL must be a URL that starts with redis:// or rediss://"));
    assert_eq!(code, UNUSABLE, "{said}");

    let watched = stack.dir().join("sentinel.conf");
    std::fs::write(&watched, "").unwrap();
    // The nodes of a cluster speak to each other at a port of their own; by default, at one that
    // anybody may have.
    let nodes = ports::free().to_string();
    for (mode, arguments) in [
        ("a node of a Redis Cluster", vec!["--cluster-enabled", "yes", "--cluster-port", &nodes]),
        ("a Sentinel", vec![watched.to_str().unwrap(), "--sentinel"]),
    ] {
        let [port, own] = [ports::free(), ports::free()].map(|port| port.to_string());
        let mut command = process::command("redis-server", None, "KILL");
        command.args(arguments).args(["--port", &port, "--bind", "127.0.0.1", "--dir"]);
        command.arg(stack.dir()).stdout(Stdio::null());
        let _redis = Process::spawn(command).unwrap();
        let redis = format!("redis://127.0.0.1:{port}");
        let env = changed(&stack, &[("REDIS_URL", &redis), ("PORT", &own)]);
        let mut api =
            Program::new(&format!("api beside {mode}"), "nexus-api", &["serve"], env, stack.dir());
        api.start();
        let words = format!("REDIS_URL leads to {mode}");
        eventually("the log says why", SOON, async || {
            let ready = http_client().get(format!("http://127.0.0.1:{own}/ready")).send().await;
            let status = ready.map(|ready| ready.status().as_u16()).unwrap_or(0);
            seen(status == 503 && api.log().contains(&words), (status, api.log()))
        })
        .await;
    }
}
