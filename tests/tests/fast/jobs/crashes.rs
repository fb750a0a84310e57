//! A process dies in the middle of a job: the job is done, once, soon after a worker is there
//! again.

use std::time::Duration;

use nexus_tests::{Fault, Outcome, SOON, Stack, Target, Value, eventually, json, seen};
use sqlx::{AssertSqlSafe, Postgres, Transaction};

/// Leases are short here, so that a test need not wait for long ones.
async fn stack() -> Stack {
    Stack::builder().env("JOB_LEASE_MS", 2_000).env("JOB_LOST_MS", 2_000).start().await
}

/// Waits until the newest job of that kind is in that state; returns it.
async fn until_job(stack: &Stack, kind: &str, state: &str) -> Value {
    eventually(&format!("{kind} is {state}"), SOON, async || {
        let query = format!(
            "SELECT state, attempt, errors FROM jobs WHERE kind = '{kind}' ORDER BY id DESC LIMIT 1"
        );
        let rows = stack.rows(&query).await;
        seen(rows.first().is_some_and(|job| job["state"] == state), &rows)
            .map(|rows| rows[0].clone())
    })
    .await
}

/// A call that keeps its caller waiting and leads to nothing: a worker that is killed meanwhile has
/// not done the work.
fn slow_and_futile() -> Fault {
    Fault { delay_ms: 20_000, drop: true, ..Fault::default() }
}

/// More than there are.
const CALLS: u32 = 1_000;

/// Kills the worker while it runs a job of that kind, and starts it again, now without faults.
async fn kill_in_the_middle(stack: &mut Stack, queue: &str, kind: &str) {
    // A claim is no attempt yet.
    let begun =
        format!("jobs WHERE kind = '{kind}' AND state = 'running' AND started_at IS NOT NULL");
    eventually(&format!("{kind} has begun"), SOON, async || {
        let begun = stack.count(&begun).await;
        seen(begun > 0, begun).map(drop)
    })
    .await;
    // What is on its way to a provider arrives although its sender is killed.
    eventually("the provider is called", SOON, async || {
        let faults = stack.providers.faults();
        seen(faults.iter().all(|fault| fault.times != Some(CALLS)), &faults).map(drop)
    })
    .await;
    stack.worker(queue).kill_9().await;
    stack.providers.clear_faults();
    stack.worker(queue).start();
}

/// The second attempt did it, and the history says why there was a second one.
async fn assert_done_after_a_crash(stack: &Stack, kind: &str) {
    let job = until_job(stack, kind, "done").await;
    assert_eq!(job["attempt"], 2, "{job}");
    let errors = job["errors"].as_array().unwrap();
    let vanished = errors
        .iter()
        .filter(|error| error["error"].as_str().is_some_and(|text| text.contains("vanished")));
    assert_eq!((errors.len(), vanished.count()), (1, 1), "{job}");
}

/// Holds rows until the transaction ends.
async fn hold(stack: &Stack, query: &str) -> Transaction<'static, Postgres> {
    let mut tx = stack.db.begin().await.unwrap();
    sqlx::query(AssertSqlSafe(format!("{query} FOR UPDATE"))).execute(&mut *tx).await.unwrap();
    tx
}

#[tokio::test]
async fn an_otp_is_sent_although_its_worker_died_while_sending() {
    let mut stack = stack().await;
    stack.providers.fault(Target::TwilioVerify, Some(CALLS), slow_and_futile());
    stack.anonymous().post("/auth/send-otp", json!({"phone": "9812345678"})).await.ok();
    kill_in_the_middle(&mut stack, "otp", "send_otp").await;
    let otp = eventually("the code is sent", SOON, async || {
        stack.providers.otp("+919812345678").ok_or("no code".into())
    })
    .await;
    let login = json!({"phone": "9812345678", "otp": otp.code});
    let data = stack.anonymous().post("/auth/verify-otp", login).await.data();
    assert_eq!(data["message"], "OTP verified, user created and login successful");
    assert_done_after_a_crash(&stack, "send_otp").await;
    assert_eq!(stack.providers.count(Target::TwilioVerify).succeeded, 1, "codes sent");
    stack.assert_invariants().await;
}

#[tokio::test]
async fn a_payment_is_captured_once_although_its_worker_died_before_the_answer_came() {
    let mut stack = stack().await;
    let (event, buyer) = stack.on_sale().await;
    let booking = buyer.lock_and_book(&event, &[("VIP", "A1")]).await;
    let order = buyer.order(&booking).await;
    stack.providers.fault(
        Target::RazorpayCapture,
        Some(1),
        Fault::delay_response(Duration::from_secs(20)),
    );
    // Only the webhook of the authorization: the one of the capture would confirm, too, and hide
    // what is tested.
    stack.providers.fault(Target::Webhook, Some(1), Fault::duplicated(0));
    stack.providers.fault(Target::Webhook, Some(2), Fault::lost());
    stack.pay(&order, Outcome::Authorized);
    eventually("the payment is captured at Razorpay", SOON, async || {
        let payments = stack.providers.payments();
        seen(payments[0].captured, payments[0].status)
    })
    .await;
    stack.worker("payments").kill_9().await;
    stack.worker("payments").start();
    stack.until_booking(&buyer, &booking, "confirmed", "completed").await;
    stack.until_tickets(&buyer, &booking, 1).await;
    assert_done_after_a_crash(&stack, "process_webhook").await;
    stack.assert_invariants().await;
    assert_eq!(stack.count("payments WHERE kind = 'capture'").await, 1);
}

#[tokio::test]
async fn money_goes_back_once_although_the_worker_died_before_the_answer_came() {
    let mut stack = stack().await;
    let (event, buyer) = stack.on_sale().await;
    let (booking, _) = stack.sell(&buyer, &event, &[("VIP", "A1")]).await;
    stack.providers.fault(
        Target::RazorpayRefund,
        Some(1),
        Fault::delay_response(Duration::from_secs(4)),
    );
    buyer.cancel(&booking).await.ok();
    eventually("the refund exists at Razorpay", SOON, async || {
        let refunds = stack.providers.refunds().len();
        seen(refunds == 1, refunds)
    })
    .await;
    stack.worker("payments").kill_9().await;
    stack.worker("payments").start();
    stack.until_booking(&buyer, &booking, "cancelled", "refunded").await;
    until_job(&stack, "refund_payment", "done").await;
    stack.assert_invariants().await;
    assert_eq!(stack.providers.refunds().len(), 1, "refunds at the provider");
    assert_eq!(stack.count("payments WHERE kind = 'refund'").await, 1, "refunds in the ledger");
}

#[tokio::test]
async fn tickets_are_made_once_although_their_worker_died_while_storing_them() {
    let mut stack = stack().await;
    let (event, buyer) = stack.on_sale().await;
    let socket = stack.socket("the buyer", &buyer).await;
    stack.worker("bookings").kill_9().await;
    let (booking, _) = stack.sell(&buyer, &event, &[("VIP", "A1"), ("VIP", "A2")]).await;
    let held = hold(&stack, &format!("SELECT * FROM bookings WHERE id = {}", booking.id)).await;
    stack.worker("bookings").start();
    stack.until_blocked("nexus-worker-bookings", 1).await;
    kill_in_the_middle(&mut stack, "bookings", "finalise_booking").await;
    held.rollback().await.unwrap();
    stack.until_tickets(&buyer, &booking, 2).await;
    assert_done_after_a_crash(&stack, "finalise_booking").await;
    stack.assert_invariants().await;
    assert_eq!(stack.count("tickets").await, 2);
    assert_eq!(stack.providers.mail().len(), 1, "mails");
    socket.wait_for_any("tickets:ready").await;
    assert_eq!(socket.received("tickets:ready").len(), 1, "{}", socket.describe());
}

#[tokio::test]
async fn a_mail_is_sent_once_although_its_worker_died_before_the_server_took_it() {
    let mut stack = stack().await;
    let (event, buyer) = stack.on_sale().await;
    stack.providers.fault(Target::Smtp, Some(CALLS), slow_and_futile());
    stack.sell(&buyer, &event, &[("VIP", "A1")]).await;
    kill_in_the_middle(&mut stack, "notifications", "email_tickets").await;
    assert_done_after_a_crash(&stack, "email_tickets").await;
    stack.assert_invariants().await;
    assert_eq!(stack.providers.mail().len(), 1, "mails");
}

#[tokio::test]
async fn a_mail_that_the_server_took_before_its_worker_died_comes_twice_with_one_message_id() {
    let mut stack = stack().await;
    let (event, buyer) = stack.on_sale().await;
    stack.providers.fault(Target::Smtp, Some(1), Fault::delay_response(Duration::from_secs(20)));
    stack.sell(&buyer, &event, &[("VIP", "A1")]).await;
    eventually("the server has the mail", SOON, async || {
        let mails = stack.providers.mail().len();
        seen(mails == 1, mails)
    })
    .await;
    kill_in_the_middle(&mut stack, "notifications", "email_tickets").await;
    assert_done_after_a_crash(&stack, "email_tickets").await;
    stack.assert_invariants().await;
    let ids: Vec<_> = stack.providers.mail().into_iter().map(|mail| mail.message_id).collect();
    assert_eq!(ids.len(), 2, "mails");
    assert!(ids[0].is_some() && ids[0] == ids[1], "a mail system can recognise the copy: {ids:?}");
}

#[tokio::test]
async fn a_seat_is_freed_once_although_the_worker_died_while_freeing_it() {
    let mut stack = Stack::builder()
        .env("SEAT_LOCK_SECONDS", 2)
        .env("JOB_LEASE_MS", 2_000)
        .workers(["expiry"])
        .start()
        .await;
    let (event, buyer) = stack.on_sale().await;
    let viewer = stack.socket("the viewer", &stack.anonymous()).await;
    buyer.lock(&event, "VIP", "A1").await.ok();
    let held =
        hold(&stack, &format!("SELECT * FROM event_inventory WHERE event_id = {}", event.id)).await;
    stack.until_blocked("nexus-worker-expiry", 1).await;
    kill_in_the_middle(&mut stack, "expiry", "sweep_expired").await;
    held.rollback().await.unwrap();
    let broadcast = viewer.wait_for_any("seat_unlocked").await;
    assert_eq!(
        (&broadcast["seat_label"], &broadcast["available_quantity"]),
        (&json!("A1"), &json!(50))
    );
    assert_eq!(stack.available(event.seat_type("VIP")).await, 50);
    until_job(&stack, "sweep_expired", "pending").await;
    assert_eq!(viewer.received("seat_unlocked").len(), 1, "{}", viewer.describe());
    assert_eq!(stack.count("jobs WHERE kind = 'sweep_expired'").await, 1, "sweeps");
    stack.assert_invariants().await;
}

#[tokio::test]
async fn expired_tokens_are_removed_although_the_worker_died_while_removing_them() {
    let mut stack = stack().await;
    let user = stack.user().await;
    until_job(&stack, "clean_up", "done").await;
    let token = format!(
        "VALUES ({}, 'old', now() - interval '1 day'), ({}, 'new', now() + interval '1 day')",
        user.id, user.id
    );
    stack
        .execute(&format!("INSERT INTO refresh_tokens (user_id, token, expires_at) {token}"))
        .await;
    let held = hold(&stack, "SELECT * FROM refresh_tokens WHERE token = 'old'").await;
    let job = "INSERT INTO jobs (id, queue, kind, payload, unique_key, max_attempts, created_at)
               SELECT gen_random_uuid(), queue, kind, payload, unique_key, max_attempts, now() FROM jobs WHERE kind = 'clean_up'";
    // The clock's own comes only every few minutes.
    stack
        .execute(
            "UPDATE jobs SET id = '00000000-0000-7000-8000-000000000000' WHERE kind = 'clean_up'",
        )
        .await;
    stack.execute(job).await;
    stack.until_blocked("nexus-worker-cleanup", 1).await;
    kill_in_the_middle(&mut stack, "cleanup", "clean_up").await;
    held.rollback().await.unwrap();
    assert_done_after_a_crash(&stack, "clean_up").await;
    let left = stack.rows("SELECT expires_at > now() AS is_valid FROM refresh_tokens").await;
    assert_eq!(left, [json!({"is_valid": true})]);
    stack.assert_invariants().await;
}

#[tokio::test]
async fn with_the_lease_as_it_is_delivered_a_job_is_rescued_within_seconds() {
    let mut stack = Stack::start().await;
    stack.providers.fault(Target::TwilioVerify, Some(CALLS), slow_and_futile());
    stack.anonymous().post("/auth/send-otp", json!({"phone": "9812345678"})).await.ok();
    kill_in_the_middle(&mut stack, "otp", "send_otp").await;
    eventually("the code is sent", Duration::from_secs(12), async || {
        stack.providers.otp("+919812345678").ok_or("no code".into())
    })
    .await;
    stack.assert_invariants().await;
}

#[tokio::test]
async fn an_api_that_died_gets_the_webhook_when_it_is_back() {
    let mut stack = stack().await;
    let (event, buyer) = stack.on_sale().await;
    let booking = buyer.lock_and_book(&event, &[("VIP", "A1")]).await;
    let order = buyer.order(&booking).await;
    stack.api(0).kill_9().await;
    stack.pay(&order, Outcome::Captured);
    stack.restart_api(0).await;
    // The connected clients and the locks are still there.
    stack.until_booking(&buyer, &booking, "confirmed", "completed").await;
    let other = stack.user().await;
    other
        .lock(&event, "VIP", "A1")
        .await
        .failed(409, "Seat A1 is already taken. Please select another seat.");
    other.lock_and_book(&event, &[("VIP", "B1")]).await;
    stack.assert_invariants().await;
}
