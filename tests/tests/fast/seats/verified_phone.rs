//! Events that ask for a verified phone (`require_verified_phone`).

use nexus_tests::shop::event_request;
use nexus_tests::{Client, Event, Stack, json};

const REFUSED: &str = "This event can be booked with a verified phone number only. Please verify yours in your account and try again.";

async fn asking(organiser: &Client) -> Event {
    let mut request = event_request(&[("VIP", 100.0, 50)]);
    request["require_verified_phone"] = json!(true);
    Event::from_created(&organiser.post("/events/create", request).await.data())
}

#[tokio::test]
async fn an_event_that_asks_for_a_phone_is_for_those_who_have_proved_one() {
    let stack = Stack::builder().workers([]).start().await;
    let event = asking(&stack.user().await).await;
    let user = stack.user().await;
    let socket = stack.socket("the user", &user).await;
    let refused = user.lock(&event, "VIP", "A1").await;
    refused.failed(403, REFUSED);
    assert_eq!(refused.body["error"]["code"], "phone_not_verified");
    let best = json!({"best_available": {"seat_type_id": event.seat_type("VIP"), "count": 2}});
    let locks = format!("/seats/{}/locks", event.id);
    assert_eq!(user.post(&locks, best).await.status, 403);
    let lock =
        json!({"eventId": event.id, "seatTypeId": event.seat_type("VIP"), "seat_label": "A1"});
    let said = socket.call("lock_seat", &[lock]).await;
    assert_eq!(said, json!({"success": false, "error": REFUSED}));
    // A number that is only claimed is none.
    stack
        .execute(&format!("UPDATE users SET phone = '+919812345678' WHERE id = {}", user.id))
        .await;
    user.lock(&event, "VIP", "A1").await.failed(403, REFUSED);
    assert_eq!(stack.count("seats").await, 0);
    stack.set_phone(&user, "+919812345678").await;
    user.lock_and_book(&event, &[("VIP", "A1")]).await;

    // Others who come at the same moment are not held up by who is refused.
    let (unproved, proved) = (stack.user().await, stack.user().await);
    stack.set_phone(&proved, "+919812345679").await;
    let both = futures_util::future::join(
        unproved.lock(&event, "VIP", "B1"),
        proved.lock(&event, "VIP", "B2"),
    );
    let both = both.await;
    assert_eq!((both.0.status, both.1.status), (403, 200));
}

#[tokio::test]
async fn a_seat_that_was_locked_before_an_event_asked_is_booked_with_a_phone_only() {
    let stack = Stack::builder().workers([]).start().await;
    let organiser = stack.user().await;
    let event = stack.event(&organiser, &[("VIP", 100.0, 50)]).await;
    let path = format!("/events/{}", event.id);
    let shown = stack.anonymous().get(&path).await.data();
    assert_eq!(shown.get("require_verified_phone"), None, "other events are shown as before");
    let users = stack.users(2).await;
    for (user, label) in users.iter().zip(["A1", "A2"]) {
        user.lock(&event, "VIP", label).await.ok();
    }
    let updated = organiser.put(&path, json!({"require_verified_phone": true})).await.data();
    assert_eq!(updated["event"]["require_verified_phone"], true);
    assert_eq!(stack.anonymous().get(&path).await.data()["require_verified_phone"], true);
    let listed = stack.anonymous().get("/events").await.ok()["data"][0].clone();
    assert_eq!(listed["require_verified_phone"], true, "{listed}");
    users[0].book(&event, &[("VIP", "A1")]).await.failed(403, REFUSED);
    users[0].book_alone(&event, &[("VIP", "A1")]).await.failed(403, REFUSED);
    stack.set_phone(&users[1], "+919812345678").await;
    users[1].book(&event, &[("VIP", "A2")]).await.ok();
    organiser.put(&path, json!({"require_verified_phone": false})).await.ok();
    users[0].book(&event, &[("VIP", "A1")]).await.ok();
    let wrong = json!({"require_verified_phone": "perhaps"});
    organiser.put(&path, wrong).await.failed(400, "require_verified_phone must be true or false");
    stack.assert_invariants().await;
}
