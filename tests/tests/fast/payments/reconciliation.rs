//! The reconciler finds what no webhook tells: payments, refunds, and orders whose process died
//! before it stored them.

use std::time::Duration;

use nexus_sandbox::providers::Payment;
use nexus_tests::stack::Builder;
use nexus_tests::{
    Booking, Client, Event, Fault, Outcome, Pay, SOON, Stack, Target, Value, eventually, json, seen,
};

/// A look every second, and no patience with webhooks.
fn builder() -> Builder {
    Stack::builder().env("RECONCILE_EVERY_SECONDS", 1).env("RECONCILE_AFTER_SECONDS", 0)
}

/// A stack whose webhooks are all lost, and a buyer with a booking and an order.
async fn without_webhooks(builder: Builder) -> (Stack, Client, Event, Booking, String) {
    let stack = builder.start().await;
    let (buyer, event, booking, order) = stack.booked_without_webhooks().await;
    (stack, buyer, event, booking, order)
}

/// A payment that was begun two hours ago, before anything that is listed every time.
fn begun_long_ago(order: &str, outcome: Outcome) -> Pay {
    let now = std::time::SystemTime::UNIX_EPOCH.elapsed().unwrap().as_secs() as i64;
    Pay { created_at: Some(now - 7_200), ..Pay::order(order, outcome) }
}

/// `nexus-jobs reconcile --since 1d --json`: the exit code and the report.
async fn reconcile(stack: &Stack, more: &[&str]) -> (Option<i32>, Value) {
    let arguments = [&["reconcile", "--since", "1d", "--json"], more].concat();
    let output = stack.jobs_cli_with_settings(&arguments).await;
    let report = serde_json::from_slice(&output.stdout);
    (output.status.code(), report.unwrap_or_else(|_| panic!("{output:?}")))
}

/// What an operator reads of the only difference.
fn only_difference(report: &Value) -> [&str; 3] {
    let differences = report["differences"].as_array().unwrap();
    assert_eq!(differences.len(), 1, "{report}");
    ["razorpay", "nexus", "done"].map(|field| differences[0][field].as_str().unwrap())
}

async fn until_refund_is(stack: &Stack, payment: &Payment, status: &str) -> Value {
    eventually(&format!("the refund of {} is {status}", payment.id), SOON, async || {
        let query =
            format!("SELECT reason, status FROM refunds WHERE payment_id = '{}'", payment.id);
        let rows = stack.rows(&query).await;
        seen(rows.first().is_some_and(|row| row["status"] == status), &rows)
            .map(|rows| rows[0].clone())
    })
    .await
}

#[tokio::test]
async fn a_payment_whose_webhooks_are_lost_confirms_within_the_interval() {
    for outcome in [Outcome::Captured, Outcome::Authorized] {
        let (stack, buyer, _, booking, order) = without_webhooks(builder()).await;
        stack.pay(&order, outcome);
        stack.until_booking(&buyer, &booking, "confirmed", "completed").await;
        stack.until_tickets(&buyer, &booking, 2).await;
        assert_eq!(stack.count("webhook_events").await, 0, "webhooks");
        stack.assert_invariants().await;
        assert_eq!(
            stack.count("jobs WHERE kind = 'reconcile_orders'").await,
            1,
            "one job looks, for ever"
        );
    }
}

#[tokio::test]
async fn an_order_is_asked_about_at_its_deadline_and_then_with_growing_gaps() {
    let (stack, _, _, _, order) = without_webhooks(builder().env("BOOKING_SECONDS", 3)).await;
    let look = "SELECT looks, extract(epoch FROM look_at - looked_at)::int AS gap,
                       looked_at >= (SELECT expires_at FROM bookings WHERE id = booking_id) AS overdue FROM payment_orders";
    for looks in 1..=3 {
        eventually(&format!("the order is asked about {looks} times"), SOON, async || {
            let row = stack.row(look).await;
            let gap = 1 << (looks - 1);
            seen(row == json!({"looks": looks, "gap": gap, "overdue": true}), row)
        })
        .await;
    }
    // A week later nothing can be authorized any more.
    let old = format!(
        "UPDATE payment_orders SET created_at = now() - interval '8 days', look_at = now() WHERE order_id = '{order}'"
    );
    stack.execute(&old).await;
    eventually("the order is asked about for the last time", SOON, async || {
        let row = stack.row("SELECT looks, look_at FROM payment_orders").await;
        seen(row["look_at"].is_null() && row["looks"] == 4, row)
    })
    .await;
    stack.assert_invariants().await;
}

#[tokio::test]
async fn a_payment_that_changes_its_mind_after_the_deadline_is_found_by_its_order() {
    let (stack, buyer, _, booking, order) =
        without_webhooks(builder().env("BOOKING_SECONDS", 3)).await;
    let failed = stack.pay_with(&begun_long_ago(&order, Outcome::Failed));
    stack.until_booking(&buyer, &booking, "expired", "cancelled").await;
    let late =
        Pay { payment_id: Some(failed.id.clone()), ..Pay::order(&order, Outcome::Authorized) };
    stack.pay_with(&late);
    let shown = stack.until_booking(&buyer, &booking, "confirmed", "completed").await;
    assert_eq!(shown["booking"]["payment_id"], failed.id);
    stack.assert_invariants().await;
}

#[tokio::test]
async fn late_money_for_seats_that_are_gone_goes_back_and_is_not_taken_where_it_is_only_reserved() {
    let (stack, buyer, event, booking, order) =
        without_webhooks(builder().env("BOOKING_SECONDS", 3).env("SEAT_LOCK_SECONDS", 600)).await;
    stack.until_booking(&buyer, &booking, "expired", "cancelled").await;
    stack.user().await.lock(&event, "VIP", "A2").await.ok();
    let reserved = stack.pay_with(&begun_long_ago(&order, Outcome::Authorized));
    let captured = stack.pay_with(&begun_long_ago(&order, Outcome::Captured));
    stack.execute("UPDATE payment_orders SET look_at = now()").await;
    assert_eq!(until_refund_is(&stack, &captured, "processed").await["reason"], "seats_gone");
    stack.until_booking(&buyer, &booking, "expired", "refunded").await;
    let payments = stack.providers.payments();
    let left = payments.iter().find(|payment| payment.id == reserved.id).unwrap();
    assert_eq!(left.status, "authorized", "what is only reserved lapses by itself");
    assert_eq!(stack.providers.count(Target::RazorpayCapture).calls, 0, "captures");
    stack.assert_invariants().await;
}

#[tokio::test]
async fn expiry_does_not_wait_for_razorpay() {
    let (stack, buyer, event, booking, order) =
        without_webhooks(builder().env("BOOKING_SECONDS", 4)).await;
    stack.pay(&order, Outcome::Failed);
    stack.providers.stop_http().await;
    stack.until_booking(&buyer, &booking, "expired", "cancelled").await;
    assert_eq!(stack.available(event.seat_type("VIP")).await, 50);
    stack.providers.resume_http().await.unwrap();
    stack.pay(&order, Outcome::Captured);
    stack.until_booking(&buyer, &booking, "confirmed", "completed").await;
    stack.assert_invariants().await;
}

#[tokio::test]
async fn a_payment_is_settled_once_although_the_worker_died_while_reconciling() {
    let (mut stack, buyer, _, booking, order) =
        without_webhooks(builder().env("JOB_LEASE_MS", 2_000).env("JOB_LOST_MS", 2_000)).await;
    stack.providers.fault(
        Target::RazorpayCapture,
        Some(1),
        Fault::delay_response(Duration::from_secs(20)),
    );
    stack.pay(&order, Outcome::Authorized);
    eventually("the payment is captured at Razorpay", SOON, async || {
        let payments = stack.providers.payments();
        seen(payments[0].captured, payments[0].status)
    })
    .await;
    stack.worker("payments").kill_9().await;
    stack.worker("payments").start();
    stack.until_booking(&buyer, &booking, "confirmed", "completed").await;
    stack.assert_invariants().await;
    assert_eq!(stack.count("payments WHERE kind = 'capture'").await, 1, "captures in the ledger");
}

#[tokio::test]
async fn refunds_of_which_no_webhook_tells_are_followed_to_their_end() {
    let stack = builder().start().await;
    let (buyer, _, booking, payment) = stack.sold().await;
    stack.providers.fault(Target::Webhook, None, Fault::lost());
    buyer.cancel(&booking).await.ok();
    until_refund_is(&stack, &payment, "processed").await;
    stack.until_booking(&buyer, &booking, "cancelled", "refunded").await;
    stack.assert_invariants().await;
}

#[tokio::test]
async fn an_order_or_refund_that_razorpay_cannot_answer_does_not_keep_the_others_from_it() {
    let mut stack = builder().start().await;
    let (stuck_seller, _, stuck_sold, stuck_sale) = stack.sold().await;
    let (seller, _, sold, sale) = stack.sold().await;
    let (_, _, _, stuck_order) = stack.booked().await;
    let (buyer, _, booking, order) = stack.booked().await;
    stack.worker("payments").stop().await;
    stack.providers.fault(Target::Webhook, None, Fault::lost());
    for (number, order) in [&stuck_order, &order].into_iter().enumerate() {
        stack.pay_with(&begun_long_ago(order, Outcome::Captured));
        let due = format!(
            "UPDATE payment_orders SET look_at = now() - interval '{} seconds' WHERE order_id = '{order}'",
            9 - number
        );
        stack.execute(&due).await;
    }
    stuck_seller.cancel(&stuck_sold).await.ok();
    seller.cancel(&sold).await.ok();
    stack.providers.fault_about(Target::RazorpayOrderFetch, &stuck_order, Fault::status(500));
    stack.providers.fault_about(Target::RazorpayRefundFetch, &stuck_sale.id, Fault::status(429));
    stack.worker("payments").start();

    stack.until_booking(&buyer, &booking, "confirmed", "completed").await;
    until_refund_is(&stack, &sale, "processed").await;
    let looks = format!(
        "SELECT looks, look_at > looked_at AS later FROM payment_orders WHERE order_id = '{stuck_order}'"
    );
    eventually("the order that failed has its next look", SOON, async || {
        let row = stack.row(&looks).await;
        seen(row["looks"].as_i64() > Some(0) && row["later"] == true, row).map(drop)
    })
    .await;
    until_refund_is(&stack, &stuck_sale, "requested").await;
    stack.providers.clear_faults();
    until_refund_is(&stack, &stuck_sale, "processed").await;
    stack.assert_invariants().await;
}

#[tokio::test]
async fn a_refund_that_nobody_works_on_is_asked_for_again() {
    let mut stack = builder().start().await;
    let (buyer, _, booking, payment) = stack.sold().await;
    stack.worker("payments").stop().await;
    buyer.cancel(&booking).await.ok();
    assert_eq!(stack.execute("DELETE FROM jobs WHERE kind = 'refund_payment'").await, 1);
    stack.worker("payments").start();
    until_refund_is(&stack, &payment, "processed").await;
    stack.assert_invariants().await;
    assert_eq!(stack.providers.refunds().len(), 1, "refunds at the provider");
}

#[tokio::test]
async fn an_operator_compares_by_hand_and_is_told_what_differed() {
    let (stack, buyer, _, booking, order) =
        without_webhooks(builder().workers(["bookings", "notifications"])).await;
    let payment = stack.pay(&order, Outcome::Captured);
    let (code, report) = reconcile(&stack, &["--dry-run"]).await;
    assert_eq!(code, Some(1), "{report}");
    assert_eq!(only_difference(&report), ["captured", "unknown", "would be confirmed"]);
    assert_eq!(report["differences"][0]["subject"], payment.id);
    assert_eq!(report["differences"][0]["booking"], booking.id);
    assert_eq!(stack.count("payments").await, 0, "a dry run changes nothing");

    let output = stack.jobs_cli_with_settings(&["reconcile", "--since", "1d"]).await;
    let table = String::from_utf8_lossy(&output.stdout);
    assert_eq!(output.status.code(), Some(1), "{table}");
    for part in ["WHAT", &payment.id, "200.00", "captured", "unknown", "confirmed", "1 differences"]
    {
        assert!(table.contains(part), "{part} in:\n{table}");
    }
    stack.until_booking(&buyer, &booking, "confirmed", "completed").await;
    let (code, report) = reconcile(&stack, &[]).await;
    assert_eq!((code, &report["differences"]), (Some(0), &json!([])), "{report}");

    for since in ["tomorrow", "2999-01-01"] {
        let output = stack.jobs_cli_with_settings(&["reconcile", "--since", since]).await;
        assert_eq!(output.status.code(), Some(2), "{since}: {output:?}");
    }
    let output = stack.jobs_cli(&["reconcile", "--since", "1d"]).await;
    let complaint = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(
        output.status.code() == Some(2) && complaint.contains("RAZORPAY_KEY_ID is missing"),
        "{complaint}"
    );
    stack.jobs_cli_ok(&["stats"]).await;
    stack.assert_invariants().await;
}

#[tokio::test]
async fn a_payment_on_an_order_that_nobody_lived_to_remember_finds_its_booking_by_the_receipt() {
    let (stack, buyer, _, booking, order) = without_webhooks(builder()).await;
    stack.execute("DELETE FROM payment_orders").await;
    stack.execute("UPDATE bookings SET payment_id = NULL, payment_gateway = NULL").await;
    stack.pay(&order, Outcome::Captured);
    stack.until_booking(&buyer, &booking, "confirmed", "completed").await;
    stack.assert_invariants().await;
}

#[tokio::test]
async fn a_refund_that_somebody_made_by_hand_cancels_the_booking_that_it_paid() {
    let stack = builder().start().await;
    let (buyer, event, booking, payment) = stack.sold().await;
    stack.until_tickets(&buyer, &booking, 1).await;
    stack.providers.fault(Target::Webhook, None, Fault::lost());
    stack.providers.refund_manually(&payment.id, None).unwrap();
    stack.until_booking(&buyer, &booking, "cancelled", "refunded").await;
    assert_eq!(until_refund_is(&stack, &payment, "processed").await["reason"], "not_ours");
    assert_eq!(stack.available(event.seat_type("VIP")).await, 50);
    assert_eq!(stack.count("tickets WHERE status <> 'cancelled'").await, 0, "valid tickets");
    stack.assert_invariants().await;
    assert_eq!(stack.providers.refunds().len(), 1, "refunds at the provider");
}

#[tokio::test]
async fn a_refund_by_hand_of_a_payment_that_nobody_told_of_does_not_become_a_seat() {
    let mut stack = builder().start().await;
    stack.providers.fault(Target::Webhook, None, Fault::lost());
    let (buyer, _, booking, order) = stack.booked().await;
    stack.worker("payments").stop().await;
    let payment = stack.pay(&order, Outcome::Captured);
    stack.providers.refund_manually(&payment.id, None).unwrap();
    stack.worker("payments").start();
    until_refund_is(&stack, &payment, "processed").await;
    stack.until_booking(&buyer, &booking, "pending", "pending").await;
    stack.assert_invariants().await;
}

#[tokio::test]
async fn a_refund_of_a_part_by_hand_is_written_down_and_the_booking_stands() {
    let stack = builder().workers(["bookings", "notifications"]).start().await;
    stack.providers.fault(Target::Webhook, None, Fault::lost());
    let (buyer, _, booking, order) = stack.booked().await;
    let payment = stack.pay(&order, Outcome::Captured);
    reconcile(&stack, &[]).await;
    stack.until_booking(&buyer, &booking, "confirmed", "completed").await;
    stack.providers.refund_manually(&payment.id, Some(5_000)).unwrap();
    eventually("the refund is made", SOON, async || {
        let refunds = stack.providers.refunds();
        seen(refunds[0].status == "processed", refunds).map(drop)
    })
    .await;
    let (code, report) = reconcile(&stack, &["--dry-run"]).await;
    assert_eq!(code, Some(1), "{report}");
    assert_eq!(only_difference(&report), ["refund processed", "unknown", "would be written down"]);
    let (_, report) = reconcile(&stack, &[]).await;
    assert_eq!(only_difference(&report), ["refund processed", "unknown", "written down"]);
    assert_eq!(stack.count("payments WHERE kind = 'refund' AND amount_paise = -5000").await, 1);
    assert_eq!(reconcile(&stack, &[]).await.0, Some(0), "nothing differs any more");
    stack.until_booking(&buyer, &booking, "confirmed", "completed").await;
    stack.assert_invariants().await;

    // The rest, by hand as well.
    stack.providers.refund_manually(&payment.id, None).unwrap();
    eventually("the rest is made", SOON, async || {
        let refunds = stack.providers.refunds();
        seen(refunds.iter().all(|refund| refund.status == "processed"), refunds).map(drop)
    })
    .await;
    let (_, report) = reconcile(&stack, &[]).await;
    assert_eq!(only_difference(&report)[2], "refund by hand written down, booking cancelled");
    stack.until_booking(&buyer, &booking, "cancelled", "refunded").await;
    stack.assert_invariants().await;
}
