//! Who comes in with a ticket, as its owner says.

use std::collections::BTreeSet;

use nexus_tests::shop::event_request;
use nexus_tests::{Booking, Event, Outcome, Stack, Value, json};

use super::Sold;

#[tokio::test]
async fn holders_are_named_with_a_booking_and_shown_wherever_their_tickets_are() {
    let stack = Stack::start().await;
    let (organiser, buyer) = (stack.user().await, stack.user().await);
    let event = stack.event(&organiser, &[("VIP", 100.0, 50)]).await;
    let seat_type = event.seat_type("VIP");
    for label in ["A1", "A2"] {
        buyer.lock(&event, "VIP", label).await.ok();
    }
    let details = json!({"meal": "veg", "allergies": ["nuts"], "age": 9.5});
    let request = json!({"event_id": event.id, "seat_details": [
        {"seat_type_id": seat_type, "seat_label": "A1", "holder_name": " Ravi Iyer ", "holder_details": details},
        {"seat_type_id": seat_type, "seat_label": "A2"},
    ]});
    let booking = Booking::from_created(&buyer.post("/bookings/create", request).await.data());
    let seats = async || {
        let data = buyer.get(&format!("/bookings/{}", booking.id)).await.data();
        data["seats"].as_array().unwrap().clone()
    };
    let seen = seats().await;
    assert_eq!(
        (&seen[0]["holder_name"], &seen[0]["holder_details"]),
        (&json!("Ravi Iyer"), &details)
    );
    assert_eq!((seen[1].get("holder_name"), seen[1].get("holder_details")), (None, None));

    stack.pay(&buyer.order(&booking).await, Outcome::Captured);
    let tickets = stack.until_tickets(&buyer, &booking, 2).await;
    assert_eq!(tickets[0]["holder_name"], "Ravi Iyer");
    assert_eq!((&tickets[0]["holder_details"], tickets[1].get("holder_name")), (&details, None));
    let mail = stack.mailed(&stack.address(&buyer).await, "Your tickets").await;
    assert!(mail.text.contains("VIP, seat A1, ₹100.00, for Ravi Iyer: TKT-"), "{}", mail.text);
    assert!(mail.text.contains("VIP, seat A2, ₹100.00: TKT-"), "{}", mail.text);

    // At the door, by the holder's name or the buyer's; and for the organiser, whoever they are.
    let found = async |name: &str| {
        let path = format!("/events/{}/tickets?q={name}", event.id);
        let found = organiser.get(&path).await.data();
        let of = |ticket: &Value| (ticket["seat_label"].clone(), ticket["holder_name"].clone());
        found.as_array().unwrap().iter().map(of).collect::<Vec<_>>()
    };
    let [first, second] = [(json!("A1"), json!("Ravi Iyer")), (json!("A2"), json!("User 1"))];
    assert_eq!(found("iyer").await, std::slice::from_ref(&first));
    assert_eq!(found("user").await, [first, second]);
    let scanned = json!({"ticket_id": tickets[0]["ticket_id"]});
    let scan = organiser.post(&format!("/events/{}/check-ins", event.id), scanned).await.data();
    assert_eq!(scan["ticket"]["holder_name"], "Ravi Iyer");

    // Later, too; null is the buyer again.
    let path = format!("/bookings/{}/holders", booking.id);
    let ids: Vec<&Value> = seen.iter().map(|seat| &seat["seat_id"]).collect();
    let named = json!({"holders": [
        {"seat_id": ids[0], "holder_name": null}, {"seat_id": ids[1], "holder_name": "Asha Rao"},
    ]});
    buyer.put(&path, named).await.ok();
    let seen = seats().await;
    assert_eq!((seen[0].get("holder_name"), seen[0].get("holder_details")), (None, None));
    assert_eq!(seen[1]["holder_name"], "Asha Rao");
    let all = organiser.get(&format!("/events/{}/holders", event.id)).await.data();
    let holders: Vec<_> = all["holders"]
        .as_array()
        .unwrap()
        .iter()
        .map(|one| one["holder_name"].as_str().unwrap())
        .collect();
    assert_eq!((holders, &all["next"]), (vec!["User 1", "Asha Rao"], &Value::Null));
}

#[tokio::test]
async fn what_cannot_be_said_of_holders_is_refused() {
    let sold = Sold::seats(&["A1"]).await;
    let path = format!("/bookings/{}/holders", sold.booking.id);
    let seat = sold.stack.row("SELECT id FROM seats").await["id"].take();
    let name = async |holder: Value| {
        let mut holder = holder;
        holder["seat_id"] = seat.clone();
        sold.buyer.put(&path, json!({"holders": [holder]})).await
    };
    let size = "holder_details must be an object of at most 2000 bytes, with plain numbers";
    for details in [
        json!([1]),
        json!("x"),
        json!({"a": "\0"}),
        json!({"a": "x".repeat(2_000)}),
        json!({"a": 1e308}),
    ] {
        name(json!({"holder_details": details})).await.failed(400, size);
    }
    let long = "holder_name must be at most 100 characters long";
    name(json!({"holder_name": "x".repeat(101)})).await.failed(400, long);
    let order = "holder_name must not contain control characters or characters that change the order of text";
    name(json!({"holder_name": "\u{202e}ivaR"})).await.failed(400, order);
    let nothing = "holder_name must have a letter or a digit";
    name(json!({"holder_name": "\u{2800}\u{2800}"})).await.failed(400, nothing);
    let list = "holders must be a list of 1 to 1000 seats";
    sold.buyer.put(&path, json!({"holders": []})).await.failed(400, list);
    let twice = json!({"holders": [{"seat_id": seat}, {"seat_id": seat}]});
    sold.buyer.put(&path, twice).await.failed(400, "Each seat can be named once");
    let other = json!({"holders": [{"seat_id": 999_999, "holder_name": "Ravi"}]});
    let not_yours = "Some of these seats are not yours in this booking";
    sold.buyer.put(&path, other).await.failed(404, not_yours);
    let own = json!({"holders": [{"seat_id": seat, "holder_name": "Ravi"}]});
    sold.friend.put(&path, own.clone()).await.failed(404, "Booking not found");
    sold.stack.anonymous().put(&path, own.clone()).await.failed(401, "Access token is required");
    let widest = json!({"a": vec!["1e308"; 100].join(","), "b": vec![0.1; 300]});
    name(json!({"holder_name": "x".repeat(100), "holder_details": widest})).await.ok();

    let event = format!("/events/{}", sold.event.id);
    sold.organiser.put(&event, json!({"holders_until": "2020-01-01T00:00:00Z"})).await.ok();
    let closed =
        "Holders cannot be named, nor tickets transferred, any more: the time for it is over";
    sold.buyer.put(&path, own.clone()).await.failed(409, closed);
    sold.organiser.put(&event, json!({"holders_until": null})).await.ok();
    sold.buyer.put(&path, own.clone()).await.ok();
    sold.begins().await;
    sold.buyer.put(&path, own.clone()).await.failed(409, closed);
}

#[tokio::test]
async fn only_the_organiser_lists_who_comes_page_by_page() {
    let stack = Stack::builder()
        .without_limits()
        .env("UNPAID_SEATS_PER_ACCOUNT", 1000)
        .workers(["payments", "bookings"])
        .start()
        .await;
    let (organiser, buyer) = (stack.user().await, stack.user().await);
    let mut request = event_request(&[("Free", 0.0, 600)]);
    request["max_tickets_per_user"] = json!(600);
    let created = organiser.post("/events/create", request).await.data();
    let event = Event::from_created(&created);
    let mut seats = vec![];
    for _ in 0..6 {
        let best =
            json!({"best_available": {"seat_type_id": event.seat_type("Free"), "count": 85}});
        let locked = buyer.post(&format!("/seats/{}/locks", event.id), best).await.data();
        seats.extend(locked["locks"].as_array().unwrap().iter().map(|lock| {
            json!({"seat_type_id": event.seat_type("Free"), "seat_label": lock["seat_label"]})
        }));
    }
    let request = json!({"event_id": event.id, "seat_details": seats});
    let booking = Booking::from_created(&buyer.post("/bookings/create", request).await.data());
    stack.until_tickets(&buyer, &booking, 510).await;
    // Of these, the tickets are still to be made.
    let pending = format!(
        "INSERT INTO bookings (booking_reference, event_id, user_id, total_amount, status, payment_status, confirmed_at)
         SELECT 'BKG-' || n, {}, {}, 0, 'confirmed', 'completed', now() FROM generate_series(1, 600) n",
        event.id, buyer.id
    );
    stack.execute(&pending).await;
    let other = buyer.lock_and_book(&event, &[("Free", "Z1")]).await;
    stack.until_tickets(&buyer, &other, 1).await;

    let path = format!("/events/{}/holders", event.id);
    let first = organiser.get(&path).await.data();
    assert_eq!(first["holders"].as_array().unwrap().len(), 500);
    let (mut pages, mut last) = (vec![first.clone()], first);
    while let Some(next) = last["next"].as_str() {
        last = organiser.get(&format!("{path}?after={next}")).await.data();
        pages.push(last.clone());
    }
    let of = |page: &Value| page["holders"].as_array().unwrap().clone();
    let ids: BTreeSet<i64> =
        pages.iter().flat_map(of).map(|holder| holder["id"].as_i64().unwrap()).collect();
    assert_eq!((ids.len(), pages.len()), (511, 3));
    assert_eq!(stack.count("audit_log WHERE action = 'holders_listed'").await, 1, "in an hour");
    for wrong in ["1", "0-1", "a-b", "1-", "1-99999999999"] {
        let refused = organiser.get(&format!("{path}?after={wrong}")).await;
        refused.failed(400, "after must be `next` of the page before");
    }
    let forbidden = "You are not authorized to see who comes to this event";
    buyer.get(&path).await.failed(403, forbidden);
    stack.anonymous().get(&path).await.failed(401, "Access token is required");
    stack.execute("UPDATE events SET taken_down_at = now()").await;
    let down = organiser.get(&path).await;
    assert_eq!((down.status, &down.body["error"]["code"]), (403, &json!("event_taken_down")));
}
