//! Rows of finished jobs, and of notices that jobs might have sent: removed in time, in bounded
//! steps, and no burden while they stay.

use std::time::Duration;

use nexus_tests::settings::setting;
use nexus_tests::{SOON, Stack, eventually, json, probes::Processes, seen};

/// So many jobs that ended so many days ago.
async fn finished(stack: &Stack, count: u32, state: &str, days: u32) {
    let insert = format!(
        "INSERT INTO jobs (id, queue, kind, payload, state, attempt, max_attempts, delivery, created_at, available_at, started_at, finished_at)
         SELECT gen_random_uuid(), 'cleanup', 'probe', '{{\"steps\": [\"done\"]}}', '{state}', 1, 20, 1, t, t, t, t
         FROM generate_series(1, {count}) n, LATERAL (SELECT now() - interval '{days} days' - n * interval '1 millisecond' AS t) times"
    );
    stack.execute(&insert).await;
}

/// What the worker has logged as removed of this kind, step by step, once it adds up to `all`: it
/// says so after the commit, so the rows are gone before.
async fn steps_in_the_log(worker: &mut Processes, what: &str, all: u32) -> Vec<u32> {
    eventually("each step is in the log", SOON, async || {
        let log = worker.process(0).log();
        let steps: Vec<u32> = log
            .split(&format!(" {what}="))
            .skip(1)
            .filter_map(|rest| rest.split_whitespace().next()?.parse().ok())
            .collect();
        seen(steps.iter().sum::<u32>() == all, steps)
    })
    .await
}

#[tokio::test]
async fn finished_jobs_are_removed_in_bounded_steps_until_none_is_left_and_dead_letters_stay() {
    let stack =
        Stack::builder().api_processes(0).workers([]).env("JOBS_KEEP_HOURS", 24).start().await;
    finished(&stack, 34_000, "done", 2).await;
    finished(&stack, 1_000, "cancelled", 2).await;
    finished(&stack, 7, "dead", 400).await;
    finished(&stack, 5, "done", 0).await;
    // The worker's schedule has never run, so the job is due at once.
    let mut worker = stack.processes("nexus-worker-cleanup", 1, &[]);
    worker.start().await;
    eventually("what is old is gone", SOON, async || {
        let old = stack
            .count("jobs WHERE state IN ('done', 'cancelled') AND finished_at < now() - interval '1 day'")
            .await;
        seen(old == 0, old).map(drop)
    })
    .await;
    assert_eq!(stack.count("jobs WHERE kind = 'probe' AND state = 'dead'").await, 7);
    assert_eq!(stack.count("jobs WHERE kind = 'probe' AND state = 'done'").await, 5);
    let steps = steps_in_the_log(&mut worker, "jobs", 35_000).await;
    assert!(steps.len() >= 4 && steps.iter().all(|step| *step <= 10_000), "{steps:?}");
}

#[tokio::test]
async fn notices_of_deleted_events_are_kept_for_as_long_as_a_job_may_want_them() {
    let stack = Stack::builder().api_processes(0).workers([]).start().await;
    let kept = "WITH buyer AS (INSERT INTO users (name) VALUES ('Asha') RETURNING id)
                INSERT INTO cancellation_notices (booking_id, user_id, booking_reference, event_name, event_start, kept_at)
                SELECT days, id, 'BKG-' || days, 'Monsoon Jazz Night', now(), now() - days * interval '1 day'
                FROM buyer, unnest(ARRAY[89, 91, 92, 93]) days";
    assert_eq!(stack.execute(kept).await, 4);
    let jobs = "INSERT INTO jobs (id, queue, kind, payload, unique_key, state, attempt, max_attempts, available_at, finished_at)
                SELECT gen_random_uuid(), 'notifications', kind, jsonb_build_object('booking_id', booking), kind || ':' || booking,
                       state::job_state, 1, 14, now(), now()
                FROM (VALUES ('email_cancellation', 92, 'dead'), ('sms_cancellation', 93, 'done')) jobs (kind, booking, state)";
    assert_eq!(stack.execute(jobs).await, 2);
    let mut worker = stack.processes("nexus-worker-cleanup", 1, &[]);
    worker.start().await;
    eventually("what is old is gone", SOON, async || {
        let left =
            stack.rows("SELECT booking_id FROM cancellation_notices ORDER BY booking_id").await;
        seen(left == [json!({"booking_id": 89}), json!({"booking_id": 92})], left).map(drop)
    })
    .await;
}

#[tokio::test]
async fn webhooks_and_alerts_that_are_over_are_removed_and_all_others_stay() {
    let stack =
        Stack::builder().api_processes(0).workers([]).env("WEBHOOKS_KEEP_DAYS", 30).start().await;
    // Processed so many days ago, or never; closed so many days ago, or never.
    stack
        .execute(
            "INSERT INTO webhook_events (event_id, event_type, body, payment_id, order_id, received_at, processed_at)
             SELECT 'old-' || n, 'payment.captured', '{}'::bytea, '', '', now() - interval '40 days', now() - interval '31 days'
             FROM generate_series(1, 4500) n
             UNION ALL SELECT 'open', 'payment.captured', '{}', '', '', now() - interval '400 days', NULL
             UNION ALL SELECT 'young', 'payment.captured', '{}', '', '', now() - interval '31 days', now() - interval '29 days'",
        )
        .await;
    stack
        .execute(
            "INSERT INTO payment_alerts (reason, subject, details, created_at, closed_at)
             SELECT 'unreadable', subject, '', now() - interval '999 days', now() - days * interval '1 day'
             FROM (VALUES ('old', 366), ('young', 364), ('open', NULL)) alert (subject, days)",
        )
        .await;
    let mut worker = stack.processes("nexus-worker-cleanup", 1, &[]);
    worker.start().await;
    eventually("what is old is gone", SOON, async || {
        let webhooks = stack.rows("SELECT event_id FROM webhook_events ORDER BY id").await;
        let alerts = stack.rows("SELECT subject FROM payment_alerts ORDER BY id").await;
        let is_left = webhooks == [json!({"event_id": "open"}), json!({"event_id": "young"})]
            && alerts == [json!({"subject": "young"}), json!({"subject": "open"})];
        seen(is_left, (webhooks.len(), alerts)).map(drop)
    })
    .await;
    let steps = steps_in_the_log(&mut worker, "webhooks", 4_500).await;
    assert!(steps.iter().all(|step| *step <= 2_000), "{steps:?}");
}

#[tokio::test]
async fn old_webhooks_lose_their_bodies_and_stay_known() {
    let stack = Stack::builder()
        .api_processes(0)
        .workers([])
        .env("WEBHOOK_BODIES_KEEP_DAYS", 10)
        .start()
        .await;
    stack
        .execute(
            "INSERT INTO webhook_events (event_id, event_type, body, payment_id, order_id, received_at, processed_at, outcome)
             SELECT 'old-' || n, 'payment.captured', '{\"contact\": 1}'::bytea, '', '', now(), now() - interval '11 days', 'confirmed'
             FROM generate_series(1, 4500) n
             UNION ALL SELECT 'open', 'payment.captured', '{}', '', '', now() - interval '400 days', NULL, NULL
             UNION ALL SELECT 'young', 'payment.captured', '{}', '', '', now(), now() - interval '9 days', 'confirmed'
             UNION ALL SELECT 'alert', 'unreadable', '{}', '', '', now(), now() - interval '11 days', 'unreadable'
             UNION ALL SELECT 'seen', 'unreadable', '{}', '', '', now(), now() - interval '11 days', 'unreadable'",
        )
        .await;
    stack
        .execute(
            "INSERT INTO payment_alerts (reason, subject, details, closed_at)
             SELECT 'unreadable', 'webhook ' || id, '', CASE event_id WHEN 'seen' THEN now() END
             FROM webhook_events WHERE event_id IN ('alert', 'seen')",
        )
        .await;
    let mut worker = stack.processes("nexus-worker-cleanup", 1, &[]);
    worker.start().await;
    eventually("what is old is empty", SOON, async || {
        let full = stack.rows("SELECT event_id FROM webhook_events WHERE octet_length(body) > 0 ORDER BY event_id").await;
        let is_left = full
            == [json!({"event_id": "alert"}), json!({"event_id": "open"}), json!({"event_id": "young"})];
        seen(is_left, full.len()).map(drop)
    })
    .await;
    assert_eq!(stack.count("webhook_events").await, 4_504, "all are known");
    let steps = steps_in_the_log(&mut worker, "webhook_bodies", 4_501).await;
    // Those that could be read, and a few that could not.
    assert!(steps.iter().all(|step| *step <= 2_100), "{steps:?}");
}

#[tokio::test]
async fn messages_that_could_not_be_sent_go_in_time_and_what_is_owed_stays() {
    let stack = Stack::builder()
        .api_processes(0)
        .workers([])
        .env("DEAD_MESSAGES_KEEP_DAYS", 20)
        .start()
        .await;
    stack
        .execute(
            "INSERT INTO jobs (id, queue, kind, payload, state, attempt, max_attempts, delivery, finished_at)
             SELECT gen_random_uuid(), queue, 'probe', '{}', 'dead', 1, 1, 1, now() - days * interval '1 day'
             FROM unnest(ARRAY['otp', 'notifications', 'payments', 'bookings', 'expiry']) queue, unnest(ARRAY[19, 21]) days",
        )
        .await;
    let mut worker = stack.processes("nexus-worker-cleanup", 1, &[]);
    worker.start().await;
    eventually("old messages are gone", SOON, async || {
        let left = stack.count("jobs WHERE kind = 'probe'").await;
        seen(left == 8, left).map(drop)
    })
    .await;
    let owed = "jobs WHERE kind = 'probe' AND queue IN ('payments', 'bookings', 'expiry')";
    assert_eq!(stack.count(owed).await, 6);
    steps_in_the_log(&mut worker, "dead_messages", 2).await;
}

/// `NEXUS_FINISHED_JOBS` says how many there are.
#[tokio::test]
async fn workers_read_none_of_the_finished_jobs() {
    let stack = Stack::builder().api_processes(0).workers([]).start().await;
    // PostgreSQL plans the statements while it knows the table to be small; these plans must not be
    // slow when it has grown.
    stack.flood(50, json!(["done"])).await;
    stack.execute("ANALYZE jobs").await;
    let mut probes = stack.probes(2, &[("WORKER_CONCURRENCY", "4")]).await;
    probes.start().await;
    stack.flood(50, json!(["done"])).await;
    stack.until_idle(&["cleanup"]).await;
    for _ in 0..setting("NEXUS_FINISHED_JOBS", 200_000) / 100_000 {
        finished(&stack, 100_000, "done", 1).await;
    }

    let read = "SELECT seq_tup_read, idx_tup_fetch FROM pg_stat_user_tables WHERE relname = 'jobs'";
    let before = stack.row(read).await;
    stack.flood(500, json!(["retry", "done"])).await;
    stack.flood(500, json!(["done"])).await;
    eventually("all have run", Duration::from_secs(60), async || {
        // Not by a look at `jobs`, which the statistics would count.
        let effects = stack.count("probe_effects").await;
        seen(effects == 1_100, effects).map(drop)
    })
    .await;
    for n in 0..probes.len() {
        // A process's statistics are complete once its last connection has ended.
        probes.process(n).stop().await;
    }
    let after = stack.row(read).await;
    let read = |name: &str| after[name].as_i64().unwrap() - before[name].as_i64().unwrap();
    assert!(read("idx_tup_fetch") > 1_000, "{before} {after}");
    // Reads of the small table may be counted late.
    assert!(read("seq_tup_read") < 100_000, "the table was read from end to end: {before} {after}");
}

#[tokio::test]
async fn redis_remembers_nothing_of_what_is_done() {
    let stack = Stack::builder().api_processes(0).workers([]).start().await;
    let mut probes = stack.probes(2, &[("WORKER_CONCURRENCY", "8")]).await;
    probes.start().await;
    eventually("both workers are registered", SOON, async || {
        let (_, registered) = stack.lasting_in_redis().await;
        seen(registered == 2, registered).map(drop)
    })
    .await;
    let before = stack.redis_keys().await;
    stack.flood(2_000, json!(["done"])).await;
    stack.flood(50, json!(["discard"])).await;
    stack.until_idle_within(Duration::from_secs(120), &["cleanup"]).await;
    eventually("Redis holds what it held before", SOON, async || {
        let keys = stack.redis_keys().await;
        let more: Vec<_> = keys
            .iter()
            .filter(|key| !before.contains(key) && *key != "nexus:cleanup:signal")
            .collect();
        seen(more.is_empty(), more).map(drop)
    })
    .await;
}
