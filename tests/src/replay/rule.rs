//! What an intended difference is: a rewriting of a recorded outcome into the one expected today. A
//! rule never excuses anything: after all rules, the live outcome must be exactly what they made of
//! the recorded one. The rules themselves are in [`rules`](super::rules).

use serde_json::Value;

use super::outcome::{merge, refuse, succeed};
use super::recording::Exchange;

/// One intended difference.
pub struct Rule {
    /// Where it is written: a part of docs/contract.md, or a finding of docs/readiness.md. Like
    /// every citation, it has to exist.
    pub source: &'static str,
    /// What is different.
    pub what: &'static str,
    rewritings: Vec<Rewriting>,
}

struct Rewriting {
    /// The exchanges that it must change; none means that it finds them by itself, and must find
    /// one.
    on: Vec<u32>,
    rewrite: Rewrite,
}

type Rewrite = Box<dyn Fn(&Case, &mut Value)>;

/// What a rule may look at beside the outcome that it rewrites.
pub struct Case<'a> {
    pub exchange: &'a Exchange,
    /// All of them.
    pub recording: &'a [Exchange],
    /// What the database holds after the live exchange.
    pub truth: &'a Truth,
}

impl Case<'_> {
    pub fn find(&self, seq: u32) -> &Exchange {
        let found = self.recording.iter().find(|exchange| exchange.seq == seq);
        found.unwrap_or_else(|| panic!("exchange {seq} is not recorded"))
    }
}

/// The seats as the database has them, counted anew rather than read off a counter.
#[derive(Debug, Default)]
pub struct Truth {
    /// Every seat type, by event and id.
    pub seat_types: Vec<SeatType>,
    /// Events whose counts the exchange has changed.
    pub changed: Vec<i64>,
}

/// One seat type: `available` is its quantity without the rows in `seats`.
#[derive(Debug, Clone, PartialEq)]
pub struct SeatType {
    pub event: i64,
    pub id: i64,
    pub quantity: i64,
    pub available: i64,
}

impl Truth {
    /// What is left of a seat type.
    pub fn available(&self, seat_type: i64) -> i64 {
        self.seat_types
            .iter()
            .find(|known| known.id == seat_type)
            .map_or(0, |known| known.available)
    }

    /// All seats of an event, and those that are left.
    pub fn of_event(&self, event: i64) -> (i64, i64) {
        let types = self.seat_types.iter().filter(|known| known.event == event);
        types.fold((0, 0), |(total, left), known| (total + known.quantity, left + known.available))
    }
}

/// A rule that changes nothing yet.
pub fn rule(source: &'static str, what: &'static str) -> Rule {
    Rule { source, what, rewritings: Vec::new() }
}

impl Rule {
    /// Rewrites the outcomes of these exchanges.
    pub fn on(
        mut self,
        on: impl Into<Vec<u32>>,
        rewrite: impl Fn(&Case, &mut Value) + 'static,
    ) -> Self {
        self.rewritings.push(Rewriting { on: on.into(), rewrite: Box::new(rewrite) });
        self
    }

    /// Rewrites every outcome in which it finds something to rewrite.
    pub fn everywhere(self, rewrite: impl Fn(&Case, &mut Value) + 'static) -> Self {
        self.on([], rewrite)
    }

    /// The outcome of this exchange has this part.
    pub fn says(self, seq: u32, part: Value) -> Self {
        self.on([seq], move |_, outcome| merge(outcome, part.clone()))
    }

    /// This request succeeds with this `data`.
    pub fn succeeds(self, seq: u32, data: Value) -> Self {
        self.on([seq], move |case, outcome| succeed(case.exchange, outcome, &data))
    }

    /// This request is refused with this status and message, and no client hears of it.
    pub fn refused(self, seq: u32, status: u64, message: &'static str) -> Self {
        self.on([seq], move |case, outcome| refuse(case.exchange, outcome, status, message))
    }

    /// This command fails with this message, and no client hears of it.
    pub fn failed(self, seq: u32, message: &'static str) -> Self {
        self.refused(seq, 0, message)
    }

    /// The exchanges that the rule must change, if it says so.
    pub fn named(&self) -> impl Iterator<Item = u32> {
        self.rewritings.iter().flat_map(|rewriting| rewriting.on.iter().copied())
    }

    /// Rewrites the outcome where the rule is about this exchange; says whether anything has
    /// changed.
    pub fn apply(&self, case: &Case, outcome: &mut Value) -> bool {
        let before = outcome.clone();
        for Rewriting { on, rewrite } in &self.rewritings {
            if on.is_empty() || on.contains(&case.exchange.seq) {
                rewrite(case, outcome);
            }
        }
        *outcome != before
    }
}
