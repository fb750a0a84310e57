//! Accounts that are suspended, and events that are taken down: at once, on every process.

use std::time::Duration;

use nexus_tests::shop::{PASSWORD, event_request};
use nexus_tests::{Client, Method, Outcome, Response, Stack, eventually, json, seen};

const EMAIL: &str = "asha@nexus.example";

async fn registered(stack: &Stack) -> Client {
    let account = json!({"email": EMAIL, "password": PASSWORD});
    let data = stack.anonymous().post("/auth/register", account).await.data();
    stack.prove_emails().await;
    stack.anonymous().logged_in(&data)
}

#[tokio::test]
async fn a_suspended_account_is_locked_out_on_every_process_at_once_and_can_come_back() {
    let stack = Stack::builder().workers([]).api_processes(2).start().await;
    let user = registered(&stack).await;
    let there = user.clone().at(&stack.api_url(1));
    there.get("/auth/me").await.ok();
    let url = json!({"url": stack.api_url(1)});
    let socket = stack.socket_with("the user", &there, url).await;
    let said = stack.api_cli_ok(&["suspend", EMAIL, "--reason", "sells what is not theirs"]).await;
    assert_eq!(said, format!("User {} is suspended; 1 session(s) have ended.\n", user.id));
    // From memory alone that process would accept the token for ten seconds.
    eventually("the other process knows", Duration::from_secs(7), async || {
        let response = there.get("/auth/me").await;
        seen(response.status == 401, response.to_string()).map(drop)
    })
    .await;
    user.has_ended().await;
    eventually("its socket is anonymous", Duration::from_secs(7), async || {
        let response = socket.call("lock_seat", &[json!({})]).await;
        seen(response["error"] == "Authentication required", response).map(drop)
    })
    .await;
    let login = json!({"email": EMAIL, "password": PASSWORD});
    let refused = stack.anonymous().post("/auth/login", login.clone()).await;
    refused.failed(403, "This account is suspended");
    assert_eq!(refused.body["error"]["code"], "account_suspended");
    // Only who knows the password is told.
    let wrong = json!({"email": EMAIL, "password": "Wr0ng-horse"});
    stack.anonymous().post("/auth/login", wrong).await.failed(401, "Invalid email or password");
    // A token that the Node service has signed meanwhile is none, either.
    let minted = stack.anonymous().with_token(user.id, stack.mint_token(user.id));
    minted.get("/auth/me").await.failed(401, "Token has been revoked");
    let shown = stack.api_cli_ok(&["show-account", EMAIL]).await;
    assert!(shown.contains("\nsuspended since "), "{shown}");
    assert!(!stack.api_cli(&["suspend", EMAIL, "--reason", "again"]).await.status.success());

    stack.api_cli_ok(&["reinstate", EMAIL]).await;
    stack.anonymous().post("/auth/login", login).await.ok();
    let recorded = "audit_log WHERE action = 'account_suspended' AND details->>'reason' = 'sells what is not theirs'";
    assert_eq!(stack.count(recorded).await, 1);
}

#[tokio::test]
async fn a_code_by_sms_does_not_let_a_suspended_account_in() {
    let stack = Stack::builder().workers(["otp"]).start().await;
    let user = stack.user().await;
    let phone = "+919800000001";
    stack.set_phone(&user, phone).await;
    stack.api_cli_ok(&["suspend", phone, "--reason", "a test"]).await;
    let otp = stack.otp(phone).await;
    let refused =
        stack.anonymous().post("/auth/verify-otp", json!({"phone": phone, "otp": otp})).await;
    refused.failed(403, "This account is suspended");
}

#[tokio::test]
async fn what_a_suspended_account_has_paid_stays_valid() {
    let stack = Stack::start().await;
    let (buyer, _, booking, _) = stack.sold().await;
    stack.until_tickets(&buyer, &booking, 1).await;
    stack.api_cli_ok(&["suspend", &buyer.id.to_string(), "--reason", "a test"]).await;
    let valid = format!("tickets WHERE booking_id = {} AND status <> 'cancelled'", booking.id);
    assert_eq!(stack.count(&valid).await, 1);
    assert_eq!(
        stack.count(&format!("bookings WHERE id = {} AND status = 'confirmed'", booking.id)).await,
        1
    );
    stack.assert_invariants().await;
}

/// Whether somebody sees an event in the list, by itself, its seat types, and its seats.
async fn seen_by(client: &Client, event: i64) -> [bool; 4] {
    let list = client.get("/events?limit=100").await.data();
    let listed = list.as_array().unwrap().iter().any(|listed| listed["id"] == event);
    let mut seen = [listed, false, false, false];
    let paths = [
        format!("/events/{event}"),
        format!("/events/{event}/seat-types"),
        format!("/seats/{event}"),
    ];
    for (place, path) in paths.iter().enumerate() {
        seen[place + 1] = client.get(path).await.status == 200;
    }
    seen
}

#[tokio::test]
async fn an_event_that_is_taken_down_is_seen_by_nobody_and_not_on_sale_whatever_its_organiser_does()
{
    let stack = Stack::builder().api_processes(2).start().await;
    let organiser = stack.user().await;
    let event = stack.event(&organiser, &[("VIP", 100.0, 5)]).await;
    let buyer = stack.user().await;
    let (sold, _) = stack.sell(&buyer, &event, &[("VIP", "A1")]).await;
    let pending = buyer.lock_and_book(&event, &[("VIP", "A2")]).await;
    let order = buyer.order(&pending).await;
    buyer.lock(&event, "VIP", "A3").await.ok();
    let there = stack.anonymous().at(&stack.api_url(1));
    for client in [&stack.anonymous(), &there] {
        assert_eq!(seen_by(client, event.id).await, [true; 4]);
    }

    stack.api_cli_ok(&["take-down", &event.id.to_string(), "--reason", "a fraud"]).await;
    for client in [&stack.anonymous(), &there, &buyer] {
        assert_eq!(seen_by(client, event.id).await, [false; 4]);
    }
    let off = "Event is not available for booking";
    buyer.lock(&event, "VIP", "A4").await.failed(404, "Event not found");
    buyer.book(&event, &[("VIP", "A3")]).await.failed(409, off);
    buyer.try_order(&pending).await.failed(409, off);
    // Its organiser sees it, as a draft, and does not bring it back.
    assert!(organiser.get(&format!("/events/{}", event.id)).await.status == 200);
    let socket = stack.socket("a stranger", &stack.anonymous()).await;
    let path = format!("/events/{}", event.id);
    let stays =
        "This event has been taken down and stays as it is. You can cancel it, or contact us.";
    organiser
        .put(&path, json!({"status": "published", "is_public": true}))
        .await
        .failed(403, stays);
    organiser.put(&path, json!({"description": "harmless"})).await.failed(403, stays);
    organiser.delete(&path).await.failed(403, stays);
    let types = format!("/seats/{}/seat-types", event.id);
    let more = json!({"name": "More", "price": 1, "quantity": 1});
    organiser.post(&types, more).await.failed(403, stays);
    let vip = format!("{types}/{}", event.seat_type("VIP"));
    organiser.put(&vip, json!({"price": 1})).await.failed(403, stays);
    organiser.delete(&vip).await.failed(403, stays);
    assert_eq!(seen_by(&there, event.id).await, [false; 4]);
    // What follows is heard, and nothing of that was.
    organiser.post("/events/create", event_request(&[("VIP", 1.0, 1)])).await.ok();
    socket.wait_for_any("event_created").await;
    assert_eq!(socket.received("event_updated"), Vec::<nexus_tests::Value>::new());

    // Bookings stay, and money that comes late goes back.
    stack.until_booking(&buyer, &sold, "confirmed", "completed").await;
    let late = stack.pay(&order, Outcome::Captured);
    stack.until_refund(&late).await;

    stack.api_cli_ok(&["restore", &event.id.to_string()]).await;
    for client in [&stack.anonymous(), &there] {
        assert_eq!(seen_by(client, event.id).await, [true; 4]);
    }
    stack.user().await.lock(&event, "VIP", "A5").await.ok();
    stack.assert_invariants().await;
}

#[tokio::test]
async fn an_event_that_is_taken_down_can_be_cancelled_by_its_organiser() {
    let stack = Stack::start().await;
    let (_, event, _, payment) = stack.sold().await;
    let organiser =
        stack.row("SELECT organizer_id AS id FROM events").await["id"].as_i64().unwrap();
    let organiser = stack.anonymous().with_token(organiser, stack.mint_token(organiser));
    stack.api_cli_ok(&["take-down", &event.id.to_string(), "--reason", "a fraud"]).await;
    let path = format!("/events/{}", event.id);
    let renamed = json!({"status": "cancelled", "name": "Nothing"});
    assert_eq!(organiser.put(&path, renamed).await.status, 403);
    organiser.put(&path, json!({"status": "cancelled"})).await.ok();
    stack.until_refund(&payment).await;
    stack.assert_invariants().await;
}

#[tokio::test]
async fn operators_stop_accounts_and_events_on_a_page() {
    let stack = Stack::builder().workers([]).start().await;
    let admin = stack.admin().await;
    let user = registered(&stack).await;
    let event = stack.event(&user, &[("VIP", 100.0, 5)]).await;
    let page = async |about: &str| {
        let request = admin.request_root(Method::GET, "/admin/accounts").query(&[("about", about)]);
        Response::to(request).await.text
    };
    assert!(page(EMAIL).await.contains("Suspend"), "{}", page(EMAIL).await);
    let path = |what: &str| format!("/admin/accounts/{}/{what}", user.id);
    assert_eq!(admin.submit(&path("suspend"), &[]).await.status, 422, "without a reason");
    let reason = [("reason", "a test")];
    assert_eq!(admin.submit(&path("suspend"), &reason).await.status, 303);
    user.has_ended().await;
    assert_eq!(admin.submit(&path("suspend"), &reason).await.status, 409);
    assert!(page(&user.id.to_string()).await.contains("Reinstate"));
    assert_eq!(admin.submit(&path("reinstate"), &[]).await.status, 303);
    let own = format!("/admin/accounts/{}/suspend", admin.id);
    assert_eq!(admin.submit(&own, &reason).await.status, 409, "not oneself");

    let about = format!("event {}", event.id);
    assert!(page(&about).await.contains("Take down"));
    let path = |what: &str| format!("/admin/events/{}/{what}", event.id);
    assert_eq!(admin.submit(&path("take-down"), &reason).await.status, 303);
    stack.anonymous().get(&format!("/events/{}", event.id)).await.failed(404, "Event not found");
    assert_eq!(admin.submit(&path("restore"), &[]).await.status, 303);
    stack.anonymous().get(&format!("/events/{}", event.id)).await.ok();
    let recorded = format!(
        "audit_log WHERE actor = {} AND address IS NOT NULL AND action IN ('account_suspended', 'account_reinstated', 'event_taken_down', 'event_restored')",
        admin.id
    );
    assert_eq!(stack.count(&recorded).await, 4);
}

#[tokio::test]
async fn in_production_only_organisers_create_events_unless_it_is_said() {
    let stack =
        Stack::builder().workers([]).env("NODE_ENV", "production").env("EVENT_CREATION", "");
    let stack = stack.start().await;
    let user = stack.user().await;
    let refused = user.post("/events/create", event_request(&[("VIP", 100.0, 5)])).await;
    refused.failed(403, "You are not authorized to create events");
    stack.api_cli_ok(&["set-role", &user.id.to_string(), "organiser"]).await;
    user.post("/events/create", event_request(&[("VIP", 100.0, 5)])).await.ok();
}
