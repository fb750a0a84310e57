//! `DELETE /auth/me`: who the user was is forgotten, everywhere and at once; what was booked and paid
//! stays in the books.

use nexus_tests::shop::{PASSWORD, event_request};
use nexus_tests::{
    Booking, Client, Event, Method, Outcome, Response, SOON, Stack, Value, eventually, json, seen,
};

const EMAIL: &str = "asha.rao@nexus.example";
const PHONE: &str = "+919812345678";
const REQUIRED: &str = "Password is required";
const ENDED: &str = "Token has been revoked";

fn account() -> Value {
    json!({
        "email": EMAIL, "phone": PHONE, "username": "asharao", "name": "Asha Rao", "password": PASSWORD,
        "address": "12 Harbour Lane", "city": "Alibag", "state": "Maharashtra", "zip": "402201", "country": "India",
    })
}

async fn register(stack: &Stack) -> Client {
    let anonymous = stack.anonymous();
    anonymous.clone().logged_in(&anonymous.post("/auth/register", account()).await.data())
}

/// An account with everything that one can have, proved.
async fn known(stack: &Stack) -> Client {
    let user = register(stack).await;
    stack.execute("UPDATE users SET email_verified_at = now(), phone_verified_at = now()").await;
    user
}

async fn delete(user: &Client, body: Value) -> Response {
    Response::to(user.request(Method::DELETE, "/auth/me").json(&body)).await
}

async fn delete_with_password(user: &Client) -> Response {
    delete(user, json!({"password": PASSWORD})).await
}

/// A booking of the user's for an event that is over.
async fn past_booking(stack: &Stack, user: &Client) -> (Event, Booking) {
    let organiser = stack.user().await;
    let event = stack.event(&organiser, &[("VIP", 100.0, 50)]).await;
    let (booking, _) = stack.sell(user, &event, &[("VIP", "A1")]).await;
    over(stack, &event).await;
    (event, booking)
}

async fn over(stack: &Stack, event: &Event) {
    let past = "UPDATE events SET start_date = now() - interval '2 days', end_date = now() - interval '1 day'";
    stack.execute(&format!("{past} WHERE id = {}", event.id)).await;
}

/// The tables in which some row has this text.
async fn mentions(stack: &Stack, text: &str) -> Vec<String> {
    let tables = "SELECT relname::text AS name FROM pg_class WHERE relkind = 'r' AND relnamespace = 'public'::regnamespace";
    let mut found = Vec::new();
    for table in stack.rows(tables).await {
        let name = table["name"].as_str().unwrap();
        if stack.count(&format!("{name} t WHERE t::text ILIKE '%{text}%'")).await > 0 {
            found.push(name.to_owned());
        }
    }
    found
}

#[tokio::test]
async fn an_erased_account_says_nothing_of_anybody_and_the_books_stay() {
    let stack = Stack::builder()
        .workers(["payments", "bookings", "notifications", "expiry"])
        .without_limits()
        .start()
        .await;
    let user = known(&stack).await;
    let (event, booking) = past_booking(&stack, &user).await;
    stack.until_tickets(&user, &booking, 1).await;
    let another = stack.event(&stack.user().await, &[("VIP", 100.0, 50)]).await;
    let cancelled = user.lock_and_book(&another, &[("VIP", "A1")]).await;
    let reason = json!({"reason": "I am ill, says Asha Rao"});
    user.post(&format!("/bookings/{}/cancel", cancelled.id), reason).await.ok();
    // Its own event, long ago.
    let own = stack.event(&user, &[("VIP", 100.0, 50)]).await;
    over(&stack, &own).await;
    user.post(
        "/auth/change-email",
        json!({"email": "asha.rao@other.example", "password": PASSWORD}),
    )
    .await
    .ok();
    stack.until_idle(&["cleanup"]).await;
    let books = async || {
        stack.rows("SELECT kind, booking_id, amount_paise FROM payments ORDER BY id").await
    };
    let before = books().await;
    assert!(!before.is_empty());

    let deleted = delete_with_password(&user).await.data();
    assert_eq!(deleted, json!({"message": "Account deleted"}));
    user.has_ended().await;
    delete_with_password(&user).await.failed(401, ENDED);
    for field in ["email", "phone"] {
        let login =
            json!({field: if field == "email" { EMAIL } else { PHONE }, "password": PASSWORD});
        let refused = stack.anonymous().post("/auth/login", login).await;
        refused.failed(401, "Invalid email or password");
    }
    let told = stack.mailed(EMAIL, "Your account was deleted").await;
    assert!(told.text.contains("If that was not you"), "{}", told.text);

    // Only jobs that have told the address something still have it, for a week.
    for text in ["asha", "9812345678", "harbour lane", "alibag", "402201"] {
        let found = mentions(&stack, text).await;
        assert!(found.iter().all(|table| table == "jobs"), "{text}: {found:?}");
    }
    let jobs = format!("jobs WHERE payload::text LIKE '%{EMAIL}%' AND payload ? 'user_id'");
    assert_eq!(stack.count(&format!("{jobs} AND kind = 'account_erased'")).await, 0, "no number");
    assert_eq!(books().await, before);
    let kept = format!(
        "bookings WHERE user_id = {} AND id IN ({}, {})",
        user.id, booking.id, cancelled.id
    );
    assert_eq!(stack.count(&kept).await, 2);
    let shown = stack.anonymous().get(&format!("/events/{}", own.id)).await.data();
    assert_eq!(shown["organizer_name"], Value::Null, "{shown}");
    assert_eq!(
        stack.count(&format!("tickets WHERE booking_id = {}", booking.id)).await,
        1,
        "{event:?}"
    );
    for table in
        ["sessions", "refresh_tokens", "login_networks", "email_proofs", "idempotency_keys"]
    {
        assert_eq!(
            stack.count(&format!("{table} WHERE user_id = {}", user.id)).await,
            0,
            "{table}"
        );
    }

    // The contacts are free, and the old number gets nothing new.
    let again = register(&stack).await;
    assert_ne!(again.id, user.id);
    let revived = format!("UPDATE users SET name = 'Asha' WHERE id = {}", user.id);
    let refused = sqlx::query(sqlx::AssertSqlSafe(revived)).execute(&stack.db).await.unwrap_err();
    assert!(refused.to_string().contains("users_erased_check"), "{refused}");
    stack.assert_invariants().await;
}

#[tokio::test]
async fn an_account_is_deleted_with_the_password_or_a_code() {
    let stack = Stack::builder().workers(["otp"]).without_limits().start().await;
    let user = known(&stack).await;
    delete(&user, json!({})).await.failed(403, REQUIRED);
    delete(&user, json!({"password": "Wr0ng-horse"}))
        .await
        .failed(403, "Current password is incorrect");
    delete(&user, json!({"password": 7})).await.failed(400, "password must be text");
    user.get("/auth/me").await.ok();
    delete_with_password(&user).await.ok();

    let anonymous = stack.anonymous();
    let otp = stack.otp(PHONE).await;
    let data = anonymous.post("/auth/verify-otp", json!({"phone": PHONE, "otp": otp})).await.data();
    assert_eq!(data["isNewUser"], true, "the number is nobody's any more");
    let user = anonymous.logged_in(&data);
    delete(&user, json!({})).await.failed(403, "OTP of the current phone number is required");
    delete(&user, json!({"currentOtp": "0000"})).await;
    user.get("/auth/me").await.ok();
    let otp = stack.otp(PHONE).await;
    delete(&user, json!({"currentOtp": otp})).await.ok();
    user.has_ended().await;
}

#[tokio::test]
async fn a_phone_comes_to_belong_to_so_many_accounts_a_day() {
    let stack = Stack::builder()
        .workers(["otp"])
        .env("RATE_LIMIT_PHONE_OWNERS", "2/1d")
        .env("RATE_LIMIT_OTP_SEND", "100/1m")
        .start()
        .await;
    let log_in = async || {
        let client = stack.anonymous();
        let login = json!({"phone": PHONE, "otp": stack.otp(PHONE).await});
        let response = client.post("/auth/verify-otp", login).await;
        (client, response)
    };
    for _ in 0..2 {
        // Who has it already may log in as often as they like.
        for _ in 0..2 {
            log_in().await.1.ok();
        }
        let (client, response) = log_in().await;
        let user = client.logged_in(&response.data());
        delete(&user, json!({"currentOtp": stack.otp(PHONE).await})).await.ok();
    }
    let refused = log_in().await.1;
    assert_eq!((refused.status, &refused.body["error"]["code"]), (429, &json!("rate_limited")));
    // Nor in any other way.
    let claimant = register(&stack).await;
    let reset =
        json!({"phone": PHONE, "otp": stack.otp(PHONE).await, "newPassword": "An0ther-horse"});
    assert_eq!(stack.anonymous().post("/auth/reset-password", reset).await.status, 429);
    let change = json!({"phone": PHONE, "otp": stack.otp(PHONE).await});
    assert_eq!(claimant.post("/auth/change-phone", change).await.status, 429);
    assert_eq!(stack.count("users WHERE phone_verified_at IS NOT NULL").await, 0);
}

#[tokio::test]
async fn who_has_a_phone_only_is_told_by_sms() {
    let stack = Stack::builder().workers(["otp", "notifications"]).without_limits().start().await;
    let otp = stack.otp(PHONE).await;
    let anonymous = stack.anonymous();
    let data = anonymous.post("/auth/verify-otp", json!({"phone": PHONE, "otp": otp})).await.data();
    let user = anonymous.logged_in(&data);
    let otp = stack.otp(PHONE).await;
    delete(&user, json!({"currentOtp": otp})).await.ok();
    eventually("an SMS about it", SOON, async || {
        let sms = stack.providers.sms();
        let told = |sms: &nexus_sandbox::providers::Sms| {
            sms.to == PHONE && sms.body.starts_with("Your account was deleted")
        };
        seen(sms.iter().filter(|sms| told(sms)).count() == 1, sms.len()).map(drop)
    })
    .await;
}

#[tokio::test]
async fn an_account_with_tickets_or_events_is_kept_until_they_are_over() {
    let stack = Stack::builder().workers(["payments", "bookings"]).without_limits().start().await;
    let (buyer, event, booking, payment) = stack.sold().await;
    let refused = delete(&buyer, json!({})).await;
    assert_eq!(
        (refused.status, &refused.body["error"]["code"]),
        (409, &json!("account_has_bookings"))
    );
    let organiser =
        stack.row("SELECT organizer_id AS id FROM events").await["id"].as_i64().unwrap();
    let organiser = stack.anonymous().with_token(organiser, stack.mint_token(organiser));
    let refused = delete(&organiser, json!({})).await;
    assert_eq!(
        (refused.status, &refused.body["error"]["code"]),
        (409, &json!("account_has_events"))
    );
    for user in [&buyer, &organiser] {
        user.get("/auth/me").await.ok();
    }
    buyer.cancel(&booking).await.ok();
    delete(&buyer, json!({})).await.ok();
    organiser.put(&format!("/events/{}", event.id), json!({"status": "cancelled"})).await.ok();
    delete(&organiser, json!({})).await.ok();
    stack.until_refund(&payment).await;
    stack.assert_invariants().await;
}

#[tokio::test]
async fn an_event_with_buyers_is_not_moved_into_the_past() {
    let stack = Stack::builder().workers(["payments", "bookings"]).without_limits().start().await;
    let (buyer, event, booking, _) = stack.sold().await;
    let organiser =
        stack.row("SELECT organizer_id AS id FROM events").await["id"].as_i64().unwrap();
    let organiser = stack.anonymous().with_token(organiser, stack.mint_token(organiser));
    let path = format!("/events/{}", event.id);
    let past = json!({"start_date": "2026-01-01T10:00:00Z", "end_date": "2026-01-01T11:00:00Z"});
    let refused = organiser.put(&path, past.clone()).await;
    refused.failed(
        409,
        "Event has bookings and cannot be moved into the past. You can cancel it instead.",
    );
    assert_eq!(delete(&organiser, json!({})).await.status, 409);
    organiser
        .put(
            &path,
            json!({"start_date": "2030-01-01T10:00:00Z", "end_date": "2030-01-01T11:00:00Z"}),
        )
        .await
        .ok();
    buyer.cancel(&booking).await.ok();
    organiser.put(&path, past).await.ok();
}

#[tokio::test]
async fn an_event_that_never_ends_keeps_no_buyers_account() {
    let stack = Stack::builder().workers(["payments", "bookings"]).without_limits().start().await;
    let (buyer, _, _, _) = stack.sold().await;
    assert_eq!(delete(&buyer, json!({})).await.status, 409);
    stack.execute("UPDATE events SET start_date = now() - interval '1 minute', end_date = now() + interval '900 years'").await;
    delete(&buyer, json!({})).await.ok();
}

#[tokio::test]
async fn what_is_not_paid_for_goes_to_others_and_late_money_goes_back() {
    let stack = Stack::builder().workers(["payments", "bookings"]).without_limits().start().await;
    let (buyer, event, booking, order) = stack.booked().await;
    buyer.lock(&event, "VIP", "B1").await.ok();
    let other = stack.user().await;
    let socket = stack.socket("somebody else", &other).await;
    socket.call_ok("join_event", json!(event.id)).await;
    delete(&buyer, json!({})).await.ok();
    for label in ["A1", "A2", "B1"] {
        socket.wait_for("seat_unlocked", |heard| heard["seat_label"] == label, SOON).await;
    }
    assert_eq!(stack.available(event.seat_type("VIP")).await, 50);
    other.lock(&event, "VIP", "A1").await.ok();
    // The seats of the booking are free, all but one; nobody is there who could want them.
    let payment = stack.pay(&order, Outcome::Captured);
    eventually("the money goes back", SOON, async || {
        let refunds = stack.rows("SELECT payment_id, reason FROM refunds").await;
        seen(refunds == [json!({"payment_id": payment.id, "reason": "booking_gone"})], refunds)
            .map(drop)
    })
    .await;
    let status = format!("SELECT status FROM bookings WHERE id = {}", booking.id);
    assert_eq!(stack.row(&status).await["status"], "cancelled");
    stack.assert_invariants().await;
}

#[tokio::test]
async fn a_deletion_reaches_every_process_and_socket_at_once() {
    let stack = Stack::builder().workers([]).api_processes(2).start().await;
    let user = stack.user().await;
    let there = user.clone().at(&stack.api_url(1));
    there.get("/auth/me").await.ok();
    let socket = stack.socket_with("the user", &user, json!({"url": stack.api_url(1)})).await;
    delete(&user, json!({})).await.ok();
    stack.redis_command("FLUSHALL").await;
    eventually("the other process knows", SOON, async || {
        let response = there.get("/auth/me").await;
        let answer = socket.call("create_event", &[json!({})]).await;
        let known = response.status == 401 && answer["error"] == "Authentication required";
        seen(known, (response.to_string(), answer)).map(drop)
    })
    .await;
}

#[tokio::test]
async fn two_deletions_at_once_are_one() {
    let stack = Stack::builder().workers([]).without_limits().start().await;
    let user = stack.user().await;
    let (event, _) = stack.on_sale().await;
    user.lock_and_book(&event, &[("VIP", "A1")]).await;
    let both = futures_util::future::join(delete(&user, json!({})), delete(&user, json!({}))).await;
    let mut outcomes = [both.0.status, both.1.status];
    outcomes.sort_unstable();
    assert_eq!(outcomes, [200, 401]);
    assert_eq!(stack.count("users WHERE erased_at IS NOT NULL").await, 1);
    stack.assert_invariants().await;
}

#[tokio::test]
async fn who_creates_an_event_while_the_account_is_erased_creates_none() {
    let stack = Stack::builder().workers([]).start().await;
    let user = stack.user().await;
    let mut erasure = stack.db.begin().await.unwrap();
    let erase = format!(
        "UPDATE users SET name = NULL, email = NULL, erased_at = now() WHERE id = (SELECT id FROM users WHERE id = {} FOR UPDATE)",
        user.id
    );
    sqlx::query(sqlx::AssertSqlSafe(erase)).execute(&mut *erasure).await.unwrap();
    let request = event_request(&[("VIP", 100.0, 50)]);
    let creating = user.post("/events/create", request);
    let erased = async {
        stack.until_blocked("nexus-api", 1).await;
        erasure.commit().await.unwrap();
    };
    let (created, ()) = futures_util::future::join(creating, erased).await;
    assert_eq!((created.status, &created.body["error"]["code"]), (401, &json!("token_invalid")));
    assert_eq!(stack.count("events").await, 0);
}
