//! What people do in a ticket shop, over REST.

use nexus_sandbox::providers::{Fault, Mail, Outcome, Pay, Payment, Target};
use reqwest::{Method, RequestBuilder};
use serde_json::{Value, json};

use crate::SOON;
use crate::client::Client;
use crate::response::Response;
use crate::stack::Stack;
use crate::waiting::{eventually, seen};

/// A password that obeys every rule.
pub const PASSWORD: &str = "Corr3ct-horse";

/// An event on sale.
#[derive(Debug, Clone)]
pub struct Event {
    /// `events.id`
    pub id: i64,
    /// Name and `event_seat_types.id`.
    pub seat_types: Vec<(String, i64)>,
    /// The share code that is sent to lock its seats.
    pub share_code: Option<String>,
}

impl Event {
    /// From the response that created it.
    pub fn from_created(data: &Value) -> Self {
        let id = |value: &Value| {
            value["id"].as_i64().unwrap_or_else(|| panic!("no id in {value} of {data}"))
        };
        let types =
            data["seat_types"].as_array().unwrap_or_else(|| panic!("no seat types in {data}"));
        let named =
            |value: &Value| (value["name"].as_str().unwrap_or_default().to_owned(), id(value));
        let seat_types = types.iter().map(named).collect();
        Self { id: id(&data["event"]), seat_types, share_code: None }
    }

    /// The id of the seat type of that name.
    pub fn seat_type(&self, name: &str) -> i64 {
        let found = self.seat_types.iter().find(|(known, _)| known == name);
        found.unwrap_or_else(|| panic!("no seat type {name} in {self:?}")).1
    }
}

/// A booking as its buyer knows it.
#[derive(Debug, Clone)]
pub struct Booking {
    /// `bookings.id`
    pub id: i64,
    /// `BKG-…`
    pub reference: String,
    /// Rupees.
    pub total: f64,
}

impl Booking {
    /// From the response that created it.
    pub fn from_created(data: &Value) -> Self {
        let booking = &data["booking"];
        Self {
            id: booking["id"].as_i64().unwrap_or_else(|| panic!("no booking id in {data}")),
            reference: booking["booking_reference"].as_str().unwrap_or_default().to_owned(),
            total: booking["total_amount"].as_f64().unwrap_or_else(|| panic!("no total in {data}")),
        }
    }
}

/// A request that creates an event with these seat types: name, price, quantity.
pub fn event_request(seat_types: &[(&str, f64, u32)]) -> Value {
    let seat_types = seat_types
        .iter()
        .map(|(name, price, quantity)| json!({"name": name, "price": price, "quantity": quantity}));
    json!({
        "name": "Monsoon Jazz Night",
        "description": "Two sets under one roof.",
        "start_date": "2099-05-01T18:00:00.000Z",
        "end_date": "2099-05-01T22:00:00.000Z",
        "location": "Mumbai",
        "seat_types": seat_types.collect::<Vec<_>>(),
    })
}

/// The masked reference of a booking, which clients other than its buyer and organiser hear.
pub const MASKED_REFERENCE: &str = "BKG-****-****-******-****";

impl Stack {
    /// A new user without a password, made in the database, which is quicker than registering; has
    /// a proved e-mail address and no phone.
    pub async fn user(&self) -> Client {
        self.users(1).await.remove(0)
    }

    /// Gives a user a phone number, which the user proves with a code.
    pub async fn set_phone(&self, user: &Client, phone: &str) {
        let set = format!(
            "UPDATE users SET phone = '{phone}', phone_verified_at = now() WHERE id = {}",
            user.id
        );
        self.execute(&set).await;
    }

    /// So many new users.
    pub async fn users(&self, count: usize) -> Vec<Client> {
        let insert = "INSERT INTO users (name, email, email_verified_at)
                      SELECT 'User ' || n, 'user-' || gen_random_uuid() || '@nexus.example', now() FROM generate_series(1, $1) n RETURNING id";
        let ids = sqlx::query_scalar::<_, i32>(insert)
            .bind(count as i32)
            .fetch_all(&self.db)
            .await
            .expect("users");
        ids.into_iter()
            .map(|id| self.anonymous().with_token(id.into(), self.mint_token(id.into())))
            .collect()
    }

    /// A new admin, who can log in to the operators' pages.
    pub async fn admin(&self) -> Client {
        let account = json!({"email": "ops@nexus.example", "password": PASSWORD});
        let data = self.anonymous().post("/auth/register", account).await.data();
        let admin = self.anonymous().logged_in(&data);
        self.api_cli_ok(&["set-role", &admin.id.to_string(), "admin"]).await;
        self.operator(&admin).await
    }

    /// Makes the e-mail addresses of all accounts their own, as if each had given a code.
    pub async fn prove_emails(&self) {
        self.execute("UPDATE users SET email_verified_at = now() WHERE email IS NOT NULL").await;
    }

    /// A user's own e-mail address.
    pub async fn address(&self, user: &Client) -> String {
        let row = self.row(&format!("SELECT email FROM users WHERE id = {}", user.id)).await;
        row["email"].as_str().expect("an address").to_owned()
    }

    /// Has a job run now that runs by the clock.
    pub async fn run_now(&self, queue: &str, kind: &str) {
        let job = format!(
            "INSERT INTO jobs (id, queue, kind, payload, max_attempts, unique_key)
             VALUES (gen_random_uuid(), '{queue}', '{kind}', '{{}}', 20, '{kind}') ON CONFLICT DO NOTHING"
        );
        self.execute(&job).await;
    }

    /// The newest mail to that address whose subject has these words.
    pub async fn mailed(&self, to: &str, subject: &str) -> Mail {
        eventually(&format!("a mail about {subject} to {to}"), SOON, async || {
            let mails = self.providers.mail();
            let found = |mail: &&Mail| mail.to == [to] && mail.subject.contains(subject);
            mails.iter().rev().find(found).cloned().ok_or_else(|| format!("{} mails", mails.len()))
        })
        .await
    }

    /// The code in the newest mail that proves that address.
    pub async fn mailed_code(&self, to: &str) -> String {
        let mail = self.mailed(to, "verify your e-mail address").await;
        let code = mail.text.split("logged in: ").nth(1).and_then(|rest| rest.split('\n').next());
        code.unwrap_or_else(|| panic!("no code in {}", mail.text)).trim().to_owned()
    }

    /// Has a one-time password sent to a phone, as a stranger; returns it.
    pub async fn otp(&self, phone: &str) -> String {
        self.otp_at(&self.anonymous(), phone).await
    }

    /// The same as `client`.
    pub async fn otp_at(&self, client: &Client, phone: &str) -> String {
        client.post("/auth/send-otp", json!({"phone": phone})).await.ok();
        eventually("the code is sent", SOON, async || {
            let sent = self.providers.otp(phone).filter(|otp| otp.status == "pending");
            sent.ok_or_else(|| "none".to_owned())
        })
        .await
        .code
    }

    /// Creates an event for `organiser` with these seat types: name, price, quantity.
    pub async fn event(&self, organiser: &Client, seat_types: &[(&str, f64, u32)]) -> Event {
        Event::from_created(
            &organiser.post("/events/create", event_request(seat_types)).await.data(),
        )
    }

    /// A new event with 50 seats of VIP at 100 rupees, and a buyer.
    pub async fn on_sale(&self) -> (Event, Client) {
        let organiser = self.user().await;
        (self.event(&organiser, &[("VIP", 100.0, 50)]).await, self.user().await)
    }

    /// A buyer who has booked seats A1 and A2 of a new event and has an order to pay.
    pub async fn booked(&self) -> (Client, Event, Booking, String) {
        let (event, buyer) = self.on_sale().await;
        let booking = buyer.lock_and_book(&event, &[("VIP", "A1"), ("VIP", "A2")]).await;
        let order = buyer.order(&booking).await;
        (buyer, event, booking, order)
    }

    /// The same, but every webhook is lost.
    pub async fn booked_without_webhooks(&self) -> (Client, Event, Booking, String) {
        self.providers.fault(Target::Webhook, None, Fault::lost());
        self.booked().await
    }

    /// A buyer who has bought seat A1 of a new event.
    pub async fn sold(&self) -> (Client, Event, Booking, Payment) {
        let (event, buyer) = self.on_sale().await;
        let (booking, payment) = self.sell(&buyer, &event, &[("VIP", "A1")]).await;
        (buyer, event, booking, payment)
    }

    /// Lets `buyer` pay an order at the provider; the webhooks are on their way when this returns.
    pub fn pay(&self, order_id: &str, outcome: Outcome) -> Payment {
        self.pay_with(&Pay::order(order_id, outcome))
    }

    /// Lets `buyer` pay as the request says.
    pub fn pay_with(&self, pay: &Pay) -> Payment {
        self.providers
            .pay(pay)
            .unwrap_or_else(|refusal| panic!("{pay:?} was refused: {refusal:?}"))
            .payment
    }

    /// Locks, books, orders and pays; returns when the booking is confirmed.
    pub async fn sell(
        &self,
        buyer: &Client,
        event: &Event,
        seats: &[(&str, &str)],
    ) -> (Booking, Payment) {
        let booking = buyer.lock_and_book(event, seats).await;
        let payment = self.pay(&buyer.order(&booking).await, Outcome::Captured);
        self.until_booking(buyer, &booking, "confirmed", "completed").await;
        (booking, payment)
    }

    /// Waits until the provider has been asked to return a payment, the whole of it.
    pub async fn until_refund(&self, payment: &Payment) {
        eventually(&format!("{} goes back", payment.id), SOON, async || {
            let refunds = self.providers.refunds();
            let found = refunds
                .iter()
                .any(|refund| refund.payment_id == payment.id && refund.amount == payment.amount);
            seen(found, refunds).map(drop)
        })
        .await;
    }

    /// Waits until the booking has these states; returns `GET /bookings/:id`.
    pub async fn until_booking(
        &self,
        buyer: &Client,
        booking: &Booking,
        status: &str,
        payment_status: &str,
    ) -> Value {
        let what = format!("booking {} is {status}, its payment {payment_status}", booking.id);
        eventually(&what, SOON, async || {
            let data = buyer.get(&format!("/bookings/{}", booking.id)).await.data();
            let state = (&data["booking"]["status"], &data["booking"]["payment_status"]);
            seen(state == (&json!(status), &json!(payment_status)), &data).cloned()
        })
        .await
    }

    /// Waits until a booking has `count` tickets; returns them.
    pub async fn until_tickets(
        &self,
        buyer: &Client,
        booking: &Booking,
        count: usize,
    ) -> Vec<Value> {
        let what = format!("booking {} has {count} tickets", booking.id);
        eventually(&what, SOON, async || {
            let data = buyer.get(&format!("/bookings/{}/tickets", booking.id)).await.data();
            let tickets = data["tickets"].as_array().cloned().unwrap_or_default();
            seen(data["status"] == "ready" && tickets.len() == count, data).map(|_| tickets)
        })
        .await
    }

    /// What is left of a seat type, as the database counts.
    pub async fn available(&self, seat_type: i64) -> i64 {
        let query =
            format!("SELECT available_quantity AS n FROM event_seat_types WHERE id = {seat_type}");
        self.row(&query).await["n"].as_i64().expect("a quantity")
    }
}

impl Client {
    /// Checks that neither token of a session is good for anything.
    pub async fn has_ended(&self) {
        self.get("/auth/me").await.failed(401, "Token has been revoked");
        let refresh = json!({"refreshToken": self.refresh_token});
        let refused = self.post("/auth/refresh-token", refresh).await;
        refused.failed(401, "Refresh token has been revoked");
    }

    /// Tries to lock a seat.
    pub async fn lock(&self, event: &Event, seat_type: &str, label: &str) -> Response {
        let path = format!("/seats/{}/seat-types/{}/lock", event.id, event.seat_type(seat_type));
        let mut request = json!({"seat_label": label});
        if let Some(code) = &event.share_code {
            request["share_code"] = json!(code);
        }
        self.post(&path, request).await
    }

    /// Tries to book locked seats: seat type and label.
    pub async fn book(&self, event: &Event, seats: &[(&str, &str)]) -> Response {
        Response::to(self.booking(event, seats)).await
    }

    /// Tries the same with a key, and so in a transaction of its own.
    pub async fn book_alone(&self, event: &Event, seats: &[(&str, &str)]) -> Response {
        let (_, key) = seats[0];
        Response::to(self.booking(event, seats).header("idempotency-key", key)).await
    }

    fn booking(&self, event: &Event, seats: &[(&str, &str)]) -> RequestBuilder {
        let details = seats.iter().map(
            |(seat_type, label)| json!({"seat_label": label, "seat_type_id": event.seat_type(seat_type)}),
        );
        let request = json!({"event_id": event.id, "seat_details": details.collect::<Vec<_>>()});
        self.request(Method::POST, "/bookings/create").json(&request)
    }

    /// Locks and books.
    pub async fn lock_and_book(&self, event: &Event, seats: &[(&str, &str)]) -> Booking {
        for (seat_type, label) in seats {
            self.lock(event, seat_type, label).await.ok();
        }
        Booking::from_created(&self.book(event, seats).await.data())
    }

    /// Tries to create a payment order.
    pub async fn try_order(&self, booking: &Booking) -> Response {
        let request = json!({"booking_id": booking.id, "amount": booking.total, "currency": "INR"});
        self.post("/payments/create-order", request).await
    }

    /// Creates a payment order; returns its id.
    pub async fn order(&self, booking: &Booking) -> String {
        let data = self.try_order(booking).await.data();
        data["order_id"].as_str().unwrap_or_else(|| panic!("no order_id in {data}")).to_owned()
    }

    /// Cancels a booking.
    pub async fn cancel(&self, booking: &Booking) -> Response {
        self.post(&format!("/bookings/{}/cancel", booking.id), json!({"reason": "changed my mind"}))
            .await
    }
}
