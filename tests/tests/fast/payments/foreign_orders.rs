//! One account at Razorpay with several users: other shops, other installations, and this one as it
//! was before its books were restored. Money on an order that is not in our books moves only where
//! the order is ours beyond doubt.

use std::time::SystemTime;

use nexus_tests::stack::{Builder, QUEUES};
use nexus_tests::{Fault, Outcome, Pay, SOON, Stack, Target, Value, eventually, json, seen};
use tokio::process::Command;

/// A look every second, and no patience with webhooks.
fn builder() -> Builder {
    Stack::builder().env("RECONCILE_EVERY_SECONDS", 1).env("RECONCILE_AFTER_SECONDS", 0)
}

async fn alerts(stack: &Stack, reason: &str) -> Vec<Value> {
    stack
        .rows(&format!("SELECT subject, details FROM payment_alerts WHERE reason = '{reason}'"))
        .await
}

async fn until_alerts(stack: &Stack, reason: &str, count: usize) -> Vec<Value> {
    eventually(&format!("{count} alerts {reason}"), SOON, async || {
        let alerts = alerts(stack, reason).await;
        seen(alerts.len() == count, alerts)
    })
    .await
}

/// Waits until the reconciler has looked once more from the beginning to the end.
async fn until_looked_again(stack: &Stack) {
    let looks = async || stack.providers.count(Target::RazorpayList).calls;
    let before = looks().await;
    eventually("two more looks", SOON, async || {
        let now = looks().await;
        seen(now >= before + 2, now)
    })
    .await;
}

/// `nexus-jobs reconcile --since 1d --json`: what was done about the only difference.
async fn reconcile(stack: &Stack, more: &[&str]) -> String {
    let arguments = [&["reconcile", "--since", "1d", "--json"], more].concat();
    let output = stack.jobs_cli_with_settings(&arguments).await;
    let report: Value =
        serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("{output:?}"));
    assert_eq!(report["differences"].as_array().map(Vec::len), Some(1), "{report}");
    report["differences"][0]["done"].as_str().expect("what was done").to_owned()
}

/// A program of PostgreSQL's.
async fn run(stack: &Stack, program: &str, arguments: &[&str]) {
    let program = stack.postgres.binaries().join(program);
    let output = Command::new(program).args(arguments).output().await.expect("a program");
    assert!(output.status.success(), "{output:?}");
}

#[tokio::test]
async fn orders_of_others_move_no_money_whatever_their_notes_say() {
    let mut stack = builder().start().await;
    let (buyer, _, booking, _) = stack.booked().await;
    let (id, reference) = (booking.id.to_string(), booking.reference.as_str());
    let notes = |installation: Option<&str>| match installation {
        Some(other) => {
            json!({"booking_id": id, "booking_reference": reference, "nexus_installation": other})
        }
        None => json!({"booking_id": id, "booking_reference": reference}),
    };
    let other = "0b7e7e6e-5a60-4c27-9d4f-3d6f1a2b4c5d";
    let order = |receipt: &str, notes: &Value| {
        let order =
            json!({"amount": 20_000, "currency": "INR", "receipt": receipt, "notes": notes});
        stack.providers.create_order(&order).expect("an order").id
    };
    let gone = "BKG-2026-0101-000000-ABCDEFGH";
    let gone_notes = json!({"booking_id": id, "booking_reference": gone});
    let strangers = [
        order(reference, &notes(None)),
        order("invoice-7", &notes(None)),
        order(gone, &gone_notes),
        order("invoice-8", &json!([])),
    ];
    let others = [order(reference, &notes(Some(other))), order(gone, &notes(Some(other)))];

    let late = order("invoice-9", &json!({}));

    // Half of them are told by webhooks, the rest the reconciler finds.
    for (number, order) in strangers.iter().chain(&others).enumerate() {
        stack.providers.clear_faults();
        if number % 2 == 1 {
            stack.providers.fault(Target::Webhook, None, Fault::lost());
        }
        stack.pay(order, Outcome::Captured);
    }
    let told = format!("{} in all, the newest: ₹200.00 paid on order", strangers.len());
    eventually("one alert about all strangers", SOON, async || {
        let listed = stack.jobs_cli_ok(&["alerts"]).await;
        seen(listed.contains(&told), listed).map(drop)
    })
    .await;
    assert_eq!(alerts(&stack, "unknown_order").await.len(), 1);
    let installations = until_alerts(&stack, "other_installation", 1).await;
    assert_eq!(installations[0]["subject"], other, "{installations:?}");

    // Operators who have closed the alerts are not told again. Webhooks and looks that are still
    // under way would raise them again, so they end first.
    stack.api(0).stop().await;
    eventually("the webhooks are dealt with, and the days compared", SOON, async || {
        let open = "jobs WHERE kind IN ('process_webhook', 'reconcile_days') AND state <> 'done'";
        let open = stack.count(open).await;
        seen(open == 0, open)
    })
    .await;
    until_looked_again(&stack).await;
    stack.execute("UPDATE payment_alerts SET closed_at = now()").await;
    let asked = stack.providers.count(Target::RazorpayOrderFetch).calls;
    until_looked_again(&stack).await;
    assert_eq!(
        stack.count("payment_alerts WHERE closed_at IS NULL").await,
        0,
        "alerts that came back"
    );
    assert_eq!(
        stack.providers.count(Target::RazorpayOrderFetch).calls,
        asked,
        "Razorpay is asked once whose they are"
    );
    stack.restart_api(0).await;

    // They are told of another stranger's order.
    stack.pay(&late, Outcome::Captured);
    eventually("the alert is raised again, with one order", SOON, async || {
        let listed = stack.jobs_cli_ok(&["alerts"]).await;
        seen(listed.contains("paid on order") && !listed.contains("in all"), listed).map(drop)
    })
    .await;
    stack.until_booking(&buyer, &booking, "pending", "pending").await;
    assert_eq!(stack.count("payments").await, 0, "ledger rows");
    assert_eq!(stack.count("refunds").await, 0, "refunds");
    assert_eq!(
        stack.providers.count(Target::RazorpayRefund).calls,
        0,
        "refunds that were asked for"
    );
    stack.assert_invariants().await;
}

#[tokio::test]
async fn refunds_of_others_leave_nothing_in_our_books() {
    let stack = builder().workers(["payments"]).start().await;
    let order = json!({"amount": 20_000, "currency": "INR", "receipt": "invoice-7"});
    let payment =
        stack.pay(&stack.providers.create_order(&order).expect("an order").id, Outcome::Captured);
    for part in [Some(5_000), None] {
        stack.providers.refund_manually(&payment.id, part).expect("a refund");
    }
    eventually("all of it is heard of", SOON, async || {
        let heard = "webhook_events WHERE event_type IN ('refund.created', 'refund.processed') AND outcome IS NOT NULL";
        let heard = stack.count(heard).await;
        seen(heard == 4, heard)
    })
    .await;
    until_looked_again(&stack).await;
    for table in ["refunds", "provider_refunds", "payments"] {
        assert_eq!(stack.count(table).await, 0, "{table}");
    }
}

#[tokio::test]
async fn a_copy_with_an_id_of_its_own_moves_none_of_the_originals_money() {
    let mut stack = builder().start().await;
    let (seller, _, sold, _) = stack.sold().await;
    let (buyer, event, booking, order) = stack.booked().await;
    // As the Node service has left them: their orders at Razorpay name no installation.
    let (node_seller, _, node_sold, _) = stack.sold().await;
    let (_, _, unmarked, _) = stack.booked().await;
    stack.worker("payments").stop().await;
    let of_node = format!("id IN ({}, {})", node_sold.id, unmarked.id);
    stack.execute(&format!("UPDATE bookings SET orders_are_marked = FALSE WHERE {of_node}")).await;
    stack.execute("ALTER TABLE payments DISABLE TRIGGER USER").await;
    stack.execute(&format!("DELETE FROM payments WHERE booking_id = {}", node_sold.id)).await;
    stack.execute("ALTER TABLE payments ENABLE TRIGGER USER").await;
    stack.execute(&format!("DELETE FROM payment_orders WHERE booking_id = {}", node_sold.id)).await;
    let of_node = || {
        let order = json!({"amount": 20_000, "currency": "INR", "receipt": unmarked.reference});
        stack.providers.create_order(&order).expect("an order").id
    };
    let (node_order, newer) = (of_node(), of_node());
    let known = format!(
        "UPDATE payment_orders SET order_id = '{node_order}' WHERE booking_id = {}",
        unmarked.id
    );
    stack.execute(&known).await;

    let original = stack.row("SELECT id FROM installation").await["id"].clone();
    stack.execute("UPDATE installation SET id = gen_random_uuid()").await;
    let own = buyer.order(&booking).await;
    stack.worker("payments").start();
    stack
        .execute(
            "UPDATE bookings SET expires_at = now() - interval '1 second' WHERE status = 'pending'",
        )
        .await;
    stack
        .execute(
            "UPDATE seats SET expires_at = now() - interval '1 second' WHERE status = 'locked'",
        )
        .await;
    stack.execute("UPDATE jobs SET available_at = now() WHERE kind = 'sweep_expired'").await;
    stack.until_booking(&buyer, &booking, "expired", "cancelled").await;
    stack.user().await.lock(&event, "VIP", "A2").await.ok();
    stack.pay(&order, Outcome::Captured);
    stack.pay(&node_order, Outcome::Captured);
    stack.pay(&newer, Outcome::Captured);
    seller.cancel(&sold).await.ok();
    node_seller.cancel(&node_sold).await.ok();

    let others = until_alerts(&stack, "other_installation", 1).await;
    assert_eq!(others[0]["subject"], original, "{others:?}");
    eventually("the webhooks are dealt with, and what was sold waits", SOON, async || {
        let jobs = stack.rows("SELECT kind, state::text, available_at > now() AS later FROM jobs WHERE kind IN ('process_webhook', 'refund_payment') AND state <> 'done'").await;
        let waits = |job: &Value| job["state"] == "pending" && job["later"] == true;
        let all = |kind: &str| jobs.iter().filter(|job| job["kind"] == kind).collect::<Vec<_>>();
        let refunds = all("refund_payment");
        let done = all("process_webhook").is_empty() && refunds.len() == 2 && refunds.into_iter().all(waits);
        seen(done, &jobs).map(drop)
    })
    .await;
    until_looked_again(&stack).await;
    assert_eq!(
        stack.providers.count(Target::RazorpayRefund).calls,
        0,
        "refunds that were asked for"
    );
    assert_eq!(stack.count("payment_alerts").await, 1, "alerts");
    assert_ne!(own, order, "the copy's buyers get orders of its own");
    stack.until_booking(&buyer, &booking, "expired", "cancelled").await;
    // What the original has sold stays owed in these books.
    stack.jobs_cli_ok(&["check-books"]).await;
}

#[tokio::test]
async fn after_a_restore_no_refund_is_asked_for_until_an_operator_says_so() {
    let mut stack = builder().start().await;
    let (early_buyer, _, early, early_payment) = stack.sold().await;
    let dump = stack.dir().join("nexus.dump").display().to_string();
    let url = stack.plain_database_url();
    run(&stack, "pg_dump", &["--format=custom", "--file", &dump, &url]).await;
    let (late_buyer, _, late, order) = stack.booked().await;
    let begun = SystemTime::UNIX_EPOCH.elapsed().expect("a time").as_secs() as i64 - 7_200;
    let late_payment =
        stack.pay_with(&Pay { created_at: Some(begun), ..Pay::order(&order, Outcome::Captured) });
    stack.until_booking(&late_buyer, &late, "confirmed", "completed").await;

    stack.api(0).stop().await;
    for queue in QUEUES {
        stack.worker(queue).stop().await;
    }
    run(
        &stack,
        "pg_restore",
        &["--clean", "--if-exists", "--exit-on-error", "--dbname", &url, &dump],
    )
    .await;
    // The backup's last look was three hours ago, and the payment began after it.
    stack.execute("UPDATE installation SET looked_at = now() - interval '3 hours'").await;
    stack.restart_api(0).await;
    for queue in QUEUES {
        stack.worker(queue).start();
    }

    // The restored books have neither the booking nor its order.
    let lost = until_alerts(&stack, "lost_booking", 1).await;
    assert_eq!(lost[0]["subject"], late_payment.id, "{lost:?}");
    until_alerts(&stack, "refunds_held", 1).await;
    let held = stack.row("SELECT id FROM payment_alerts WHERE reason = 'refunds_held'").await["id"]
        .to_string();
    let closing = stack.jobs_cli(&["close-alert", &held]).await;
    assert_eq!(closing.status.code(), Some(1), "closed while refunds are held");

    early_buyer.cancel(&early).await.ok();
    eventually("the refund's job waits", SOON, async || {
        let waiting =
            "jobs WHERE kind = 'refund_payment' AND state = 'pending' AND available_at > now()";
        let count = stack.count(waiting).await;
        seen(count == 1, count)
    })
    .await;
    assert_eq!(reconcile(&stack, &["--dry-run"]).await, "nothing: see docs/reconciliation.md");
    assert_eq!(
        stack.providers.count(Target::RazorpayRefund).calls,
        0,
        "refunds that were asked for"
    );

    assert_eq!(reconcile(&stack, &["--refund-lost"]).await, "refunding: its booking is lost");
    assert_eq!(
        stack.providers.count(Target::RazorpayRefund).calls,
        0,
        "refunds that were asked for"
    );
    stack.jobs_cli_ok(&["release-refunds"]).await;
    assert_eq!(stack.jobs_cli(&["release-refunds"]).await.status.code(), Some(1), "released twice");
    assert_eq!(
        stack.count("payment_alerts WHERE reason = 'refunds_held' AND closed_at IS NULL").await,
        0
    );
    stack.until_refund(&early_payment).await;
    stack.until_refund(&late_payment).await;
    stack.assert_invariants().await;
}

#[tokio::test]
async fn a_dry_run_says_what_would_be_done_and_does_not_do_it() {
    let stack = builder().workers(["bookings"]).start().await;
    stack.providers.fault(Target::Webhook, None, Fault::lost());
    let (buyer, _, booking, order) = stack.booked().await;
    stack.pay_with(&Pay { amount: Some(100), ..Pay::order(&order, Outcome::Captured) });
    assert_eq!(reconcile(&stack, &["--dry-run"]).await, "would be refunding: amount_mismatch");
    stack.until_booking(&buyer, &booking, "pending", "pending").await;
    for table in ["payments", "refunds", "payment_alerts", "jobs WHERE kind = 'refund_payment'"] {
        assert_eq!(stack.count(table).await, 0, "{table}");
    }
}
