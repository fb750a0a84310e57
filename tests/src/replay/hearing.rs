//! What the other clients hear of an exchange, and proof that it is all.
//!
//! Nothing is waited for by time. A request's own broadcasts are on their way when it is answered;
//! those of jobs, when no job is left. Then an acknowledged command on each socket brings up
//! everything that was sent to it before. What is expected is waited for; a broadcast that comes
//! late in spite of that counts against the next exchange, or against the end of the replay: none
//! is dropped unseen. Updates of counts are the exception: they are coalesced, so that only the
//! newest has to come, and to be right.

use std::time::{Duration, Instant};

use futures_util::future::join_all;
use serde_json::{Map, Value, json};

use super::driver::Replay;
use super::recording::{Exchange, Request};
use crate::SOON;
use crate::waiting::eventually;

const LOOK: Duration = Duration::from_millis(5);

impl Replay {
    /// Adds what all clients have heard; waits for what is expected.
    pub async fn listen(&mut self, exchange: &Exchange, expected: &Value, live: &mut Value) {
        self.fence().await;
        let client = match &exchange.request {
            Request::Command { client, .. } => client.as_str(),
            _ => "",
        };
        let others =
            |outcome: &Value| outcome["broadcasts"].as_object().cloned().unwrap_or_default();
        let mut wanted = others(expected);
        if let Some(received) = expected.get("received") {
            wanted.insert(client.to_owned(), received.clone());
        }
        let counts = expected.get("counts").and_then(Value::as_object).cloned().unwrap_or_default();
        // A missing broadcast is a difference, which the comparison finds.
        let patience = Instant::now() + SOON;
        while !self.has_heard(&wanted, &counts) && Instant::now() < patience {
            tokio::time::sleep(LOOK).await;
            self.gather();
        }

        if expected.get("broadcasts").is_some() {
            let heard =
                others(expected).into_iter().map(|(name, _)| (name.clone(), self.take(&name)));
            live["broadcasts"] = heard.collect();
        }
        if expected.get("received").is_some() {
            live["received"] = self.take(client);
        }
        if expected.get("counts").is_some() {
            live["counts"] =
                counts.keys().map(|event| (event.clone(), self.counts_heard(event))).collect();
        }
    }

    fn take(&mut self, client: &str) -> Value {
        self.heard.get_mut(client).map(std::mem::take).unwrap_or_default().into()
    }

    fn has_heard(&self, wanted: &Map<String, Value>, counts: &Map<String, Value>) -> bool {
        let enough = wanted.iter().all(|(client, broadcast)| {
            self.heard.get(client).map_or(0, Vec::len) >= broadcast.as_array().map_or(0, Vec::len)
        });
        enough && counts.iter().all(|(event, wanted)| self.counts_heard(event) == *wanted)
    }

    /// The counts of an event as the clients know them, if they all know the same.
    fn counts_heard(&self, event: &str) -> Value {
        let event: i64 = event.parse().unwrap_or_default();
        let mut known: Vec<Value> = ["organizer", "buyer", "anonymous"]
            .iter()
            .map(|client| {
                self.counts.get(&((*client).to_owned(), event)).cloned().unwrap_or_default()
            })
            .map(|mut update| {
                // Any version will do here, but there has to be one.
                assert!(update.is_null() || update["version"].is_i64(), "no version in {update}");
                update["version"] = Value::Null;
                update
            })
            .collect();
        known.dedup();
        if known.len() == 1 { known.remove(0) } else { json!(known) }
    }

    /// Takes in what the sockets have received.
    pub(super) fn gather(&mut self) {
        for (client, socket) in &self.sockets {
            for broadcast in socket.take() {
                match broadcast["event"].as_str() {
                    // The response to the fence.
                    Some("leave_event_response") => {}
                    Some("event:seats-update") => {
                        let event = broadcast["args"][0]["event_id"].as_i64().unwrap_or_default();
                        self.counts.insert((client.clone(), event), broadcast["args"][0].clone());
                    }
                    _ => self
                        .heard
                        .entry(client.clone())
                        .or_default()
                        .push(without_version(broadcast)),
                }
            }
        }
    }

    /// Makes sure that what has been sent to the sockets has arrived.
    pub(super) async fn fence(&mut self) {
        // Leaving an event that was never joined changes nothing. A socket's commands are served
        // one after the other.
        let never_joined = [json!(424_242)];
        join_all(self.sockets.values().map(|socket| socket.call("leave_event", &never_joined)))
            .await;
        self.gather();
    }

    /// Waits until all clients have heard of something that belongs to no exchange, and forgets it.
    pub(super) async fn all_hear(&mut self, event: &str) {
        for client in self.sockets.keys().cloned().collect::<Vec<_>>() {
            self.hears(&client, event).await;
        }
    }

    /// Waits until one client has heard of such a thing, and forgets it.
    pub(super) async fn hears(&mut self, client: &str, event: &str) {
        eventually(&format!("{client} hears {event}"), SOON, async || {
            self.gather();
            let heard = self.heard.entry(client.to_owned()).or_default();
            let found = heard.iter().position(|broadcast| broadcast["event"] == event);
            found.map(|index| drop(heard.remove(index))).ok_or_else(|| format!("{heard:?}"))
        })
        .await;
    }
}

/// News of seats without the version of the counts, which the Node service did not have. Any
/// version will do here, but there has to be one.
fn without_version(mut broadcast: Value) -> Value {
    if matches!(broadcast["event"].as_str(), Some("seat_locked" | "seat_unlocked" | "seat_booked"))
    {
        let version =
            broadcast["args"][0].as_object_mut().and_then(|payload| payload.remove("version"));
        assert!(version.is_some_and(|version| version.is_i64()), "no version in {broadcast}");
    }
    broadcast
}
