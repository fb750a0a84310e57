//! The migrations on a database that the Node service has filled: good rows stay as they are, what
//! the service's defects left behind (docs/contract.md#changes) is repaired, and no buyer loses
//! what they have paid for.

use nexus_tests::refusals::SOLD_OUT;
use nexus_tests::{
    Booking, Event, LegacyShop, Outcome, SOON, Stack, Value, eventually, json, seen,
};

/// Nexus has only these workers.
async fn open(workers: &[&str]) -> LegacyShop {
    LegacyShop::open(Stack::builder().workers(workers.iter().copied())).await
}

/// An installation without a constraint against giving a label out twice.
async fn without_rule(workers: &[&str]) -> LegacyShop {
    let shop = open(workers).await;
    shop.stack.execute("ALTER TABLE seats DROP CONSTRAINT seats_event_id_seat_label_key").await;
    shop
}

/// Nothing prevents a seat from being locked again.
async fn forget_locks(shop: &LegacyShop) {
    shop.stack.redis_command("FLUSHALL").await;
}

/// Who has which seat of VIP.
async fn seats(shop: &LegacyShop) -> Vec<Value> {
    let vip = shop.event.seat_type("VIP");
    let query = format!(
        "SELECT seat_label, status, user_id FROM seats WHERE event_seat_type_id = {vip} ORDER BY id"
    );
    shop.stack.rows(&query).await
}

/// Quantity and what is left of a seat type.
async fn counts(shop: &LegacyShop, seat_type: i64) -> Value {
    let query =
        format!("SELECT quantity, available_quantity FROM event_seat_types WHERE id = {seat_type}");
    shop.stack.row(&query).await
}

async fn state_of(shop: &LegacyShop, booking: &Booking) -> Value {
    let query = format!("SELECT status, payment_status FROM bookings WHERE id = {}", booking.id);
    shop.stack.row(&query).await
}

fn seat(label: &str, status: &str, user: i64) -> Value {
    json!({"seat_label": label, "status": status, "user_id": user})
}

fn state(status: &str, payment_status: &str) -> Value {
    json!({"status": status, "payment_status": payment_status})
}

#[tokio::test]
async fn made_up_statuses_are_drafts_and_all_others_stay() {
    let mut shop = open(&[]).await;
    for status in ["draft", "cancelled", "completed", "on sale", "PUBLISHED", ""] {
        let request = json!({"organizerId": shop.organiser, "name": status, "seatTypes": [], "status": status});
        shop.node.call_ok("createEvent", request).await;
    }
    shop.stack.execute("UPDATE events SET max_tickets_per_user = NULL WHERE name = 'draft'").await;
    shop.stack.execute("UPDATE events SET max_tickets_per_user = 0 WHERE name = 'completed'").await;
    shop.stack.cut_over().await;
    let organiser = shop.stack.client_of(shop.organiser);
    let events = organiser.get(&format!("/events?organizer_id={}", shop.organiser)).await.data();
    let shown: Vec<_> = events
        .as_array()
        .unwrap()
        .iter()
        .map(|event| (event["name"].as_str().unwrap(), event["status"].as_str().unwrap()))
        .collect();
    let expected = [
        ("Legacy Gig", "published"),
        ("draft", "draft"),
        ("cancelled", "cancelled"),
        ("completed", "completed"),
        ("on sale", "draft"),
        ("PUBLISHED", "draft"),
        ("", "draft"),
    ];
    assert_eq!(shown, expected);
    assert!(
        events.as_array().unwrap().iter().all(|event| event["max_tickets_per_user"] == 10),
        "{events}"
    );
}

#[tokio::test]
async fn an_event_that_ends_before_it_starts_is_shown_and_can_be_mended() {
    let mut shop = open(&[]).await;
    shop.stack.execute("UPDATE events SET end_date = start_date - interval '1 hour'").await;
    shop.stack.cut_over().await;
    let organiser = shop.stack.client_of(shop.organiser);
    let path = format!("/events/{}", shop.event.id);
    assert_eq!(organiser.get(&path).await.data()["end_date"], "2099-05-01T17:00:00.000Z");
    organiser.put(&path, json!({"end_date": "2099-05-01T22:00:00.000Z"})).await.ok();
    assert!(organiser.get(&path).await.data()["share_code"].is_string());
    organiser.put(&path, json!({"status": "cancelled"})).await.ok();
}

#[tokio::test]
async fn a_seat_type_without_a_real_price_is_off_sale_until_its_organiser_sets_one() {
    let mut shop = open(&[]).await;
    let seat_types = json!([["Not a number", "NaN", 10], ["Negative", -5, 10]]);
    let request = json!({"organizerId": shop.organiser, "name": "Odd", "seatTypes": seat_types});
    let event = Event::from_created(&shop.node.call_ok("createEvent", request).await);
    shop.stack.cut_over().await;
    let (organiser, buyer) =
        (shop.stack.client_of(shop.organiser), shop.stack.client_of(shop.buyers[0]));
    for (name, id) in &event.seat_types {
        buyer.lock(&event, name, "A1").await.failed(409, SOLD_OUT);
        let path = format!("/seats/{}/seat-types/{id}", event.id);
        organiser.put(&path, json!({"price": 20, "quantity": 10})).await.ok();
    }
    let seats = [("Not a number", "A1"), ("Negative", "A1")];
    assert_eq!(buyer.lock_and_book(&event, &seats).await.total, 40.0);
    shop.stack.assert_invariants().await;
}

#[tokio::test]
async fn who_has_paid_for_a_booking_without_a_real_total_keeps_it_and_who_has_not_does_not() {
    let mut shop = open(&["expiry"]).await;
    let stack = &shop.stack;
    let mut bookings = Vec::new();
    for (label, total, price) in [("A1", "NaN", "NaN"), ("A2", "-5", "-5")] {
        let [paid, unpaid] = [format!("P{label}"), format!("U{label}")];
        let (paid, _) = shop.confirmed(shop.buyers[0], &paid).await;
        let unpaid = shop.pending(shop.buyers[1], &unpaid).await;
        for booking in [&paid, &unpaid] {
            stack
                .execute(&format!(
                    "UPDATE bookings SET total_amount = '{total}' WHERE id = {}",
                    booking.id
                ))
                .await;
            // A ticket may break two rules at once.
            for set in ["booking_seats SET price_paid", "tickets SET status = 'odd', price_paid"] {
                let set = format!("UPDATE {set} = '{price}' WHERE booking_id = {}", booking.id);
                stack.execute(&set).await;
            }
        }
        bookings.push((paid, unpaid));
    }
    stack.execute("UPDATE seats SET expires_at = now() WHERE status = 'locked'").await;
    shop.stack.cut_over().await;
    let (buyer, other) =
        (shop.stack.client_of(shop.buyers[0]), shop.stack.client_of(shop.buyers[1]));
    for (paid, unpaid) in &bookings {
        let shown = shop.stack.until_booking(&buyer, paid, "confirmed", "completed").await;
        assert_eq!(
            (&shown["booking"]["total_amount"], &shown["seats"][0]["price"]),
            (&json!(0), &json!(0))
        );
        let tickets = shop.stack.until_tickets(&buyer, paid, 1).await;
        assert_eq!(tickets[0]["price_paid"], 0);
        shop.stack.until_booking(&other, unpaid, "cancelled", "cancelled").await;
    }
    eventually("the seats that were not paid return", SOON, async || {
        let left = shop.stack.available(shop.event.seat_type("VIP")).await;
        seen(left == 48, left)
    })
    .await;
    shop.stack.assert_invariants().await;
}

#[tokio::test]
async fn a_state_that_nobody_knows_becomes_what_the_dates_say() {
    let mut shop = open(&[]).await;
    let [first, second] = shop.buyers;
    let (paid, _) = shop.confirmed(first, "A1").await;
    let unpaid = shop.pending(second, "A2").await;
    let cancelled = shop.pending(second, "A3").await;
    shop.node.cancel(second, &cancelled).await.unwrap();
    for odd in [
        "UPDATE bookings SET status = 'on hold', payment_status = 'authorised'",
        "UPDATE seats SET status = 'held', expires_at = NULL",
        "UPDATE tickets SET status = 'printed'",
    ] {
        shop.stack.execute(odd).await;
    }
    shop.stack.cut_over().await;
    assert_eq!(state_of(&shop, &paid).await, state("confirmed", "completed"));
    assert_eq!(state_of(&shop, &unpaid).await, state("pending", "pending"));
    assert_eq!(state_of(&shop, &cancelled).await, state("cancelled", "cancelled"));
    assert_eq!(seats(&shop).await, [seat("A1", "booked", first), seat("A2", "locked", second)]);
    assert_eq!(
        shop.stack.rows("SELECT status FROM tickets").await,
        [json!({"status": "generated"})]
    );
}

#[tokio::test]
async fn a_confirmed_booking_and_a_lock_without_their_times_get_them() {
    let mut shop = open(&["expiry"]).await;
    let (booking, _) = shop.confirmed(shop.buyers[0], "A1").await;
    shop.node.lock(shop.buyers[1], &shop.event, "VIP", "A2").await.unwrap();
    shop.stack.execute("UPDATE bookings SET confirmed_at = NULL").await;
    shop.stack
        .execute("UPDATE seats SET locked_at = NULL, expires_at = NULL WHERE status = 'locked'")
        .await;
    shop.stack.cut_over().await;
    let buyer = shop.stack.client_of(shop.buyers[0]);
    let shown = shop.stack.until_booking(&buyer, &booking, "confirmed", "completed").await;
    assert_eq!(shown["booking"]["confirmed_at"], shown["booking"]["booked_at"], "{shown}");
    eventually("the lock has run out", SOON, async || {
        let left = shop.stack.available(shop.event.seat_type("VIP")).await;
        seen(left == 49, left)
    })
    .await;
}

#[tokio::test]
async fn an_oversold_seat_type_keeps_what_it_has_given_out_and_sells_no_more() {
    let mut shop = open(&[]).await;
    let balcony = shop.event.seat_type("Balcony");
    for label in ["A1", "A2"] {
        shop.node.lock(shop.buyers[0], &shop.event, "Balcony", label).await.unwrap();
    }
    shop.node.call_ok("updateQuantity", json!({"seatTypeId": balcony, "quantity": 2})).await;
    shop.node.lock_and_book(shop.buyers[1], &shop.event, "Balcony", &["A3"]).await;
    assert_eq!(counts(&shop, balcony).await, json!({"quantity": 2, "available_quantity": 1}));
    shop.stack.cut_over().await;
    assert_eq!(counts(&shop, balcony).await, json!({"quantity": 3, "available_quantity": 0}));
    let buyer = shop.stack.client_of(shop.buyers[0]);
    buyer.lock(&shop.event, "Balcony", "A4").await.failed(409, SOLD_OUT);
    buyer.book(&shop.event, &[("Balcony", "A1"), ("Balcony", "A2")]).await.ok();
    shop.stack.assert_invariants().await;
}

#[tokio::test]
async fn a_seat_that_was_given_out_twice_stays_with_whoever_has_paid_for_it() {
    let mut shop = without_rule(&["payments", "bookings"]).await;
    let [first, second] = shop.buyers;
    let unpaid = shop.pending(first, "A1").await;
    let order = shop.node.order(&unpaid).await;
    forget_locks(&shop).await;
    shop.confirmed(second, "A1").await;
    forget_locks(&shop).await;
    shop.node.lock(first, &shop.event, "VIP", "A1").await.unwrap();
    assert_eq!(seats(&shop).await.len(), 3);

    shop.stack.cut_over().await;
    assert_eq!(seats(&shop).await, [seat("A1", "booked", second)]);
    assert_eq!(shop.stack.available(shop.event.seat_type("VIP")).await, 49);
    let buyer = shop.stack.client_of(first);
    buyer
        .lock(&shop.event, "VIP", "A1")
        .await
        .failed(409, "Seat A1 is already taken. Please select another seat.");
    let payment = shop.stack.pay(&order, Outcome::Captured);
    shop.stack.until_refund(&payment).await;
    assert_eq!(seats(&shop).await, [seat("A1", "booked", second)]);
    shop.stack.assert_invariants().await;
}

#[tokio::test]
async fn a_doubled_seat_that_is_given_back_leaves_the_type_what_its_organiser_has_set() {
    let mut shop = without_rule(&[]).await;
    let balcony = shop.event.seat_type("Balcony");
    for label in ["A1", "A1"] {
        shop.node.lock(shop.buyers[0], &shop.event, "Balcony", label).await.unwrap();
        forget_locks(&shop).await;
    }
    shop.stack.cut_over().await;
    assert_eq!(counts(&shop, balcony).await, json!({"quantity": 2, "available_quantity": 1}));
    shop.stack.assert_invariants().await;
}

#[tokio::test]
async fn two_who_have_paid_for_one_seat_both_keep_a_booked_seat() {
    let mut shop = without_rule(&[]).await;
    let [first, second] = shop.buyers;
    shop.confirmed(first, "A1").await;
    forget_locks(&shop).await;
    shop.confirmed(second, "A1").await;
    shop.stack.cut_over().await;
    let seats = seats(&shop).await;
    assert_eq!(seats[0], seat("A1", "booked", first));
    assert_eq!(
        (&seats[1]["status"], &seats[1]["user_id"]),
        (&json!("booked"), &json!(second)),
        "{seats:?}"
    );
    assert_ne!(seats[1]["seat_label"], "A1");
    assert_eq!(counts(&shop, shop.event.seat_type("VIP")).await["available_quantity"], 48);
}

#[tokio::test]
async fn a_seat_of_two_bookings_stays_with_the_confirmed_one() {
    let mut shop = open(&["payments", "bookings"]).await;
    let [first, second] = shop.buyers;
    let (confirmed, _) = shop.confirmed(first, "A1").await;
    let unpaid = shop.pending(second, "B1").await;
    shop.stack
        .execute(&format!(
            "UPDATE booking_seats SET seat_id = (SELECT id FROM seats WHERE seat_label = 'A1') WHERE booking_id = {}",
            unpaid.id
        ))
        .await;
    let order = shop.node.order(&unpaid).await;
    shop.stack.cut_over().await;
    let payment = shop.stack.pay(&order, Outcome::Captured);
    shop.stack.until_refund(&payment).await;
    assert_eq!(state_of(&shop, &confirmed).await, state("confirmed", "completed"));
    assert_eq!(seats(&shop).await, [seat("A1", "booked", first), seat("B1", "locked", second)]);
}

#[tokio::test]
async fn a_doubled_ticket_is_one_again() {
    let mut shop = open(&["bookings"]).await;
    let (booking, _) = shop.confirmed(shop.buyers[0], "A1").await;
    shop.stack
        .execute(
            "INSERT INTO tickets (booking_id, seat_id, ticket_id, seat_label, price_paid, qr_code, status)
             SELECT booking_id, seat_id, ticket_id || '-2', seat_label, price_paid, qr_code, status FROM tickets",
        )
        .await;
    shop.stack.cut_over().await;
    let buyer = shop.stack.client_of(shop.buyers[0]);
    let tickets = shop.stack.until_tickets(&buyer, &booking, 1).await;
    assert_eq!(tickets[0]["ticket_id"], format!("TKT-{}-A1", booking.reference));
}

#[tokio::test]
async fn two_seats_of_one_label_get_a_ticket_each() {
    let mut shop = without_rule(&["payments", "bookings"]).await;
    let buyer = shop.buyers[0];
    let booking = shop.pending(buyer, "A1").await;
    shop.node.lock(buyer, &shop.event, "Balcony", "A1").await.unwrap();
    let balcony = shop.event.seat_type("Balcony");
    shop.stack
        .execute(&format!(
            "INSERT INTO booking_seats (booking_id, seat_id, price_paid)
             SELECT {}, id, 50 FROM seats WHERE event_seat_type_id = {balcony}",
            booking.id
        ))
        .await;
    shop.stack.execute("UPDATE bookings SET total_amount = 150").await;
    let payment = shop.stack.pay(&shop.node.order(&booking).await, Outcome::Captured);
    let request = json!({"bookingId": booking.id, "paymentId": payment.id, "tickets": false});
    shop.node.call_ok("confirm", request).await;
    // The second one collided with the first (docs/contract.md#change-9).
    shop.stack
        .execute(&format!(
            "INSERT INTO tickets (booking_id, seat_id, ticket_id, seat_label, seat_type_name, price_paid, qr_code, status)
             SELECT {0}, id, 'TKT-{1}-A1', 'A1', 'VIP', 100, 'data:image/png;base64,iVBORw0KGgo=', 'generated'
             FROM seats WHERE event_seat_type_id = {2}",
            booking.id,
            booking.reference,
            shop.event.seat_type("VIP")
        ))
        .await;
    shop.stack.cut_over().await;
    let tickets = shop.stack.until_tickets(&shop.stack.client_of(buyer), &booking, 2).await;
    let first = format!("TKT-{}-A1", booking.reference);
    assert_eq!(tickets[0]["ticket_id"], first);
    assert_eq!(tickets[1]["ticket_id"], format!("{first}-{balcony}"));
    shop.stack.assert_invariants().await;
}

#[tokio::test]
async fn who_never_paid_was_not_refunded() {
    let mut shop = open(&[]).await;
    let buyer = shop.buyers[0];
    let without_order = shop.pending(buyer, "A1").await;
    let with_order = shop.pending(buyer, "A2").await;
    shop.node.order(&with_order).await;
    for booking in [&without_order, &with_order] {
        shop.node.cancel(buyer, booking).await.unwrap();
        assert_eq!(state_of(&shop, booking).await, state("cancelled", "refunded"));
    }
    shop.stack.cut_over().await;
    for booking in [&without_order, &with_order] {
        assert_eq!(state_of(&shop, booking).await, state("cancelled", "cancelled"));
    }
}
