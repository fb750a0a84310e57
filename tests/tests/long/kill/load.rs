//! What people and jobs do meanwhile, undeterred.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use nexus_sandbox::providers::Providers;
use nexus_tests::client::http_client;
use nexus_tests::{Client, Event, Method, Outcome, Pay, Response, Value, json};
use sqlx::{AssertSqlSafe, PgPool};
use tokio::time::{sleep, timeout};

/// People and jobs, until `over`.
pub(crate) struct Load<'a> {
    pub(crate) db: PgPool,
    pub(crate) providers: &'a Providers,
    pub(crate) urls: Vec<String>,
    pub(crate) event: Event,
    pub(crate) over: AtomicBool,
    pub(crate) next: AtomicUsize,
}

impl Load<'_> {
    fn is_over(&self) -> bool {
        self.over.load(Ordering::Relaxed)
    }

    fn next(&self) -> usize {
        self.next.fetch_add(1, Ordering::Relaxed)
    }

    /// A few probes at a time, each with its own fate.
    pub(crate) async fn probes(&self) {
        let fates = [
            json!(["done"]),
            json!([{"sleep": 300}]),
            json!([{"sleep": 1_500}]),
            json!(["retry", "done"]),
            json!(["panic", "done"]),
            json!([{"snooze": 400}, "done"]),
            json!([{"retry_after": 700}, "done"]),
        ];
        while !self.is_over() {
            for _ in 0..3 {
                let n = self.next();
                let steps = match n % 200 {
                    7 => json!(["die_before_commit", "done"]),
                    107 => json!(["die_after_commit"]),
                    57 | 157 => json!(["discard"]),
                    n => fates[n % fates.len()].clone(),
                };
                let insert = format!(
                    "INSERT INTO jobs (id, queue, kind, payload, max_attempts)
                     VALUES (gen_random_uuid(), 'cleanup', 'probe', '{}', 20)",
                    json!({"steps": steps})
                );
                while sqlx::query(AssertSqlSafe(insert.clone())).execute(&self.db).await.is_err() {
                    sleep(Duration::from_millis(50)).await;
                }
            }
            sleep(Duration::from_millis(200)).await;
        }
    }

    /// Asks at either API process until one says yes.
    async fn ask(
        &self,
        client: &Client,
        method: Method,
        path: &str,
        body: &Value,
    ) -> Option<Value> {
        let client = client.clone().at(&self.urls[self.next() % 2]);
        let request = client.request(method.clone(), path);
        let request = if method == Method::GET { request } else { request.json(body) };
        match timeout(Duration::from_secs(10), Response::try_to(request)).await {
            Ok(Ok(response)) if response.status == 200 => Some(response.body["data"].clone()),
            _ => None,
        }
    }

    /// One-time passwords for one phone after the other.
    pub(crate) async fn codes(&self) {
        let http = http_client();
        while !self.is_over() {
            let phone = json!({"phone": format!("+9197{:08}", self.next())});
            let somebody = Client::anonymous(&http, &self.urls[0]);
            while self.ask(&somebody, Method::POST, "/auth/send-otp", &phone).await.is_none() {
                sleep(Duration::from_millis(200)).await;
            }
            sleep(Duration::from_millis(350)).await;
        }
    }

    /// Each locks a seat, books it and pays; every fourth only locks.
    pub(crate) async fn buyers(&self, buyers: &[Client]) {
        for buyer in buyers {
            if self.is_over() {
                return;
            }
            let label = format!("S{}", buyer.id);
            let seat = self.event.seat_type("VIP");
            let lock = format!("/seats/{}/seat-types/{seat}/lock", self.event.id);
            if buyer.id % 4 == 0 {
                self.ask(buyer, Method::POST, &lock, &json!({"seat_label": label})).await;
            } else {
                let begun = Instant::now();
                // A buyer who has not got so far in half a minute goes home.
                let _ = timeout(Duration::from_secs(30), self.buy(buyer, &lock, &label)).await;
                sleep(Duration::from_millis(600).saturating_sub(begun.elapsed())).await;
            }
        }
    }

    async fn buy(&self, buyer: &Client, lock: &str, label: &str) {
        let seat = self.event.seat_type("VIP");
        let book = json!({"event_id": self.event.id, "seat_details": [{"seat_label": label, "seat_type_id": seat}]});
        // A response may be lost although the change is done: so the buyer looks before asking
        // again.
        let (id, total) = loop {
            self.ask(buyer, Method::POST, lock, &json!({"seat_label": label})).await;
            self.ask(buyer, Method::POST, "/bookings/create", &book).await;
            let mine = self.ask(buyer, Method::GET, "/bookings/my-bookings", &Value::Null).await;
            let mine = mine.map(|mine| mine[0].clone()).unwrap_or_default();
            if let (Some(id), Some(total)) = (mine["id"].as_i64(), mine["total_amount"].as_f64()) {
                break (id, total);
            }
            sleep(Duration::from_millis(300)).await;
        };
        let order = json!({"booking_id": id, "amount": total, "currency": "INR"});
        loop {
            if let Some(data) =
                self.ask(buyer, Method::POST, "/payments/create-order", &order).await
            {
                let order = data["order_id"].as_str().expect("an order id");
                let outcome = if id % 3 == 0 { Outcome::Authorized } else { Outcome::Captured };
                self.providers.pay(&Pay::order(order, outcome)).expect("a payment");
                return;
            }
            sleep(Duration::from_millis(300)).await;
        }
    }
}
