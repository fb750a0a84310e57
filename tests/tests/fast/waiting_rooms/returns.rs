//! Seats of bookings that have ended: when they are free again, and for whom.

use nexus_tests::{Outcome, SOON, Stack, eventually, json, seen};

use super::{Room, builder};

/// As long as no test runs.
const LATER: &[&str] = &["--returns-every-minutes", "60"];

impl Room {
    /// Seats that cost something, so that their bookings wait for a payment.
    async fn with_price(self) -> Self {
        self.stack.execute("UPDATE event_seat_types SET price = 100").await;
        self
    }

    /// The moment has come at which seats return.
    async fn return_seats(&self) {
        let soon = "UPDATE seats SET expires_at = now() WHERE user_id IS NULL";
        self.stack.execute(soon).await;
        self.stack
            .execute("UPDATE jobs SET available_at = now() WHERE kind = 'sweep_expired'")
            .await;
        self.stack.execute("SELECT pg_notify('nexus_jobs', 'expiry')").await;
    }
}

#[tokio::test]
async fn seats_of_a_booking_that_has_ended_return_at_the_announced_moment_and_not_before() {
    let room = Room::announced(2, LATER).await.with_price().await;
    let buyer = room.stack.user().await;
    room.join(&buyer).await;
    room.draw().await;
    room.until_called(&buyer).await;
    let watching = room.stack.socket("the same", &buyer).await;
    watching.call_ok("join_event", json!(room.event.id)).await;
    let booking = buyer.lock_and_book(&room.event, &[("VIP", "V1")]).await;
    buyer.cancel(&booking).await.ok();
    let queue = eventually("an announcement", SOON, async || {
        let queue = buyer.get(&room.path()).await.data();
        seen(queue["seats_return_at"].is_string(), queue)
    })
    .await;
    assert_eq!(queue["sold_out"], false);
    buyer
        .lock(&room.event, "VIP", "V1")
        .await
        .failed(409, "Seat V1 is already taken. Please select another seat.");
    room.return_seats().await;
    let told = watching.wait_for_any("seat_unlocked").await;
    assert_eq!((&told["seat_label"], &told["available_quantity"]), (&json!("V1"), &json!(2)));
}

#[tokio::test]
async fn a_seat_that_returns_is_for_the_next_in_line() {
    let room = Room::announced(1, &["--most-shoppers", "1", "--returns-every-minutes", "0"]).await;
    let room = room.with_price().await;
    let visitors = room.stack.users(3).await;
    for visitor in &visitors {
        room.join(visitor).await;
    }
    room.draw().await;
    let mut line = room.positions().await;
    line.sort_by_key(|(_, position)| *position);
    let of = |place: usize| visitors.iter().find(|visitor| visitor.id == line[place].0).unwrap();
    room.until_called(of(0)).await;
    let booking = of(0).lock_and_book(&room.event, &[("VIP", "V1")]).await;
    of(0).cancel(&booking).await.ok();
    room.leave(of(0)).await.ok();
    room.until_called(of(1)).await;
    of(2).lock(&room.event, "VIP", "V1").await.failed(403, "Please wait for your turn.");
    of(1).lock(&room.event, "VIP", "V1").await.ok();
}

#[tokio::test]
async fn who_pays_late_gets_the_seats_that_nobody_has_yet() {
    let stack = Stack::builder().workers(["expiry", "payments", "bookings"]).without_limits();
    let stack = stack.start().await;
    let room = Room::announced_in(stack, 1, LATER).await.with_price().await;
    let buyer = room.stack.user().await;
    room.join(&buyer).await;
    room.draw().await;
    room.until_called(&buyer).await;
    let booking = buyer.lock_and_book(&room.event, &[("VIP", "V1")]).await;
    let order = buyer.order(&booking).await;
    room.stack.execute("UPDATE bookings SET expires_at = now() - interval '1 hour'").await;
    room.stack.execute("UPDATE seats SET expires_at = now() - interval '1 hour'").await;
    room.return_seats().await;
    eventually("a seat that is nobody's", SOON, async || {
        let nobodys = room.stack.count("seats WHERE user_id IS NULL AND expires_at > now()").await;
        seen(nobodys == 1, nobodys)
    })
    .await;
    room.stack.pay(&order, Outcome::Captured);
    room.stack.until_booking(&buyer, &booking, "confirmed", "completed").await;
    assert_eq!(room.stack.count("seats WHERE status = 'booked'").await, 1);
}

#[tokio::test]
async fn events_without_a_room_get_their_seats_back_at_once() {
    let stack = builder().start().await;
    let (organiser, buyer) = (stack.user().await, stack.user().await);
    let event = stack.event(&organiser, &[("VIP", 0.0, 1)]).await;
    let booking = buyer.lock_and_book(&event, &[("VIP", "V1")]).await;
    buyer.cancel(&booking).await.ok();
    buyer.lock(&event, "VIP", "V1").await.ok();
}
