//! The lines of the report about the shop: what each says, its goals, and what was found.

use std::{collections::BTreeMap, fmt};

use crate::{
    cpu::Cpu,
    samples::{Samples, number},
    shop::load::Load,
};

/// A line. Numbers are clients at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Row {
    Purchase(usize),
    BurstConfirmed,
    BurstTickets,
    BurstLocksAlone,
    BurstLocks,
    EventRead(usize),
    EventList(usize),
    MyBookings(usize),
    CreateBooking(usize),
    Webhook(usize),
    Lock(usize),
    OneSeat(usize),
    LockHeard(usize),
    SocketLock(usize),
    Scan(usize),
    ScanAgain(usize),
    Login(usize),
    MemoryIdle,
    MemoryLogin,
    MemoryFlood,
}

/// What a line of Nexus should reach.
#[derive(Clone, Copy, Debug)]
enum Goal {
    /// So many times the rate of the shop in Node.
    Times(f64),
    /// That rate.
    Rate(f64),
    /// That time, in milliseconds: the 99th percentile, or the lag of a burst.
    Within(f64),
    /// That size, in MB.
    Size(f64),
    /// That part of the rate of another line.
    PartOf(f64, Row),
}

impl Row {
    /// What is measured.
    pub fn what(self) -> String {
        let clients = |what: &str, clients: usize| match clients {
            1 => format!("{what}, 1 client"),
            _ => format!("{what}, {clients} clients"),
        };
        match self {
            Row::Purchase(n) => {
                clients("whole purchase (lock, book, order, webhook, poll until confirmed)", n)
            }
            Row::BurstConfirmed => "a burst of webhooks, until all are confirmed".into(),
            Row::BurstTickets => "… until all tickets are made".into(),
            Row::BurstLocksAlone => clients("… locks of the same event before", 16),
            Row::BurstLocks => clients("… locks of it meanwhile", 16),
            Row::EventRead(n) => clients("event read", n),
            Row::EventList(n) => clients("event list", n),
            Row::MyBookings(n) => clients("my bookings", n),
            Row::CreateBooking(n) => clients("create booking", n),
            Row::Webhook(n) => clients("webhook (others are settled meanwhile)", n),
            Row::Lock(n) => clients("lock distinct seats of one type", n),
            Row::OneSeat(n) => clients("all want one seat", n),
            Row::LockHeard(n) => clients("lock with 1,000 listeners", n),
            Row::SocketLock(n) => clients("lock over sockets", n),
            Row::Scan(n) => clients("scan tickets at the door", n),
            Row::ScanAgain(n) => clients("… that are used already", n),
            Row::Login(n) => clients("login", n),
            Row::MemoryIdle => "memory of the API, idle, MB".into(),
            Row::MemoryLogin => "… after a first login, MB".into(),
            Row::MemoryFlood => "… after a flood of logins, MB".into(),
        }
    }

    fn goals(self) -> Vec<Goal> {
        match self {
            Row::Purchase(_) | Row::EventRead(_) | Row::EventList(_) => vec![Goal::Times(5.0)],
            Row::BurstConfirmed => vec![Goal::Times(3.0), Goal::Within(1_000.0)],
            Row::BurstTickets | Row::CreateBooking(_) => vec![Goal::Times(6.0)],
            Row::BurstLocks => vec![Goal::PartOf(0.5, Row::BurstLocksAlone)],
            Row::Webhook(_) => vec![Goal::Times(6.0), Goal::Within(20.0)],
            Row::MyBookings(_) => vec![Goal::Times(8.0)],
            Row::Lock(1) => vec![Goal::Times(3.0)],
            Row::Lock(16) | Row::SocketLock(16) => vec![Goal::Times(10.0)],
            Row::Lock(64) => vec![Goal::Times(25.0)],
            Row::Lock(_) => vec![Goal::Rate(6_000.0), Goal::Within(80.0)],
            Row::OneSeat(_) | Row::LockHeard(_) => vec![Goal::Times(15.0)],
            Row::SocketLock(_) => vec![Goal::Times(20.0)],
            Row::Scan(_) | Row::ScanAgain(_) => vec![Goal::Within(100.0)],
            Row::MemoryIdle => vec![Goal::Size(40.0)],
            Row::MemoryLogin => vec![Goal::Size(60.0)],
            Row::MemoryFlood => vec![Goal::Size(90.0)],
            Row::Login(_) | Row::BurstLocksAlone => vec![],
        }
    }

    fn is_memory(self) -> bool {
        matches!(self, Row::MemoryIdle | Row::MemoryLogin | Row::MemoryFlood)
    }

    fn times(self, p50: f64, p99: f64) -> String {
        match self {
            Row::BurstConfirmed | Row::BurstTickets => format!("; lag {} ms", number(p99)),
            _ if self.is_memory() => String::new(),
            _ => format!("; {} / {} ms", number(p50), number(p99)),
        }
    }

    /// A measurement, for those who wait for the report.
    pub fn says(self, load: &Load) -> String {
        let used = if self.is_memory() { String::new() } else { load.cpu.shares(load.time) };
        format!("{}{} {used}", number(load.rate), self.times(load.p50, load.p99))
    }
}

impl fmt::Display for Goal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Goal::Times(times) => write!(f, "≥ {times:.0} ×"),
            Goal::Rate(rate) => write!(f, "≥ {}", number(*rate)),
            Goal::Within(time) => write!(f, "≤ {time:.0} ms"),
            Goal::Size(size) => write!(f, "≤ {size:.0}"),
            Goal::PartOf(part, _) => write!(f, "≥ {part} × before"),
        }
    }
}

/// What one seller has been found to do, over all rounds.
#[derive(Debug, Clone, Default)]
struct Found {
    rate: Samples,
    p50: Samples,
    p99: Samples,
    cpu: Cpu,
    time: f64,
    /// How many in that time.
    count: f64,
}

/// All lines, with what each seller has been found to do.
#[derive(Debug, Default)]
pub struct Comparison(BTreeMap<Row, BTreeMap<&'static str, Found>>);

const NODE: &str = "Node";
const BEFORE: &str = "Nexus before";
const NEXUS: &str = "Nexus";

impl Comparison {
    /// One more round.
    pub fn add(&mut self, seller: &'static str, row: Row, load: Load) {
        let found = self.0.entry(row).or_default().entry(seller).or_default();
        found.rate.add(load.rate);
        found.p50.add(load.p50);
        found.p99.add(load.p99);
        found.cpu = found.cpu + load.cpu;
        found.time += load.time;
        found.count += load.rate * load.time;
    }

    /// Whether nothing was measured.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    fn of(&self, row: Row, seller: &str) -> Option<&Found> {
        self.0.get(&row)?.get(seller)
    }

    fn rate(&self, row: Row, seller: &str) -> f64 {
        self.of(row, seller).map_or(f64::NAN, |found| found.rate.median())
    }

    fn is_met(&self, row: Row, goal: Goal) -> bool {
        let rate = self.rate(row, NEXUS);
        match goal {
            Goal::Times(times) => rate >= times * self.rate(row, NODE),
            Goal::Rate(least) => rate >= least,
            Goal::Within(most) => {
                self.of(row, NEXUS).is_some_and(|found| found.p99.median() <= most)
            }
            Goal::Size(most) => rate <= most,
            Goal::PartOf(part, other) => rate >= part * self.rate(other, NEXUS),
        }
    }

    /// The lines: rates, ratios and goals.
    pub fn table(&self) -> String {
        let before = self.0.values().any(|sellers| sellers.contains_key(BEFORE));
        let mut text = "| a second; p50 / p99 | Node |".to_owned();
        text += if before { " Nexus before | Nexus | to before |" } else { " Nexus |" };
        text += " to Node | goal | what limits Nexus |\n|---|---|---|---|---|---|";
        text += if before { "---|---|\n" } else { "\n" };
        for row in self.0.keys().copied() {
            let cell = |seller: &str| {
                self.of(row, seller).map_or_else(String::new, |found| {
                    let times = row.times(found.p50.median(), found.p99.median());
                    format!("{}{times}", found.rate)
                })
            };
            let ratio = |seller| number(self.rate(row, NEXUS) / self.rate(row, seller));
            let mut cells = vec![row.what(), cell(NODE)];
            if before {
                cells.extend([cell(BEFORE), cell(NEXUS), ratio(BEFORE)]);
            } else {
                cells.push(cell(NEXUS));
            }
            let goal = |goal: Goal| match self.is_met(row, goal) {
                true => format!("{goal}"),
                false => format!("{goal} **missed**"),
            };
            let goals: Vec<String> = row.goals().into_iter().map(goal).collect();
            let limit = match self.of(row, NEXUS) {
                Some(found) if !row.is_memory() => found.cpu.limit(found.time),
                _ => String::new(),
            };
            cells.extend([ratio(NODE), goals.join(", "), limit]);
            text += &format!("| {} |\n", cells.join(" | "));
        }
        text
    }

    /// Which processes use the processors in each line.
    pub fn processors(&self) -> String {
        let mut text = "| | | API | workers | PostgreSQL | Redis | driver | all | ms for each |\n|---|---|---|---|---|---|---|---|---|\n".to_owned();
        for (row, sellers) in self.0.iter().filter(|(row, _)| !row.is_memory()) {
            for (seller, found) in sellers {
                let used = found.cpu.by_process().map(|(_, used)| used);
                let of_seller = used.iter().sum::<f64>() - found.cpu.driver;
                let cells = used.into_iter().chain([found.cpu.machine]);
                let cells = cells.map(|used| format!("{:.0}", used * 100.0 / found.time));
                let cells = cells.chain([number(of_seller * 1000.0 / found.count)]);
                let cells: Vec<String> = cells.collect();
                text += &format!("| {} | {seller} | {} |\n", row.what(), cells.join(" | "));
            }
        }
        text
    }
}
