//! Payments that are late, for nothing we know, or go back in odd ways: each ends as a seat or a
//! refund, and buyers and operators are told.

use std::collections::BTreeSet;
use std::time::Duration;

use nexus_sandbox::providers::sign;
use nexus_tests::{
    Booking, Client, Event, Fault, Outcome, Pay, SOON, Stack, Target, Value, eventually, json, seen,
};

/// Alerts: reason and subject.
async fn alerts(stack: &Stack) -> Vec<Value> {
    stack
        .rows("SELECT reason, subject FROM payment_alerts WHERE closed_at IS NULL ORDER BY id")
        .await
}

async fn until_alert(stack: &Stack, reason: &str, subject: &str) {
    eventually(&format!("an alert: {reason} {subject}"), SOON, async || {
        let alerts = alerts(stack).await;
        seen(alerts.contains(&json!({"reason": reason, "subject": subject})), alerts).map(drop)
    })
    .await;
}

async fn until_refund_is(stack: &Stack, payment_id: &str, status: &str) -> Value {
    eventually(&format!("the refund of {payment_id} is {status}"), SOON, async || {
        let query = format!(
            "SELECT reason, status, tries_left FROM refunds WHERE payment_id = '{payment_id}'"
        );
        let rows = stack.rows(&query).await;
        seen(rows.len() == 1 && rows[0]["status"] == status, &rows).map(|rows| rows[0].clone())
    })
    .await
}

async fn until_dead(stack: &Stack) -> Value {
    eventually("the refund's job is dead", SOON, async || {
        let dead = stack
            .rows(
                "SELECT id, last_error FROM jobs WHERE kind = 'refund_payment' AND state = 'dead'",
            )
            .await;
        dead.first().cloned().ok_or("there is none".into())
    })
    .await
}

/// A booking whose deadline passes a moment after its order was made, and that has been swept.
async fn expired(stack: &Stack) -> (Client, Event, Booking, String) {
    let (buyer, event, booking, order) = stack.booked().await;
    stack.execute("UPDATE bookings SET expires_at = now() - interval '1 second'").await;
    stack
        .execute(
            "UPDATE seats SET expires_at = now() - interval '1 second' WHERE status = 'locked'",
        )
        .await;
    stack.until_booking(&buyer, &booking, "expired", "cancelled").await;
    (buyer, event, booking, order)
}

/// Razorpay tells of something that it did by itself.
async fn tell(stack: &Stack, event: &str, payload: Value) {
    let id = stack.providers.send_webhook(event, payload);
    eventually(&format!("{event} is acted on"), SOON, async || {
        let acted = format!("webhook_events WHERE event_id = '{id}' AND processed_at IS NOT NULL");
        seen(stack.count(&acted).await == 1, ())
    })
    .await;
}

#[tokio::test]
async fn a_payment_after_the_deadline_gets_the_same_seats_while_they_are_free() {
    let stack = Stack::builder().env("BOOKING_SECONDS", 2).start().await;
    let (buyer, event, booking, order) = expired(&stack).await;
    stack.pay(&order, Outcome::Captured);
    stack.until_booking(&buyer, &booking, "confirmed", "completed").await;
    stack.until_tickets(&buyer, &booking, 2).await;
    assert_eq!(stack.available(event.seat_type("VIP")).await, 48);
    stack.assert_invariants().await;
}

#[tokio::test]
async fn a_payment_after_the_deadline_goes_back_when_a_seat_is_gone() {
    let stack = Stack::builder().env("BOOKING_SECONDS", 2).start().await;
    let (buyer, event, booking, order) = expired(&stack).await;
    stack.user().await.lock(&event, "VIP", "A2").await.ok();
    let payment = stack.pay(&order, Outcome::Captured);
    assert_eq!(until_refund_is(&stack, &payment.id, "processed").await["reason"], "seats_gone");
    stack.until_booking(&buyer, &booking, "expired", "refunded").await;
    stack.assert_invariants().await;
}

#[tokio::test]
async fn a_payment_for_a_deleted_event_goes_back() {
    let stack = Stack::builder().env("BOOKING_SECONDS", 2).start().await;
    let organiser = stack.user().await;
    let event = stack.event(&organiser, &[("VIP", 100.0, 5)]).await;
    let buyer = stack.user().await;
    let booking = buyer.lock_and_book(&event, &[("VIP", "A1")]).await;
    let order = buyer.order(&booking).await;
    stack.execute("UPDATE bookings SET expires_at = now() - interval '1 second'").await;
    stack.until_booking(&buyer, &booking, "expired", "cancelled").await;
    organiser.delete(&format!("/events/{}", event.id)).await.ok();
    let payment = stack.pay(&order, Outcome::Captured);
    assert_eq!(until_refund_is(&stack, &payment.id, "processed").await["reason"], "booking_gone");
    stack.assert_invariants().await;
}

#[tokio::test]
async fn a_payment_of_another_amount_is_told_to_operators_who_close_the_alert() {
    let stack = Stack::start().await;
    let (_, _, _, order) = stack.booked().await;
    let payment =
        stack.pay_with(&Pay { amount: Some(100), ..Pay::order(&order, Outcome::Captured) });
    until_alert(&stack, "amount_mismatch", &payment.id).await;
    let table = stack.jobs_cli_ok(&["alerts"]).await;
    assert!(
        table.contains(&format!("₹1.00 paid on order {order} of ₹200.00"))
            && table.contains(&payment.id),
        "{table}"
    );
    let listed: Value =
        serde_json::from_str(&stack.jobs_cli_ok(&["alerts", "--json"]).await).expect("JSON");
    let id = listed[0]["id"].to_string();
    stack.jobs_cli_ok(&["close-alert", &id]).await;
    assert_eq!(stack.jobs_cli_ok(&["alerts", "--json"]).await, "[]\n");
    assert_eq!(stack.jobs_cli(&["close-alert", &id]).await.status.code(), Some(1), "closed twice");
    stack.assert_invariants().await;
}

#[tokio::test]
async fn a_payment_on_no_order_of_ours_is_told_to_operators_and_left_alone() {
    let stack = Stack::builder().workers(["payments"]).start().await;
    let foreign = json!({"id": "pay_foreign", "order_id": "order_ofAnotherShop", "amount": 100, "currency": "INR"});
    let without_order = json!({"id": "pay_withoutOrder", "amount": 100, "currency": "INR"});
    for (payment, id) in [(foreign, "pay_foreign"), (without_order, "pay_withoutOrder")] {
        for event in ["payment.captured", "payment.authorized"] {
            tell(&stack, event, json!({"payment": {"entity": payment}})).await;
        }
        eventually("operators are told", SOON, async || {
            let listed = stack.jobs_cli_ok(&["alerts"]).await;
            seen(listed.contains(id), listed).map(drop)
        })
        .await;
    }
    let alerts = alerts(&stack).await;
    assert_eq!(alerts.len(), 1, "one alert that counts: {alerts:?}");
    assert_eq!(stack.count("payments").await, 0, "money moved");
    assert_eq!(stack.providers.count(Target::RazorpayCapture).calls, 0, "captures");
    stack.assert_invariants().await;
}

#[tokio::test]
async fn a_webhook_about_money_that_cannot_be_read_is_told_to_operators() {
    let stack = Stack::builder().workers(["payments"]).start().await;
    tell(&stack, "payment.captured", json!({"payment": {"entity": {"id": "pay_1"}}})).await;
    let id = stack.row("SELECT id, body FROM webhook_events").await["id"].to_string();
    until_alert(&stack, "unreadable", &format!("webhook {id}")).await;
    stack.assert_invariants().await;
}

#[tokio::test]
async fn an_authorisation_that_nobody_captures_goes_back_by_itself() {
    // Razorpay's minutes are short here: fifteen to pay in, sixty more for us to capture.
    let stack = Stack::builder().razorpay_minute(Duration::from_millis(10)).start().await;
    let (buyer, event, booking, order) = stack.booked().await;
    stack.providers.fault(Target::RazorpayCapture, None, Fault::status(503));
    let payment = stack.pay(&order, Outcome::Authorized);
    eventually("Razorpay returns it", SOON, async || {
        let payments = stack.providers.payments();
        seen(payments[0].status == "refunded", payments).map(drop)
    })
    .await;
    stack.providers.clear_faults();
    let outcome =
        "webhook_events WHERE event_type = 'payment.authorized' AND outcome = 'settled_before'";
    let outcomes = format!("{outcome} OR outcome = 'not_capturable'");
    eventually("the webhook is acted on", SOON, async || {
        seen(stack.count(&outcomes).await == 1, ())
    })
    .await;
    stack.until_booking(&buyer, &booking, "pending", "pending").await;
    assert_eq!(stack.count("payments").await, 0, "it was never ours");

    // Should its capture be told of after all, nothing is sold for money that went back.
    let entity = json!({"id": payment.id, "order_id": order, "amount": 20_000, "currency": "INR"});
    tell(&stack, "payment.captured", json!({"payment": {"entity": entity}})).await;
    stack.until_booking(&buyer, &booking, "pending", "pending").await;
    assert_eq!(stack.available(event.seat_type("VIP")).await, 48, "the seats are still kept");
    stack.assert_invariants().await;
}

#[tokio::test]
async fn a_refund_that_the_bank_could_not_make_is_asked_for_again() {
    let stack = Stack::start().await;
    let (buyer, _, booking, payment) = stack.sold().await;
    stack.providers.fail_refunds(2);
    buyer.cancel(&booking).await.ok();
    assert_eq!(until_refund_is(&stack, &payment.id, "processed").await["tries_left"], 3);
    stack.until_booking(&buyer, &booking, "cancelled", "refunded").await;
    let made: Vec<_> = stack.providers.refunds().iter().map(|refund| refund.status).collect();
    assert_eq!(made, ["failed", "failed", "processed"]);
    assert!(alerts(&stack).await.is_empty(), "it went well in the end");
    stack.assert_invariants().await;
}

#[tokio::test]
async fn a_refund_that_always_fails_becomes_a_dead_letter_with_an_alert_and_is_brought_back() {
    let stack = Stack::start().await;
    let (buyer, _, booking, payment) = stack.sold().await;
    stack.providers.fail_refunds(2);
    // Two tries instead of five, so that this does not take a minute.
    stack.execute("ALTER TABLE refunds ALTER COLUMN tries_left SET DEFAULT 2").await;
    buyer.cancel(&booking).await.ok();
    until_alert(&stack, "refund_failed", &payment.id).await;
    let dead = until_dead(&stack).await;
    assert_eq!(dead["last_error"], "Razorpay has failed 2 times to make the refund");
    let books = stack.jobs_cli(&["check-books"]).await;
    let said = String::from_utf8_lossy(&books.stdout).into_owned();
    assert!(
        books.status.code() == Some(1) && said.contains("a refund that is owed has a job"),
        "{said}"
    );

    stack.jobs_cli_ok(&["retry", dead["id"].as_str().unwrap_or_default()]).await;
    until_refund_is(&stack, &payment.id, "processed").await;
    stack.until_booking(&buyer, &booking, "cancelled", "refunded").await;
    stack.assert_invariants().await;
}

#[tokio::test]
async fn a_refund_that_razorpay_refuses_becomes_a_dead_letter_with_an_alert() {
    let stack = Stack::start().await;
    let (buyer, _, booking, payment) = stack.sold().await;
    stack.providers.fault(Target::RazorpayRefund, None, Fault::status(400));
    buyer.cancel(&booking).await.ok();
    until_alert(&stack, "refund_failed", &payment.id).await;
    until_dead(&stack).await;
    stack.providers.clear_faults();
    stack.jobs_cli_ok(&["retry", "--all", "--kind", "refund_payment"]).await;
    until_refund_is(&stack, &payment.id, "processed").await;
    stack.assert_invariants().await;
}

/// What the ledger says, in the order of writing: kind and paise.
async fn ledger(stack: &Stack) -> Vec<(String, i64)> {
    let rows = stack.rows("SELECT kind, amount_paise FROM payments ORDER BY id").await;
    let row = |row: &Value| Some((row["kind"].as_str()?.to_owned(), row["amount_paise"].as_i64()?));
    rows.iter().filter_map(row).collect()
}

async fn until_ledger(stack: &Stack, expected: &[(&str, i64)]) {
    eventually("the ledger", SOON, async || {
        let ledger = ledger(stack).await;
        seen(
            ledger.iter().map(|(kind, paise)| (kind.as_str(), *paise)).eq(expected.iter().copied()),
            ledger,
        )
        .map(drop)
    })
    .await;
}

/// Paise and status of every refund at Razorpay.
fn refunds(stack: &Stack) -> Vec<(i64, &'static str)> {
    stack.providers.refunds().iter().map(|refund| (refund.amount, refund.status)).collect()
}

#[tokio::test]
async fn operators_hear_of_a_job_that_dies_without_an_error_of_its_handler() {
    let stack = Stack::builder().api_processes(0).workers(["payments"]).start().await;
    let (vanished, unreadable) =
        ("00000000-0000-7000-8000-000000000001", "00000000-0000-7000-8000-000000000002");
    let insert = format!(
        "INSERT INTO jobs (id, queue, kind, payload, max_attempts, attempt, state, leased_until, started_at) VALUES
         ('{vanished}', 'payments', 'process_webhook', '{{\"webhook_event_id\": 7}}', 14, 14, 'running', now(), now()),
         ('{unreadable}', 'payments', 'refund_payment', '{{}}', 14, 0, 'pending', NULL, NULL)"
    );
    stack.execute(&insert).await;
    until_alert(&stack, "webhook_failed", "webhook 7").await;
    until_alert(&stack, "refund_failed", &format!("job {unreadable}")).await;
    assert_eq!(stack.count("jobs WHERE state = 'dead'").await, 2);
    let details =
        stack.row("SELECT details FROM payment_alerts WHERE reason = 'webhook_failed'").await;
    assert_eq!(details["details"], format!("job {vanished} is dead: worker ? vanished"));
}

#[tokio::test]
async fn a_job_whose_alert_has_to_wait_for_a_lock_is_dead_once_operators_are_told() {
    let stack = Stack::builder().api_processes(0).workers(["payments"]);
    let stack = stack.env("DATABASE_LOCK_TIMEOUT_MS", 500).start().await;
    let [vanished, unreadable, other] =
        [1, 2, 3].map(|n| format!("00000000-0000-7000-8000-00000000000{n}"));
    let subjects =
        [("webhook_failed", "webhook 7".into()), ("refund_failed", format!("job {unreadable}"))];
    let mut others = stack.db.begin().await.expect("a transaction");
    for (reason, subject) in &subjects {
        let insert = "INSERT INTO payment_alerts (reason, subject, details) VALUES ($1, $2, '')";
        sqlx::query(insert)
            .bind(reason)
            .bind(subject)
            .execute(&mut *others)
            .await
            .expect("an alert");
    }
    let insert = format!(
        "INSERT INTO jobs (id, queue, kind, payload, max_attempts, attempt, state, leased_until, started_at) VALUES
         ('{vanished}', 'payments', 'process_webhook', '{{\"webhook_event_id\": 7}}', 14, 14, 'running', now(), now()),
         ('{other}', 'payments', 'process_webhook', '{{\"webhook_event_id\": 8}}', 14, 1, 'running', now(), now()),
         ('{unreadable}', 'payments', 'refund_payment', '{{}}', 14, 13, 'pending', NULL, NULL)"
    );
    stack.execute(&insert).await;
    let mut waits = BTreeSet::new();
    eventually("both alerts are tried again", SOON, async || {
        let dead = stack.count("jobs WHERE state = 'dead'").await;
        assert_eq!(dead, 0, "dead, and nobody knows");
        let waiting = "SELECT xact_start::text AS since FROM pg_stat_activity
                       WHERE wait_event_type = 'Lock' AND query LIKE 'INSERT INTO payment_alerts%'";
        for row in stack.rows(waiting).await {
            waits.insert(row["since"].to_string());
        }
        seen(waits.len() >= 4, &waits).map(drop)
    })
    .await;
    let rescued = format!("jobs WHERE id = '{other}' AND errors <> '[]'");
    assert_eq!(stack.count(&rescued).await, 1, "what has no alert waits for none");
    others.rollback().await.expect("PostgreSQL");
    for (reason, subject) in &subjects {
        until_alert(&stack, reason, subject).await;
    }
    assert_eq!(stack.count("jobs WHERE state = 'dead'").await, 2);
}

#[tokio::test]
async fn a_payment_that_somebody_refunds_in_parts_cancels_its_booking_once_all_of_it_has_gone_back()
{
    let stack = Stack::start().await;
    let (buyer, event, booking, payment) = stack.sold().await;
    stack.providers.refund_manually(&payment.id, Some(4_000)).expect("a refund");
    until_alert(&stack, "partial_refund", &payment.id).await;
    let part =
        [("capture", 10_000), ("sale", -10_000), ("refund", -4_000), ("sale_reversal", 4_000)];
    until_ledger(&stack, &part).await;
    stack.until_booking(&buyer, &booking, "confirmed", "completed").await;
    stack.assert_invariants().await;

    // What the bank cannot make does not count.
    stack.providers.fail_refunds(1);
    stack.providers.refund_manually(&payment.id, None).expect("a refund");
    let failed = "webhook_events WHERE event_type = 'refund.failed' AND processed_at IS NOT NULL";
    eventually("its failure is heard of", SOON, async || seen(stack.count(failed).await == 1, ()))
        .await;
    until_ledger(&stack, &part).await;
    stack.until_booking(&buyer, &booking, "confirmed", "completed").await;
    stack.assert_invariants().await;

    stack.providers.refund_manually(&payment.id, None).expect("a refund");
    until_alert(&stack, "foreign_refund", &payment.id).await;
    stack.until_booking(&buyer, &booking, "cancelled", "refunded").await;
    until_ledger(&stack, &[&part[..], &[("refund", -6_000), ("sale_reversal", 6_000)]].concat())
        .await;
    assert_eq!(stack.available(event.seat_type("VIP")).await, 50);
    assert_eq!(refunds(&stack), [(4_000, "processed"), (6_000, "failed"), (6_000, "processed")]);
    // Told once more, and late, nothing happens.
    for webhook in stack.providers.webhooks() {
        stack.providers.replay(&webhook.event_id, 1).await.expect("a delivery");
    }
    stack.assert_invariants().await;
    assert_eq!(stack.count("payments WHERE kind = 'refund'").await, 2, "refunds in the ledger");
}

#[tokio::test]
async fn a_buyer_who_cancels_after_a_part_went_back_gets_the_rest_and_is_told_so() {
    let stack = Stack::start().await;
    let (buyer, _, booking, payment) = stack.sold().await;
    stack.set_phone(&buyer, "+919812345678").await;
    stack.providers.refund_manually(&payment.id, Some(2_000)).expect("a refund");
    until_alert(&stack, "partial_refund", &payment.id).await;
    buyer.cancel(&booking).await.ok();
    stack.until_booking(&buyer, &booking, "cancelled", "refunded").await;
    assert_eq!(refunds(&stack), [(2_000, "processed"), (8_000, "processed")]);
    assert_eq!(stack.count("jobs WHERE state = 'dead'").await, 0, "dead letters");
    let told = async || {
        let mail = stack
            .providers
            .mail()
            .into_iter()
            .find(|mail| mail.text.contains("has been cancelled"));
        let sms =
            stack.providers.sms().into_iter().find(|sms| sms.body.contains("has been cancelled"));
        mail.zip(sms).ok_or("nothing".into())
    };
    let (mail, sms) = eventually("the buyer is told", SOON, told).await;
    assert!(mail.text.contains("\n₹80.00 go back the way you have paid."), "{}", mail.text);
    assert!(sms.body.ends_with("₹80.00 will be refunded."), "{}", sms.body);

    let admin = stack.admin().await;
    let export = admin.request_root(nexus_tests::Method::GET, "/admin/ledger.csv");
    let export = nexus_tests::Response::to(export).await.text;
    let lines: Vec<_> = export.lines().map(|line| line.rsplit(',').collect::<Vec<_>>()).collect();
    let refunds: Vec<_> =
        lines.iter().filter(|line| !line[0].is_empty() && line[0] != "reason").collect();
    assert_eq!(lines.len(), 1 + 6, "{export}");
    assert_eq!(
        refunds.iter().map(|line| (line[0], line[2])).collect::<Vec<_>>(),
        [("not_ours", "-20.00"), ("cancelled", "-80.00")]
    );
    stack.assert_invariants().await;
}

#[tokio::test]
async fn a_part_that_somebody_refunds_before_ours_is_asked_for_is_left_out_of_ours() {
    let mut stack = Stack::start().await;
    let (buyer, _, booking, payment) = stack.sold().await;
    stack.worker("payments").stop().await;
    buyer.cancel(&booking).await.ok();
    // Nexus hears of it only when it asks Razorpay to refund the whole.
    stack.providers.fault(Target::Webhook, Some(2), Fault::lost());
    stack.providers.refund_manually(&payment.id, Some(2_500)).expect("a refund");
    eventually("it is made", SOON, async || {
        let refunds = refunds(&stack);
        seen(refunds[0].1 == "processed", refunds).map(drop)
    })
    .await;
    stack.worker("payments").start();
    stack.until_booking(&buyer, &booking, "cancelled", "refunded").await;
    assert_eq!(refunds(&stack), [(2_500, "processed"), (7_500, "processed")]);
    assert_eq!(stack.providers.count(Target::RazorpayRefund).calls, 2, "the whole, then the rest");
    assert_eq!(stack.count("jobs WHERE state = 'dead'").await, 0, "dead letters");
    stack.assert_invariants().await;
}

#[tokio::test]
async fn what_a_refund_by_hand_would_have_returned_is_returned_by_us_when_the_bank_cannot() {
    let stack = Stack::start().await;
    let (buyer, _, booking, payment) = stack.sold().await;
    stack.providers.fail_refunds(1);
    stack.providers.refund_manually(&payment.id, Some(5_000)).expect("a refund");
    buyer.cancel(&booking).await.ok();
    stack.until_booking(&buyer, &booking, "cancelled", "refunded").await;
    let made: i64 =
        refunds(&stack).iter().filter(|made| made.1 == "processed").map(|made| made.0).sum();
    assert_eq!(made, 10_000, "{:?}", refunds(&stack));
    assert_eq!(stack.count("jobs WHERE state = 'dead'").await, 0, "dead letters");
    stack.assert_invariants().await;
}

#[tokio::test]
async fn a_refusal_because_of_a_refund_by_hand_that_then_fails_is_not_final() {
    // The reconciler, which may hear of it too early, has looked by then.
    let mut stack = Stack::builder().env("RECONCILE_EVERY_SECONDS", 3_600).start().await;
    let (buyer, _, booking, payment) = stack.sold().await;
    stack.worker("payments").stop().await;
    buyer.cancel(&booking).await.ok();
    // Nexus hears of it only when it asks why Razorpay has refused; by then the bank has failed.
    stack.providers.fault(Target::Webhook, Some(2), Fault::lost());
    stack.providers.fault(Target::RazorpayRefund, Some(1), Fault::status(400));
    stack.providers.fail_refunds(1);
    stack.providers.refund_manually(&payment.id, Some(5_000)).expect("a refund");
    eventually("the bank has failed", SOON, async || {
        let refunds = refunds(&stack);
        seen(refunds[0].1 == "failed", refunds).map(drop)
    })
    .await;
    stack.worker("payments").start();
    stack.until_booking(&buyer, &booking, "cancelled", "refunded").await;
    assert_eq!(refunds(&stack), [(5_000, "failed"), (10_000, "processed")]);
    assert_eq!(stack.count("jobs WHERE state = 'dead'").await, 0, "dead letters");
    stack.assert_invariants().await;
}

#[tokio::test]
async fn what_is_too_little_for_a_refund_is_told_to_operators_and_asked_for_no_more() {
    let stack = Stack::start().await;
    let (buyer, _, booking, payment) = stack.sold().await;
    stack.providers.refund_manually(&payment.id, Some(9_950)).expect("a refund");
    until_alert(&stack, "partial_refund", &payment.id).await;
    buyer.cancel(&booking).await.ok();
    stack.until_booking(&buyer, &booking, "cancelled", "refunded").await;
    until_refund_is(&stack, &payment.id, "processed").await;
    until_alert(&stack, "refund_remainder", &payment.id).await;
    let told =
        stack.row("SELECT details FROM payment_alerts WHERE reason = 'refund_remainder'").await;
    let told = told["details"].as_str().unwrap_or_default();
    assert!(told.starts_with("₹0.50 of ₹100.00 are left"), "{told}");
    assert_eq!(refunds(&stack), [(9_950, "processed")]);
    assert_eq!(
        stack.count("jobs WHERE kind = 'refund_payment' AND state <> 'done'").await,
        0,
        "jobs left"
    );
    assert_eq!(stack.jobs_cli_ok(&["check-books"]).await, "the books are in order\n");
}

#[tokio::test]
async fn what_is_too_little_for_a_refund_waits_for_a_part_that_is_under_way() {
    let stack = Stack::start().await;
    let (buyer, _, booking, payment) = stack.sold().await;
    let part = |status: &str| {
        let refund =
            json!({"id": "rfnd_Part", "payment_id": payment.id, "amount": 9_950, "status": status});
        json!({"refund": {"entity": refund}, "payment": {"entity": payment}})
    };
    tell(&stack, "refund.created", part("pending")).await;
    buyer.cancel(&booking).await.ok();
    let refund = until_refund_is(&stack, &payment.id, "requested").await;
    assert_eq!(refund["reason"], "cancelled");
    assert_eq!(stack.count("payment_alerts").await, 0, "alerts");
    tell(&stack, "refund.processed", part("processed")).await;
    stack.until_booking(&buyer, &booking, "cancelled", "refunded").await;
    until_alert(&stack, "refund_remainder", &payment.id).await;
    assert_eq!(
        stack.providers.count(Target::RazorpayRefund).calls,
        0,
        "refunds that were asked for"
    );
    assert_eq!(stack.jobs_cli_ok(&["check-books"]).await, "the books are in order\n");
}

#[tokio::test]
async fn a_webhook_is_kept_with_the_headers_that_matter() {
    let stack = Stack::builder().workers(["payments"]).start().await;
    let body = r#"{"event":"invoice.paid","payload":{}}"#;
    let signature = sign(&stack.providers.config().razorpay_webhook_secret, body.as_bytes());
    let request = stack.anonymous().request(nexus_tests::Method::POST, "/payments/webhook");
    let request = request
        .header("x-razorpay-signature", &signature)
        .header("x-razorpay-event-id", "evt_1")
        .header("content-type", "application/json")
        .header("user-agent", "Razorpay-Webhook/v1")
        .header("cookie", "not=kept")
        .body(body);
    nexus_tests::Response::to(request).await.ok();
    let stored = stack
        .row("SELECT event_id, convert_from(body, 'UTF8') AS body, headers FROM webhook_events")
        .await;
    let headers = json!({
        "x-razorpay-signature": signature,
        "x-razorpay-event-id": "evt_1",
        "content-type": "application/json",
        "user-agent": "Razorpay-Webhook/v1",
    });
    assert_eq!(stored, json!({"event_id": "evt_1", "body": body, "headers": headers}));
    assert_eq!(stack.count("jobs WHERE kind = 'process_webhook'").await, 1, "stored with its job");
    stack.assert_invariants().await;
}

#[tokio::test]
async fn a_payment_after_the_deadline_goes_back_when_its_buyer_has_taken_other_seats_meanwhile() {
    let stack = Stack::builder().env("BOOKING_SECONDS", 2).start().await;
    let (buyer, event, booking, order) = expired(&stack).await;
    stack.execute("UPDATE events SET max_tickets_per_user = 3").await;
    for label in ["B1", "B2"] {
        buyer.lock(&event, "VIP", label).await.ok();
    }
    let payment = stack.pay(&order, Outcome::Captured);
    assert_eq!(until_refund_is(&stack, &payment.id, "processed").await["reason"], "ticket_limit");
    stack.until_booking(&buyer, &booking, "expired", "refunded").await;
    assert_eq!(
        stack.available(event.seat_type("VIP")).await,
        48,
        "the two that were taken meanwhile"
    );
    stack.assert_invariants().await;
}

#[tokio::test]
async fn a_booking_in_a_state_of_a_newer_release_is_left_to_that() {
    let stack = Stack::builder().start().await;
    let (buyer, event, booking, order) = stack.booked().await;
    stack.execute("ALTER TABLE bookings DROP CONSTRAINT bookings_status_check").await;
    stack.execute("UPDATE bookings SET status = 'on_hold'").await;
    stack.pay(&order, Outcome::Captured);
    eventually("the payment's job has failed and waits", SOON, async || {
        let jobs = stack
            .rows("SELECT state, attempt, last_error FROM jobs WHERE kind = 'process_webhook'")
            .await;
        seen(
            jobs.iter().any(|job| {
                job["last_error"].as_str().is_some_and(|error| error.contains("on_hold"))
            }),
            jobs,
        )
        .map(drop)
    })
    .await;
    assert_eq!(stack.count("payments").await, 0, "rows in the ledger");
    assert_eq!(buyer.cancel(&booking).await.status, 500);
    assert_eq!(stack.count("seats WHERE status = 'locked'").await, 2);
    // A release that knows the state moves the booking on, and the payment finds it.
    stack.execute("UPDATE bookings SET status = 'pending'").await;
    stack.until_booking(&buyer, &booking, "confirmed", "completed").await;
    assert_eq!(stack.available(event.seat_type("VIP")).await, 48);
}
