//! Bad input over REST: events and seat types.

use nexus_tests::refusals::{Refusal, with};
use nexus_tests::shop::event_request;
use nexus_tests::{Response, Stack, Value, json};

#[tokio::test]
async fn events() {
    let stack = Stack::builder().workers([]).start().await;
    let (organiser, other) = (stack.user().await, stack.user().await);
    let event = stack.event(&organiser, &[("VIP", 100.0, 50)]).await;
    let good = event_request(&[("VIP", 100.0, 50)]);
    let missing =
        "Missing required fields: name, description, start_date, end_date, location, organizer_id";
    let incomplete = |n: usize| match n {
        1 => "Seat type 1 is missing required fields: name, price, quantity",
        _ => "Seat type 2 is missing required fields: name, price, quantity",
    };
    let seat_types = |types: Value| with(&good, "seat_types", types);
    let vip = json!({"name": "VIP", "price": 100, "quantity": 5});
    let mut cases: Vec<Refusal> = vec![(json!({}), 400, missing)];
    for field in ["name", "description", "start_date", "end_date", "location"] {
        cases.push((with(&good, field, Value::Null), 400, missing));
        cases.push((with(&good, field, json!(" ")), 400, missing));
    }
    for types in [Value::Null, json!([]), json!("VIP"), json!({})] {
        cases.push((seat_types(types), 400, "At least one seat type is required"));
    }
    cases.push((seat_types(json!(["VIP"])), 400, incomplete(1)));
    for field in ["name", "price", "quantity"] {
        cases.push((seat_types(json!([vip, with(&vip, field, Value::Null)])), 400, incomplete(2)));
    }
    let negative_price = "Price must be greater than or equal to 0";
    for price in [json!(-1), json!("abc"), json!("NaN"), json!("Infinity"), json!({})] {
        let types = seat_types(json!([with(&vip, "price", price.clone())]));
        let response = organiser.post("/events/create", types).await;
        assert_eq!(response.status, 400, "price {price}: {response}");
    }
    cases.push((seat_types(json!([with(&vip, "price", json!(-1))])), 400, negative_price));
    cases.push((
        seat_types(json!([with(&vip, "quantity", json!(-1))])),
        400,
        "Quantity must be greater than or equal to 0",
    ));
    let before_start = with(&good, "end_date", json!("2098-05-01T18:00:00.000Z"));
    cases.push((before_start, 400, "end_date must not be before start_date"));
    for date in ["tomorrow", "2098-05-01T18:00:60Z", "2098-05-01T24:00Z", "2098-05-01T18:00+25:00"]
    {
        cases.push((with(&good, "start_date", json!(date)), 400, "start_date is not a valid date"));
    }
    cases.push((with(&good, "venue_name", json!({})), 400, "venue_name must be text"));
    stack.refuses(&organiser, "/events/create", cases).await;

    let before = stack.contents().await;
    stack.anonymous().post("/events/create", good).await.failed(401, "Access token is required");
    let path = format!("/events/{}", event.id);
    for id in ["abc", "0", "%20"] {
        stack.anonymous().get(&format!("/events/{id}")).await.failed(400, "Invalid event ID");
        organiser
            .put(&format!("/events/{id}"), json!({"name": "x"}))
            .await
            .failed(400, "Invalid event ID");
        organiser.delete(&format!("/events/{id}")).await.failed(400, "Invalid event ID");
    }
    for id in ["999", "99999999999", "-1"] {
        stack.anonymous().get(&format!("/events/{id}")).await.failed(404, "Event not found");
        organiser
            .put(&format!("/events/{id}"), json!({"name": "x"}))
            .await
            .failed(404, "Event not found");
        organiser.delete(&format!("/events/{id}")).await.failed(404, "Event not found");
    }
    other
        .put(&path, json!({"name": "x"}))
        .await
        .failed(403, "You are not authorized to update this event");
    other.delete(&path).await.failed(403, "You are not authorized to delete this event");
    for body in [json!({}), json!({"unknown": 1})] {
        organiser.put(&path, body).await.failed(400, "No fields to update");
    }
    for (field, value) in [
        ("status", "sold"),
        ("start_date", "soon"),
        ("end_date", "2000-01-01"),
        ("name", ""),
        ("is_public", "maybe"),
    ] {
        let response: Response = organiser.put(&path, json!({field: value})).await;
        assert_eq!(response.status, 400, "{field}={value}: {response}");
    }
    organiser.put(&path, json!({"image_url": 7})).await.failed(400, "image_url must be text");
    for query in ["limit=-1", "offset=-1"] {
        assert_eq!(stack.anonymous().get(&format!("/events?{query}")).await.status, 400, "{query}");
    }
    assert_eq!(stack.contents().await, before, "rows");
}

#[tokio::test]
async fn seat_types() {
    let stack = Stack::builder().workers([]).start().await;
    let (organiser, other) = (stack.user().await, stack.user().await);
    let event = stack.event(&organiser, &[("VIP", 100.0, 50), ("Standard", 10.0, 5)]).await;
    let elsewhere = stack.event(&organiser, &[("VIP", 100.0, 50)]).await;
    other.lock(&event, "VIP", "A1").await.ok();
    other.book(&event, &[("VIP", "A1")]).await.ok();
    let before = stack.contents().await;
    let all = format!("/seats/{}/seat-types", event.id);
    let vip = format!("{all}/{}", event.seat_type("VIP"));

    let missing = "Missing required fields: name, price, quantity";
    let price = "Price must be greater than or equal to 0";
    let (long, too_long) = ("x".repeat(2_001), "description must be at most 2000 characters long");
    let quantity = "Quantity must be greater than or equal to 0";
    for (body, message) in [
        (json!({}), missing),
        (json!({"price": 1, "quantity": 1}), missing),
        (json!({"name": "", "price": 1, "quantity": 1}), missing),
        (json!({"name": "New", "quantity": 1}), missing),
        (json!({"name": "New", "price": 1}), missing),
        (json!({"name": "New", "price": -0.01, "quantity": 1}), price),
        (json!({"name": "New", "price": "abc", "quantity": 1}), price),
        (json!({"name": "New", "price": 1, "quantity": -1}), quantity),
        (json!({"name": "New", "price": 1, "quantity": "many"}), quantity),
        (
            json!({"name": "New", "price": 1, "quantity": 1, "description": 7}),
            "description must be text",
        ),
        (json!({"name": "New", "price": 1, "quantity": 1, "description": long}), too_long),
    ] {
        eprintln!("{body}");
        organiser.post(&all, body).await.failed(400, message);
    }
    for (body, message) in [
        (json!({}), "No fields to update"),
        (json!({"unknown": 1}), "No fields to update"),
        (json!({"price": -1}), price),
        (json!({"price": "NaN"}), price),
        (json!({"quantity": -1}), quantity),
        (json!({"description": []}), "description must be text"),
        (json!({"description": long}), too_long),
    ] {
        eprintln!("{body}");
        organiser.put(&vip, body).await.failed(400, message);
    }
    let taken = "Quantity cannot be less than the 1 seat(s) that are locked or booked";
    organiser.put(&vip, json!({"quantity": 0})).await.failed(409, taken);

    let new = json!({"name": "New", "price": 1, "quantity": 1});
    let forbidden = "You are not authorized to manage seat types for this event";
    other.post(&all, new.clone()).await.failed(403, forbidden);
    other.put(&vip, json!({"price": 1})).await.failed(403, forbidden);
    other.delete(&vip).await.failed(403, forbidden);
    stack.anonymous().post(&all, new.clone()).await.failed(401, "Access token is required");
    organiser.post("/seats/999/seat-types", new.clone()).await.failed(404, "Event not found");
    organiser.post("/seats/abc/seat-types", new).await.failed(400, "Invalid event ID");
    for (id, status, message) in
        [("abc", 400, "Invalid seat type ID"), ("999", 404, "Seat type not found")]
    {
        organiser.put(&format!("{all}/{id}"), json!({"price": 1})).await.failed(status, message);
        organiser.delete(&format!("{all}/{id}")).await.failed(status, message);
    }
    let of_another = format!("{all}/{}", elsewhere.seat_type("VIP"));
    organiser.put(&of_another, json!({"price": 1})).await.failed(404, "Seat type not found");
    organiser.delete(&of_another).await.failed(404, "Seat type not found");
    let booked =
        "Cannot delete seat type. There are 1 booked seat(s). Please handle bookings first.";
    organiser.delete(&vip).await.failed(409, booked);
    let active = "Cannot delete event. There are 1 active booking(s). Please cancel all bookings first or change event status to 'cancelled'.";
    organiser.delete(&format!("/events/{}", event.id)).await.failed(409, active);
    assert_eq!(stack.contents().await, before, "rows");
}

#[tokio::test]
async fn an_event_has_a_hundred_seat_types_at_most() {
    let stack = Stack::builder().workers([]).without_limits().start().await;
    let organiser = stack.user().await;
    let event = stack.event(&organiser, &[("VIP", 100.0, 50)]).await;
    stack
        .execute(&format!(
            "INSERT INTO event_seat_types (event_id, name, price, quantity, available_quantity, display_order)
             SELECT {}, 'Row ' || n, 10, 5, 5, n FROM generate_series(2, 99) n",
            event.id
        ))
        .await;
    let path = format!("/seats/{}/seat-types", event.id);
    let new = json!({"name": "The last", "price": 1, "quantity": 1});
    organiser.post(&path, new.clone()).await.ok();
    organiser.post(&path, new).await.failed(400, "An event can have at most 100 seat types");
}

#[tokio::test]
async fn times_and_texts_are_kept_as_they_are_answered() {
    let stack = Stack::builder().workers([]).start().await;
    let organiser = stack.user().await;
    let mut request = event_request(&[("VIP", 100.0, 50)]);
    request["name"] = json!("Monsoon\r\n\tJazz\u{feff}");
    request["description"] = json!("Two sets.\r\nOne roof.\tBring 3 < 5 and 7 > 2 friends");
    request["seat_types"][0]["description"] = json!("3 < 5 and 7 > 2 <b>friends</b>");
    for (written, read) in [
        ("2098-05-01T18:00Z", "2098-05-01T18:00:00.000Z"),
        ("2098-05-01T18:00+05:30", "2098-05-01T12:30:00.000Z"),
        ("2098-05-01T18:00:59.1239999+05:30", "2098-05-01T12:30:59.123Z"),
        ("2098-05-01 18:00", "2098-05-01T18:00:00.000Z"),
    ] {
        request["start_date"] = json!(written);
        let created = organiser.post("/events/create", request.clone()).await.data();
        let kept = organiser.get(&format!("/events/{}", created["event"]["id"])).await.data();
        for event in [&created["event"], &kept] {
            assert_eq!(event["start_date"], read, "{written}");
            assert_eq!(event["name"], "Monsoon Jazz");
            assert_eq!(event["description"], "Two sets.\nOne roof.\tBring 3 < 5 and 7 > 2 friends");
        }
        assert_eq!(created["seat_types"][0]["description"], "3 < 5 and 7 > 2 friends");
    }
}
