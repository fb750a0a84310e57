//! Clients that have lost their connection, and when they come back.

use std::{
    cmp::Reverse,
    collections::{BinaryHeap, HashMap},
    rc::Rc,
    time::{Duration, Instant},
};

use serde_json::{Value, json};

use super::wire::Plan;

/// Who has been away since this was made.
#[derive(Debug, Default)]
pub struct Absences {
    come_back: bool,
    away: HashMap<usize, Absence>,
    /// Who sets out next.
    returns: BinaryHeap<Reverse<(Instant, usize)>>,
    lost: usize,
    came_back: usize,
    longest: Duration,
}

#[derive(Debug)]
struct Absence {
    plan: Rc<Plan>,
    since: Instant,
    tries: i32,
}

impl Absences {
    /// Whether clients that lose their connection come back.
    pub fn new(come_back: bool) -> Self {
        Absences { come_back, ..Absences::default() }
    }

    /// Whether a client is away.
    pub fn has(&self, number: usize) -> bool {
        self.away.contains_key(&number)
    }

    /// A client has lost its connection, or not got it back, and waits as socket.io-client does: a
    /// second that is doubled with every attempt, up to five, by half more or less.
    pub fn begin(&mut self, number: usize, plan: &Rc<Plan>) {
        if !self.come_back {
            return self.lose();
        }
        let now = Instant::now();
        let absence = self.away.entry(number).or_insert_with(|| {
            let plan = plan.clone();
            Absence { plan, since: now, tries: 0 }
        });
        let delay = 2_f64.powi(absence.tries).min(5.0) * rand::random_range(0.5..1.5);
        absence.tries += 1;
        self.returns.push(Reverse((now + Duration::from_secs_f64(delay), number)));
    }

    /// A client that does not come back.
    pub fn lose(&mut self) {
        self.lost += 1;
    }

    /// A client is back, if it was away.
    pub fn end(&mut self, number: usize) -> bool {
        let Some(absence) = self.away.remove(&number) else { return false };
        self.came_back += 1;
        self.longest = self.longest.max(absence.since.elapsed());
        true
    }

    /// When the next client sets out.
    pub fn next(&self) -> Option<Instant> {
        self.returns.peek().map(|Reverse((due, _))| *due)
    }

    /// A client whose time has come, and how often it has tried.
    pub fn due(&mut self) -> Option<(usize, Rc<Plan>, i32)> {
        let Reverse((due, number)) = *self.returns.peek()?;
        if due > Instant::now() {
            return None;
        }
        self.returns.pop();
        let absence = self.away.get(&number)?;
        Some((number, absence.plan.clone(), absence.tries))
    }

    /// How many are away, and so on.
    pub fn status(&self, connected: usize) -> Value {
        let away = self.away.values().map(|absence| absence.since.elapsed());
        let longest = away.fold(self.longest, Duration::max);
        json!({
            "connected": connected,
            "away": self.away.len(),
            "lost": self.lost,
            "came_back": self.came_back,
            "longest_away": longest.as_secs_f64() * 1e3,
        })
    }
}
