//! What Prometheus reads: requests, sockets, queues, attempts, times and pools, with names that
//! stay.

use nexus_tests::metrics::Metrics;
use nexus_tests::{Fault, Method, Outcome, Pay, Response, Stack, Target, json};

/// Waits until a page shows these values.
async fn until_shown(stack: &Stack, process: &str, expected: &[(&str, f64)]) -> Metrics {
    let shows = |page: &Metrics| {
        expected.iter().all(|(metric, wanted)| page.value(metric) == Some(*wanted))
    };
    Metrics::until(&stack.metrics_urls()[process], &format!("{expected:?}"), shows).await
}

#[tokio::test]
async fn a_worker_tells_what_became_of_its_jobs_and_how_long_they_took() {
    let stack = Stack::builder().measured().start().await;
    let (buyer, _, booking, order) = stack.booked().await;
    stack.pay(&order, Outcome::Captured);
    stack.until_booking(&buyer, &booking, "confirmed", "completed").await;
    let done =
        r#"nexus_job_attempts_total{queue="payments",kind="process_webhook",outcome="done"}"#;
    let counted = |page: &Metrics| page.value(done).is_some_and(|count| count >= 1.0);
    let page = Metrics::until(&stack.metrics_urls()["payments"], "attempts", counted).await;
    for histogram in ["nexus_job_duration_seconds", "nexus_job_wait_seconds"] {
        let count = format!(r#"{histogram}_count{{queue="payments",kind="process_webhook"}}"#);
        assert!(page.value(&count).is_some_and(|count| count >= 1.0), "{count} in\n{}", page.0);
        assert!(page.0.contains(&format!("# TYPE {histogram} histogram")), "{}", page.0);
    }
    assert!(page.0.contains(r#"nexus_relay_lag_seconds_count{queue="payments"}"#), "{}", page.0);
    assert_eq!(page.value(r#"nexus_worker_slots{queue="payments"}"#), Some(16.0));
    let memory = page.value("process_resident_memory_bytes");
    assert!(memory.is_some_and(|bytes| bytes > 1e6), "{memory:?}");
    for pool in ["runtime", "handlers"] {
        assert!(
            page.0.contains(&format!(r#"nexus_db_connections{{pool="{pool}",state="used"}}"#)),
            "{}",
            page.0
        );
        assert!(
            page.value(&format!(r#"nexus_db_connections_max{{pool="{pool}"}}"#))
                .is_some_and(|max| max >= 3.0)
        );
    }
    // The process that enqueued a job counted it: the payments worker the tickets', the API the
    // webhooks'.
    let tickets = r#"nexus_jobs_enqueued_total{queue="bookings",kind="finalise_booking"}"#;
    assert_eq!(page.value(tickets), Some(1.0), "{}", page.0);
    let webhooks = r#"nexus_jobs_enqueued_total{queue="payments",kind="process_webhook"}"#;
    let counted = |page: &Metrics| page.value(webhooks).is_some_and(|count| count >= 1.0);
    Metrics::until(&stack.metrics_urls()["api"], webhooks, counted).await;
}

#[tokio::test]
async fn depth_shows_what_waits_what_died_and_for_how_long() {
    let stack = Stack::builder().workers(["otp"]).measured().start().await;
    stack.providers.fault(Target::TwilioVerify, None, Fault::status(400));
    stack.anonymous().post("/auth/send-otp", json!({"phone": "+919811111111"})).await.ok();
    let insert = "INSERT INTO jobs (id, queue, kind, payload, max_attempts, available_at) VALUES
                  (gen_random_uuid(), 'otp', 'send_otp', '{\"phone\": \"+919822222222\"}', 3, now() + interval '1 hour')";
    assert_eq!(stack.execute(insert).await, 1);
    let depth = [
        (r#"nexus_jobs{queue="otp",state="dead"}"#, 1.0),
        (r#"nexus_jobs{queue="otp",state="scheduled"}"#, 1.0),
        (r#"nexus_jobs{queue="otp",state="due"}"#, 0.0),
        (r#"nexus_jobs_oldest_due_seconds{queue="otp"}"#, 0.0),
    ];
    let page = until_shown(&stack, "otp", &depth).await;
    let died = r#"nexus_job_attempts_total{queue="otp",kind="send_otp",outcome="dead"}"#;
    assert_eq!(page.value(died), Some(1.0), "{}", page.0);
    // The API sees it as well.
    until_shown(&stack, "api", &depth).await;
}

#[tokio::test]
async fn a_queue_without_a_worker_is_seen_to_grow_old() {
    let stack = Stack::builder().workers([]).measured().start().await;
    stack.anonymous().post("/auth/send-otp", json!({"phone": "+919811111111"})).await.ok();
    stack.execute("UPDATE jobs SET available_at = now() - interval '5 minutes'").await;
    let old = |page: &Metrics| {
        page.value(r#"nexus_jobs{queue="otp",state="due"}"#) == Some(1.0)
            && page
                .value(r#"nexus_jobs_oldest_due_seconds{queue="otp"}"#)
                .is_some_and(|age| age >= 300.0)
    };
    Metrics::until(&stack.metrics_urls()["api"], "a job that waits", old).await;
}

#[tokio::test]
async fn requests_are_counted_by_pattern_and_what_nobody_serves_is_one_route() {
    let stack = Stack::builder().workers([]).measured().start().await;
    let client = stack.anonymous();
    for event in [901, 902] {
        assert_eq!(client.get(&format!("/events/{event}")).await.status, 404);
    }
    for path in ["/nothing/here", "/nor-there?is=1"] {
        assert_eq!(client.get(path).await.status, 404);
    }
    let odd = Method::from_bytes(b"BREW").expect("a method");
    Response::to(client.request(odd, "/events")).await;
    let requests = "nexus_http_requests_total";
    let page = until_shown(
        &stack,
        "api",
        &[
            (
                &format!(
                    r#"{requests}{{method="GET",route="/api/v1/events/{{eventId}}",status="404"}}"#
                ),
                2.0,
            ),
            (&format!(r#"{requests}{{method="GET",route="unmatched",status="404"}}"#), 2.0),
            (&format!(r#"{requests}{{method="OTHER",route="/api/v1/events",status="405"}}"#), 1.0),
        ],
    )
    .await;
    let times = r#"nexus_http_request_duration_seconds_count{method="GET",route="/api/v1/events/{eventId}"}"#;
    assert_eq!(page.value(times), Some(2.0), "{}", page.0);
    // Only there: a time that was measured may hold any digits.
    let labels: Vec<&str> =
        page.0.lines().filter_map(|line| line.rsplit_once('}')).map(|line| line.0).collect();
    for gone in ["901", "nor-there", "BREW"] {
        assert!(
            !labels.iter().any(|labels| labels.contains(gone)),
            "{gone} has become a label:\n{}",
            page.0
        );
    }
    assert!(
        page.value(r#"nexus_db_connections_max{pool="api"}"#).is_some_and(|max| max >= 2.0),
        "{}",
        page.0
    );
}

#[tokio::test]
async fn sockets_their_commands_and_broadcasts_are_counted() {
    let stack = Stack::builder().workers([]).measured().start().await;
    let buyer = stack.user().await;
    let event = stack.event(&buyer, &[("VIP", 1500.0, 10)]).await;
    let seat =
        json!({"eventId": event.id, "seatTypeId": event.seat_types[0].1, "seat_label": "V1"});
    let socket = stack.socket("buyer", &buyer).await;
    socket.call_ok("lock_seat", seat.clone()).await;
    let nobody = stack.socket("nobody", &stack.anonymous()).await;
    nobody.call("lock_seat", &[seat]).await;
    nobody.emit("no_such_command", &[]).await;
    let commands = "nexus_socket_commands_total";
    let page = until_shown(
        &stack,
        "api",
        &[
            ("nexus_sockets", 2.0),
            (&format!(r#"{commands}{{command="lock_seat",outcome="ok"}}"#), 1.0),
            (&format!(r#"{commands}{{command="lock_seat",outcome="token_missing"}}"#), 1.0),
            (r#"nexus_socket_command_duration_seconds_count{command="lock_seat"}"#, 2.0),
            // For the user, and for the others.
            (r#"nexus_broadcasts_total{event="seat_locked"}"#, 2.0),
        ],
    )
    .await;
    assert!(!page.0.contains("no_such_command"), "{}", page.0);
    drop(nobody);
    until_shown(&stack, "api", &[("nexus_sockets", 1.0)]).await;
}

#[tokio::test]
async fn alerts_and_broken_invariants_are_counted() {
    let stack = Stack::builder().workers(["payments", "cleanup"]).measured().start().await;
    let (_, _, _, order) = stack.booked().await;
    stack.pay_with(&Pay { amount: Some(100), ..Pay::order(&order, Outcome::Captured) });
    until_shown(
        &stack,
        "payments",
        &[(r#"nexus_payment_alerts_total{reason="amount_mismatch"}"#, 1.0)],
    )
    .await;

    let check = "INSERT INTO jobs (id, queue, kind, payload, max_attempts) VALUES (gen_random_uuid(), 'cleanup', 'check_books', '{}', 3)";
    stack.execute(check).await;
    until_shown(&stack, "cleanup", &[("nexus_invariant_violations", 0.0)]).await;
    stack.execute("UPDATE event_seat_types SET available_quantity = 0").await;
    stack.execute(check).await;
    until_shown(&stack, "cleanup", &[("nexus_invariant_violations", 1.0)]).await;
}
