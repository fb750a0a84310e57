//! The world before Nexus: a database with the Node service's schema, and a small imitation of that
//! service (`clients/legacy-service.mjs`), which works on the same PostgreSQL and Redis as Nexus
//! does.

use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};

use nexus_sandbox::postgres::{Options, Postgres};
use nexus_sandbox::providers::{Outcome, Payment};
use serde_json::{Map, Value, json};
use sqlx::PgPool;

use crate::SOON;
use crate::client::Client;
use crate::lines::Lines;
use crate::settings::TempDir;
use crate::shop::{Booking, Event, PASSWORD};
use crate::stack::{Builder, Stack};
use crate::waiting::eventually;

/// Starts a cluster under `dir` that holds the Node service's empty tables.
pub async fn legacy_postgres(dir: &Path) -> Postgres {
    let postgres =
        Postgres::start(dir.join("postgres"), Options::throwaway()).await.expect("PostgreSQL");
    let pool = PgPool::connect(&postgres.url()).await.expect("a connection");
    let schema = include_str!("../contract/legacy_schema.sql");
    sqlx::raw_sql(schema).execute(&pool).await.expect("the legacy schema");
    pool.close().await;
    postgres
}

/// The running Node service. Dropping it kills it.
#[derive(Debug)]
pub struct NodeService {
    lines: Lines,
    next_id: AtomicU64,
}

impl NodeService {
    /// Starts one on the servers, and with the secrets, of a stack.
    pub async fn start(stack: &Stack) -> Self {
        let lines = Lines::node("the Node service", "legacy-service.mjs");
        let env = stack.env().iter().map(|(name, value)| (name.clone(), json!(value)));
        lines.write(&Value::Object(Map::from_iter(env))).await;
        Self { lines, next_id: AtomicU64::new(1) }
    }

    /// Sends a command; returns the response or the message of the refusal.
    pub async fn call(&self, command: &str, mut request: Value) -> Result<Value, String> {
        let id = self.next_id.fetch_add(1, Ordering::Relaxed);
        (request["id"], request["command"]) = (json!(id), json!(command));
        self.lines.write(&request).await;
        let what = format!("the Node service answers {request}");
        let mut response = eventually(&what, SOON, async || {
            let responses = self.lines.log().of("answer");
            responses
                .into_iter()
                .find(|response| response["id"] == id)
                .ok_or_else(|| self.lines.describe())
        })
        .await;
        match response["error"].take() {
            Value::Null => Ok(response["data"].take()),
            error => Err(error.as_str().unwrap_or_default().to_owned()),
        }
    }

    /// Sends a command that has to succeed.
    pub async fn call_ok(&self, command: &str, request: Value) -> Value {
        let what = format!("{command} {request}");
        self.call(command, request).await.unwrap_or_else(|error| panic!("{what}: {error}"))
    }

    /// Registers a user with an e-mail address and a password; returns `users.id`.
    pub async fn register(&self, email: &str, password: &str) -> i64 {
        let request = json!({"name": "Legacy User", "email": email, "password": password});
        self.call_ok("register", request).await.as_i64().expect("a user id")
    }

    /// Opens a session; returns its access and its refresh token.
    pub async fn login(&self, user: i64) -> (String, String) {
        let session = self.call_ok("login", json!({"userId": user})).await;
        let token = |name: &str| session[name].as_str().expect("a token").to_owned();
        (token("accessToken"), token("refreshToken"))
    }

    /// Creates an event on sale with these seat types: name, price, quantity.
    pub async fn event(&self, organizer: i64, seat_types: &[(&str, f64, u32)]) -> Event {
        let request =
            json!({"organizerId": organizer, "name": "Legacy Gig", "seatTypes": seat_types});
        Event::from_created(&self.call_ok("createEvent", request).await)
    }

    /// Tries to lock a seat; returns `seats.id`.
    pub async fn lock(
        &self,
        user: i64,
        event: &Event,
        seat_type: &str,
        label: &str,
    ) -> Result<Value, String> {
        let seat_type = event.seat_type(seat_type);
        let request =
            json!({"userId": user, "eventId": event.id, "seatTypeId": seat_type, "label": label});
        self.call("lock", request).await
    }

    /// Tries to book locked seats of one type.
    pub async fn book(
        &self,
        user: i64,
        event: &Event,
        seat_type: &str,
        labels: &[&str],
    ) -> Result<Booking, String> {
        let seat_type = event.seat_type(seat_type);
        let request =
            json!({"userId": user, "eventId": event.id, "seatTypeId": seat_type, "labels": labels});
        self.call("book", request).await.map(|data| Booking::from_created(&data))
    }

    /// Locks and books.
    pub async fn lock_and_book(
        &self,
        user: i64,
        event: &Event,
        seat_type: &str,
        labels: &[&str],
    ) -> Booking {
        for label in labels {
            self.lock(user, event, seat_type, label).await.unwrap();
        }
        self.book(user, event, seat_type, labels).await.unwrap()
    }

    /// Creates a payment order; returns its id.
    pub async fn order(&self, booking: &Booking) -> String {
        let order = self.call_ok("order", json!({"bookingId": booking.id})).await;
        order.as_str().expect("an order id").to_owned()
    }

    /// Confirms a booking, as the Node service did on a webhook.
    pub async fn confirm(&self, booking: &Booking, payment_id: &str) {
        self.call_ok("confirm", json!({"bookingId": booking.id, "paymentId": payment_id})).await;
    }

    /// Tries to cancel a booking that has not been paid.
    pub async fn cancel(&self, user: i64, booking: &Booking) -> Result<Value, String> {
        self.call("cancel", json!({"userId": user, "bookingId": booking.id})).await
    }
}

/// An installation of the Node service with an event on sale (50 seats of VIP at 100, 2 of Balcony
/// at 50), its organiser and two buyers; nothing of Nexus before [`Stack::cut_over`].
pub struct LegacyShop {
    pub node: NodeService,
    pub stack: Stack,
    pub event: Event,
    pub organiser: i64,
    pub buyers: [i64; 2],
}

impl LegacyShop {
    pub async fn open(builder: Builder) -> Self {
        let (stack, node) = builder.legacy().await;
        let organiser = node.register("organiser@nexus.example", PASSWORD).await;
        let event = node.event(organiser, &[("VIP", 100.0, 50), ("Balcony", 50.0, 2)]).await;
        let first = node.register("first@nexus.example", PASSWORD).await;
        let second = node.register("second@nexus.example", PASSWORD).await;
        Self { node, stack, event, organiser, buyers: [first, second] }
    }

    /// A booking of a seat of VIP that has to be paid.
    pub async fn pending(&self, buyer: i64, label: &str) -> Booking {
        self.node.lock_and_book(buyer, &self.event, "VIP", &[label]).await
    }

    /// One that has been paid.
    pub async fn confirmed(&self, buyer: i64, label: &str) -> (Booking, Payment) {
        let booking = self.pending(buyer, label).await;
        let payment = self.stack.pay(&self.node.order(&booking).await, Outcome::Captured);
        self.node.confirm(&booking, &payment.id).await;
        (booking, payment)
    }
}

impl Builder {
    /// An installation of the Node service, and that service; nothing of Nexus before
    /// [`Stack::cut_over`].
    pub async fn legacy(self) -> (Stack, NodeService) {
        let dir = TempDir::create();
        let postgres = legacy_postgres(&dir).await;
        let stack = self.servers(dir, postgres).await;
        let node = NodeService::start(&stack).await;
        (stack, node)
    }
}

impl Stack {
    /// A user whom the Node service has registered.
    pub fn client_of(&self, user: i64) -> Client {
        self.anonymous().with_token(user, self.mint_token(user))
    }
}
