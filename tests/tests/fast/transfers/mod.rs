//! Whose a ticket is, and who comes in with it: naming holders, and giving tickets to others.

mod afterwards;
mod completion;
mod holders;
mod offers;

use nexus_tests::{Booking, Client, Event, SOON, Stack, Value, eventually, json, qr, seen};

/// An event with a sale whose tickets are made, and somebody to give them to.
struct Sold {
    stack: Stack,
    organiser: Client,
    event: Event,
    buyer: Client,
    booking: Booking,
    tickets: Vec<Value>,
    friend: Client,
    friends_address: String,
}

impl Sold {
    async fn seats(labels: &[&str]) -> Self {
        Self::on(Stack::start().await, labels).await
    }

    async fn on(stack: Stack, labels: &[&str]) -> Self {
        let mut users = stack.users(3).await.into_iter();
        let mut user = || users.next().expect("a user");
        let (organiser, buyer, friend) = (user(), user(), user());
        let event = stack.event(&organiser, &[("VIP", 100.0, 50)]).await;
        let seats: Vec<_> = labels.iter().map(|label| ("VIP", *label)).collect();
        let (booking, _) = stack.sell(&buyer, &event, &seats).await;
        let tickets = stack.until_tickets(&buyer, &booking, labels.len()).await;
        let friends_address = stack.address(&friend).await;
        Self { stack, organiser, event, buyer, booking, tickets, friend, friends_address }
    }

    /// Whoever has a ticket offers it to an address; returns the transfer's id.
    async fn offer(&self, from: &Client, ticket: &Value, to: &str) -> Value {
        let path = format!("/tickets/{}/transfers", ticket["id"]);
        from.post(&path, json!({"email": to})).await.data()["transfer_id"].take()
    }

    /// The buyer gives a ticket to the friend, who has it when this returns.
    async fn give(&self, ticket: &Value) -> Value {
        let transfer = self.offer(&self.buyer, ticket, &self.friends_address).await;
        self.friend.post(&format!("/transfers/{transfer}/accept"), json!({})).await.ok();
        self.until_status(&self.friend, &transfer, "completed").await;
        transfer
    }

    async fn until_status(&self, of: &Client, transfer: &Value, status: &str) {
        eventually(&format!("the transfer is {status}"), SOON, async || {
            let transfers = of.get("/transfers").await.data();
            let all = transfers.as_array().expect("transfers");
            let found = all.iter().find(|one| one["id"] == *transfer);
            seen(found.is_some_and(|one| one["status"] == status), transfers)
        })
        .await;
    }

    /// The tickets of the booking that are somebody's, as they see them.
    async fn tickets_of(&self, who: &Client) -> Vec<Value> {
        let path = format!("/bookings/{}/tickets", self.booking.id);
        who.get(&path).await.data()["tickets"].as_array().expect("tickets").clone()
    }

    /// The event begins.
    async fn begins(&self) {
        let begun = "UPDATE events SET start_date = now() - interval '1 minute', end_date = now() + interval '1 hour'";
        self.stack.execute(begun).await;
    }

    /// Scans a code at the door; the verdict.
    async fn scan(&self, ticket: &Value) -> Value {
        let path = format!("/events/{}/check-ins", self.event.id);
        self.organiser.post(&path, json!({"text": qr::text(ticket)})).await.data()
    }
}
