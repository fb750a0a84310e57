//! Observations: exchanges of more than one message. Each returns `{data}`, as the recording noted
//! it.

use nexus_sandbox::providers::sign;
use serde_json::{Value, json};

use super::arrangements::BUYER;
use super::driver::Replay;
use super::mapping::claims;
use super::recording::{Exchange, Request, tell_lifetime};
use crate::response::Response;

impl Replay {
    pub(super) async fn observe(&mut self, exchange: &Exchange, recording: &[Exchange]) -> Value {
        let data = match exchange.name.as_str() {
            "6 registrations in a row from one address" => self.register_six().await,
            "12 wrong logins in a row" => self.fail_to_log_in().await,
            "two logins of one user within one second" => self.log_in_twice(recording).await,
            "access token payload" => self.look_into_tokens(recording),
            "new order after failed payment is accepted" => {
                let request = json!({"booking_id": 13, "amount": 500});
                let response = self.user(BUYER).post("/payments/create-order", request).await;
                json!({"order": response.status == 200})
            }
            "two concurrent captured webhooks for one order" => self.deliver_twice().await,
            "sweep of expired locks" => self.sweep_locks().await,
            "three concurrent cancels of one booking" => self.cancel_thrice(25, json!({})).await,
            "three concurrent cancels with one key" => {
                self.cancel_thrice(26, json!({"idempotency_key": "key-same"})).await
            }
            "final table counts" => self.count_tables().await,
            name => panic!("nobody knows how to observe {name}"),
        };
        json!({"data": data})
    }

    async fn register_six(&self) -> Value {
        let client = self.stack.anonymous();
        let mut responses = Vec::new();
        for number in 4..=9 {
            self.next_id("users", number).await;
            let account =
                json!({"email": format!("user-{number}@example.com"), "password": "Passw0rd!"});
            responses.push(client.post("/auth/register", account).await);
        }
        rate_limited(&responses)
    }

    async fn fail_to_log_in(&self) -> Value {
        let client = self.stack.anonymous();
        let mut responses = Vec::new();
        for _ in 0..12 {
            let login = json!({"email": "user-9@example.com", "password": "Wrong0rd!"});
            responses.push(client.post("/auth/login", login).await);
        }
        rate_limited(&responses)
    }

    /// Logs in twice and notes the tokens: the exchange after next logs the first session out, the
    /// one after that tries the second.
    async fn log_in_twice(&mut self, recording: &[Exchange]) -> Value {
        let login = || async {
            let login = json!({"email": "user-4@example.com", "password": "Passw0rd!"});
            self.stack.anonymous().post("/auth/login", login).await
        };
        let (first, second) = tokio::join!(login(), login());
        let statuses = json!([first.status, second.status]);
        let (first, second) = (first.data(), second.data());
        let same = |field: &str| first[field] == second[field];
        let noted = json!({
            "statuses": statuses,
            "same_access_token": same("accessToken"),
            "same_refresh_token": same("refreshToken"),
        });
        let logout =
            recording.iter().find(|exchange| exchange.name == "logout of the first of those twins");
        let Some(Request::Http { headers, body: Some(body), .. }) =
            logout.map(|logout| &logout.request)
        else {
            panic!("nobody logs out")
        };
        let body: Value = serde_json::from_str(body).expect("a body");
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        self.names.learn(
            headers["Authorization"].trim_start_matches("Bearer "),
            &text(&first["accessToken"]),
        );
        self.names.learn(&text(&body["refreshToken"]), &text(&first["refreshToken"]));
        self.tokens.insert("second twin", text(&second["accessToken"]));
        noted
    }

    fn look_into_tokens(&self, recording: &[Exchange]) -> Value {
        let registered = recording
            .iter()
            .find(|exchange| exchange.name == "register: all fields")
            .expect("a registration");
        let token = |field: &str| {
            let recorded = registered.data()[field].as_str().unwrap_or_default();
            self.names.get(recorded).expect("a token").to_owned()
        };
        let (access, refresh) = (token("accessToken"), token("refreshToken"));
        let payload = |token: &str| {
            let mut payload = claims(token).expect("claims");
            tell_lifetime(&mut payload);
            payload
        };
        // The header has the form of claims.
        let header = claims(&format!("x.{access}")).expect("a header");
        json!({"header": header, "payload": payload(&access), "refresh_payload": payload(&refresh)})
    }

    async fn deliver_twice(&mut self) -> Value {
        let order = self.names.get("order_twice").expect("an order").to_owned();
        let payment = json!({"id": "pay_twice", "amount": 50_000, "currency": "INR", "status": "captured", "order_id": order});
        let mut body =
            json!({"event": "payment.captured", "payload": {"payment": {"entity": payment}}})
                .to_string();
        self.pay(&mut body);
        let signature =
            sign(&self.stack.providers.config().razorpay_webhook_secret, body.as_bytes());
        let deliver = || {
            let request =
                self.stack.anonymous().request(reqwest::Method::POST, "/payments/webhook");
            let request = request
                .header("content-type", "application/json")
                .header("x-razorpay-signature", &signature);
            Response::to(request.body(body.clone()))
        };
        let (first, second) = tokio::join!(deliver(), deliver());
        self.until_idle().await;
        self.hears("buyer", "tickets:ready").await;
        let times = self.times_heard("booking_confirmed", "seat_booked").await;
        json!({"responses": [first.body, second.body], "confirmed_broadcasts": times})
    }

    async fn sweep_locks(&mut self) -> Value {
        let before = self.stack.count("seats").await;
        self.sweep().await;
        let freed = before - self.stack.count("seats").await;
        self.fence().await;
        let seen: serde_json::Map<String, Value> = self
            .sockets
            .keys()
            .map(|name| (name.clone(), json!(self.heard.get(name).cloned().unwrap_or_default())))
            .collect();
        json!({"released_locks": freed, "broadcasts_seen": seen})
    }

    async fn cancel_thrice(&mut self, booking: i64, request: Value) -> Value {
        let cancel = || async {
            self.user(BUYER).post(&format!("/bookings/{booking}/cancel"), request.clone()).await
        };
        let (one, two, three) = tokio::join!(cancel(), cancel(), cancel());
        let mut responses = [one, two, three];
        responses.sort_by_key(|response| (response.status, response.text.len()));
        let statuses = responses.each_ref().map(|response| response.status);
        let bodies = responses.map(|response| response.body);
        let times = self.times_heard("booking_cancelled", "seat_unlocked").await;
        json!({"statuses": statuses, "bodies": bodies, "cancelled_broadcasts": times})
    }

    async fn count_tables(&self) -> Value {
        let count = async |from: &str| self.stack.count(from).await.to_string();
        let oversold = self.stack.rows(
            "SELECT id FROM event_seat_types t WHERE (SELECT count(*) FROM seats WHERE event_seat_type_id = t.id) > quantity",
        );
        json!({
            "locked": count("seats WHERE status = 'locked'").await,
            "booked": count("seats WHERE status = 'booked'").await,
            "tickets": count("tickets").await,
            "over": oversold.await.iter().map(Value::to_string).collect::<String>(),
        })
    }

    /// How often every client has heard of it, and of the seat that goes with it.
    async fn times_heard(&mut self, event: &str, of_seat: &str) -> Value {
        self.all_hear(event).await;
        self.all_hear(of_seat).await;
        self.fence().await;
        let mut times: Vec<usize> = self
            .heard
            .values_mut()
            .map(|heard| 1 + heard.extract_if(.., |broadcast| broadcast["event"] == event).count())
            .collect();
        times.dedup();
        if let [times] = times[..] { json!(times) } else { json!(times) }
    }
}

fn rate_limited(responses: &[Response]) -> Value {
    let last = responses.last().expect("a response");
    let names = last.headers.keys().map(|name| name.as_str());
    let mut headers: Vec<_> = names.filter(|name| name.contains("ratelimit")).collect();
    headers.sort_unstable();
    json!({"last_status": last.status, "ratelimit_headers": headers})
}
