//! Waiting rooms: who is drawn, who is called, and who may lock seats (docs/waiting-room.md).

mod bots;
mod calling;
mod draw;
mod locking;
mod operating;
mod returns;
mod visits;

use nexus_tests::{
    Client, Event, Response, SOON, Stack, Value, eventually, json, seen, stack::Builder,
};

/// An event with a waiting room.
struct Room {
    stack: Stack,
    organiser: Client,
    event: Event,
}

fn builder() -> Builder {
    Stack::builder().workers(["expiry"]).without_limits()
}

/// Long after every test.
const LATER: &str = "2099-01-01T00:00";

impl Room {
    /// A room that nobody has opened yet, with these limits. Unless they say so, it needs no phone.
    async fn announced(seats: u32, limits: &[&str]) -> Self {
        Self::announced_in(builder().start().await, seats, limits).await
    }

    async fn announced_in(stack: Stack, seats: u32, limits: &[&str]) -> Self {
        let organiser = stack.user().await;
        let event = stack.event(&organiser, &[("VIP", 0.0, seats)]).await;
        // The event is to be over after the opening that is announced.
        let over = format!("UPDATE events SET end_date = '2100-01-01' WHERE id = {}", event.id);
        stack.execute(&over).await;
        let room = Room { stack, organiser, event };
        let phone: &[&str] =
            if limits.contains(&"--needs-phone") { &[] } else { &["--needs-phone", "false"] };
        room.cli("announce", &[&["--opens-at", LATER], phone, limits].concat()).await;
        room.until("announced").await;
        room
    }

    /// A room that is open.
    async fn open(seats: u32, limits: &[&str]) -> Self {
        let room = Self::announced(seats, limits).await;
        room.draw().await;
        room
    }

    /// A room in which nobody is called.
    async fn paused() -> Self {
        let room = Self::open(1, &[]).await;
        room.cli("pause", &[]).await;
        room.until("paused").await;
        room
    }

    /// Draws now.
    async fn draw(&self) {
        self.cli("open-now", &[]).await;
        self.until("open").await;
    }

    async fn cli(&self, command: &str, more: &[&str]) -> String {
        let event = self.event.id.to_string();
        let words = [&["waiting-room", command, &event], more].concat();
        self.stack.api_cli_ok(&words).await
    }

    fn path(&self) -> String {
        format!("/events/{}/queue", self.event.id)
    }

    /// Until a process of the API knows that.
    async fn until(&self, state: &str) -> Value {
        let client = self.stack.anonymous();
        eventually(&format!("a room that is {state}"), SOON, async || {
            let answer = client.get(&self.path()).await;
            let is_so = answer.status == 200 && answer.body["data"]["state"] == state;
            seen(is_so, answer.body["data"].clone())
        })
        .await
    }

    async fn join(&self, visitor: &Client) -> Value {
        visitor.post(&self.path(), json!({})).await.data()
    }

    async fn leave(&self, visitor: &Client) -> Response {
        visitor.delete(&self.path()).await
    }

    /// Where a visitor is.
    async fn you(&self, visitor: &Client) -> Value {
        visitor.get(&self.path()).await.data()["you"].clone()
    }

    async fn until_called(&self, visitor: &Client) -> Value {
        eventually("a call", SOON, async || {
            let you = self.you(visitor).await;
            seen(you["state"] == "called", you)
        })
        .await
    }

    /// Positions by user.
    async fn positions(&self) -> Vec<(i64, Option<i64>)> {
        let rows = "SELECT user_id, position FROM waiting_room_visitors ORDER BY position, user_id";
        let rows = self.stack.rows(rows).await;
        rows.iter()
            .map(|row| (row["user_id"].as_i64().unwrap(), row["position"].as_i64()))
            .collect()
    }
}
