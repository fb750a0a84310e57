//! During the cut-over the Node service and Nexus work on one PostgreSQL and one Redis
//! (docs/contract.md#existing-data): what one of them has given out or taken back holds for the
//! other, and no seat is sold twice.

use futures_util::future::{join, join_all};
use nexus_tests::refusals::SOLD_OUT;
use nexus_tests::shop::PASSWORD;
use nexus_tests::stack::Builder;
use nexus_tests::{
    Booking, Client, Event, Fault, NodeService, Outcome, SOON, Stack, Target, Value, eventually,
    json, seen,
};
use sqlx::{AssertSqlSafe, Postgres, Transaction};

fn taken(label: &str) -> String {
    format!("Seat {label} is already taken. Please select another seat.")
}

/// The service that a request happens to reach.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Service {
    Node,
    Nexus,
}

/// Both services with an event on sale.
struct Shop {
    /// Ended before the servers that it uses.
    node: NodeService,
    stack: Stack,
    event: Event,
}

fn side_by_side() -> Builder {
    Stack::builder().env("SIDE_BY_SIDE", "on")
}

impl Shop {
    async fn open(quantity: u32, workers: &[&str]) -> Self {
        let stack = side_by_side().workers(workers.iter().copied()).start().await;
        let node = NodeService::start(&stack).await;
        let organiser = stack.user().await;
        let event = stack.event(&organiser, &[("VIP", 100.0, quantity)]).await;
        Self { node, stack, event }
    }

    /// Locks a seat over either service; a refusal is its message. A failure of Nexus that is not
    /// in the contract fails the test.
    async fn lock(&self, service: Service, buyer: &Client, label: &str) -> Result<(), String> {
        match service {
            Service::Node => self.node.lock(buyer.id, &self.event, "VIP", label).await.map(drop),
            Service::Nexus => {
                let response = buyer.lock(&self.event, "VIP", label).await;
                if response.status == 200 {
                    return Ok(());
                }
                response.failed(409, response.message());
                Err(response.message().to_owned())
            }
        }
    }

    async fn book(&self, service: Service, buyer: &Client, label: &str) -> Booking {
        match service {
            Service::Node => self.node.book(buyer.id, &self.event, "VIP", &[label]).await.unwrap(),
            Service::Nexus => {
                Booking::from_created(&buyer.book(&self.event, &[("VIP", label)]).await.data())
            }
        }
    }

    async fn cancel(&self, service: Service, buyer: &Client, booking: &Booking) {
        match service {
            Service::Node => drop(self.node.cancel(buyer.id, booking).await.unwrap()),
            Service::Nexus => drop(buyer.cancel(booking).await.ok()),
        }
    }

    /// All buyers want a label at once, half of them from each service; returns the winners by
    /// label, and the refusals.
    async fn rush(
        &self,
        wishes: impl IntoIterator<Item = (Client, String)>,
    ) -> (Vec<(String, i64)>, Vec<String>) {
        let services = [Service::Node, Service::Nexus].into_iter().cycle();
        let wishes = wishes.into_iter().zip(services).map(async |((buyer, label), service)| {
            (self.lock(service, &buyer, &label).await, label, buyer.id)
        });
        let (mut winners, mut refusals) = (Vec::new(), Vec::new());
        for (result, label, buyer) in join_all(wishes).await {
            match result {
                Ok(()) => winners.push((label, buyer)),
                Err(refusal) => refusals.push(refusal),
            }
        }
        winners.sort();
        (winners, refusals)
    }

    /// Who has which seat, as the database says.
    async fn holders(&self) -> Vec<(String, i64)> {
        let rows = self.stack.rows("SELECT seat_label, user_id FROM seats ORDER BY 1, 2").await;
        let holder = |row: &Value| {
            (row["seat_label"].as_str().unwrap().to_owned(), row["user_id"].as_i64().unwrap())
        };
        rows.iter().map(holder).collect()
    }

    async fn available(&self) -> i64 {
        self.stack.available(self.event.seat_type("VIP")).await
    }
}

#[tokio::test]
async fn one_of_a_hundred_gets_the_seat_whichever_service_they_ask() {
    let shop = Shop::open(50, &[]).await;
    let buyers = shop.stack.users(100).await;
    let (winners, refusals) =
        shop.rush(buyers.into_iter().map(|buyer| (buyer, "A1".to_owned()))).await;
    assert_eq!(winners.len(), 1, "{winners:?}");
    assert!(refusals.iter().all(|refusal| *refusal == taken("A1")), "{refusals:?}");
    assert_eq!(shop.holders().await, winners);
    assert_eq!(shop.available().await, 49);
    shop.stack.assert_invariants().await;
}

#[tokio::test]
async fn a_seat_type_sells_out_exactly() {
    let shop = Shop::open(30, &[]).await;
    let buyers = shop.stack.users(100).await.into_iter().enumerate();
    let (winners, refusals) = shop.rush(buyers.map(|(n, buyer)| (buyer, format!("S{n}")))).await;
    assert_eq!(winners.len(), 30, "{winners:?}");
    assert!(refusals.iter().all(|refusal| refusal == SOLD_OUT), "{refusals:?}");
    assert_eq!(shop.holders().await, winners);
    assert_eq!(shop.available().await, 0);
    shop.stack.assert_invariants().await;
}

#[tokio::test]
async fn seats_change_hands_between_the_services_and_never_have_two_owners() {
    let shop = Shop::open(6, &["expiry"]).await;
    let buyers = shop.stack.users(24).await.into_iter().enumerate();
    let kept = join_all(buyers.map(async |(n, buyer)| {
        for round in 0..8 {
            // Every combination of who locks, who books and who cancels.
            let service = |bit: usize| [Service::Node, Service::Nexus][((n + round) >> bit) & 1];
            let label = format!("A{}", (n * 5 + round) % 8);
            if let Err(refusal) = shop.lock(service(0), &buyer, &label).await {
                assert!([SOLD_OUT.to_owned(), taken(&label)].contains(&refusal), "{refusal}");
                continue;
            }
            let booking = shop.book(service(1), &buyer, &label).await;
            if round % 2 == 1 {
                return Some((label, buyer.id));
            }
            shop.cancel(service(2), &buyer, &booking).await;
        }
        None
    }));
    let mut kept: Vec<_> = kept.await.into_iter().flatten().collect();
    kept.sort();
    assert_eq!(shop.holders().await, kept);
    assert_eq!(shop.available().await, 6 - kept.len() as i64);
    shop.stack.assert_invariants().await;
}

/// The Node service in the middle of locking a seat: its row is there, the count and the commit are
/// to come.
async fn half_a_lock(shop: &Shop, label: &str) -> Transaction<'static, Postgres> {
    let buyer = shop.stack.user().await;
    let mut tx = shop.stack.db.begin().await.unwrap();
    let insert = format!(
        "INSERT INTO seats (event_id, event_seat_type_id, seat_label, user_id, status, locked_at, expires_at)
         VALUES ({}, {}, '{label}', {}, 'locked', now(), now() + interval '10 minutes')",
        shop.event.id,
        shop.event.seat_type("VIP"),
        buyer.id
    );
    sqlx::query(AssertSqlSafe(insert)).execute(&mut *tx).await.unwrap();
    tx
}

/// The rest of that transaction.
async fn the_other_half(
    shop: &Shop,
    mut tx: Transaction<'static, Postgres>,
) -> Result<(), sqlx::Error> {
    let count = format!(
        "UPDATE event_seat_types SET available_quantity = available_quantity - 1 WHERE id = {}",
        shop.event.seat_type("VIP")
    );
    sqlx::query(AssertSqlSafe(count)).execute(&mut *tx).await?;
    tx.commit().await
}

async fn until_nexus_waits(shop: &Shop) {
    eventually("Nexus waits for the other transaction", SOON, async || {
        let waiting =
            "pg_stat_activity WHERE application_name LIKE 'nexus-api%' AND wait_event_type = 'Lock'";
        seen(shop.stack.count(waiting).await > 0, ())
    })
    .await;
}

#[tokio::test]
async fn who_comes_second_for_the_last_seat_is_told_so() {
    let shop = Shop::open(1, &[]).await;
    let mut node = half_a_lock(&shop, "A1").await;
    let count = "UPDATE event_seat_types SET available_quantity = available_quantity - 1";
    sqlx::query(count).execute(&mut *node).await.unwrap();
    let buyer = shop.stack.user().await;
    let (refused, ()) = join(shop.lock(Service::Nexus, &buyer, "B1"), async {
        until_nexus_waits(&shop).await;
        node.commit().await.unwrap();
    })
    .await;
    assert_eq!(refused, Err(SOLD_OUT.to_owned()));
    assert_eq!(shop.available().await, 0);
    shop.stack.assert_invariants().await;
}

#[tokio::test]
async fn two_transactions_that_wait_for_each_other_end_in_one_lock_and_one_refusal() {
    let shop = Shop::open(50, &[]).await;
    // Tidying up an expired lock, Nexus has changed the count before it comes to the seat.
    shop.lock(Service::Node, &shop.stack.user().await, "X1").await.unwrap();
    shop.stack.execute("UPDATE seats SET expires_at = now()").await;
    let mut node = half_a_lock(&shop, "A1").await;
    // PostgreSQL undoes the transaction that looks for a deadlock first: that of Nexus, unless this
    // test is held up.
    sqlx::query("SET LOCAL deadlock_timeout = '5s'").execute(&mut *node).await.unwrap();
    let buyer = shop.stack.user().await;
    let (nexus, node) = join(shop.lock(Service::Nexus, &buyer, "A1"), async {
        until_nexus_waits(&shop).await;
        the_other_half(&shop, node).await
    })
    .await;
    assert_eq!(nexus, if node.is_ok() { Err(taken("A1")) } else { Ok(()) }, "{node:?}");
    shop.stack.assert_invariants().await;
}

#[tokio::test]
async fn a_quantity_that_the_node_service_changes_forgets_no_locked_seat() {
    let shop = Shop::open(2, &["expiry"]).await;
    let buyers = shop.stack.users(3).await;
    for (buyer, label) in buyers.iter().zip(["A1", "A2"]) {
        shop.lock(Service::Nexus, buyer, label).await.unwrap();
    }
    let seat_type = shop.event.seat_type("VIP");
    let change = async |quantity: u32| {
        shop.node
            .call("updateQuantity", json!({"seatTypeId": seat_type, "quantity": quantity}))
            .await
    };
    change(2).await.unwrap();
    assert_eq!(shop.available().await, 0);
    assert_eq!(shop.lock(Service::Nexus, &buyers[2], "A3").await, Err(SOLD_OUT.to_owned()));
    assert_eq!(shop.lock(Service::Node, &buyers[2], "A3").await, Err(SOLD_OUT.to_owned()));
    change(1).await.unwrap_err();
    change(3).await.unwrap();
    shop.lock(Service::Node, &buyers[2], "A3").await.unwrap();

    // Not one seat too many comes back when the locks run out.
    shop.stack.execute("UPDATE seats SET expires_at = now()").await;
    shop.lock(Service::Nexus, &buyers[0], "B1").await.unwrap();
    assert_eq!(shop.available().await, 2);
    shop.stack.assert_invariants().await;
}

#[tokio::test]
async fn a_lock_of_one_service_is_taken_for_the_other() {
    let shop = Shop::open(50, &[]).await;
    let (first, second) = (shop.stack.user().await, shop.stack.user().await);
    for (service, other, label) in
        [(Service::Nexus, Service::Node, "A1"), (Service::Node, Service::Nexus, "A2")]
    {
        shop.lock(service, &first, label).await.unwrap();
        for again in [service, other] {
            assert_eq!(shop.lock(again, &second, label).await, Err(taken(label)), "{again:?}");
        }
    }
    shop.stack.assert_invariants().await;
}

#[tokio::test]
async fn a_seat_that_is_freed_can_be_locked_at_once() {
    let shop = Shop::open(50, &[]).await;
    for n in 0..16 {
        let (first, second) = (shop.stack.user().await, shop.stack.user().await);
        let service = |bit: usize| [Service::Node, Service::Nexus][(n >> bit) & 1];
        let (locking, booking, cancelling, next) = (service(0), service(1), service(2), service(3));
        // The Node service stumbles over the key that it has left in Redis itself
        // (docs/contract.md#change-8).
        if (cancelling, next) == (Service::Node, Service::Node) {
            continue;
        }
        eprintln!("{locking:?} locks, {booking:?} books, {cancelling:?} cancels, {next:?} locks");
        let label = format!("A{n}");
        shop.lock(locking, &first, &label).await.unwrap();
        let booked = shop.book(booking, &first, &label).await;
        shop.cancel(cancelling, &first, &booked).await;
        shop.lock(next, &second, &label).await.unwrap();
    }
    let (first, second) = (shop.stack.user().await, shop.stack.user().await);
    shop.lock(Service::Nexus, &first, "B1").await.unwrap();
    let lock = format!("/seats/{}/seat-types/{}/lock", shop.event.id, shop.event.seat_type("VIP"));
    first.delete(&format!("{lock}?seat_label=B1")).await.ok();
    shop.lock(Service::Node, &second, "B1").await.unwrap();
    shop.stack.assert_invariants().await;
}

#[tokio::test]
async fn sessions_of_one_service_work_and_end_on_both() {
    let stack = side_by_side().workers([]).start().await;
    let node = NodeService::start(&stack).await;
    let account = json!({"email": "asha@nexus.example", "password": PASSWORD});
    let session = stack.anonymous().post("/auth/register", account).await.data();
    let user = stack.anonymous().logged_in(&session);
    let authenticate = async |token: &str| node.call("authenticate", json!({"token": token})).await;
    let refresh = async |token: &str| node.call("refresh", json!({"refreshToken": token})).await;

    // Opened by Nexus.
    let (access, refresh_token) =
        (user.token.clone().unwrap(), user.refresh_token.clone().unwrap());
    assert_eq!(authenticate(&access).await, Ok(json!(user.id)));
    let bought = refresh(&refresh_token).await.unwrap();
    user.clone().with_token(user.id, bought.as_str().unwrap()).get("/auth/me").await.ok();
    user.post("/auth/logout", json!({"refreshToken": refresh_token})).await.ok();
    assert_eq!(authenticate(&access).await, Err("Token has been revoked".into()));
    assert_eq!(refresh(&refresh_token).await, Err("Refresh token has been revoked".into()));

    // Opened by the Node service.
    let (access, refresh_token) = node.login(user.id).await;
    let user = user.clone().with_token(user.id, &access);
    user.get("/auth/me").await.ok();
    let session = json!({"userId": user.id, "accessToken": access, "refreshToken": refresh_token});
    node.call_ok("logout", session).await;
    user.get("/auth/me").await.failed(401, "Token has been revoked");
    let request = json!({"refreshToken": refresh_token});
    user.post("/auth/refresh-token", request).await.failed(401, "Refresh token has been revoked");
}

#[tokio::test]
async fn a_booking_and_an_order_of_the_node_service_are_paid_in_nexus() {
    let shop = Shop::open(50, &["payments", "bookings"]).await;
    let buyer = shop.stack.user().await;
    let booking = shop.node.lock_and_book(buyer.id, &shop.event, "VIP", &["A1", "A2"]).await;
    let order = shop.node.order(&booking).await;
    let payment = shop.stack.pay(&order, Outcome::Captured);
    let shown = shop.stack.until_booking(&buyer, &booking, "confirmed", "completed").await;
    assert_eq!(shown["booking"]["payment_id"], payment.id, "{shown}");
    shop.stack.until_tickets(&buyer, &booking, 2).await;
    shop.stack.assert_invariants().await;
}

#[tokio::test]
async fn who_has_paid_an_order_of_the_node_service_can_confirm_over_a_socket() {
    let shop = Shop::open(50, &["bookings"]).await;
    let buyer = shop.stack.user().await;
    let booking = shop.node.lock_and_book(buyer.id, &shop.event, "VIP", &["A1"]).await;
    let order = shop.node.order(&booking).await;
    let payment = shop.stack.pay(&order, Outcome::Captured);
    let socket = shop.stack.socket("the buyer", &buyer).await;
    let claim = json!({"booking_id": booking.id, "payment_id": payment.id});
    let confirmed = socket.call_ok("confirm_booking", claim).await;
    assert_eq!(confirmed["booking"]["status"], "confirmed", "{confirmed}");
    shop.stack.until_tickets(&buyer, &booking, 1).await;
}

#[tokio::test]
async fn a_booking_of_the_node_service_keeps_its_seats_until_its_own_deadline() {
    let shop = Shop::open(50, &["expiry"]).await;
    let buyer = shop.stack.user().await;
    shop.node.lock_and_book(buyer.id, &shop.event, "VIP", &["A1", "A2"]).await;
    let one_deadline = "SELECT bool_and(s.expires_at = b.expires_at) AS one FROM seats s
                        JOIN booking_seats bs ON bs.seat_id = s.id JOIN bookings b ON b.id = bs.booking_id";
    assert_eq!(shop.stack.row(one_deadline).await, json!({"one": true}));
    shop.stack.assert_invariants().await;
}

#[tokio::test]
async fn a_payment_that_the_node_service_has_settled_is_not_settled_again() {
    let shop = Shop::open(50, &["payments", "bookings"]).await;
    let buyer = shop.stack.user().await;
    let booking = shop.node.lock_and_book(buyer.id, &shop.event, "VIP", &["A1"]).await;
    let order = shop.node.order(&booking).await;
    // Razorpay sends payment.captured and order.paid; the first came to the Node service.
    shop.stack.providers.fault(Target::Webhook, None, Fault::lost());
    let payment = shop.stack.pay(&order, Outcome::Captured);
    shop.node.confirm(&booking, &payment.id).await;
    shop.stack.providers.clear_faults();
    for event in shop.stack.providers.webhooks() {
        shop.stack.providers.replay(&event.event_id, 1).await.unwrap();
    }
    eventually("Nexus has dealt with the webhooks", SOON, async || {
        let open = shop.stack.count("webhook_events WHERE processed_at IS NULL").await;
        let all = shop.stack.count("webhook_events").await;
        seen(open == 0 && all == 2, (open, all))
    })
    .await;
    shop.stack.until_booking(&buyer, &booking, "confirmed", "completed").await;
    assert!(shop.stack.providers.refunds().is_empty(), "{:?}", shop.stack.providers.refunds());
    shop.stack.assert_invariants().await;
}

#[tokio::test]
async fn an_order_that_is_replaced_before_the_migration_has_come_to_it_stays_known() {
    let shop = Shop::open(1, &[]).await;
    let buyer = shop.stack.user().await;
    shop.lock(Service::Node, &buyer, "A1").await.unwrap();
    let booking = shop.book(Service::Node, &buyer, "A1").await;
    let first = shop.node.order(&booking).await;
    shop.stack.execute("DELETE FROM payment_orders").await;
    let second = shop.node.order(&booking).await;
    let orders = "SELECT order_id, superseded_at IS NULL AS live FROM payment_orders ORDER BY live";
    let known = [(first, false), (second, true)];
    assert_eq!(
        shop.stack.rows(orders).await,
        known.map(|(order, live)| json!({"order_id": order, "live": live}))
    );
}
