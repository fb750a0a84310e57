//! What a user may do with locks beside booking them: have several at once, give them back, extend
//! them; and the map that shows them.

use nexus_tests::{Client, Event, SOON, Stack, Value, eventually, json, seen};

/// An event with two seat types, and a buyer.
async fn sale(stack: &Stack) -> (Event, Client) {
    let organiser = stack.user().await;
    let event = stack.event(&organiser, &[("VIP", 100.0, 5), ("Balcony", 50.0, 3)]).await;
    (event, stack.user().await)
}

fn lock_path(event: &Event, seat_type: &str) -> String {
    format!("/seats/{}/seat-types/{}/lock", event.id, event.seat_type(seat_type))
}

async fn unlock(who: &Client, event: &Event, label: &str) -> nexus_tests::Response {
    who.delete(&format!("{}?seat_label={label}", lock_path(event, "VIP"))).await
}

async fn extend(who: &Client, event: &Event, label: &str) -> nexus_tests::Response {
    who.post(&format!("{}/extend", lock_path(event, "VIP")), json!({"seat_label": label})).await
}

async fn lock_several(who: &Client, event: &Event, wanted: Value) -> nexus_tests::Response {
    who.post(&format!("/seats/{}/locks", event.id), wanted).await
}

fn labels(locks: &Value) -> Vec<&str> {
    let locks = locks["locks"].as_array().map_or(&[][..], Vec::as_slice);
    locks.iter().filter_map(|lock| lock["seat_label"].as_str()).collect()
}

/// Makes a lock as old as if it had been made so many minutes ago.
async fn age(stack: &Stack, label: &str, minutes: u32) {
    let aged = format!(
        "UPDATE seats SET locked_at = locked_at - interval '{minutes} minutes',
                          expires_at = locked_at - interval '{minutes} minutes' + interval '20 minutes' - interval '1 minute'
         WHERE seat_label = '{label}'"
    );
    assert_eq!(stack.execute(&aged).await, 1);
}

#[tokio::test]
async fn a_lock_is_given_back_by_its_holder_and_free_at_once() {
    let stack = Stack::builder().workers([]).start().await;
    let (event, holder) = sale(&stack).await;
    let viewer = stack.socket("the viewer", &stack.anonymous()).await;
    let other = stack.user().await;
    holder.lock(&event, "VIP", "A1").await.ok();
    unlock(&other, &event, "A1").await.failed(404, "You have no lock on seat A1");

    let released = unlock(&holder, &event, "a1").await.data();
    let vip = event.seat_type("VIP");
    let expected = json!({"event_id": event.id, "seat_type_id": vip, "seat_label": "A1", "available_quantity": 5});
    let mut data = expected.clone();
    data["message"] = json!("Seat A1 released successfully.");
    assert_eq!(released, data);
    let broadcast = viewer.wait_for_any("seat_unlocked").await;
    let mut told = expected;
    told["version"] = broadcast["version"].clone();
    told["reason"] = json!("released");
    assert_eq!(broadcast, told);
    unlock(&holder, &event, "A1").await.failed(404, "You have no lock on seat A1");
    other.lock(&event, "VIP", "A1").await.ok();
    stack.assert_invariants().await;
}

#[tokio::test]
async fn a_lock_is_given_back_over_a_socket() {
    let stack = Stack::builder().workers([]).start().await;
    let (event, holder) = sale(&stack).await;
    let socket = stack.socket("the holder", &holder).await;
    let seat =
        json!({"eventId": event.id, "seatTypeId": event.seat_type("VIP"), "seat_label": "A1"});
    socket.call_ok("lock_seat", seat.clone()).await;
    let released = socket.call_ok("unlock_seat", seat).await;
    assert_eq!(released["message"], "Seat A1 released successfully.");
    assert_eq!(socket.wait_for_any("unlock_seat_response").await["success"], true);
    assert_eq!(stack.count("seats").await, 0);
}

#[tokio::test]
async fn what_is_booked_is_neither_given_back_nor_extended() {
    let stack = Stack::builder().workers([]).start().await;
    let (event, buyer) = sale(&stack).await;
    buyer.lock_and_book(&event, &[("VIP", "A1")]).await;
    let refusal = "Seat A1 belongs to a booking. Cancel the booking instead.";
    unlock(&buyer, &event, "A1").await.failed(409, refusal);
    extend(&buyer, &event, "A1").await.failed(409, refusal);
    stack.assert_invariants().await;
}

#[tokio::test]
async fn a_lock_is_extended_but_never_beyond_twenty_minutes_from_its_start() {
    let stack = Stack::builder().workers([]).start().await;
    let (event, holder) = sale(&stack).await;
    let first = holder.lock(&event, "VIP", "A1").await.data();
    let seconds = |response: &Value| response["expires_in_seconds"].as_i64().unwrap();

    // A lock of 10 minutes that is 12 minutes old, and was extended before, ends 20 minutes after
    // its start.
    age(&stack, "A1", 12).await;
    let extended = extend(&holder, &event, "A1").await.data();
    assert!((470..=480).contains(&seconds(&extended)), "{extended}");
    let mut same = extended["lock"].clone();
    for time in ["locked_at", "expires_at"] {
        same[time] = first["lock"][time].clone();
    }
    assert_eq!(same, first["lock"]);
    let times = stack
        .row("SELECT extract(epoch FROM expires_at - locked_at)::integer AS n, expires_at > now() AS live FROM seats")
        .await;
    assert_eq!(times, json!({"n": 1200, "live": true}));
    extend(&holder, &event, "A1")
        .await
        .failed(409, "Seat A1 cannot be locked any longer. Please book it now.");
    let other = stack.user().await;
    extend(&other, &event, "A1").await.failed(404, "You have no lock on seat A1");
    other
        .lock(&event, "VIP", "A1")
        .await
        .failed(409, "Seat A1 is already taken. Please select another seat.");
}

#[tokio::test]
async fn a_lock_that_has_run_out_is_not_extended() {
    let stack = Stack::builder().workers([]).start().await;
    let (event, holder) = sale(&stack).await;
    holder.lock(&event, "VIP", "A1").await.ok();
    stack.execute("UPDATE seats SET expires_at = now() - interval '1 second'").await;
    let gone = "One or more seats are not locked by you, have expired, or do not exist. Please lock the seats again.";
    extend(&holder, &event, "A1").await.failed(410, gone);
}

#[tokio::test]
async fn several_seats_are_locked_all_or_none() {
    let stack = Stack::builder().workers([]).start().await;
    let (event, buyer) = sale(&stack).await;
    let viewer = stack.socket("the viewer", &stack.anonymous()).await;
    let (vip, balcony) = (event.seat_type("VIP"), event.seat_type("Balcony"));
    let seat =
        |seat_type: i64, label: &str| json!({"seat_type_id": seat_type, "seat_label": label});
    stack.user().await.lock(&event, "Balcony", "B2").await.ok();

    let partly_taken = json!({"seats": [seat(vip, "A1"), seat(balcony, "B2")]});
    let refusal = "Seat B2 is already taken. Please select another seat.";
    lock_several(&buyer, &event, partly_taken).await.failed(409, refusal);
    assert_eq!(stack.count("seats").await, 1, "none is locked when one cannot be had");
    let won =
        lock_several(&buyer, &event, json!({"seats": [seat(vip, "a1"), seat(balcony, "B1")]}))
            .await
            .data();
    assert_eq!(won["message"], "2 seat(s) locked successfully. Locks expire in 10 minutes.");
    assert_eq!(labels(&won), ["A1", "B1"]);
    for label in ["A1", "B1"] {
        let mut broadcast = viewer
            .wait_for("seat_locked", |broadcast| broadcast["seat_label"] == label, SOON)
            .await;
        // Others are not told whose it is.
        broadcast["lock"]["user_id"] = json!(buyer.id);
        assert!(won["locks"].as_array().unwrap().contains(&broadcast["lock"]), "{broadcast}");
    }
    buyer.book(&event, &[("VIP", "A1"), ("Balcony", "B1")]).await.ok();
    stack.assert_invariants().await;
}

#[tokio::test]
async fn the_best_available_seats_are_the_lowest_free_numbers() {
    let stack = Stack::builder().workers([]).start().await;
    let (event, buyer) = sale(&stack).await;
    let vip = event.seat_type("VIP");
    buyer.lock(&event, "VIP", "V2").await.ok();
    let best = |count: i64| json!({"best_available": {"seat_type_id": vip, "count": count}});
    assert_eq!(labels(&lock_several(&buyer, &event, best(2)).await.data()), ["V1", "V3"]);
    lock_several(&buyer, &event, best(3))
        .await
        .failed(409, "No seats available for this seat type");
    let mut mixed = best(1);
    mixed["seats"] = json!([{"seat_type_id": vip, "seat_label": "V4"}]);
    assert_eq!(labels(&lock_several(&buyer, &event, mixed).await.data()), ["V4", "V5"]);
    assert_eq!(stack.available(vip).await, 0);
    stack.assert_invariants().await;
}

/// As the Node service's counts do, which forget locks.
#[tokio::test]
async fn the_best_seats_are_found_although_the_count_of_those_left_is_too_high() {
    let stack = Stack::builder().workers([]).start().await;
    let event = stack.event(&stack.user().await, &[("VIP", 100.0, 400)]).await;
    let (buyer, vip) = (stack.user().await, event.seat_type("VIP"));
    let taken = async |numbers: &str| {
        let row = format!("{}, {vip}, 'V' || n, {}, 'booked', now(), now()", event.id, buyer.id);
        let columns =
            "event_id, event_seat_type_id, seat_label, user_id, status, locked_at, booked_at";
        let insert =
            format!("INSERT INTO seats ({columns}) SELECT {row} FROM generate_series({numbers}) n");
        stack.execute(&insert).await;
    };
    taken("1, 300").await;
    let other = stack.user().await;
    let best = json!({"best_available": {"seat_type_id": vip, "count": 2}});
    let won = lock_several(&other, &event, best.clone()).await.data();
    assert_eq!(labels(&won), ["V301", "V302"]);
    taken("303, 399").await;
    lock_several(&other, &event, best).await.failed(409, "No seats available for this seat type");
}

#[tokio::test]
async fn a_rush_for_the_best_seats_gives_each_out_once() {
    let stack = Stack::builder().workers([]).start().await;
    let organiser = stack.user().await;
    let event = stack.event(&organiser, &[("VIP", 100.0, 30)]).await;
    let best = json!({"best_available": {"seat_type_id": event.seat_type("VIP"), "count": 2}});
    let mut rush = tokio::task::JoinSet::new();
    for buyer in stack.users(25).await {
        let (event, best) = (event.clone(), best.clone());
        rush.spawn(async move { lock_several(&buyer, &event, best).await });
    }
    let mut won = Vec::new();
    for response in rush.join_all().await {
        match response.status {
            200 => won.extend(labels(&response.data()).into_iter().map(str::to_owned)),
            _ => response.failed(409, "No seats available for this seat type"),
        }
    }
    won.sort_by_key(|label| label[1..].parse::<u32>().unwrap());
    let all: Vec<String> = (1..=30).map(|number| format!("V{number}")).collect();
    assert_eq!(won, all);
    stack.assert_invariants().await;
}

#[tokio::test]
async fn a_selection_of_seats_is_refused_when_it_makes_no_sense() {
    let stack = Stack::builder().workers([]).start().await;
    let (event, buyer) = sale(&stack).await;
    let vip = event.seat_type("VIP");
    let seat = json!({"seat_type_id": vip, "seat_label": "A1"});
    let incomplete = "Each seat must have seat_label and seat_type_id";
    let best = "best_available must have seat_type_id and count";
    let cases = vec![
        (json!({}), 400, "At least one seat is required"),
        (json!({"seats": []}), 400, "At least one seat is required"),
        (json!({"seats": {}}), 400, "seats must be a list"),
        (json!({"seats": ["A1"]}), 400, incomplete),
        (json!({"seats": [{"seat_label": "A1"}]}), 400, incomplete),
        (json!({"seats": [seat, seat]}), 400, "Each seat can be wanted once"),
        (
            json!({"seats": [{"seat_type_id": vip, "seat_label": "A-1"}]}),
            400,
            "Invalid seat label format. Only alphanumeric characters allowed.",
        ),
        (json!({"best_available": {"seat_type_id": vip, "count": 0}}), 400, best),
        (json!({"best_available": {"count": 1}}), 400, best),
        (
            json!({"best_available": {"seat_type_id": vip, "count": 101}}),
            400,
            "At most 100 seats can be locked at once",
        ),
        (
            json!({"best_available": {"seat_type_id": vip, "count": 11}}),
            409,
            "No seats available for this seat type",
        ),
        (
            json!({"best_available": {"seat_type_id": 424242, "count": 1}}),
            404,
            "Seat type not found",
        ),
    ];
    stack.refuses(&buyer, &format!("/seats/{}/locks", event.id), cases).await;
    let limited = json!({"max_tickets_per_user": 1});
    let organiser =
        stack.row("SELECT organizer_id AS id FROM events").await["id"].as_i64().unwrap();
    let organiser = stack.anonymous().with_token(organiser, stack.mint_token(organiser));
    organiser.put(&format!("/events/{}", event.id), limited).await.ok();
    let two = json!({"best_available": {"seat_type_id": vip, "count": 2}});
    lock_several(&buyer, &event, two)
        .await
        .failed(409, "You can hold at most 1 ticket(s) for this event");
}

#[tokio::test]
async fn the_seat_map_shows_what_is_taken_and_the_version_that_updates_continue() {
    let stack = Stack::start().await;
    let (event, buyer) = sale(&stack).await;
    let (vip, balcony) = (event.seat_type("VIP"), event.seat_type("Balcony"));
    let path = format!("/seats/{}", event.id);
    let empty = stack.anonymous().get(&path).await.data();
    let counts = |vip_left: i64, balcony_left: i64| {
        json!([{"seat_type_id": vip, "quantity": 5, "available_quantity": vip_left},
               {"seat_type_id": balcony, "quantity": 3, "available_quantity": balcony_left}])
    };
    assert_eq!(
        empty,
        json!({"event_id": event.id, "version": empty["version"], "seat_types": counts(5, 3), "taken": []})
    );

    stack.sell(&buyer, &event, &[("VIP", "A1")]).await;
    let lock = buyer.lock(&event, "Balcony", "B1").await.data();
    let mine = buyer.get(&path).await.data();
    let taken = |mine: bool, until: &Value| {
        json!([{"seat_type_id": vip, "seat_label": "A1", "status": "booked", "mine": mine, "expires_at": null},
               {"seat_type_id": balcony, "seat_label": "B1", "status": "locked", "mine": mine, "expires_at": until}])
    };
    assert_eq!(mine["taken"], taken(true, &lock["lock"]["expires_at"]));
    assert_eq!(mine["seat_types"], counts(4, 2));
    for viewer in [stack.anonymous(), stack.user().await] {
        assert_eq!(viewer.get(&path).await.data()["taken"], taken(false, &Value::Null));
    }

    let viewer = stack.socket("the viewer", &stack.anonymous()).await;
    let before = stack.anonymous().get(&path).await.data()["version"].as_i64().unwrap();
    assert!(before > empty["version"].as_i64().unwrap());
    buyer.lock(&event, "VIP", "A2").await.ok();
    let update = viewer
        .wait_for("event:seats-update", |broadcast| broadcast["seat_types"] == counts(3, 2), SOON)
        .await;
    assert_eq!(update["version"], before + 1);
    // A map that others have been shown a moment ago says by its version that it is older.
    let after = eventually("a map of that version", SOON, async || {
        let map = stack.anonymous().get(&path).await.data();
        seen(map["version"] != before, map)
    })
    .await;
    assert_eq!(
        (&after["version"], &after["seat_types"]),
        (&update["version"], &update["seat_types"])
    );
}

#[tokio::test]
async fn the_seats_of_a_draft_are_shown_to_its_organiser_only() {
    let stack = Stack::builder().workers([]).start().await;
    let organiser = stack.user().await;
    let event = stack.event(&organiser, &[("VIP", 100.0, 5)]).await;
    organiser.put(&format!("/events/{}", event.id), json!({"status": "draft"})).await.ok();
    for path in [format!("/seats/{}", event.id), format!("/events/{}/seat-types", event.id)] {
        stack.user().await.get(&path).await.failed(404, "Event not found");
        stack.anonymous().get(&path).await.failed(404, "Event not found");
        organiser.get(&path).await.ok();
    }
}

#[tokio::test]
async fn seat_types_are_listed_in_the_organisers_order() {
    let stack = Stack::builder().workers([]).start().await;
    let (event, buyer) = sale(&stack).await;
    buyer.lock(&event, "VIP", "A1").await.ok();
    let types = stack.anonymous().get(&format!("/events/{}/seat-types", event.id)).await.data();
    let shown: Vec<_> = types
        .as_array()
        .unwrap()
        .iter()
        .map(|t| {
            json!([
                t["id"],
                t["event_id"],
                t["name"],
                t["price"],
                t["quantity"],
                t["available_quantity"],
                t["display_order"]
            ])
        })
        .collect();
    let (vip, balcony) = (event.seat_type("VIP"), event.seat_type("Balcony"));
    assert_eq!(
        json!(shown),
        json!([[vip, event.id, "VIP", 100, 5, 4, 1], [balcony, event.id, "Balcony", 50, 3, 3, 2]])
    );
    stack.anonymous().get("/events/424242/seat-types").await.failed(404, "Event not found");
    stack.anonymous().get("/events/abc/seat-types").await.failed(400, "Invalid event ID");
}

#[tokio::test]
async fn a_lock_is_not_kept_longer_once_its_event_has_started_and_can_still_be_given_back() {
    let stack = Stack::builder().workers([]).start().await;
    let (event, holder) = sale(&stack).await;
    holder.lock(&event, "VIP", "A1").await.ok();
    age(&stack, "A1", 5).await;
    let started = "UPDATE events SET start_date = now() - interval '1 minute', end_date = now() + interval '1 hour'";
    stack.execute(started).await;
    extend(&holder, &event, "A1").await.failed(409, "Event is not available for booking");
    unlock(&holder, &event, "A1").await.ok();
}
