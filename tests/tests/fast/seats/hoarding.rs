//! Nobody keeps seats from others that they do not buy (docs/limits.md#unpaid-seats).

use std::net::Ipv4Addr;

use futures_util::future::join_all;
use nexus_tests::shop::Booking;
use nexus_tests::{Client, Event, Method, Outcome, Response, SOON, Stack, eventually, json, seen};

const SEATS: &str = "You can hold at most 20 unpaid seats at once, of all events together. Please pay for some of them or give some back first.";
const BOOKINGS: &str = "You can have at most 5 unpaid bookings at once, of all events together. Please pay for one or cancel it first.";
const CALM: &str =
    "Several of your bookings have ended unpaid today. Please try again in 1 minute.";

async fn events(stack: &Stack, count: usize) -> Vec<Event> {
    let organiser = stack.user().await;
    let mut events = Vec::new();
    for _ in 0..count {
        events.push(stack.event(&organiser, &[("VIP", 100.0, 50), ("Free", 0.0, 50)]).await);
    }
    events
}

/// Tries to lock so many of the best seats.
async fn lock_best(who: &Client, event: &Event, count: u32) -> Response {
    let best = json!({"best_available": {"seat_type_id": event.seat_type("VIP"), "count": count}});
    who.post(&format!("/seats/{}/locks", event.id), best).await
}

/// Makes all locks, and all that has ended unpaid, so much older than they are.
async fn pass(stack: &Stack, minutes: u32) {
    for row in ["unpaid_holds SET ended_at = ended_at", "seats SET locked_at = locked_at"] {
        stack.execute(&format!("UPDATE {row} - interval '{minutes} minutes'")).await;
    }
}

/// How many answered so.
fn count(responses: &[Response], status: u16) -> usize {
    responses.iter().filter(|response| response.status == status).count()
}

#[tokio::test]
async fn a_seat_is_held_for_25_minutes_however_its_lock_was_extended() {
    let stack = Stack::builder().workers([]).start().await;
    let event = &events(&stack, 1).await[0];
    let buyer = stack.user().await;
    for label in ["A1", "A2", "A3"] {
        buyer.lock(event, "VIP", label).await.ok();
    }
    let made = buyer.book(event, &[("VIP", "A1")]).await.data();
    let message = "Booking created successfully. Please complete payment within";
    assert_eq!(made["message"], format!("{message} 15 minutes."));
    // Extended as far as possible; of two seats the first one counts.
    stack
        .execute(
            "UPDATE seats SET locked_at = now() - interval '19 minutes' WHERE seat_label = 'A2'",
        )
        .await;
    let made = buyer.book(event, &[("VIP", "A2"), ("VIP", "A3")]).await.data();
    assert_eq!(made["message"], format!("{message} 5 minutes."));
    buyer.lock(event, "VIP", "A4").await.ok();
    stack
        .execute(
            "UPDATE seats SET locked_at = now() - interval '30 minutes' WHERE seat_label = 'A4'",
        )
        .await;
    let made = buyer.book_alone(event, &[("VIP", "A4")]).await.data();
    assert_eq!(made["message"], format!("{message} 5 minutes."), "there is always time to pay");
    let held = stack
        .rows(
            "SELECT s.seat_label AS seat, s.expires_at = b.expires_at AS same,
                    (extract(epoch FROM b.expires_at - b.booked_at) / 60)::integer AS minutes
             FROM seats s JOIN booking_seats bs ON bs.seat_id = s.id JOIN bookings b ON b.id = bs.booking_id
             ORDER BY s.seat_label",
        )
        .await;
    let expected = [("A1", 15), ("A2", 6), ("A3", 6), ("A4", 5)]
        .map(|(seat, minutes)| json!({"seat": seat, "same": true, "minutes": minutes}));
    assert_eq!(held, expected);
    stack.assert_invariants().await;
}

#[tokio::test]
async fn accounts_that_lock_book_and_cancel_in_a_circle_soon_leave_the_seats_to_others() {
    let stack = Stack::builder().workers([]).start().await;
    let event = &events(&stack, 1).await[0];
    let attackers = stack.users(5).await;
    for attacker in &attackers {
        let mut cycles = 0;
        while lock_best(attacker, event, 10).await.status == 200 {
            let seats = stack
                .rows(&format!("SELECT seat_label AS s FROM seats WHERE user_id = {}", attacker.id))
                .await;
            let seats: Vec<(&str, &str)> =
                seats.iter().map(|seat| ("VIP", seat["s"].as_str().unwrap())).collect();
            let booking = Booking::from_created(&attacker.book(event, &seats).await.data());
            attacker.cancel(&booking).await.ok();
            cycles += 1;
            assert!(cycles < 20);
        }
        assert_eq!(cycles, 3);
    }
    assert_eq!(stack.available(event.seat_type("VIP")).await, 50);
    let buyer = stack.user().await;
    lock_best(&buyer, event, 10).await.ok();

    // The cool-downs grow, and are over when it was said.
    let attacker = &attackers[0];
    let refused = lock_best(attacker, event, 1).await;
    refused.failed(429, CALM);
    assert_eq!(refused.body["error"]["code"], "cooling_down");
    let wait: u64 = refused.headers["retry-after"].to_str().unwrap().parse().unwrap();
    assert!((1..=60).contains(&wait), "{refused}");
    let socket = stack.socket("the attacker", attacker).await;
    let lock =
        json!({"eventId": event.id, "seatTypeId": event.seat_type("VIP"), "seat_label": "A1"});
    let said = socket.call("lock_seat", &[lock]).await;
    assert_eq!(said, json!({"success": false, "error": CALM}));
    pass(&stack, 1).await;
    let booking = attacker.lock_and_book(event, &[("VIP", "A1")]).await;
    attacker.cancel(&booking).await.ok();
    lock_best(attacker, event, 1).await.failed(429, &CALM.replace("1 minute", "2 minutes"));
    pass(&stack, 24 * 60).await;
    lock_best(attacker, event, 1).await.ok();
    stack.assert_invariants().await;
}

#[tokio::test]
async fn who_changes_their_mind_or_pays_is_not_held_up() {
    let stack = Stack::start().await;
    let event = &events(&stack, 1).await[0];
    let buyer = stack.user().await;
    for label in ["A1", "A2"] {
        let booking = buyer.lock_and_book(event, &[("VIP", label)]).await;
        buyer.cancel(&booking).await.ok();
    }
    for _ in 0..10 {
        buyer.lock(event, "VIP", "A3").await.ok();
        let path = format!("/seats/{}/seat-types/{}/lock", event.id, event.seat_type("VIP"));
        buyer.delete(&format!("{path}?seat_label=A3")).await.ok();
    }
    for label in ["B1", "B2", "B3", "B4", "B5", "B6"] {
        let (booking, _) = stack.sell(&buyer, event, &[("VIP", label)]).await;
        if label < "B4" {
            buyer.cancel(&booking).await.ok();
        }
    }
    buyer.lock(event, "VIP", "C1").await.ok();
    let ended =
        stack.row("SELECT count(*)::int AS n, sum(seat_seconds)::int AS s FROM unpaid_holds").await;
    assert_eq!(ended, json!({"n": 12, "s": 720}), "a minute each, and nothing that was paid for");
    stack.assert_invariants().await;
}

#[tokio::test]
async fn an_account_holds_twenty_unpaid_seats_however_many_it_asks_for_at_once() {
    let stack = Stack::builder().api_processes(2).workers([]).start().await;
    let (events, user) = (events(&stack, 10).await, stack.user().await);
    let others = [user.clone().at(&stack.api_url(0)), user.clone().at(&stack.api_url(1))];
    let tries = events.iter().zip(others.iter().cycle());
    let tries = join_all(tries.map(|(event, user)| lock_best(user, event, 10))).await;
    assert_eq!((count(&tries, 200), count(&tries, 409)), (2, 8), "{tries:?}");
    let refused = tries.iter().find(|response| response.status == 409).unwrap();
    refused.failed(409, SEATS);
    assert_eq!(refused.body["error"]["code"], "unpaid_seats_limit_reached");
    assert_eq!(stack.count("seats").await, 20);
    // Who is refused is in nobody's way.
    let event = &events[tries.iter().position(|response| response.status == 409).unwrap()];
    let buyer = stack.user().await;
    let both =
        futures_util::future::join(user.lock(event, "VIP", "A1"), buyer.lock(event, "VIP", "A2"));
    let both = both.await;
    assert_eq!((both.0.status, both.1.status), (409, 200));
    stack.assert_invariants().await;
}

#[tokio::test]
async fn an_event_that_lets_everybody_have_more_seats_can_be_bought_from() {
    let stack = Stack::builder().workers([]).start().await;
    let organiser = stack.user().await;
    let event = stack.event(&organiser, &[("VIP", 100.0, 50)]).await;
    let path = format!("/events/{}", event.id);
    organiser.put(&path, json!({"max_tickets_per_user": 40})).await.ok();
    let buyer = stack.user().await;
    lock_best(&buyer, &event, 40).await.ok();
}

#[tokio::test]
async fn an_account_has_five_unpaid_bookings_however_many_it_makes_at_once() {
    let stack = Stack::builder().workers(["payments", "bookings"]).start().await;
    let (events, buyer) = (events(&stack, 7).await, stack.user().await);
    let labels = ["A1", "A2", "A3", "A4", "A5", "A6", "A7"];
    for (event, label) in events.iter().zip(labels) {
        buyer.lock(event, "VIP", label).await.ok();
        buyer.lock(event, "Free", "F1").await.ok();
    }
    let seats = labels.map(|label| [("VIP", label)]);
    let tries = join_all(events.iter().enumerate().map(async |(n, event)| match n % 2 {
        0 => buyer.book(event, &seats[n]).await,
        _ => buyer.book_alone(event, &seats[n]).await,
    }))
    .await;
    assert_eq!((count(&tries, 200), count(&tries, 409)), (5, 2), "{tries:?}");
    let refused = tries.iter().position(|response| response.status == 409).unwrap();
    tries[refused].failed(409, BOOKINGS);
    assert_eq!(tries[refused].body["error"]["code"], "unpaid_bookings_limit_reached");
    // What costs nothing needs no payment.
    buyer.book(&events[refused], &[("Free", "F1")]).await.ok();
    // What is paid for does not count.
    let paid = tries.iter().find(|response| response.status == 200).unwrap();
    let booking = Booking::from_created(&paid.body["data"]);
    stack.pay(&buyer.order(&booking).await, Outcome::Captured);
    stack.until_booking(&buyer, &booking, "confirmed", "completed").await;
    buyer.book(&events[refused], &seats[refused]).await.ok();
    stack.assert_invariants().await;
}

#[tokio::test]
async fn an_account_has_so_many_minutes_of_unpaid_seats_in_a_day() {
    let stack = Stack::builder().workers([]).env("UNPAID_SEAT_MINUTES_PER_DAY", 100).start().await;
    let event = &events(&stack, 1).await[0];
    let user = stack.user().await;
    lock_best(&user, event, 9).await.ok();
    pass(&stack, 10).await;
    user.lock(event, "VIP", "A1").await.ok();
    pass(&stack, 2).await;
    // Nine seats for twelve minutes, and they are held still.
    let refused = user.lock(event, "Free", "A1").await;
    let spent = "You have held many seats for long today without paying. Please try again in";
    assert!(refused.body["error"]["message"].as_str().unwrap().starts_with(spent), "{refused}");
    assert_eq!(
        (refused.status, &refused.body["error"]["code"]),
        (429, &json!("unpaid_seat_time_used_up"))
    );
    // Given back, they count for a day.
    stack.execute("UPDATE seats SET expires_at = now() - interval '1 second'").await;
    lock_best(&stack.user().await, event, 1).await.ok();
    assert_eq!(user.lock(event, "VIP", "A1").await.status, 429);
    pass(&stack, 24 * 60).await;
    user.lock(event, "VIP", "A1").await.ok();
}

#[tokio::test]
async fn who_locks_from_a_spent_network_holds_few_seats_for_a_short_time() {
    let stack = Stack::builder()
        .workers([])
        .env("UNPAID_SEAT_MINUTES_PER_NETWORK", 100)
        .env("UNPAID_SEAT_MINUTES_PER_DAY", 500)
        .start()
        .await;
    let event = &events(&stack, 1).await[0];
    let hoarders = stack.users(2).await;
    // Two addresses of one /24; over HTTP, and over a socket.
    let [there, beside] = &hoarders[..] else { unreachable!() };
    let [a, b, c, _] = there.address().octets();
    let neighbour = Ipv4Addr::new(a, b, c, 77).to_string();
    hold_for_an_hour(&stack, there, event).await;
    let socket = json!({"extraHeaders": {"x-forwarded-for": neighbour}});
    let socket = stack.socket_with("beside", beside, socket).await;
    let best = json!({"seat_type_id": event.seat_type("VIP"), "count": 6});
    let best = json!({"eventId": event.id, "best_available": best});
    assert_eq!(socket.call("lock_seats", &[best]).await["success"], true);
    pass(&stack, 10).await;
    stack.execute("UPDATE seats SET expires_at = now() - interval '1 second'").await;
    // Which frees them: with another hour, more than a network's hundred minutes.
    lock_best(&stack.user().await, event, 1).await.ok();

    let refused = until_spent(there, event).await;
    assert_eq!(refused.body["error"]["code"], "unpaid_seat_time_used_up");
    let limit = (&refused.body["error"]["limit"], &refused.body["error"]["current"]);
    assert_eq!(limit, (&json!(50), &json!(59)), "a tenth");
    // Until enough of its hour is a day old.
    let wait: u64 = refused.headers["retry-after"].to_str().unwrap().parse().unwrap();
    assert!((85_000..=86_400).contains(&wait), "{refused}");
    // Who shares the network and has not done so is served, and so is who goes elsewhere.
    let stranger = stack.user().await;
    let stranger = there.clone().with_token(stranger.id, stranger.token.unwrap());
    // A tenth of 500 minutes are four seats for a quarter of an hour.
    let refused = lock_best(&stranger, event, 5).await;
    refused.failed(409, &SEATS.replace("20", "4"));
    lock_best(&stranger, event, 4).await.ok();
    let elsewhere = stack.user().await.with_token(there.id, there.token.clone().unwrap());
    lock_best(&elsewhere, event, 1).await.ok();
    // What is a day old does not count.
    let old = format!("ended_at = ended_at - interval '1 day' WHERE user_id = {}", beside.id);
    stack.execute(&format!("UPDATE unpaid_holds SET {old}")).await;
    eventually("the network has minutes again", SOON, async || {
        let response = lock_best(there, event, 1).await;
        seen(response.status == 200, response)
    })
    .await;
}

/// Waits until somebody may lock no seats in a spent network, who may elsewhere.
async fn until_spent(who: &Client, event: &Event) -> Response {
    // Which locks nothing even if it is let through.
    let best = json!({"best_available": {"seat_type_id": 999_999, "count": 1}});
    eventually("the network is spent", SOON, async || {
        let response = who.post(&format!("/seats/{}/locks", event.id), best.clone()).await;
        seen(response.status == 429, response)
    })
    .await
}

/// Locks six of the best seats, keeps them for an hour, all together, and lets them run out.
async fn hold_for_an_hour(stack: &Stack, who: &Client, event: &Event) {
    lock_best(who, event, 6).await.ok();
    pass(stack, 10).await;
    stack.execute("UPDATE seats SET expires_at = now() - interval '1 second'").await;
    // Who frees them.
    lock_best(&stack.user().await, event, 1).await.ok();
}

#[tokio::test]
async fn what_erased_accounts_have_held_unpaid_counts_for_their_network() {
    let stack =
        Stack::builder().workers([]).env("UNPAID_SEAT_MINUTES_PER_NETWORK", 50).start().await;
    let event = &events(&stack, 1).await[0];
    let anonymous = stack.anonymous();
    let account = json!({"email": "hoarder@nexus.example", "password": "Corr3ct-horse"});
    let registered = anonymous.post("/auth/register", account).await.data();
    let hoarder = anonymous.clone().logged_in(&registered);
    hold_for_an_hour(&stack, &hoarder, event).await;
    let password = json!({"password": "Corr3ct-horse"});
    Response::to(hoarder.request(Method::DELETE, "/auth/me").json(&password)).await.ok();
    assert_eq!(stack.count("unpaid_holds WHERE user_id IS NOT NULL").await, 0);
    let [neighbour, next] = stack.users(2).await.try_into().unwrap();
    let here = |who: Client| anonymous.clone().with_token(who.id, who.token.unwrap());
    let (neighbour, next) = (here(neighbour), here(next));
    let held = "INSERT INTO unpaid_holds (user_id, seat_seconds, is_ending)";
    stack.execute(&format!("{held} VALUES ({}, 5400, FALSE)", neighbour.id)).await;
    until_spent(&neighbour, event).await;
    lock_best(&next, event, 7).await.failed(409, &SEATS.replace("20", "6"));
}

#[tokio::test]
async fn a_network_counts_seats_for_as_long_as_they_were_held() {
    let stack = Stack::builder().workers([]).start().await;
    let event = &events(&stack, 1).await[0];
    let here = stack.user().await;
    let there = stack.anonymous().with_token(here.id, here.token.clone().unwrap());
    let path = format!("/seats/{}/seat-types/{}/lock", event.id, event.seat_type("VIP"));
    here.lock(event, "VIP", "A1").await.ok();
    here.delete(&format!("{path}?seat_label=A1")).await.ok();
    let held = "SELECT seat_seconds AS account, held_seconds < 30 AS short FROM unpaid_holds";
    assert_eq!(stack.row(held).await, json!({"account": 60, "short": true}));
    // Seats of one booking that were locked from two networks.
    here.lock(event, "VIP", "B1").await.ok();
    there.lock(event, "VIP", "B2").await.ok();
    there.lock(event, "VIP", "B3").await.ok();
    pass(&stack, 10).await;
    let booking = here.book(event, &[("VIP", "B1"), ("VIP", "B2"), ("VIP", "B3")]).await.data();
    here.cancel(&Booking::from_created(&booking)).await.ok();
    let held =
        "SELECT (held_seconds / 60)::int AS minutes, count(*) OVER (PARTITION BY network)::int AS n
                FROM unpaid_holds WHERE booking_id IS NOT NULL ORDER BY 1";
    let of_both = json!([{"minutes": 10, "n": 1}, {"minutes": 20, "n": 1}]);
    assert_eq!(json!(stack.rows(held).await), of_both);
    assert_eq!(stack.count("unpaid_holds WHERE is_ending").await, 1);
}

#[tokio::test]
async fn what_is_paid_for_is_not_held_against_its_network() {
    let stack = Stack::start().await;
    let event = &events(&stack, 1).await[0];
    let buyer = stack.user().await;
    buyer.lock(event, "VIP", "A1").await.ok();
    assert_eq!(stack.count("seats WHERE network IS NOT NULL").await, 1);
    let booking = buyer.book(event, &[("VIP", "A1")]).await.data();
    let booking = Booking::from_created(&booking);
    stack.pay(&buyer.order(&booking).await, Outcome::Captured);
    stack.until_booking(&buyer, &booking, "confirmed", "completed").await;
    assert_eq!(stack.count("seats WHERE network IS NOT NULL").await, 0);
    buyer.cancel(&booking).await.ok();
    assert_eq!(stack.count("unpaid_holds").await, 0);
}

#[tokio::test]
async fn without_limits_an_account_holds_what_it_likes() {
    let stack = Stack::builder().without_limits().workers([]).start().await;
    let (events, user) = (events(&stack, 3).await, stack.user().await);
    for event in &events {
        lock_best(&user, event, 10).await.ok();
    }
}

#[tokio::test]
async fn locks_that_run_out_one_after_the_other_are_one_ending() {
    let stack = Stack::builder().workers([]).start().await;
    let event = &events(&stack, 1).await[0];
    let (user, buyer) = (stack.user().await, stack.user().await);
    for label in ["A1", "A2", "A3"] {
        user.lock(event, "VIP", label).await.ok();
    }
    for label in ["A1", "A2", "A3"] {
        let past = "UPDATE seats SET expires_at = now() - interval '1 second'";
        stack.execute(&format!("{past} WHERE seat_label = '{label}'")).await;
        buyer.lock(event, "VIP", label).await.ok();
    }
    let counted = "SELECT count(*)::int AS n, count(*) FILTER (WHERE is_ending)::int AS endings FROM unpaid_holds";
    assert_eq!(stack.row(counted).await, json!({"n": 3, "endings": 1}));
}

#[tokio::test]
async fn what_is_paid_late_is_not_held_against_its_buyer() {
    let stack = Stack::builder().env("BOOKING_SECONDS", 2).start().await;
    let (buyer, _, booking, order) = stack.booked().await;
    stack.until_booking(&buyer, &booking, "expired", "cancelled").await;
    assert_eq!(stack.count("unpaid_holds WHERE is_ending").await, 1);
    stack.pay(&order, Outcome::Captured);
    stack.until_booking(&buyer, &booking, "confirmed", "completed").await;
    assert_eq!(stack.count("unpaid_holds").await, 0);
    stack.assert_invariants().await;
}

#[tokio::test]
async fn who_cannot_pay_because_the_event_is_off_sale_is_not_blamed() {
    let stack = Stack::builder().workers([]).start().await;
    let organiser = stack.user().await;
    let event = stack.event(&organiser, &[("VIP", 100.0, 50)]).await;
    let buyer = stack.user().await;
    let booking = buyer.lock_and_book(&event, &[("VIP", "A1")]).await;
    let path = format!("/events/{}", event.id);
    organiser.put(&path, json!({"status": "draft"})).await.ok();
    buyer.cancel(&booking).await.ok();
    assert_eq!(stack.count("unpaid_holds").await, 0);
    stack.assert_invariants().await;
}

#[tokio::test]
async fn a_booking_whose_seats_others_have_cleared_away_is_one_ending_and_can_be_paid_late() {
    let stack = Stack::builder().workers(["payments", "bookings"]).start().await;
    let (buyer, event, booking, order) = stack.booked().await;
    for row in ["seats", "bookings"] {
        stack.execute(&format!("UPDATE {row} SET expires_at = now() - interval '1 second'")).await;
    }
    // One seat of two goes when somebody wants it who then gives it back.
    let other = stack.user().await;
    other.lock(&event, "VIP", "A1").await.ok();
    let path = format!("/seats/{}/seat-types/{}/lock", event.id, event.seat_type("VIP"));
    other.delete(&format!("{path}?seat_label=A1")).await.ok();
    let held = format!("unpaid_holds WHERE user_id = {}", buyer.id);
    assert_eq!(
        stack.count(&format!("{held} AND is_ending AND booking_id = {}", booking.id)).await,
        1
    );
    stack.pay(&order, Outcome::Captured);
    stack.until_booking(&buyer, &booking, "confirmed", "completed").await;
    assert_eq!(stack.count(&held).await, 0);
    stack.assert_invariants().await;
}

#[tokio::test]
async fn what_the_organiser_cancels_is_not_held_against_its_buyer() {
    let stack = Stack::start().await;
    let organiser = stack.user().await;
    let event = stack.event(&organiser, &[("VIP", 100.0, 50)]).await;
    let buyer = stack.user().await;
    let pending = buyer.lock_and_book(&event, &[("VIP", "A2")]).await;
    buyer.lock(&event, "VIP", "A3").await.ok();
    organiser.put(&format!("/events/{}", event.id), json!({"status": "cancelled"})).await.ok();
    stack.until_booking(&buyer, &pending, "cancelled", "cancelled").await;
    eventually("the lock is gone", SOON, async || {
        let locks = stack.count("seats WHERE status = 'locked'").await;
        seen(locks == 0, locks).map(drop)
    })
    .await;
    assert_eq!(stack.count("unpaid_holds").await, 0);
    stack.assert_invariants().await;
}
