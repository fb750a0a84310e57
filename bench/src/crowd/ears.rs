//! What a whole crowd has heard.

use std::{collections::HashMap, rc::Rc, time::Duration};

use serde_json::{Value, json};

use super::wire;
use crate::{hub::now, samples::percentile};

/// What all clients of a process tell of what they receive.
#[derive(Debug, Default)]
pub struct Ears {
    counts: HashMap<String, Count>,
    armed: Armed,
    exchange: Option<Exchange>,
}

/// What one client remembers of what it has heard.
#[derive(Debug, Default)]
pub struct Memory {
    /// When it was armed for what it has heard: [`Armed::turn`].
    turn: u32,
    /// When it sent its last packet of an exchange, in microseconds since 1970.
    pub asked: Option<u64>,
}

#[derive(Debug, Default)]
struct Count {
    frames: u64,
    bytes: u64,
}

#[derive(Debug, Default)]
struct Armed {
    event: String,
    contains: String,
    turn: u32,
    /// When clients heard it, the earliest first.
    heard: Vec<u64>,
}

#[derive(Debug)]
struct Exchange {
    packet: Rc<str>,
    response: String,
    begun: u64,
    end: u64,
    /// How long each response took, in microseconds.
    took: Vec<u64>,
}

impl Ears {
    /// Waits anew for the first time that clients hear an event.
    pub fn arm(&mut self, event: String, contains: Option<String>) {
        let contains = contains.unwrap_or_default();
        self.armed = Armed { event, contains, turn: self.armed.turn + 1, heard: Vec::new() };
    }

    /// A client has received an event. Returns the packet that it is to send now.
    pub fn hear(&mut self, packet: &[u8], memory: &mut Memory) -> Option<Rc<str>> {
        let event = wire::event(packet)?;
        match self.counts.get_mut(event) {
            Some(count) => count.add(packet),
            None => self.counts.entry(event.to_owned()).or_default().add(packet),
        }
        if memory.turn != self.armed.turn && self.armed.is(event, packet) {
            memory.turn = self.armed.turn;
            self.armed.heard.push(now());
        }
        let exchange = self.exchange.as_mut().filter(|exchange| exchange.response == event)?;
        exchange.next(memory.asked.take()?)
    }

    /// How many have heard what they were armed for.
    pub fn heard(&self) -> usize {
        self.armed.heard.len()
    }

    /// The same, with the times.
    pub fn hearing(&self) -> Value {
        let heard = &self.armed.heard;
        let median = heard.get(heard.len() / 2);
        json!({ "clients": heard.len(), "first": heard.first(), "median": median, "last": heard.last() })
    }

    /// What was heard since this was asked last.
    pub fn counts(&mut self) -> Value {
        let counts = std::mem::take(&mut self.counts);
        let count = |count: Count| json!({ "frames": count.frames, "bytes": count.bytes });
        counts.into_iter().map(|(event, heard)| (event, count(heard))).collect()
    }

    /// Counts responses from now on.
    pub fn begin_exchange(&mut self, packet: Rc<str>, response: String, time: Duration) {
        let begun = now();
        let end = begun + time.as_micros() as u64;
        self.exchange = Some(Exchange { packet, response, begun, end, took: Vec::new() });
    }

    /// What the exchange has come to.
    pub fn end_exchange(&mut self) -> Value {
        let Some(exchange) = self.exchange.take() else { return Value::Null };
        let seconds = (exchange.end - exchange.begun) as f64 / 1e6;
        let mut took: Vec<f64> = exchange.took.iter().map(|took| *took as f64 / 1e3).collect();
        took.sort_by(f64::total_cmp);
        json!({
            "rate": took.len() as f64 / seconds,
            "p50": percentile(&took, 0.5),
            "p99": percentile(&took, 0.99),
        })
    }
}

impl Count {
    fn add(&mut self, packet: &[u8]) {
        self.frames += 1;
        self.bytes += packet.len() as u64;
    }
}

impl Armed {
    fn is(&self, event: &str, packet: &[u8]) -> bool {
        event == self.event
            && (self.contains.is_empty()
                || std::str::from_utf8(packet).is_ok_and(|text| text.contains(&self.contains)))
    }
}

impl Exchange {
    fn next(&mut self, asked: u64) -> Option<Rc<str>> {
        let now = now();
        (now < self.end).then(|| {
            self.took.push(now.saturating_sub(asked));
            self.packet.clone()
        })
    }
}
