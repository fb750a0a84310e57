//! Disputes: a buyer's bank asks for a payment back. Nexus keeps disputes, tells operators of them,
//! and writes the ledger as far as money moves.

use nexus_sandbox::providers::{Dispute, DisputeMove, OpenDispute};
use nexus_tests::{
    Booking, Client, Fault, Method, Outcome, Response, SOON, Stack, Target, Value, eventually,
    json, seen,
};

fn dispute(payment_id: &str) -> OpenDispute {
    OpenDispute { payment_id: payment_id.to_owned(), ..OpenDispute::default() }
}

async fn until_status(stack: &Stack, dispute: &Dispute, status: &str) {
    eventually(&format!("the dispute is {status}"), SOON, async || {
        let rows = stack.rows("SELECT dispute_id, status FROM disputes").await;
        seen(rows.contains(&json!({"dispute_id": dispute.id, "status": status})), rows).map(drop)
    })
    .await;
}

async fn alert(stack: &Stack, reason: &str, dispute: &Dispute) -> String {
    let query = format!(
        "SELECT details FROM payment_alerts WHERE reason = '{reason}' AND subject = '{}'",
        dispute.id
    );
    stack.row(&query).await["details"].as_str().unwrap_or_default().to_owned()
}

/// What the ledger says, in the order of writing.
async fn ledger(stack: &Stack) -> Vec<String> {
    let rows =
        stack.rows("SELECT kind || ' ' || amount_paise AS row FROM payments ORDER BY id").await;
    rows.iter().filter_map(|row| row["row"].as_str().map(str::to_owned)).collect()
}

async fn checked_books(stack: &Stack) {
    assert_eq!(stack.jobs_cli_ok(&["check-books"]).await, "the books are in order\n");
}

#[tokio::test]
async fn a_lost_dispute_takes_the_tickets_with_the_money() {
    let stack = Stack::start().await;
    let (buyer, event, booking, payment) = stack.sold().await;
    stack.until_tickets(&buyer, &booking, 1).await;
    let open = OpenDispute { respond_by: Some(1_900_000_000), ..dispute(&payment.id) };
    let dispute = stack.providers.open_dispute(&open).expect("a dispute");
    until_status(&stack, &dispute, "open").await;
    let told = alert(&stack, "dispute_open", &dispute).await;
    let expected = format!(
        "₹100.00 of {} (chargeback, chargeback): answer at Razorpay before 2030-03-17 17:46 UTC",
        payment.id
    );
    assert_eq!(told, expected);
    assert_eq!(ledger(&stack).await, ["capture 10000", "sale -10000"], "nothing has moved");
    stack.until_booking(&buyer, &booking, "confirmed", "completed").await;

    stack.providers.move_dispute(&dispute.id, DisputeMove::UnderReview).expect("a review");
    until_status(&stack, &dispute, "under_review").await;
    stack.providers.move_dispute(&dispute.id, DisputeMove::Lose).expect("a loss");
    stack.until_booking(&buyer, &booking, "cancelled", "refunded").await;
    let moved = ["capture 10000", "sale -10000", "dispute -10000", "sale_reversal 10000"];
    assert_eq!(ledger(&stack).await, moved);
    assert_eq!(stack.count("tickets WHERE status <> 'cancelled'").await, 0, "valid tickets");
    assert_eq!(stack.available(event.seat_type("VIP")).await, 50);
    assert!(stack.providers.refunds().is_empty(), "nothing is refunded as well");
    let lost = alert(&stack, "dispute_lost", &dispute).await;
    assert!(lost.contains("the booking is cancelled, its tickets are void"), "{lost}");

    // Webhooks that come again, or late, change nothing.
    let mut again = Vec::new();
    for webhook in stack.providers.webhooks() {
        let payload = json!({"dispute": {"entity": dispute}});
        if webhook.event.contains("dispute") {
            again.push(stack.providers.send_webhook(&webhook.event, payload));
        }
    }
    assert_eq!(again.len(), 3, "{again:?}");
    let again = again.join(",");
    eventually("all of it is heard", SOON, async || {
        let known = format!("outcome = 'known_before' AND event_id = ANY ('{{{again}}}')");
        let heard = stack.count(&format!("webhook_events WHERE {known}")).await;
        seen(heard == 3, heard)
    })
    .await;
    assert_eq!(ledger(&stack).await, moved);
    checked_books(&stack).await;
    stack.assert_invariants().await;

    // Operators find it on the command line and on the page, accountants in the ledger.
    let admin = stack.admin().await;
    let page = async |path: &str| Response::to(admin.request_root(Method::GET, path)).await.text;
    let shown = page(&format!("/admin/payments?about={}", dispute.id)).await;
    let story = stack.jobs_cli_ok(&["payment", &booking.reference]).await;
    for text in ["₹100.00 disputed: chargeback", "lost; the bank has ₹100.00", "dispute -₹100.00"]
    {
        assert!(shown.contains(text) && story.contains(text), "{text} in {story}");
    }
    let export = page("/admin/ledger.csv").await;
    assert!(export.contains(&format!(",dispute,{},", booking.id)), "{export}");
    assert!(export.contains(",-100.00,INR,chargeback\r\n"), "{export}");
}

#[tokio::test]
async fn money_that_is_taken_at_once_comes_back_when_the_dispute_is_won() {
    let stack = Stack::start().await;
    let (buyer, _, booking, payment) = stack.sold().await;
    let open = OpenDispute { deduct: true, ..dispute(&payment.id) };
    let dispute = stack.providers.open_dispute(&open).expect("a dispute");
    until_status(&stack, &dispute, "open").await;
    assert_eq!(ledger(&stack).await, ["capture 10000", "sale -10000", "dispute -10000"]);
    assert!(
        alert(&stack, "dispute_open", &dispute).await.ends_with("; ₹100.00 are taken meanwhile")
    );
    checked_books(&stack).await;
    stack.until_booking(&buyer, &booking, "confirmed", "completed").await;

    // Cancelled meanwhile: there is nothing to refund until the bank gives it back.
    buyer.cancel(&booking).await.ok();
    stack.until_booking(&buyer, &booking, "cancelled", "completed").await;
    checked_books(&stack).await;
    stack.providers.move_dispute(&dispute.id, DisputeMove::Win).expect("a win");
    until_status(&stack, &dispute, "won").await;
    stack.until_booking(&buyer, &booking, "cancelled", "refunded").await;
    let ledger = ledger(&stack).await;
    assert_eq!(ledger[3..], ["sale_reversal 10000", "dispute_reversal 10000", "refund -10000"]);
    checked_books(&stack).await;
    stack.assert_invariants().await;
}

#[tokio::test]
async fn a_part_that_is_lost_leaves_the_booking_and_a_cancellation_returns_the_rest() {
    let stack = Stack::start().await;
    let (buyer, _, booking, payment) = stack.sold().await;
    let open = OpenDispute { amount: Some(3_000), ..dispute(&payment.id) };
    let dispute = stack.providers.open_dispute(&open).expect("a dispute");
    stack.providers.move_dispute(&dispute.id, DisputeMove::Lose).expect("a loss");
    until_status(&stack, &dispute, "lost").await;
    stack.until_booking(&buyer, &booking, "confirmed", "completed").await;
    checked_books(&stack).await;
    buyer.cancel(&booking).await.ok();
    stack.until_booking(&buyer, &booking, "cancelled", "refunded").await;
    let refunds: Vec<_> = stack.providers.refunds().iter().map(|refund| refund.amount).collect();
    assert_eq!(refunds, [7_000]);
    checked_books(&stack).await;
    stack.assert_invariants().await;
}

#[tokio::test]
async fn a_dispute_of_which_no_webhook_tells_is_found_by_the_comparison() {
    let stack =
        Stack::builder().env("RECONCILE_AFTER_SECONDS", 0).workers(["bookings"]).start().await;
    stack.providers.fault(Target::Webhook, None, Fault::lost());
    let (buyer, _, booking, order) = stack.booked().await;
    let payment = stack.pay(&order, Outcome::Captured);
    let reconcile = async |more: &[&str]| -> Value {
        let output = stack
            .jobs_cli_with_settings(&[&["reconcile", "--since", "1d", "--json"], more].concat())
            .await;
        serde_json::from_slice(&output.stdout).unwrap()
    };
    reconcile(&[]).await;
    stack.until_booking(&buyer, &booking, "confirmed", "completed").await;
    let dispute = stack.providers.open_dispute(&dispute(&payment.id)).expect("a dispute");
    let difference = |report: &Value| report["differences"][0]["done"].as_str().map(str::to_owned);
    assert_eq!(
        difference(&reconcile(&["--dry-run"]).await).as_deref(),
        Some("would be written down")
    );
    assert_eq!(stack.count("disputes").await, 0, "a dry run changes nothing");
    assert_eq!(difference(&reconcile(&[]).await).as_deref(), Some("written down"));
    assert_eq!(difference(&reconcile(&[]).await), None, "nothing differs any more");
    // Weeks later it is in no list of the last days.
    stack.providers.move_dispute(&dispute.id, DisputeMove::Lose).expect("a loss");
    assert_eq!(difference(&reconcile(&[]).await).as_deref(), Some("written down"));
    stack.until_booking(&buyer, &booking, "cancelled", "refunded").await;
    checked_books(&stack).await;
}

/// A booking whose buyer has cancelled while Razorpay makes no refunds, and a dispute of its
/// payment.
async fn owed_and_disputed(deduct: bool) -> (Stack, Client, Booking, Dispute) {
    let stack = Stack::start().await;
    let (buyer, _, booking, payment) = stack.sold().await;
    stack.providers.fault(Target::RazorpayRefund, None, Fault::status(503));
    buyer.cancel(&booking).await.ok();
    let dispute = stack.providers.open_dispute(&OpenDispute { deduct, ..dispute(&payment.id) });
    (stack, buyer, booking, dispute.expect("a dispute"))
}

/// The job that would ask for a refund has ended without, and Razorpay makes refunds again: not
/// earlier, because the job may have begun before it could know of the dispute.
async fn assert_nothing_is_refunded(stack: &Stack) {
    eventually("its job has ended", SOON, async || {
        let live = stack
            .rows("SELECT state::text FROM jobs WHERE kind = 'refund_payment' AND state <> 'done'")
            .await;
        seen(live.is_empty(), live).map(drop)
    })
    .await;
    stack.providers.clear_faults();
    assert!(stack.providers.refunds().is_empty(), "the money is not returned twice");
    checked_books(stack).await;
}

#[tokio::test]
async fn what_we_owe_is_owed_no_more_once_the_bank_has_returned_it() {
    let (stack, buyer, booking, dispute) = owed_and_disputed(false).await;
    stack.providers.move_dispute(&dispute.id, DisputeMove::Lose).expect("a loss");
    stack.until_booking(&buyer, &booking, "cancelled", "refunded").await;
    assert_nothing_is_refunded(&stack).await;
    stack.assert_invariants().await;
}

#[tokio::test]
async fn a_refund_waits_while_a_bank_has_the_money() {
    let (stack, buyer, booking, dispute) = owed_and_disputed(true).await;
    until_status(&stack, &dispute, "open").await;
    assert_nothing_is_refunded(&stack).await;
    stack.providers.move_dispute(&dispute.id, DisputeMove::Close).expect("an end");
    stack.until_booking(&buyer, &booking, "cancelled", "refunded").await;
    assert_eq!(stack.count("payment_alerts WHERE closed_at IS NULL").await, 0, "open alerts");
    checked_books(&stack).await;
    stack.assert_invariants().await;
}

#[tokio::test]
async fn a_refund_waits_for_the_end_of_a_dispute_although_nothing_has_been_taken_yet() {
    let stack = Stack::start().await;
    let (buyer, _, booking, payment) = stack.sold().await;
    let dispute = stack.providers.open_dispute(&dispute(&payment.id)).expect("a dispute");
    until_status(&stack, &dispute, "open").await;
    buyer.cancel(&booking).await.ok();
    assert_eq!(stack.count("refunds WHERE status = 'requested'").await, 1, "owed, and waiting");
    assert_eq!(stack.count("jobs WHERE kind = 'refund_payment'").await, 0, "nobody asks for it");
    stack.providers.move_dispute(&dispute.id, DisputeMove::Lose).expect("an end");
    stack.until_booking(&buyer, &booking, "cancelled", "refunded").await;
    assert!(stack.providers.refunds().is_empty(), "the bank has returned the money");
    checked_books(&stack).await;
    stack.assert_invariants().await;
}

#[tokio::test]
async fn a_payment_whose_dispute_was_lost_before_its_capture_is_heard_of_buys_nothing() {
    let stack = Stack::builder().env("RECONCILE_EVERY_SECONDS", 3_600).start().await;
    let (buyer, event, booking, order) = stack.booked().await;
    stack.providers.fault(Target::Webhook, None, Fault::lost());
    let payment = stack.pay(&order, Outcome::Captured);
    let dispute = stack.providers.open_dispute(&dispute(&payment.id)).expect("a dispute");
    stack.providers.clear_faults();
    stack.providers.move_dispute(&dispute.id, DisputeMove::Lose).expect("a loss");
    until_status(&stack, &dispute, "lost").await;

    for webhook in stack.providers.webhooks() {
        stack.providers.replay(&webhook.event_id, 1).await.expect("a delivery");
    }
    eventually("the capture is heard of", SOON, async || {
        let heard = "webhook_events WHERE event_type = 'payment.captured' AND outcome IS NOT NULL";
        seen(stack.count(heard).await == 1, ())
    })
    .await;
    assert_eq!(ledger(&stack).await, ["capture 20000", "dispute -20000"]);
    stack.until_booking(&buyer, &booking, "pending", "pending").await;
    assert_eq!(stack.count("tickets").await, 0, "tickets");
    assert_eq!(stack.available(event.seat_type("VIP")).await, 48, "its buyer may pay again");
    assert!(stack.providers.refunds().is_empty(), "nothing is refunded as well");
    let mail = async || {
        let mail = stack.providers.mail().into_iter().find(|mail| mail.text.contains(&payment.id));
        mail.ok_or("none".into())
    };
    let mail = eventually("the buyer is told", SOON, mail).await;
    assert!(mail.text.contains("its bank has returned it after a dispute"), "{}", mail.text);
    checked_books(&stack).await;
    stack.assert_invariants().await;
}

#[tokio::test]
async fn what_a_lost_dispute_leaves_and_is_too_little_for_a_refund_is_told_to_operators() {
    let stack = Stack::start().await;
    let (buyer, _, booking, payment) = stack.sold().await;
    let open = OpenDispute { amount: Some(9_901), ..dispute(&payment.id) };
    let dispute = stack.providers.open_dispute(&open).expect("a dispute");
    until_status(&stack, &dispute, "open").await;
    buyer.cancel(&booking).await.ok();
    eventually("its refund waits", SOON, async || {
        let waiting = stack.count("refunds WHERE status = 'requested'").await;
        seen(waiting == 1, waiting)
    })
    .await;
    stack.providers.move_dispute(&dispute.id, DisputeMove::Lose).expect("a loss");
    stack.until_booking(&buyer, &booking, "cancelled", "refunded").await;
    let remainder =
        stack.row("SELECT details FROM payment_alerts WHERE reason = 'refund_remainder'").await;
    let details = remainder["details"].as_str().unwrap_or_default();
    assert!(details.starts_with("₹0.99 of ₹100.00 are left"), "{details}");
    assert!(stack.providers.refunds().is_empty(), "it is too little");
    checked_books(&stack).await;
}

#[tokio::test]
async fn a_dispute_of_somebody_elses_payment_is_left_alone() {
    let stack = Stack::builder().workers(["payments"]).start().await;
    let order = json!({"amount": 20_000, "currency": "INR", "receipt": "invoice-7"});
    let payment =
        stack.pay(&stack.providers.create_order(&order).expect("an order").id, Outcome::Captured);
    stack.providers.open_dispute(&dispute(&payment.id)).expect("a dispute");
    let told = "webhook_events WHERE event_type LIKE 'payment.dispute%' AND outcome = 'not_ours'";
    eventually("it is heard of", SOON, async || seen(stack.count(told).await == 1, ())).await;
    assert_eq!(stack.count("disputes").await, 0);
    assert_eq!(stack.count("payment_alerts WHERE reason LIKE 'dispute%'").await, 0);
    assert_eq!(stack.count("payments").await, 0);
}
