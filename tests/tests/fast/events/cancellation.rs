//! Bookings that are cancelled, by their buyer or with their event: money goes back, seats return,
//! tickets are void, buyers are told.

use nexus_tests::{
    Client, Event, Fault, Outcome, Response, SOON, Stack, Target, Value, eventually, json, seen,
};
use sqlx::AssertSqlSafe;

async fn set_status(organiser: &Client, event: &Event, status: &str) -> Response {
    organiser.put(&format!("/events/{}", event.id), json!({"status": status})).await
}

async fn progress(organiser: &Client, event: &Event) -> Response {
    organiser.get(&format!("/events/{}/cancellation", event.id)).await
}

/// Waits until the event's cancellation is as far as that; returns what its organiser sees.
async fn until_progress(
    organiser: &Client,
    event: &Event,
    is_far: impl Fn(&Value) -> bool,
) -> Value {
    eventually("the cancellation is far enough", SOON, async || {
        let shown = progress(organiser, event).await.data();
        seen(is_far(&shown), shown)
    })
    .await
}

/// So many buyers of one seat each, who have paid.
async fn sold(stack: &Stack, event: &Event, count: usize) -> Vec<Client> {
    let buyers = stack.users(count).await;
    for (n, buyer) in buyers.iter().enumerate() {
        stack.sell(buyer, event, &[("VIP", &format!("A{n}"))]).await;
    }
    buyers
}

#[tokio::test]
async fn a_cancelled_event_sends_everybody_their_money_and_tells_them() {
    let stack = Stack::start().await;
    let organiser = stack.user().await;
    let event = stack.event(&organiser, &[("VIP", 100.0, 50)]).await;
    let buyers = sold(&stack, &event, 3).await;
    stack.set_phone(&buyers[0], "+919812345678").await;
    let (late, locker, viewer) = (stack.user().await, stack.user().await, stack.anonymous());
    let unpaid = late.lock_and_book(&event, &[("VIP", "B1")]).await;
    let order = late.order(&unpaid).await;
    locker.lock(&event, "VIP", "C1").await.ok();
    stack.until_idle(&["bookings", "notifications"]).await;
    let viewer = stack.socket("the viewer", &viewer).await;
    let mails = stack.providers.mail().len();

    progress(&organiser, &event).await.failed(404, "Event is not cancelled");
    set_status(&organiser, &event, "cancelled").await.ok();
    let refunded = |shown: &Value| shown["refunded"] == 3 && !shown["finished_at"].is_null();
    let shown = until_progress(&organiser, &event, refunded).await;
    for (field, expected) in [
        ("event_id", event.id),
        ("total", 4),
        ("cancelled", 4),
        ("refunds", 3),
        ("failed", 0),
        ("refund_amount", 300),
        ("refunded_amount", 300),
    ] {
        assert_eq!(shown[field], expected, "{field} of {shown}");
    }
    progress(&late, &event)
        .await
        .failed(403, "You are not authorized to see how far this event's cancellation is");

    assert_eq!(stack.count("seats").await, 0, "seats that are somebody's");
    assert_eq!(stack.available(event.seat_type("VIP")).await, 50);
    assert_eq!(stack.count("tickets WHERE status <> 'cancelled'").await, 0, "valid tickets");
    viewer.wait_for("seat_unlocked", |broadcast| broadcast["seat_label"] == "C1", SOON).await;
    eventually("everybody hears of the bookings", SOON, async || {
        let heard = viewer.received("booking_cancelled");
        seen(
            heard.len() == 4
                && heard.iter().all(|broadcast| broadcast["reason"] == "Event cancelled"),
            heard,
        )
    })
    .await;
    stack.assert_invariants().await;
    let sent = stack.providers.mail().split_off(mails);
    assert_eq!(sent.len(), 4, "mails: {sent:?}");
    assert!(
        sent.iter().all(|mail| mail.subject == "Your booking for Monsoon Jazz Night is cancelled"),
        "{sent:?}"
    );
    let told = sent.iter().filter(|mail| mail.text.contains("₹100.00 go back")).count();
    assert_eq!(told, 3, "mails that speak of money: {sent:?}");
    let sms = stack.providers.sms();
    let about =
        sms.iter().filter(|sms| sms.body.contains("has been cancelled. ₹100.00 will be refunded."));
    assert_eq!(about.count(), 1, "{sms:?}");

    // Money that comes now goes back, too, and there is no way back for the event.
    set_status(&organiser, &event, "published").await.failed(
        409,
        "Event is cancelled and its bookings are being refunded. This cannot be undone.",
    );
    stack.pay(&order, Outcome::Captured);
    until_progress(&organiser, &event, |shown| shown["refunded"] == 4).await;
    stack.assert_invariants().await;
    organiser.delete(&format!("/events/{}", event.id)).await.ok();
}

#[tokio::test]
async fn a_cancellation_goes_on_where_its_worker_died() {
    let mut stack =
        Stack::builder().env("JOB_LEASE_MS", 2_000).env("JOB_LOST_MS", 2_000).start().await;
    let organiser = stack.user().await;
    let event = stack.event(&organiser, &[("VIP", 100.0, 50)]).await;
    sold(&stack, &event, 5).await;
    // A job that was lost on its way to the worker is handed over again without having failed.
    eventually("everybody has tickets", SOON, async || {
        let mails = stack.providers.mail().len();
        seen(mails == 5, mails).map(drop)
    })
    .await;
    let mut held = stack.db.begin().await.unwrap();
    let third = "SELECT * FROM bookings WHERE id = (SELECT id FROM bookings ORDER BY id OFFSET 2 LIMIT 1) FOR UPDATE";
    sqlx::query(AssertSqlSafe(third)).execute(&mut *held).await.unwrap();
    set_status(&organiser, &event, "cancelled").await.ok();
    until_progress(&organiser, &event, |shown| shown["cancelled"] == 4).await;
    stack.worker("bookings").kill_9().await;
    held.rollback().await.unwrap();
    stack.worker("bookings").start();
    let shown = until_progress(&organiser, &event, |shown| shown["refunded"] == 5).await;
    assert_eq!((&shown["total"], &shown["cancelled"]), (&json!(5), &json!(5)), "{shown}");
    stack.assert_invariants().await;
    assert_eq!(stack.providers.refunds().len(), 5, "refunds at the provider");
    assert_eq!(stack.providers.mail().len(), 10, "mails");
}

#[tokio::test]
async fn a_booking_that_somebody_holds_does_not_keep_the_others_from_being_refunded() {
    let stack = Stack::start().await;
    let organiser = stack.user().await;
    let event = stack.event(&organiser, &[("VIP", 100.0, 50)]).await;
    sold(&stack, &event, 4).await;
    stack.until_idle(&["bookings", "notifications"]).await;
    let mut held = stack.db.begin().await.unwrap();
    let first = "SELECT 1 FROM bookings WHERE id = (SELECT min(id) FROM bookings) FOR UPDATE";
    sqlx::query(first).execute(&mut *held).await.unwrap();
    set_status(&organiser, &event, "cancelled").await.ok();
    let shown = until_progress(&organiser, &event, |shown| shown["refunded"] == 3).await;
    assert_eq!((&shown["cancelled"], &shown["finished_at"]), (&json!(3), &Value::Null), "{shown}");
    held.rollback().await.unwrap();
    let shown = until_progress(&organiser, &event, |shown| shown["refunded"] == 4).await;
    assert_eq!(shown["cancelled"], 4, "{shown}");
    stack.assert_invariants().await;
}

#[tokio::test]
async fn more_bookings_than_one_batch_are_cancelled_one_batch_after_the_other() {
    let stack = Stack::builder().workers(["bookings"]).start().await;
    let organiser = stack.user().await;
    let event = stack.event(&organiser, &[("VIP", 100.0, 50)]).await;
    let bookings = format!(
        "INSERT INTO bookings (booking_reference, event_id, user_id, total_amount, expires_at)
         SELECT 'BKG-' || n, {}, {}, 100, now() + interval '1 hour' FROM generate_series(1, 250) n",
        event.id, organiser.id
    );
    stack.execute(&bookings).await;
    set_status(&organiser, &event, "cancelled").await.ok();
    let shown = until_progress(&organiser, &event, |shown| !shown["finished_at"].is_null()).await;
    assert_eq!((&shown["total"], &shown["cancelled"]), (&json!(250), &json!(250)), "{shown}");
    assert_eq!(stack.count("jobs WHERE kind = 'cancel_event'").await, 1, "one job did it");
    stack.assert_invariants().await;
}

#[tokio::test]
async fn an_event_without_bookings_can_be_put_on_sale_again() {
    let stack = Stack::builder().workers(["bookings"]).start().await;
    let organiser = stack.user().await;
    let event = stack.event(&organiser, &[("VIP", 100.0, 50)]).await;
    set_status(&organiser, &event, "cancelled").await.ok();
    let buyer = stack.user().await;
    buyer.lock(&event, "VIP", "A1").await.failed(409, "Event is not available for booking");
    set_status(&organiser, &event, "published").await.ok();
    progress(&organiser, &event).await.failed(404, "Event is not cancelled");
    buyer.lock_and_book(&event, &[("VIP", "A1")]).await;
    stack.until_idle(&["bookings"]).await;
    assert_eq!(stack.count("bookings WHERE status = 'pending'").await, 1, "bookings that stay");
    stack.assert_invariants().await;
}

#[tokio::test]
async fn a_refund_that_cannot_be_made_is_seen_and_keeps_the_event_from_being_deleted() {
    let stack = Stack::start().await;
    let organiser = stack.user().await;
    let event = stack.event(&organiser, &[("VIP", 100.0, 50)]).await;
    sold(&stack, &event, 2).await;
    stack.until_idle(&["bookings", "notifications"]).await;
    stack.providers.fault(Target::RazorpayRefund, Some(1), Fault::status(400));
    set_status(&organiser, &event, "cancelled").await.ok();
    let stuck = |shown: &Value| shown["refunded"] == 1 && shown["failed"] == 1;
    until_progress(&organiser, &event, stuck).await;
    organiser.delete(&format!("/events/{}", event.id)).await.failed(
        409,
        "Cannot delete event. 1 refund(s) are still under way. Please try again when they are done.",
    );
    stack.jobs_cli_ok(&["retry", "--all", "--kind", "refund_payment"]).await;
    let done = |shown: &Value| shown["refunded"] == 2 && shown["failed"] == 0;
    until_progress(&organiser, &event, done).await;
    stack.assert_invariants().await;
    organiser.delete(&format!("/events/{}", event.id)).await.ok();
}

#[tokio::test]
async fn a_confirmed_booking_can_be_cancelled_until_so_long_before_its_event() {
    let stack = Stack::builder().env("CANCEL_UNTIL_MINUTES_BEFORE_START", 60).start().await;
    let (buyer, _, booking, _) = stack.sold().await;
    let starts = |in_minutes: i64| {
        format!("UPDATE events SET start_date = now() + interval '{in_minutes} minutes'")
    };
    stack.execute(&starts(59)).await;
    buyer.cancel(&booking).await.failed(
        409,
        "Cannot cancel confirmed booking. Cancelling ended 60 minutes before the event starts.",
    );
    stack.execute(&starts(-1)).await;
    buyer
        .cancel(&booking)
        .await
        .failed(409, "Cannot cancel confirmed booking. The event has already started.");
    stack.execute(&starts(62)).await;
    buyer.cancel(&booking).await.ok();
    stack.until_booking(&buyer, &booking, "cancelled", "refunded").await;
    stack.assert_invariants().await;
}

#[tokio::test]
async fn a_buyer_who_cancels_is_told_by_mail_and_sms() {
    let stack = Stack::start().await;
    let organiser = stack.user().await;
    let event = stack.event(&organiser, &[("VIP", 100.0, 50)]).await;
    let buyer = stack.user().await;
    stack.set_phone(&buyer, "+919812345678").await;
    let unpaid = buyer.lock_and_book(&event, &[("VIP", "B1")]).await;
    buyer.cancel(&unpaid).await.ok();
    let (booking, _) = stack.sell(&buyer, &event, &[("VIP", "A1"), ("VIP", "A2")]).await;
    stack.until_tickets(&buyer, &booking, 2).await;
    stack.until_idle(&["notifications"]).await;
    assert_eq!(stack.providers.mail().len(), 1, "nothing is said of a booking that was never paid");

    buyer.cancel(&booking).await.ok();
    stack.until_booking(&buyer, &booking, "cancelled", "refunded").await;
    stack.assert_invariants().await;
    let mails = stack.providers.mail();
    assert_eq!(mails.len(), 2, "{mails:?}");
    let expected =
        format!("your booking {} has been cancelled; its tickets are void.", booking.reference);
    for part in
        [expected.as_str(), "Monsoon Jazz Night", "Reason: changed my mind", "₹200.00 go back"]
    {
        assert!(mails[1].text.contains(part), "{part} in {}", mails[1].text);
    }
    let sms = stack.providers.sms();
    let expected = format!(
        "Your booking {} for Monsoon Jazz Night has been cancelled. ₹200.00 will be refunded.",
        booking.reference
    );
    assert_eq!(sms.last().map(|sms| &sms.body), Some(&expected), "{sms:?}");
    let tickets = stack.rows("SELECT DISTINCT status FROM tickets").await;
    assert_eq!(tickets, [json!({"status": "cancelled"})]);
}

/// The beginning of the statement with which a transaction waits for an event's inventory.
const OPEN_INVENTORY: &str = "WITH held AS (SELECT event_id FROM event_inventory";

/// Waits until one of our processes waits with such a query for a lock.
async fn until_blocked(stack: &Stack, process: &str, query: &str) {
    eventually(&format!("{process} waits to {query}"), SOON, async || {
        let blocked = stack.count(&waiting(process, query)).await;
        seen(blocked > 0, blocked).map(drop)
    })
    .await;
}

fn waiting(process: &str, query: &str) -> String {
    format!(
        "pg_stat_activity WHERE wait_event_type = 'Lock' AND application_name LIKE '{process}%' AND query LIKE '{query}%'"
    )
}

/// Waits until the event's cancellation is finished, with every booking.
async fn until_all_is_cancelled(stack: &Stack, organiser: &Client, event: &Event) {
    until_progress(organiser, event, |shown| !shown["finished_at"].is_null()).await;
    stack.until_idle(&["bookings"]).await;
    assert_eq!(
        stack.count("bookings WHERE status <> 'cancelled'").await,
        0,
        "bookings that are left"
    );
    stack.assert_invariants().await;
}

#[tokio::test]
async fn an_event_that_is_cancelled_again_just_as_its_job_ends_is_cancelled() {
    let mut stack = Stack::builder().workers(["bookings"]).start().await;
    let organiser = stack.user().await;
    let event = stack.event(&organiser, &[("VIP", 100.0, 50)]).await;
    stack.user().await.lock_and_book(&event, &[("VIP", "A1")]).await;
    stack.worker("bookings").stop().await;
    set_status(&organiser, &event, "cancelled").await.ok();

    // The organiser goes back when the job has the booking before it.
    let mut going_back = stack.db.begin().await.unwrap();
    sqlx::query("SELECT 1 FROM event_inventory FOR UPDATE")
        .execute(&mut *going_back)
        .await
        .unwrap();
    stack.worker("bookings").start();
    until_blocked(&stack, "nexus-worker-bookings", OPEN_INVENTORY).await;
    for change in ["DELETE FROM event_cancellations", "UPDATE events SET status = 'published'"] {
        sqlx::query(change).execute(&mut *going_back).await.unwrap();
    }
    let mut ending = stack.db.begin().await.unwrap();
    sqlx::query("SELECT 1 FROM jobs WHERE kind = 'cancel_event' FOR UPDATE")
        .execute(&mut *ending)
        .await
        .unwrap();
    going_back.commit().await.unwrap();
    until_blocked(&stack, "nexus-worker-bookings", "UPDATE jobs SET state = ''done''").await;

    // And cancels once more before the job has ended.
    let end = async {
        eventually("the event is cancelled, or that waits for the job", SOON, async || {
            let cancelled = stack.count("event_cancellations").await;
            let blocked = stack.count(&waiting("nexus-api", OPEN_INVENTORY)).await;
            seen(cancelled + blocked > 0, (cancelled, blocked)).map(drop)
        })
        .await;
        ending.rollback().await.unwrap();
    };
    let (again, ()) = tokio::join!(set_status(&organiser, &event, "cancelled"), end);
    again.ok();
    until_all_is_cancelled(&stack, &organiser, &event).await;
}

#[tokio::test]
async fn a_booking_that_was_made_between_two_cancellations_is_cancelled() {
    let mut stack = Stack::builder().workers(["bookings"]).start().await;
    let organiser = stack.user().await;
    let event = stack.event(&organiser, &[("VIP", 100.0, 50)]).await;
    stack.worker("bookings").stop().await;
    set_status(&organiser, &event, "cancelled").await.ok();

    // While the job that has seen no booking is about to end, the event is on sale, sold and
    // cancelled again.
    let mut between = stack.db.begin().await.unwrap();
    sqlx::query("SELECT 1 FROM event_inventory FOR UPDATE").execute(&mut *between).await.unwrap();
    stack.worker("bookings").start();
    until_blocked(&stack, "nexus-worker-bookings", OPEN_INVENTORY).await;
    let booking = format!(
        "INSERT INTO bookings (booking_reference, event_id, user_id, total_amount, expires_at)
         VALUES ('BKG-1', {}, {}, 100, now() + interval '1 hour')",
        event.id, organiser.id
    );
    sqlx::query(AssertSqlSafe(booking)).execute(&mut *between).await.unwrap();
    between.commit().await.unwrap();
    until_all_is_cancelled(&stack, &organiser, &event).await;
}

#[tokio::test]
async fn buyers_of_an_event_that_is_deleted_before_they_were_told_are_told() {
    let mut stack = Stack::start().await;
    let organiser = stack.user().await;
    let event = stack.event(&organiser, &[("VIP", 100.0, 50)]).await;
    let buyers = sold(&stack, &event, 2).await;
    stack.until_idle(&["bookings", "notifications"]).await;
    stack.set_phone(&buyers[0], "+919812345678").await;
    let (mails, sms) = (stack.providers.mail().len(), stack.providers.sms().len());
    stack.worker("notifications").stop().await;
    set_status(&organiser, &event, "cancelled").await.ok();
    until_progress(&organiser, &event, |shown| shown["refunded"] == 2).await;
    organiser.delete(&format!("/events/{}", event.id)).await.ok();
    assert_eq!(stack.count("bookings").await, 0, "bookings");

    stack.worker("notifications").start();
    stack.until_idle(&["notifications"]).await;
    let sent = stack.providers.mail().split_off(mails);
    assert_eq!(sent.len(), 2, "{sent:?}");
    for mail in &sent {
        assert_eq!(mail.subject, "Your booking for Monsoon Jazz Night is cancelled");
        assert!(mail.text.contains("₹100.00 go back"), "{}", mail.text);
        assert!(mail.text.contains("Reason: Event cancelled"), "{}", mail.text);
    }
    let sent = stack.providers.sms().split_off(sms);
    let told = sent
        .iter()
        .filter(|sms| sms.body.contains("has been cancelled. ₹100.00 will be refunded."));
    assert_eq!(told.count(), 1, "{sent:?}");
    stack.assert_invariants().await;
}

#[tokio::test]
async fn a_buyer_whose_address_was_refused_is_told_after_the_event_was_deleted_and_the_address_set_right()
 {
    let stack = Stack::start().await;
    let organiser = stack.user().await;
    let event = stack.event(&organiser, &[("VIP", 100.0, 50)]).await;
    let buyer = &sold(&stack, &event, 1).await[0];
    stack.until_idle(&["bookings", "notifications"]).await;
    let mails = stack.providers.mail().len();
    stack.providers.fault(Target::Smtp, Some(1), Fault::status(550));
    set_status(&organiser, &event, "cancelled").await.ok();
    until_progress(&organiser, &event, |shown| shown["refunded"] == 1).await;
    let notice = "jobs WHERE kind = 'email_cancellation' AND state = 'cancelled'";
    eventually("the notice is given up", SOON, async || {
        let given_up = stack.count(notice).await;
        seen(given_up == 1, given_up).map(drop)
    })
    .await;
    let notice = stack.row(&format!("SELECT id FROM {notice}")).await["id"].clone();
    organiser.delete(&format!("/events/{}", event.id)).await.ok();

    stack
        .execute(&format!(
            "UPDATE users SET email = 'asha@new.example', email_verified_at = clock_timestamp() WHERE id = {}",
            buyer.id
        ))
        .await;
    stack.jobs_cli_ok(&["retry", notice.as_str().expect("an id")]).await;
    stack.until_idle(&["notifications"]).await;
    let sent = stack.providers.mail().split_off(mails);
    assert_eq!(sent.len(), 1, "{sent:?}");
    assert_eq!(sent[0].to, ["asha@new.example"]);
    assert_eq!(sent[0].subject, "Your booking for Monsoon Jazz Night is cancelled");
    stack.assert_invariants().await;
}
