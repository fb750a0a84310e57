//! What the recording did between its exchanges, so that the next ones find what they need:
//! bookings that it made for them, time that passed.
//!
//! Where Nexus refuses what the Node service did (an event with a negative price, a seat beyond the
//! limit), the exchange shows the refusal, and something legal with the same id takes its place
//! here, so that the exchanges after it still mean what they meant. Arrangements are numbered by
//! the exchange that they precede.

use nexus_sandbox::providers::Outcome;
use serde_json::json;

use super::driver::Replay;
use super::recording::Exchange;
use crate::SOON;
use crate::waiting::{eventually, seen};

/// Users, by their ids in the recording.
const ORGANIZER: i64 = 1;
pub(super) const BUYER: i64 = 2;

/// The event and the seat type that most bookings are of.
const EVENT: i64 = 1;
const STD: i64 = 2;
/// The event that was made over a socket, and its seat type.
const GIG: i64 = 19;
const GIG_SEATS: i64 = 20;
/// Rows without a counterpart in the recording have ids from here on.
const EXTRA: i64 = 901;

impl Replay {
    pub(super) async fn arrange(&mut self, before: &Exchange, recording: &[Exchange]) {
        match before.seq {
            // The other of the two sessions, whose token was the same.
            67 => {
                let (recorded, live) =
                    (before.bearer().to_owned(), self.tokens["second twin"].clone());
                self.names.learn(&recorded, &live);
            }
            // Of the provider's five checks, a caller has two.
            118 => {
                for _ in 0..2 {
                    let wrong = json!({"phone": "9000000002", "otp": "0000"});
                    let guessed = self.owner_of_phones.post("/auth/verify-otp", wrong).await;
                    guessed.failed(401, "Invalid OTP. Please try again.");
                }
            }
            // The exchange before has used up the password: Nexus accepts its spelling of the
            // phone.
            134 => {
                self.stack
                    .anonymous()
                    .post("/auth/send-otp", json!({"phone": "9876543210"}))
                    .await
                    .ok();
                self.until_idle().await;
            }
            141 => {
                let logins =
                    [("organizer", "login: with the new password"), ("buyer", "login: buyer")];
                for (name, login) in logins {
                    let login =
                        recording.iter().find(|exchange| exchange.name == login).expect("a login");
                    let token = login.data()["accessToken"]
                        .as_str()
                        .and_then(|token| self.names.get(token));
                    self.connect(name, json!({"auth": {"token": token}})).await;
                }
                self.connect("anonymous", json!({})).await;
            }

            // The request said otherwise.
            142 => {
                self.sql("UPDATE events SET status = 'published', is_public = true WHERE id = 1")
                    .await
            }
            149 => self.extra(&["events", "event_seat_types"]).await,
            151 => self.sql(&format!("DELETE FROM events WHERE id >= {EXTRA}")).await,
            154 => self.event(8, "Neg", "2031-05-01T22:00:00Z", 6, 0).await,
            156 => self.event(9, "NaN", "2031-05-01T22:00:00Z", 7, 5).await,
            157 => self.event(10, "Backwards", "2031-05-01T18:00:00Z", 8, 50).await,
            159 => self.event(12, "NoZone", "2031-05-01T18:00:00Z", 10, 50).await,
            223 => self.seat_type(17, EVENT, "NaNprice", 1, 6).await,

            269 => {
                self.limit(17, 2).await;
                self.lock(BUYER, 17, 18, "A2", 8).await;
                self.limit(17, 1).await;
            }
            281 => self.extra(&["tickets"]).await,
            283 => {
                self.limit(EVENT, 1000).await;
                for (label, id) in [("V2", 11), ("V3", 12), ("V8", 17)] {
                    self.lock(BUYER, EVENT, 1, label, id).await;
                }
            }
            286 => {
                for (label, id) in [("V4", 13), ("V5", 14), ("V6", 15), ("V7", 16)] {
                    self.lock(BUYER, EVENT, 1, label, id).await;
                }
                self.book(6, EVENT, 1, &["V4", "V5", "V6", "V7"]).await;
            }
            294 => self.extra(&["bookings"]).await,
            296 => self.sql(&format!("DELETE FROM bookings WHERE id >= {EXTRA}")).await,
            319 => {
                for (booking, seat, label) in
                    [(8, 20, "C1"), (9, 21, "C2"), (10, 22, "C3"), (11, 23, "C4")]
                {
                    self.lock_and_book(booking, seat, label).await;
                }
            }
            321 => {
                self.sql("DELETE FROM bookings WHERE id = 8").await;
                self.lock_and_book(8, 20, "C1").await;
            }
            327 => self.extra(&["seats"]).await,

            // The second request for an order has returned the first one.
            362 => self.same_order("order_xQvcFJLGgs9ruz", "order_pqI1FCarbm4sSl"),
            371 => self.next_id("tickets", 1).await,
            387 => {
                let job = "SELECT id FROM jobs WHERE kind = 'finalise_booking' AND payload ->> 'booking_id' = '4'";
                let job = self.stack.row(job).await;
                let path = format!("ticket-status/{}", job["id"].as_str().expect("an id"));
                self.names.learn("ticket-status/1", &path);
            }
            391 => self.booking_with_order(12, 24, "P1", "order_VCNi8zpHvNPejh").await,
            394 => self.booking_with_order(13, 25, "P2", "order_plEd1ORpau3g5t").await,
            // The bookings that are confirmed now were not, and had no tickets.
            397 => self.next_id("tickets", EXTRA + 1).await,
            400 => self.same_order("order_plEd1ORpau3g5t", "order_KId0hqg6DrAdYj"),
            401 => self.booking_with_order(14, 26, "P3", "order_bxu83hD4kvsQBM").await,
            // The seat that the cancellation freed is taken again.
            402 => self.next_id("seats", 26).await,
            404 => {
                self.next_id("tickets", 3).await;
                self.booking_with_order(15, 27, "P4", "order_twice").await;
            }
            405 => self.order(7, "order_YEOpceDtTgJwVb").await,
            407 => {
                self.booking_with_order(16, 28, "T1", "order_kMtfG4f23FDdqm").await;
                self.let_pass(16, 16).await;
                self.sweep().await;
                self.all_hear("seat_unlocked").await;
            }
            408 => self.next_id("seats", 28).await,
            // The Node service's locks have run out after that time, its bookings have not.
            411 => {
                self.booking_with_order(17, 29, "T2", "order_TJ6JWDvFN0hrEP").await;
                self.lock(BUYER, EVENT, STD, "T3", 30).await;
                self.lock(BUYER, EVENT, STD, "T4", 31).await;
                self.book(18, EVENT, STD, &["T3", "T4"]).await;
                self.order(18, "order_CCDavcOg4GQ6V8").await;
                self.booking_with_order(19, 32, "T5", "order_tANBDNbIa6wr8n").await;
                for booking in [17, 18, 19] {
                    self.let_pass(booking, 11).await;
                }
            }
            420 => {
                self.paused.clear();
                self.stack.worker("notifications").start();
                self.until_idle().await;
            }

            // The buyer pays for booking 21, which Nexus confirms on no client's word.
            474 => {
                self.order(21, "order_paid").await;
                self.pay_order("order_paid").await;
                for broadcast in ["booking_confirmed", "seat_booked"] {
                    self.all_hear(broadcast).await;
                }
                self.hears("buyer", "tickets:ready").await;
                self.lock(BUYER, GIG, GIG_SEATS, "K3", 37).await;
                self.book(22, GIG, GIG_SEATS, &["K3"]).await;
                // Only a payment that the provider knows confirms a booking: this one, whose
                // webhook comes next.
                self.order(22, "order_eAd5gZwVZb3XsR").await;
                let order = self.names.get("order_eAd5gZwVZb3XsR").expect("an order").to_owned();
                let payment = self.stack.pay(&order, Outcome::Captured);
                self.names.learn("zero-rupees", &payment.id);
                self.names.learn("pay_real", &payment.id);
            }
            503 => {
                let token = self.translate(before.bearer());
                self.tokens.insert("leaver", token.clone());
                self.connect("probe", json!({"auth": {"token": token}})).await;
            }
            507 => {
                self.sockets.remove("probe");
                self.heard.remove("probe");
            }
            516 => self.next_id("seats", EXTRA + 1).await,
            517 => self.lock_and_book(25, 42, "W1").await,
            518 => self.lock_and_book(26, 43, "W2").await,
            519 => self.booking_with_order(27, 44, "W3", "order_VRcRz7kUs3JlCC").await,
            520 => self.limit(EVENT, 3).await,
            _ => {}
        }
    }

    async fn sql(&self, statement: &str) {
        assert!(self.stack.execute(statement).await > 0, "nothing to do for {statement}");
    }

    /// Gives the next row an id that no recorded row has.
    async fn extra(&self, tables: &[&str]) {
        for table in tables {
            self.next_id(table, EXTRA).await;
        }
    }

    async fn event(&self, id: i64, name: &str, end: &str, seat_type: i64, quantity: i64) {
        self.next_id("events", id).await;
        self.sql(&format!(
            "INSERT INTO events (name, description, start_date, end_date, location, organizer_id, status, is_public, max_tickets_per_user)
             VALUES ('{name}', 'Live show', '2031-05-01T18:00:00Z', '{end}', 'Mumbai', {ORGANIZER}, 'published', true, 10)"
        ))
        .await;
        self.seat_type(seat_type, id, "A", quantity, 1).await;
    }

    async fn seat_type(&self, id: i64, event: i64, name: &str, quantity: i64, order: i64) {
        self.next_id("event_seat_types", id).await;
        self.sql(&format!(
            "INSERT INTO event_seat_types (event_id, name, price, quantity, available_quantity, display_order)
             VALUES ({event}, '{name}', 5, {quantity}, {quantity}, {order})"
        ))
        .await;
    }

    async fn limit(&self, event: i64, most: i64) {
        self.sql(&format!("UPDATE events SET max_tickets_per_user = {most} WHERE id = {event}"))
            .await;
    }

    /// Locks a seat, whose row gets this id.
    async fn lock(&mut self, user: i64, event: i64, seat_type: i64, label: &str, id: i64) {
        self.next_id("seats", id).await;
        let path = format!("/seats/{event}/seat-types/{seat_type}/lock");
        let lock = self.user(user).post(&path, json!({"seat_label": label})).await.data();
        assert_eq!(lock["lock"]["id"], id);
        self.all_hear("seat_locked").await;
    }

    /// The buyer books seats that are locked.
    async fn book(&mut self, id: i64, event: i64, seat_type: i64, labels: &[&str]) {
        self.next_id("bookings", id).await;
        let details =
            labels.iter().map(|label| json!({"seat_label": label, "seat_type_id": seat_type}));
        let request = json!({"event_id": event, "seat_details": details.collect::<Vec<_>>()});
        let booked = self.user(BUYER).post("/bookings/create", request).await.data();
        assert_eq!(booked["booking"]["id"], id);
        self.all_hear("booking_created").await;
    }

    /// One seat of the usual type.
    async fn lock_and_book(&mut self, booking: i64, seat: i64, label: &str) {
        self.lock(BUYER, EVENT, STD, label, seat).await;
        self.book(booking, EVENT, STD, &[label]).await;
    }

    async fn booking_with_order(&mut self, booking: i64, seat: i64, label: &str, order: &str) {
        self.lock_and_book(booking, seat, label).await;
        self.order(booking, order).await;
    }

    /// The buyer asks for an order; the recording's was called so.
    async fn order(&mut self, booking: i64, recorded: &str) {
        let total = self
            .stack
            .row(&format!("SELECT total_amount AS n FROM bookings WHERE id = {booking}"))
            .await;
        let request = json!({"booking_id": booking, "amount": total["n"]});
        let order = self.user(BUYER).post("/payments/create-order", request).await.data();
        self.names.learn(recorded, order["order_id"].as_str().expect("an order"));
    }

    fn same_order(&mut self, known: &str, recorded: &str) {
        let order = self.names.get(known).expect("an order").to_owned();
        self.names.learn(recorded, &order);
    }

    /// The buyer pays, and the provider says so.
    async fn pay_order(&mut self, recorded: &str) {
        let order = self.names.get(recorded).expect("an order").to_owned();
        self.stack.pay(&order, Outcome::Captured);
        let webhooks = self.stack.providers.webhooks();
        let broadcast = webhooks
            .iter()
            .rfind(|webhook| webhook.event == "payment.captured")
            .expect("a webhook");
        self.stack.providers.replay(&broadcast.event_id, 1).await.expect("a delivery");
        self.until_idle().await;
    }

    /// The deadline of a booking and its seats comes so many minutes nearer.
    async fn let_pass(&self, booking: i64, minutes: i64) {
        let nearer = format!("expires_at = expires_at - interval '{minutes} minutes'");
        let seats = format!("SELECT seat_id FROM booking_seats WHERE booking_id = {booking}");
        self.sql(&format!("UPDATE seats SET {nearer} WHERE id IN ({seats})")).await;
        self.sql(&format!("UPDATE bookings SET {nearer} WHERE id = {booking}")).await;
    }

    /// The expiry worker looks for what has run out, as it does by itself once a minute.
    pub(super) async fn sweep(&self) {
        const RESTING: &str = "kind = 'sweep_expired' AND state = 'pending'";
        eventually("the sweep begins", SOON, async || {
            let begun = self
                .stack
                .execute(&format!("UPDATE jobs SET available_at = now() WHERE {RESTING}"))
                .await;
            seen(begun == 1, begun).map(drop)
        })
        .await;
        self.stack.execute("SELECT pg_notify('nexus_jobs', 'expiry')").await;
        eventually("the sweep is over", SOON, async || {
            let over =
                self.stack.count(&format!("jobs WHERE {RESTING} AND available_at > now()")).await;
            seen(over == 1, over).map(drop)
        })
        .await;
    }
}
