//! Texts that users write: how long they may be, which characters they may have, and how much of
//! them others are told. And how many events one account may have.

use futures_util::future::join_all;
use nexus_tests::shop::event_request;
use nexus_tests::{Client, Method, Stack, Value, json};

/// The message that each text is refused with.
const UNFIT: &str =
    "must not contain control characters or characters that change the order of text";
/// A bell, an escape sequence, an override of the direction of text, and an isolate.
const ODD: [&str; 4] = ["\u{7}", "\u{1b}[2J", "\u{202e}", "\u{2066}"];

#[tokio::test]
async fn texts_of_events_have_a_longest_length_wherever_they_are_set() {
    let stack = Stack::builder().workers([]).without_limits().start().await;
    let organiser = stack.user().await;
    let event = stack.event(&organiser, &[("VIP", 100.0, 50)]).await;
    let path = format!("/events/{}", event.id);
    for (field, longest) in
        [("name", 255), ("description", 20_000), ("location", 255), ("venue_name", 255)]
    {
        let message = format!("{field} must be at most {longest} characters long");
        for (length, fits) in [(longest, true), (longest + 1, false)] {
            let text = json!("ü".repeat(length));
            let mut request = event_request(&[("VIP", 100.0, 50)]);
            request[field] = text.clone();
            let created = organiser.post("/events/create", request).await;
            let changed = organiser.put(&path, json!({field: text})).await;
            for response in [created, changed] {
                if fits { drop(response.ok()) } else { response.failed(400, &message) }
            }
        }
    }
    let types = format!("/seats/{}/seat-types", event.id);
    for (field, longest) in [("name", 100), ("description", 2_000)] {
        let mut new = json!({"name": "Floor", "price": 1, "quantity": 1});
        new[field] = json!("x".repeat(longest + 1));
        let message = format!("{field} must be at most {longest} characters long");
        organiser.post(&types, new.clone()).await.failed(400, &message);
        let vip = format!("{types}/{}", event.seat_type("VIP"));
        organiser.put(&vip, json!({field: new[field]})).await.failed(400, &message);
    }
}

#[tokio::test]
async fn control_and_reordering_characters_are_refused_and_those_of_scripts_are_kept() {
    let stack = Stack::builder().workers([]).without_limits().start().await;
    let organiser = stack.user().await;
    let event = stack.event(&organiser, &[("VIP", 100.0, 50)]).await;
    let path = format!("/events/{}", event.id);
    let vip = format!("/seats/{}/seat-types/{}", event.id, event.seat_type("VIP"));
    let booking = stack.user().await;
    let booked = booking.lock_and_book(&event, &[("VIP", "A1")]).await;
    for odd in ODD {
        let text = format!("a{odd}b");
        for field in ["name", "description", "location", "venue_name"] {
            let refused = organiser.put(&path, json!({field: text})).await;
            refused.failed(400, &format!("{field} {UNFIT}"));
        }
        for field in ["name", "description"] {
            let refused = organiser.put(&vip, json!({field: text})).await;
            refused.failed(400, &format!("{field} {UNFIT}"));
        }
        let refused =
            booking.post(&format!("/bookings/{}/cancel", booked.id), json!({"reason": text})).await;
        refused.failed(400, &format!("reason {UNFIT}"));
    }
    let account = json!({"email": "new@nexus.example", "password": nexus_tests::shop::PASSWORD,
        "name": "Asha \u{202e}oaR"});
    stack.anonymous().post("/auth/register", account).await.failed(
        400,
        "Validation failed: Name must not contain characters that change the order of text",
    );
    // Joiners of Devanagari, Persian and emoji, and a mark of direction.
    for name in ["क्‍ष", "می‌خواهم", "👩‍👩‍👧", "שלום\u{200f}!"] {
        let changed = organiser.put(&path, json!({"name": name})).await.data();
        assert_eq!(changed["event"]["name"], name);
    }
}

#[tokio::test]
async fn an_image_is_loaded_over_https_and_an_old_one_stays() {
    let stack = Stack::builder().workers([]).start().await;
    let organiser = stack.user().await;
    let refused = "image_url must begin with https://";
    let create = |url: &str| {
        let mut request = event_request(&[("VIP", 100.0, 50)]);
        request["image_url"] = json!(url);
        organiser.post("/events/create", request)
    };
    for url in ["http://nexus.example/jazz.jpg", "javascript:alert(1)", "data:text/html,x", "//x"] {
        create(url).await.failed(400, refused);
    }
    assert_eq!(create("").await.data()["event"]["image_url"], Value::Null);
    let event = create("https://nexus.example/jazz.jpg").await.data()["event"].clone();
    let path = format!("/events/{}", event["id"]);
    organiser.put(&path, json!({"image_url": "http://nexus.example/a"})).await.failed(400, refused);

    let old = "http://nexus.example/old.jpg";
    stack.execute(&format!("UPDATE events SET image_url = '{old}'")).await;
    assert_eq!(organiser.get(&path).await.data()["image_url"], old);
    // Not by the schema, so the harness must not look.
    let whole = json!({"name": "Jazz", "image_url": old});
    let sent = organiser.request(Method::PUT, &path).json(&whole).send().await.unwrap();
    let changed: Value = sent.json().await.unwrap();
    assert_eq!(changed["data"]["event"]["image_url"], old, "{changed}");
}

#[tokio::test]
async fn long_descriptions_reach_those_who_have_not_asked_for_them_in_part_only() {
    let stack = Stack::builder().workers([]).without_limits().start().await;
    let organiser = stack.user().await;
    let listeners = [
        stack.socket("nobody", &stack.anonymous()).await,
        stack.socket("the organiser", &organiser).await,
    ];
    let mut request = event_request(&[("VIP", 100.0, 50)]);
    request["description"] = json!("ü".repeat(20_000));
    let of_type = "ý".repeat(2_000);
    let seat_type = |n: usize| json!({"name": format!("Row {n}"), "price": 1, "quantity": 1, "description": of_type});
    request["seat_types"] = (0..100).map(seat_type).collect();
    let created = organiser.post("/events/create", request).await.data();
    let path = format!("/events/{}", created["event"]["id"]);
    let types = format!("/seats/{}/seat-types", created["event"]["id"]);
    let a_type = format!("{types}/{}", created["seat_types"][0]["id"]);
    organiser.put(&path, json!({"location": "Pune"})).await.ok();
    let changed = organiser.put(&a_type, json!({"description": of_type})).await.data();
    organiser.delete(&a_type).await.ok();
    let again = json!({"name": "Row", "price": 1, "quantity": 1, "description": of_type});
    organiser.post(&types, again).await.ok();

    assert_eq!(changed["seat_type"]["description"], of_type, "the answer has all of it");
    let shown = stack.anonymous().get(&path).await.data();
    assert_eq!(shown["description"].as_str().map(|text| text.chars().count()), Some(20_000));
    for socket in &listeners {
        for (news, most) in [
            ("event_created", 40_000),
            ("event_updated", 3_000),
            ("seat_type_updated", 1_000),
            ("seat_type_created", 1_000),
        ] {
            let told = socket.wait_for_any(news).await.to_string();
            assert!(told.len() < most && told.contains('…'), "{news}: {} bytes", told.len());
        }
    }
}

#[tokio::test]
async fn an_account_has_so_many_events_however_many_it_asks_for_at_once() {
    let stack =
        Stack::builder().workers([]).without_limits().env("EVENTS_PER_ACCOUNT", "5").start().await;
    let (organiser, other) = (stack.user().await, stack.user().await);
    let create = |who: Client| async move {
        who.post("/events/create", event_request(&[("VIP", 100.0, 50)])).await
    };
    let tried = join_all((0..20).map(|_| create(organiser.clone()))).await;
    let (made, refused): (Vec<_>, Vec<_>) =
        tried.into_iter().partition(|response| response.status == 200);
    assert_eq!(made.len(), 5);
    refused.into_iter().for_each(|refused| refused.failed(409, "You can have at most 5 events"));
    create(other).await.ok();
    let id = made[0].clone().data()["event"]["id"].clone();
    organiser.delete(&format!("/events/{id}")).await.ok();
    create(organiser.clone()).await.ok();
    create(organiser).await.failed(409, "You can have at most 5 events");
}

#[tokio::test]
async fn who_creates_and_deletes_events_all_day_is_refused() {
    let stack = Stack::builder().workers([]).env("RATE_LIMIT_EVENTS", "2/1h").start().await;
    let (organiser, other) = (stack.user().await, stack.user().await);
    for _ in 0..2 {
        let event = stack.event(&organiser, &[("VIP", 100.0, 50)]).await;
        organiser.delete(&format!("/events/{}", event.id)).await.ok();
    }
    let mut request = event_request(&[("VIP", 100.0, 50)]);
    request["name"] = json!("");
    // What breaks a rule does not count.
    other.post("/events/create", request.clone()).await;
    request["name"] = json!("Jazz");
    let refused = organiser.post("/events/create", request.clone()).await;
    refused.failed(429, "Too many requests. Please try again later.");
    for _ in 0..2 {
        other.post("/events/create", request.clone()).await.ok();
    }
    assert_eq!(stack.count("events").await, 2);
}
