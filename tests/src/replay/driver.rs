//! Sends a recorded exchange to Nexus, and says what came of it, in the form of
//! [`recording`](super::recording). What the other clients hear is in [`hearing`](super::hearing).

use std::collections::BTreeMap;

use nexus_sandbox::providers::{Fault, Outcome, Pay, Target, sign};
use reqwest::Method;
use serde_json::{Value, json};

use super::mapping::{Names, claims};
use super::recording::{Exchange, Request, http_outcome};
use super::rule::{SeatType, Truth};
use crate::Stack;
use crate::client::{Client, http_client};
use crate::response::Response;
use crate::socket::SocketClient;

/// When the recording's own tokens were made: their times are told from it.
const RECORDED_AT: i64 = 1_795_473_967;
/// The one-time password that the recording's stand-in accepted.
const RECORDED_OTP: &str = r#""otp":"123456""#;
/// A page of this origin made some of the recorded requests.
const ORIGIN: &str = "http://app.example";

/// Tables in which exchanges create rows, and where the response shows the id.
const IDS: [(&str, &str); 6] = [
    ("users", "/user/id"),
    ("events", "/event/id"),
    ("event_seat_types", "/seat_types/0/id"),
    ("event_seat_types", "/seat_type/id"),
    ("seats", "/lock/id"),
    ("bookings", "/booking/id"),
];

/// An installation in which the recording is replayed.
pub struct Replay {
    pub stack: Stack,
    /// The live names of recorded things.
    pub names: Names,
    pub(super) http: reqwest::Client,
    /// Who has one-time passwords sent, and sends them back.
    pub(super) owner_of_phones: Client,
    /// The other clients, by their names in the recording.
    pub(super) sockets: BTreeMap<String, SocketClient>,
    /// What each of the other clients has received that belongs to no exchange yet.
    pub(super) heard: BTreeMap<String, Vec<Value>>,
    /// The newest `event:seats-update` of each client and event.
    pub(super) counts: BTreeMap<(String, i64), Value>,
    seat_types: Vec<SeatType>,
    /// Tokens that a later exchange needs.
    pub(super) tokens: BTreeMap<&'static str, String>,
    /// Queues that have no worker for the time being.
    pub(super) paused: Vec<&'static str>,
}

impl Replay {
    /// Starts an empty installation.
    pub async fn start() -> Self {
        // The recording resets a password four times in a row, and the replay is faster than people
        // are.
        let stack =
            Stack::builder().env("FRONTEND_URL", ORIGIN).env("RATE_LIMIT_PASSWORD_RESET", "4/1h");
        let stack =
            stack.env("RATE_LIMIT_COMMANDS", "100000/1s").env("RATE_LIMIT_USER", "100000/1s");
        let mut stack = stack
            .env("UNPAID_SEATS_PER_ACCOUNT", "10000")
            .env("UNPAID_BOOKINGS_PER_ACCOUNT", "10000")
            .env("UNPAID_ENDINGS_PER_DAY", "10000")
            .start()
            .await;
        // The recorded webhooks are sent, not the stand-in's own.
        stack.providers.fault(Target::Webhook, None, Fault::lost());
        // Tickets were delivered some seconds after they were made.
        stack.worker("notifications").stop().await;
        Self {
            owner_of_phones: stack.anonymous(),
            stack,
            names: Names::default(),
            http: http_client(),
            sockets: BTreeMap::new(),
            heard: BTreeMap::new(),
            counts: BTreeMap::new(),
            seat_types: Vec::new(),
            tokens: BTreeMap::new(),
            paused: vec!["notifications"],
        }
    }

    /// Does what the recording did before this exchange, then sends it. Returns the outcome but for
    /// the broadcasts.
    pub async fn send(&mut self, exchange: &Exchange, recording: &[Exchange]) -> Value {
        self.arrange(exchange, recording).await;
        for (table, place) in IDS {
            if let Some(id) = exchange.data().pointer(place).and_then(Value::as_i64) {
                self.next_id(table, id).await;
            }
        }
        self.seat_types = self.count_seats().await;
        self.counts.clear();
        match &exchange.request {
            Request::Http { method, path, headers, body } => {
                self.request(method, path, headers, body.as_deref()).await
            }
            Request::Command { client, event, arguments, wants_ack } => {
                self.open_probe(exchange).await;
                self.command(client, event, arguments, *wants_ack).await
            }
            Request::Observation => self.observe(exchange, recording).await,
        }
    }

    /// Waits for all that follows from an exchange; returns what the database holds then.
    pub async fn settle(&mut self) -> Truth {
        self.fence().await;
        self.until_idle().await;
        let seat_types = self.count_seats().await;
        let known = |seat_type: &&SeatType| {
            self.seat_types.iter().any(|known| known.event == seat_type.event)
        };
        let of = |types: &[SeatType], event| -> Vec<SeatType> {
            types.iter().filter(|known| known.event == event).cloned().collect()
        };
        let mut changed: Vec<i64> =
            seat_types.iter().filter(known).map(|known| known.event).collect();
        changed.dedup();
        changed.retain(|event| of(&seat_types, *event) != of(&self.seat_types, *event));
        Truth { seat_types, changed }
    }

    /// Ends the installation: the provider carries out its refunds, every invariant holds, and no
    /// client hears of it.
    pub async fn end(mut self) {
        let providers = &self.stack.providers;
        providers.clear_faults();
        for lost in
            providers.webhooks().iter().filter(|webhook| webhook.event.starts_with("refund."))
        {
            providers.replay(&lost.event_id, 1).await.expect("a delivery");
        }
        self.stack.assert_invariants().await;
        self.fence().await;
        self.heard.retain(|_, broadcast| !broadcast.is_empty());
        assert!(
            self.heard.is_empty(),
            "nothing has happened, and yet the clients hear {:?}",
            self.heard
        );
    }

    /// Waits until no job is left to be done.
    pub(super) async fn until_idle(&self) {
        let queues: Vec<&str> =
            self.stack.queues().into_iter().filter(|queue| !self.paused.contains(queue)).collect();
        self.stack.until_idle(&queues).await;
    }

    async fn count_seats(&self) -> Vec<SeatType> {
        let rows = self.stack.rows(
            "SELECT event_id, id, quantity, quantity - (SELECT count(*) FROM seats WHERE event_seat_type_id = t.id) AS available
             FROM event_seat_types t ORDER BY event_id, id",
        );
        let number = |row: &Value, field: &str| row[field].as_i64().unwrap_or_default();
        let seat_type = |row: &Value| SeatType {
            event: number(row, "event_id"),
            id: number(row, "id"),
            quantity: number(row, "quantity"),
            available: number(row, "available"),
        };
        rows.await.iter().map(seat_type).collect()
    }

    /// The next row of `table` gets this id, unless there is one.
    pub(super) async fn next_id(&self, table: &str, id: i64) {
        let set = format!(
            "SELECT setval(pg_get_serial_sequence('{table}', 'id'), {id}, false) WHERE NOT EXISTS (SELECT 1 FROM {table} WHERE id = {id})"
        );
        self.stack.execute(&set).await;
    }

    /// A client of its own address, so that no exchange counts against another's rate limit.
    pub(super) fn user(&self, id: i64) -> Client {
        self.stack.anonymous().with_token(id, self.stack.mint_token(id))
    }

    async fn request(
        &mut self,
        method: &str,
        path: &str,
        sent: &BTreeMap<String, String>,
        body: Option<&str>,
    ) -> Value {
        let path = self.translate(path);
        let mut body = body.map(|body| self.translate(body));
        if let Some(body) = &mut body {
            self.put_otp(body);
        }
        let url = format!("{}{path}", self.stack.api_url(0));
        let mut request =
            self.http.request(Method::from_bytes(method.as_bytes()).expect("a method"), &url);
        for (name, value) in sent {
            let value = match name.as_str() {
                "X-Razorpay-Signature" => self.sign(value, body.as_mut().expect("a body")),
                "If-None-Match" => self.tag(&url).await.unwrap_or_else(|| value.clone()),
                _ => self.translate(value),
            };
            request = request.header(name, value);
        }
        // An address for each, so that no exchange counts against another's rate limit; but wrong
        // codes are counted for the network that has asked for the code.
        let by_code = ["/send-otp", "/verify-otp", "/reset-password"];
        let address = match by_code.iter().any(|end| path.ends_with(end)) {
            true => self.owner_of_phones.address(),
            false => self.stack.anonymous().address(),
        };
        request = request.header("x-forwarded-for", address.to_string());
        if let Some(body) = body {
            request = request.body(body);
        }
        let got = Response::to(request).await;
        let headers = got.headers.iter().filter_map(|(name, value)| {
            Some((name.as_str().to_owned(), value.to_str().ok()?.to_owned()))
        });
        http_outcome(sent, got.status.into(), headers, &got.text)
    }

    async fn command(
        &mut self,
        client: &str,
        event: &str,
        arguments: &[Value],
        wants_ack: bool,
    ) -> Value {
        let mut live = Vec::new();
        for argument in arguments {
            let text = self.translate(&argument.to_string());
            live.push(serde_json::from_str(&text).expect("an argument"));
        }
        let socket =
            self.sockets.get(client).unwrap_or_else(|| panic!("{client} is not connected"));
        if wants_ack {
            return json!({"acknowledged": socket.call(event, &live).await});
        }
        socket.emit(event, &live).await;
        json!({})
    }

    /// Text as it has to be in this installation. Tokens that the API did not issue are made with
    /// the same claims, as many seconds from now as they were from then.
    pub(super) fn translate(&mut self, text: &str) -> String {
        let token = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_');
        for word in text.split(|c| !token(c)).filter(|word| word.starts_with("eyJ")) {
            if self.names.get(word).is_none() {
                let live = self.mint(claims(word).unwrap_or_else(|| panic!("{word} is no token")));
                self.names.learn(word, &live);
            }
        }
        self.names.translate(text)
    }

    /// A token like a recorded one.
    fn mint(&self, mut claims: Value) -> String {
        let now =
            std::time::SystemTime::UNIX_EPOCH.elapsed().expect("a clock after 1970").as_secs();
        for time in ["iat", "exp"] {
            if let Some(recorded) = claims[time].as_i64() {
                claims[time] = json!(recorded - RECORDED_AT + i64::try_from(now).expect("a time"));
            }
        }
        self.stack.sign_token(&claims)
    }

    /// Replaces the recording's right one-time password by the live one.
    fn put_otp(&self, body: &mut String) {
        let Ok(fields) = serde_json::from_str::<Value>(body) else { return };
        let digits: String = fields["phone"]
            .as_str()
            .unwrap_or_default()
            .chars()
            .filter(char::is_ascii_digit)
            .collect();
        let phone = if digits.len() == 10 { format!("+91{digits}") } else { format!("+{digits}") };
        if let Some(otp) = self.stack.providers.otp(&phone) {
            *body = body.replace(RECORDED_OTP, &format!(r#""otp":"{}""#, otp.code));
        }
    }

    /// Signs a webhook again whose signature was right; then the provider knows its payment, too.
    fn sign(&mut self, recorded: &str, body: &mut String) -> String {
        let right = recorded.len() == 64 && recorded.bytes().any(|b| b != b'0');
        if !right {
            return recorded.to_owned();
        }
        self.pay(body);
        let signature =
            sign(&self.stack.providers.config().razorpay_webhook_secret, body.as_bytes());
        if recorded.bytes().any(|b| b.is_ascii_uppercase()) {
            signature.to_uppercase()
        } else {
            signature
        }
    }

    /// Makes the payment that a webhook is about, unless it was made before or its order does not
    /// exist.
    pub(super) fn pay(&mut self, body: &mut String) {
        let webhook: Value = serde_json::from_str(body).unwrap_or_default();
        let payment = &webhook["payload"]["payment"];
        let payment = payment.get("entity").unwrap_or(payment);
        let (Some(id), Some(order)) = (payment["id"].as_str(), payment["order_id"].as_str()) else {
            return;
        };
        let ours = self.stack.providers.orders().iter().any(|known| known.id == order);
        let made = self.stack.providers.payments().iter().any(|known| known.id == id);
        if made || !ours {
            return;
        }
        let outcome = match payment["status"].as_str() {
            Some("authorized") => Outcome::Authorized,
            Some("failed") => Outcome::Failed,
            _ => Outcome::Captured,
        };
        let pay = Pay { amount: payment["amount"].as_i64(), ..Pay::order(order, outcome) };
        let paid =
            self.stack.providers.pay(&pay).unwrap_or_else(|refusal| panic!("{pay:?}: {refusal:?}"));
        self.names.learn(id, &paid.payment.id);
        *body = self.names.translate(body);
    }

    /// The tag of what is at this address now.
    async fn tag(&self, url: &str) -> Option<String> {
        let now = Response::to(self.http.get(url)).await;
        now.headers.get("etag").and_then(|tag| tag.to_str().ok()).map(str::to_owned)
    }
}
