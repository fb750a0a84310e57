//! The door: who may let people in, and that each ticket lets one person in.

mod access;
mod check_ins;
mod counts;
mod forgery;
mod gates;
mod offline;
mod search;
mod ticket_keys;

use nexus_tests::{Booking, Client, Event, Response, Stack, Value, json, qr};

/// An event whose tickets are sold, and its people.
struct Sold {
    stack: Stack,
    organiser: Client,
    event: Event,
    buyer: Client,
    booking: Booking,
    /// What is in the codes, in the order of the seats.
    texts: Vec<String>,
    tickets: Vec<Value>,
}

impl Sold {
    /// These seats of an event with the types VIP and Balcony.
    async fn seats(seats: &[(&str, &str)]) -> Self {
        let stack = Stack::builder().workers(["payments", "bookings"]);
        Self::on(stack.env("UNPAID_SEATS_PER_ACCOUNT", 100).start().await, seats).await
    }

    async fn on(stack: Stack, seats: &[(&str, &str)]) -> Self {
        let (organiser, buyer) = (stack.user().await, stack.user().await);
        let event = stack.event(&organiser, &[("VIP", 100.0, 50), ("Balcony", 50.0, 50)]).await;
        let (booking, _) = stack.sell(&buyer, &event, seats).await;
        let tickets = stack.until_tickets(&buyer, &booking, seats.len()).await;
        let texts = tickets.iter().map(qr::text).collect();
        Self { stack, organiser, event, buyer, booking, texts, tickets }
    }

    /// A path below the event.
    fn path(&self, rest: &str) -> String {
        format!("/events/{}/{rest}", self.event.id)
    }

    /// Scans a text.
    async fn scan(&self, who: &Client, text: &str) -> Value {
        who.post(&self.path("check-ins"), json!({"text": text})).await.data()
    }

    /// Names a gate.
    async fn gate(&self, name: &str, seat_types: &[&str]) -> i64 {
        let types: Vec<i64> = seat_types.iter().map(|name| self.event.seat_type(name)).collect();
        let gate = json!({"name": name, "seat_type_ids": types});
        let created = self.organiser.post(&self.path("gates"), gate).await.data();
        created["gate"]["id"].as_i64().expect("an id")
    }

    /// A device with a door key of its own, at that gate if there is one.
    async fn scanner(&self, gate: Option<i64>) -> (Client, Value) {
        let request = json!({"name": "a phone", "gate_id": gate});
        let key = self.organiser.post(&self.path("door-keys"), request).await.data();
        let token = key["token"].as_str().expect("a token").to_owned();
        (self.stack.anonymous().with_token(0, token), key)
    }

    /// How the buyer sees the status of their tickets.
    async fn statuses(&self) -> Vec<String> {
        let path = format!("/bookings/{}/tickets", self.booking.id);
        let data = self.buyer.get(&path).await.data();
        let tickets = data["tickets"].as_array().expect("tickets");
        tickets.iter().map(|one| one["status"].as_str().unwrap_or_default().to_owned()).collect()
    }
}

/// The verdict of a scan and its reason.
fn verdict(checked: &Value) -> (&str, &str) {
    let word = |field: &str| checked[field].as_str().unwrap_or_default();
    (word("result"), word("reason"))
}

/// A new id for a scan.
fn scan_id() -> String {
    uuid::Uuid::now_v7().to_string()
}

/// The error code of a refusal.
fn code(response: &Response) -> (u16, &str) {
    (response.status, response.body["error"]["code"].as_str().unwrap_or_default())
}
