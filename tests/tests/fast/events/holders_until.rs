//! Until when holders of an event's tickets can be named (`holders_until`).

use nexus_tests::shop::event_request;
use nexus_tests::{Event, Stack, Value, json};

const UNREADABLE: &str = "holders_until is not a valid date";

#[tokio::test]
async fn an_event_says_it_wherever_it_is_shown_and_others_are_shown_as_before() {
    let stack = Stack::builder().workers([]).start().await;
    let organiser = stack.user().await;
    let listener = stack.socket("anybody", &stack.anonymous()).await;
    // In an answer, where it is read, in the list, and in the broadcast.
    let shown = async |answer: &Value, broadcast: &str, until: Option<&str>| {
        let event = answer["event"].clone();
        let is_told = |told: &Value| told["event"] == event;
        let told = listener.wait_for(broadcast, is_told, nexus_tests::SOON).await;
        let path = format!("/events/{}", event["id"]);
        let read = stack.anonymous().get(&path).await.data();
        let own = organiser.get(&path).await.data();
        let list = stack.anonymous().get("/events").await.ok()["data"].clone();
        let listed = list.as_array().unwrap().iter().find(|listed| listed["id"] == event["id"]);
        let listed = listed.expect("it is listed").clone();
        for event in [event, told["event"].clone(), read, own, listed] {
            assert_eq!(event.get("holders_until"), until.map(|until| json!(until)).as_ref());
        }
    };
    let mut request = event_request(&[("VIP", 100.0, 5)]);
    let without = organiser.post("/events/create", request.clone()).await.data();
    shown(&without, "event_created", None).await;
    request["holders_until"] = Value::Null;
    let without = organiser.post("/events/create", request.clone()).await.data();
    shown(&without, "event_created", None).await;
    request["holders_until"] = json!("2099-04-28T23:30+05:30");
    let with = organiser.post("/events/create", request).await.data();
    shown(&with, "event_created", Some("2099-04-28T18:00:00.000Z")).await;

    let path = format!("/events/{}", with["event"]["id"]);
    let renamed = organiser.put(&path, json!({"name": "Jazz"})).await.data();
    shown(&renamed, "event_updated", Some("2099-04-28T18:00:00.000Z")).await;
    // After the event: that counts as its start, whenever that will be.
    let later = organiser.put(&path, json!({"holders_until": "2099-06-01"})).await.data();
    shown(&later, "event_updated", Some("2099-06-01T00:00:00.000Z")).await;
    let removed = organiser.put(&path, json!({"holders_until": null})).await.data();
    shown(&removed, "event_updated", None).await;
    let recorded = stack.rows("SELECT details FROM audit_log ORDER BY id").await;
    let newest = recorded.last().expect("it is recorded");
    assert_eq!(newest["details"]["fields"], json!(["holders_until"]));
}

#[tokio::test]
async fn what_is_no_date_is_refused_and_changes_nothing() {
    let stack = Stack::builder().workers([]).start().await;
    let organiser = stack.user().await;
    let mut request = event_request(&[("VIP", 100.0, 5)]);
    request["holders_until"] = json!("2099-04-30T18:00:00.000Z");
    let created = organiser.post("/events/create", request.clone()).await.data();
    let path = format!("/events/{}", created["event"]["id"]);
    let before = stack.contents().await;
    for wrong in [json!("soon"), json!(""), json!("2099-02-30"), json!(true), json!({})] {
        organiser.put(&path, json!({"holders_until": wrong})).await.failed(400, UNREADABLE);
        request["holders_until"] = wrong;
        organiser.post("/events/create", request.clone()).await.failed(400, UNREADABLE);
    }
    assert_eq!(stack.contents().await, before, "rows");
}

#[tokio::test]
async fn buyers_are_not_told_of_it() {
    let stack = Stack::builder().env("EVENT_NOTICE_DELAY_SECONDS", 3_600).start().await;
    let (organiser, buyer) = (stack.user().await, stack.user().await);
    let created = organiser.post("/events/create", event_request(&[("VIP", 100.0, 5)])).await;
    let event = Event::from_created(&created.data());
    stack.sell(&buyer, &event, &[("VIP", "A1")]).await;
    let path = format!("/events/{}", event.id);
    for until in [json!("2099-04-30T18:00:00.000Z"), Value::Null] {
        organiser.put(&path, json!({"holders_until": until})).await.ok();
        assert_eq!(stack.count("event_notices").await, 0);
    }
    organiser.put(&path, json!({"location": "Pune"})).await.ok();
    assert_eq!(stack.count("event_notices").await, 1, "of a move, they are");
}
