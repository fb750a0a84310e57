//! PostgreSQL is killed, stopped, frozen, or vanishes with its machine, in the middle of purchases.

use std::time::Duration;

use nexus_sandbox::postgres::Postgres;
use nexus_tests::passage::Passage;
use nexus_tests::{
    Booking, Client, Method, Outcome, Response, SOON, Stack, Value, eventually, json, seen,
};

use crate::{assert_unavailable, hold_seats, within};

/// No request takes longer, not even one that fails.
const LONGEST: Duration = Duration::from_secs(25);
/// How long a request waits for a connection.
const ACQUIRE: Duration = Duration::from_secs(3);

/// One buyer has locked a seat, another has an order and pays while PostgreSQL is away. Every
/// request is answered meanwhile; afterwards both have what they wanted, and no one else has.
async fn purchases_survive(
    away: impl AsyncFnOnce(&mut Postgres),
    back: impl AsyncFnOnce(&mut Postgres),
) -> Stack {
    let mut stack =
        Stack::builder().env("JOB_LOST_MS", 2_000).env("JOB_LEASE_MS", 2_000).start().await;
    let (event, buyer) = stack.on_sale().await;
    let (payer, rival) = (stack.user().await, stack.user().await);
    let paid = payer.lock_and_book(&event, &[("VIP", "A1")]).await;
    let order = payer.order(&paid).await;
    buyer.lock(&event, "VIP", "A2").await.ok();
    let processes = stack.process_ids();
    // All connections were used a moment ago: requests come before anyone can know that PostgreSQL
    // is away.
    for _ in 0..20 {
        tokio::join!(rival.get("/bookings/my-bookings"), rival.get("/events"));
    }
    rival.lock(&event, "VIP", "A9").await.ok();

    away(&mut stack.postgres).await;
    stack.pay(&order, Outcome::Captured);
    let (book, lock, list, _, health) = tokio::join!(
        within(ACQUIRE, buyer.book(&event, &[("VIP", "A2")])),
        // Waits in the queue of locks, which is served by one connection.
        within(2 * ACQUIRE, rival.lock(&event, "VIP", "A3")),
        within(ACQUIRE, rival.get("/events")),
        stack.until_missing("postgresql"),
        within(Duration::ZERO, rival.get_root("/health")),
    );
    [&book, &lock, &list].into_iter().for_each(assert_unavailable);
    health.ok();
    until_a_webhook_was_refused(&stack).await;
    back(&mut stack.postgres).await;

    stack.until_ready(0).await;
    let booking = Booking::from_created(&buyer.book(&event, &[("VIP", "A2")]).await.data());
    stack.pay(&buyer.order(&booking).await, Outcome::Captured);
    rival
        .lock(&event, "VIP", "A1")
        .await
        .failed(409, "Seat A1 is already taken. Please select another seat.");
    rival.lock(&event, "VIP", "A3").await.ok();
    for (who, booking) in [(&payer, &paid), (&buyer, &booking)] {
        stack.until_booking(who, booking, "confirmed", "completed").await;
        stack.until_tickets(who, booking, 1).await;
    }
    stack.assert_invariants().await;
    assert_eq!(stack.process_ids(), processes, "no process was started anew");
    eventually("no given-up transaction is left open", SOON, async || {
        let open = "pg_stat_activity WHERE state LIKE 'idle in transaction%' AND xact_start < now() - interval '1 second'";
        let open = stack.count(open).await;
        seen(open == 0, open).map(drop)
    })
    .await;
    stack
}

/// Razorpay was told to come back, within the five seconds after which it hangs up.
async fn until_a_webhook_was_refused(stack: &Stack) {
    eventually("a webhook is refused", SOON, async || {
        let webhooks = stack.providers.webhooks();
        let statuses: Vec<Option<u16>> =
            webhooks.iter().flat_map(|w| &w.attempts).map(|attempt| attempt.status).collect();
        assert!(statuses.iter().all(|status| *status != Some(200)), "{statuses:?}");
        seen(statuses.contains(&Some(503)), statuses).map(drop)
    })
    .await;
}

#[tokio::test]
async fn purchases_survive_a_postgresql_that_is_killed() {
    purchases_survive(
        async |server| server.kill().await.unwrap(),
        async |server| server.restart().await.unwrap(),
    )
    .await;
}

#[tokio::test]
async fn purchases_survive_a_postgresql_that_is_stopped_in_good_order() {
    purchases_survive(
        async |server| server.stop().await.unwrap(),
        async |server| server.restart().await.unwrap(),
    )
    .await;
}

#[tokio::test]
async fn purchases_survive_a_postgresql_that_is_frozen() {
    purchases_survive(async |server| server.freeze(true), async |server| server.freeze(false))
        .await;
}

#[tokio::test]
async fn requests_under_way_end_in_time_when_postgresql_vanishes_and_its_successor_is_used_at_once()
{
    let stack = Stack::builder().workers([]).start().await;
    let passage = Passage::to(stack.postgres.port()).await;
    let database = format!("postgres://nexus@127.0.0.1:{}/nexus", passage.port());
    let own = [
        ("DATABASE_URL", database.as_str()),
        ("DATABASE_MAX_CONNECTIONS", "5"),
        ("DATABASE_ACQUIRE_TIMEOUT_MS", "3000"),
    ];
    let (mut apis, urls) = stack.further_apis(1, &own);
    apis.supervise();
    stack.until_ready_at(&urls[0]).await;
    let mut otp = stack.processes("nexus-worker-otp", 1, &own);
    otp.start().await;
    let buyers: Vec<Client> =
        stack.users(6).await.into_iter().map(|buyer| buyer.at(&urls[0])).collect();
    let event = stack.event(&buyers[0], &[("VIP", 100.0, 50)]).await;
    let lock = |label: &str| json!({"eventId": event.id, "seatTypeId": event.seat_type("VIP"), "seat_label": label});
    let socket = stack.socket_with("the buyer", &buyers[3], json!({"url": urls[0]})).await;
    for (n, buyer) in buyers.iter().enumerate() {
        buyer.lock(&event, "VIP", &format!("A{n}")).await.ok();
    }

    let held = hold_seats(&stack).await;
    let booked = |n: usize| {
        let (buyer, event) = (&buyers[n], &event);
        async move { buyer.book_alone(event, &[("VIP", format!("A{n}").as_str())]).await }
    };
    let keyed = async {
        let path = format!("/seats/{}/seat-types/{}/lock/extend", event.id, event.seat_type("VIP"));
        let request = buyers[2].request(Method::POST, &path).json(&json!({"seat_label": "A2"}));
        Response::to(request.header("idempotency-key", "the-only-one")).await
    };
    let vanish = async {
        // Every connection, and one of those that lock seats.
        stack.until_blocked("nexus-api", 6).await;
        passage.vanish();
    };
    let forget =
        json!({"eventId": event.id, "seatTypeId": event.seat_type("VIP"), "seat_label": "A3"});
    socket.emit("unlock_seat", &[forget]).await;
    let (first, second, third, fourth, keyed, group, ()) = tokio::join!(
        within(LONGEST, booked(0)),
        within(LONGEST, booked(1)),
        within(LONGEST, booked(4)),
        within(LONGEST, booked(5)),
        within(LONGEST, keyed),
        within(LONGEST, buyers[3].lock(&event, "VIP", "B1")),
        vanish,
    );
    [&first, &second, &third, &fourth, &keyed, &group].into_iter().for_each(assert_unavailable);
    let refused = |response: &Value| response["success"] == false;
    socket.wait_for("unlock_seat_response", refused, LONGEST).await;
    drop(held);

    // All five connections were lost, and everything is as it was.
    eventually("everybody is served by the successor", SOON, async || {
        let response = buyers[3].lock(&event, "VIP", "B2").await;
        seen(response.status == 200, response.to_string()).map(drop)
    })
    .await;
    for n in [0, 1, 4, 5] {
        buyers[n].book(&event, &[("VIP", &format!("A{n}"))]).await.ok();
    }
    socket.call_ok("lock_seat", lock("B3")).await;
    let all =
        futures_util::future::join_all((0..30).map(|n| buyers[n % 4].get("/bookings/my-bookings")))
            .await;
    all.into_iter().for_each(|response| drop(response.ok()));

    buyers[0].post("/auth/send-otp", json!({"phone": "9812345678"})).await.ok();
    eventually("the worker serves its queue", LONGEST, async || {
        stack.providers.otp("+919812345678").ok_or("no code".into())
    })
    .await;
    stack.assert_invariants_with(&["otp"]).await;
}

#[tokio::test]
async fn a_socket_whose_token_could_not_be_looked_up_hears_its_own_broadcasts_once_it_can_be() {
    let mut stack = Stack::start().await;
    let (event, buyer) = stack.on_sale().await;
    let newcomer = stack.user().await;
    let before = stack.socket("who was there before", &buyer).await;

    // The API looks its token up again, and fails.
    let mut held = stack.db.begin().await.unwrap();
    sqlx::query("LOCK TABLE blacklisted_tokens IN ACCESS EXCLUSIVE MODE")
        .execute(&mut *held)
        .await
        .unwrap();
    stack.execute(&format!("SELECT pg_notify('nexus_revocations', '{}')", buyer.id)).await;
    stack.until_blocked("nexus-api", 1).await;
    stack
        .execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity
             WHERE wait_event_type = 'Lock' AND application_name LIKE 'nexus-api%'",
        )
        .await;
    held.rollback().await.unwrap();

    // Another one comes while no process can tell whether its token is good.
    stack.postgres.stop().await.unwrap();
    let during = stack.socket("who came while it was away", &newcomer).await;
    stack.postgres.restart().await.unwrap();
    stack.until_ready(0).await;

    stack.execute("UPDATE events SET max_tickets_per_user = 1000").await;
    stack.execute("UPDATE event_seat_types SET quantity = quantity + 1000, available_quantity = available_quantity + 1000").await;
    for (n, (who, socket)) in [(&buyer, &before), (&newcomer, &during)].into_iter().enumerate() {
        let mut seat = 0;
        eventually("it hears of its own tickets", SOON, async || {
            seat += 1;
            let (booking, _) = stack.sell(who, &event, &[("VIP", &format!("{n}A{seat}"))]).await;
            stack.until_tickets(who, &booking, 1).await;
            let heard = socket.received("tickets:ready");
            seen(!heard.is_empty(), heard).map(drop)
        })
        .await;
    }
    stack.assert_invariants().await;
}
