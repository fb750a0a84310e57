//! What Prometheus reads: queues, attempts, times and pools, with names that stay.

use nexus_tests::client::http_client;
use nexus_tests::{Answer, Fault, Outcome, Pay, SOON, Stack, Target, eventually, seen};

/// Restarts a worker so that it can be asked; returns where.
async fn measured(stack: &mut Stack, queue: &str) -> String {
    let address = format!("127.0.0.1:{}", nexus_sandbox::ports::free());
    let worker = stack.worker(queue);
    worker.stop().await;
    worker.set_env("METRICS_ADDRESS", &address);
    worker.start();
    format!("http://{address}/metrics")
}

async fn read(url: &str) -> Result<String, String> {
    Answer::try_to(http_client().get(url)).await.map(|answer| answer.text)
}

/// The value of a metric with exactly these labels.
fn value(page: &str, metric: &str) -> Option<f64> {
    page.lines().find_map(|line| line.strip_prefix(metric)?.strip_prefix(' ')?.parse().ok())
}

/// Waits until a page shows these values.
async fn until_shown(url: &str, expected: &[(&str, f64)]) -> String {
    eventually(&format!("{url} shows {expected:?}"), SOON, async || {
        let page = read(url).await?;
        let shown = expected.iter().all(|(metric, wanted)| value(&page, metric) == Some(*wanted));
        seen(shown, &page).cloned()
    })
    .await
}

#[tokio::test]
async fn a_worker_tells_what_became_of_its_jobs_and_how_long_they_took() {
    let mut stack = Stack::start().await;
    let url = measured(&mut stack, "payments").await;
    let (buyer, _, booking, order) = stack.booked().await;
    stack.pay(&order, Outcome::Captured);
    stack.until_booking(&buyer, &booking, "confirmed", "completed").await;
    let done = r#"nexus_job_attempts_total{queue="payments",kind="process_webhook",outcome="done"}"#;
    let page = eventually("attempts are counted", SOON, async || {
        let page = read(&url).await?;
        seen(value(&page, done).is_some_and(|count| count >= 1.0), &page).cloned()
    })
    .await;
    for histogram in ["nexus_job_duration_seconds", "nexus_job_wait_seconds"] {
        let count = format!(r#"{histogram}_count{{queue="payments",kind="process_webhook"}}"#);
        assert!(value(&page, &count).is_some_and(|count| count >= 1.0), "{count} in\n{page}");
        assert!(page.contains(&format!("# TYPE {histogram} histogram")), "{page}");
    }
    assert!(page.contains(r#"nexus_relay_lag_seconds_count{queue="payments"}"#), "{page}");
    for pool in ["runtime", "handlers"] {
        assert!(page.contains(&format!(r#"nexus_db_connections{{pool="{pool}",state="used"}}"#)), "{page}");
    }
}

#[tokio::test]
async fn depth_shows_what_waits_what_died_and_for_how_long() {
    let mut stack = Stack::builder().workers(["otp"]).start().await;
    let url = measured(&mut stack, "otp").await;
    stack.providers.fault(Target::TwilioVerify, None, Fault::status(400));
    stack.anonymous().post("/auth/send-otp", nexus_tests::json!({"phone": "+919811111111"})).await.ok();
    let insert = "INSERT INTO jobs (id, queue, kind, payload, max_attempts, available_at) VALUES
                  (gen_random_uuid(), 'otp', 'send_otp', '{\"phone\": \"+919822222222\"}', 3, now() + interval '1 hour')";
    assert_eq!(stack.execute(insert).await, 1);
    let expected = [
        (r#"nexus_jobs{queue="otp",state="dead"}"#, 1.0),
        (r#"nexus_jobs{queue="otp",state="scheduled"}"#, 1.0),
        (r#"nexus_jobs{queue="otp",state="due"}"#, 0.0),
        (r#"nexus_jobs_oldest_due_seconds{queue="otp"}"#, 0.0),
        (r#"nexus_job_attempts_total{queue="otp",kind="send_otp",outcome="dead"}"#, 1.0),
    ];
    until_shown(&url, &expected).await;
}

#[tokio::test]
async fn alerts_and_broken_invariants_are_counted() {
    let mut stack = Stack::builder().workers(["payments", "cleanup"]).start().await;
    let payments = measured(&mut stack, "payments").await;
    let cleanup = measured(&mut stack, "cleanup").await;
    let (_, _, _, order) = stack.booked().await;
    stack.pay_with(&Pay { amount: Some(100), ..Pay::order(&order, Outcome::Captured) });
    until_shown(&payments, &[(r#"nexus_payment_alerts_total{reason="amount_mismatch"}"#, 1.0)]).await;

    let check = "INSERT INTO jobs (id, queue, kind, payload, max_attempts) VALUES (gen_random_uuid(), 'cleanup', 'check_books', '{}', 3)";
    stack.execute(check).await;
    until_shown(&cleanup, &[("nexus_invariant_violations", 0.0)]).await;
    stack.execute("UPDATE event_seat_types SET available_quantity = 0").await;
    stack.execute(check).await;
    until_shown(&cleanup, &[("nexus_invariant_violations", 1.0)]).await;
}
