//! What one transaction holds for long holds up its own buyers, and nobody else.

use nexus_sandbox::process::Signal;
use nexus_tests::{Booking, Outcome, SOON, Stack, eventually, seen};
use sqlx::AssertSqlSafe;

/// Holds what a query locks, until it is dropped.
async fn hold(stack: &Stack, query: String) -> sqlx::Transaction<'static, sqlx::Postgres> {
    let mut tx = stack.db.begin().await.unwrap();
    sqlx::query(AssertSqlSafe(query + " FOR UPDATE")).execute(&mut *tx).await.unwrap();
    tx
}

#[tokio::test]
async fn bookings_orders_sales_and_tickets_of_others_do_not_wait() {
    let mut stack = Stack::builder().without_limits().start().await;
    let organiser = stack.user().await;
    let held_event = stack.event(&organiser, &[("VIP", 100.0, 50)]).await;
    let event = stack.event(&organiser, &[("VIP", 100.0, 50)]).await;
    let buyers = stack.users(5).await;
    let [unlucky, unpaid, paid, sold, lucky] = buyers.try_into().unwrap();

    // Seats are held: their booking waits, and that of another event is made.
    unlucky.lock(&held_event, "VIP", "A1").await.ok();
    lucky.lock(&event, "VIP", "L1").await.ok();
    let unpaid_booking = unpaid.lock_and_book(&event, &[("VIP", "U1")]).await;
    let paid_booking = paid.lock_and_book(&event, &[("VIP", "P1")]).await;
    let paid_order = paid.order(&paid_booking).await;
    let sold_booking = sold.lock_and_book(&event, &[("VIP", "S1")]).await;
    let sold_order = sold.order(&sold_booking).await;
    let seats =
        hold(&stack, format!("SELECT 1 FROM seats WHERE event_id = {}", held_event.id)).await;
    let booking = {
        let (unlucky, held_event) = (unlucky.clone(), held_event.clone());
        tokio::spawn(async move { unlucky.book(&held_event, &[("VIP", "A1")]).await })
    };
    stack.until_blocked("nexus-api", 1).await;
    let lucky_booking = Booking::from_created(&lucky.book(&event, &[("VIP", "L1")]).await.data());
    seats.rollback().await.unwrap();
    booking.await.unwrap().ok();

    // The same of orders, by the booking.
    let row = |booking: &Booking| format!("SELECT 1 FROM bookings WHERE id = {}", booking.id);
    let held = hold(&stack, row(&unpaid_booking)).await;
    let ordering = {
        let (unpaid, booking) = (unpaid.clone(), unpaid_booking.clone());
        tokio::spawn(async move { unpaid.try_order(&booking).await })
    };
    stack.until_blocked("nexus-api", 1).await;
    let lucky_order = lucky.order(&lucky_booking).await;
    held.rollback().await.unwrap();
    ordering.await.unwrap().ok();

    // Of sales, by a seat of the booking; and of tickets.
    stack.worker("bookings").signal(Signal::STOP);
    stack.pay(&sold_order, Outcome::Captured);
    stack.until_booking(&sold, &sold_booking, "confirmed", "completed").await;
    let seat = hold(&stack, "SELECT 1 FROM seats WHERE seat_label = 'P1'".into()).await;
    stack.pay(&paid_order, Outcome::Captured);
    stack.until_blocked("nexus-worker-payments", 1).await;
    stack.pay(&lucky_order, Outcome::Captured);
    stack.until_booking(&lucky, &lucky_booking, "confirmed", "completed").await;
    let held = hold(&stack, row(&sold_booking)).await;
    stack.worker("bookings").signal(Signal::CONT);
    stack.until_blocked("nexus-worker-bookings", 1).await;
    stack.until_tickets(&lucky, &lucky_booking, 1).await;
    held.rollback().await.unwrap();
    seat.rollback().await.unwrap();
    for (who, booking) in [(&sold, &sold_booking), (&paid, &paid_booking)] {
        stack.until_tickets(who, booking, 1).await;
    }
    eventually("all three are told", SOON, async || {
        let mails = stack.providers.mail().len();
        seen(mails == 3, mails).map(drop)
    })
    .await;
    stack.assert_invariants().await;
}
