//! The lines of the report about crowds: what each says, its goal, and what was found.

use std::collections::BTreeMap;

use crate::samples::number;

/// A line. Numbers are clients.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Row {
    ConnectRate(usize),
    Memory(usize),
    MemoryKept(usize),
    Lock(usize, Of),
    PolledLock(usize, Of),
    /// Of so many processes.
    ManyMemory(usize, usize),
    ManyLock(usize, usize, Of),
    Commands(usize),
    StormChanges(usize),
    StormCommand(usize),
    LegacyChanges(usize),
    LegacyFrames(usize),
    LegacyCpu(usize),
    LegacyDelivered(usize),
    /// As many changes as the server makes.
    LegacyMost(usize),
    /// Clients that read nothing.
    Stalled(usize),
    /// One of two processes stops.
    Stopped(usize),
    /// … or is killed.
    Killed(usize),
    /// What the clients themselves can do.
    Taken(usize),
}

/// What is said of a lock.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Of {
    /// When the last client knew.
    Last,
    /// What it cost the server.
    Cpu,
}

/// What Nexus should reach.
#[derive(Clone, Copy, Debug)]
enum Goal {
    AtLeast(f64),
    AtMost(f64),
}

impl Row {
    /// What is measured.
    pub fn what(self) -> String {
        let of = |count: usize| number(count as f64);
        match self {
            Row::ConnectRate(n) => format!("connects a second, {} clients", of(n)),
            Row::Memory(n) => format!("memory a connected socket, {} idle clients, KB", of(n)),
            Row::MemoryKept(n) => format!("memory kept when {} clients have left, MB", of(n)),
            Row::Lock(n, Of::Last) => {
                format!("from a lock's request until the last of {} clients knows, ms", of(n))
            }
            Row::PolledLock(n, Of::Last) => {
                format!("… the last of {} clients that poll, ms", of(n))
            }
            Row::ManyMemory(n, processes) => {
                format!("{} clients, {}: memory a socket, KB", of(n), of_processes(processes))
            }
            Row::ManyLock(n, processes, Of::Last) => format!(
                "{} clients, {}: from a lock's request until the last knows, ms",
                of(n),
                of_processes(processes)
            ),
            Row::Lock(_, Of::Cpu) | Row::PolledLock(_, Of::Cpu) | Row::ManyLock(_, _, Of::Cpu) => {
                "… CPU of the server for each lock, ms".into()
            }
            Row::Commands(n) => format!("commands a second (`join_event`), {} clients", of(n)),
            Row::StormChanges(n) => {
                format!("{} clients of one event, 200 seat changes a second: made a second", of(n))
            }
            Row::StormCommand(_) => "… p99 of a command meanwhile, ms".into(),
            Row::LegacyChanges(n) => format!(
                "{} clients that joined nothing, 500 seat changes a second: made a second",
                of(n)
            ),
            Row::LegacyFrames(_) => "… frames delivered a second".into(),
            Row::LegacyCpu(_) => "… CPU of the server, % of one".into(),
            Row::LegacyDelivered(_) => "… `seat_locked` delivered in the end, %".into(),
            Row::LegacyMost(_) => "… as many changes as it makes: made a second".into(),
            Row::Stalled(n) => {
                format!("{} clients that read nothing of 200 seat changes a second, KB each", of(n))
            }
            Row::Stopped(n) => {
                format!("{} clients of two processes, of which one stops: longest away, ms", of(n))
            }
            Row::Killed(_) => "… is killed: longest away, ms".into(),
            Row::Taken(n) => {
                format!("frames that {} clients take in a second of their processor", of(n))
            }
        }
    }

    fn goal(self) -> Option<Goal> {
        match self {
            Row::ConnectRate(_) => Some(Goal::AtLeast(8_000.0)),
            Row::Memory(_) | Row::ManyMemory(..) => Some(Goal::AtMost(12.0)),
            Row::MemoryKept(_) => Some(Goal::AtMost(20.0)),
            Row::Lock(10_000, Of::Last) => Some(Goal::AtMost(70.0)),
            Row::Lock(10_000, Of::Cpu) => Some(Goal::AtMost(80.0)),
            Row::StormChanges(_) => Some(Goal::AtLeast(190.0)),
            Row::StormCommand(_) => Some(Goal::AtMost(250.0)),
            Row::Stalled(_) => Some(Goal::AtMost(256.0)),
            Row::Stopped(_) | Row::Killed(_) => Some(Goal::AtMost(10_000.0)),
            Row::LegacyChanges(_) => Some(Goal::AtLeast(475.0)),
            Row::LegacyMost(_) => Some(Goal::AtLeast(1_000.0)),
            _ => None,
        }
    }
}

fn of_processes(count: usize) -> String {
    if count == 1 { "one process".into() } else { format!("{count} processes") }
}

/// All lines, with what each server has been found to do.
#[derive(Debug, Default)]
pub struct Findings(BTreeMap<Row, BTreeMap<&'static str, f64>>);

/// The name under which [`super::plain`] is found.
pub const KERNEL: &str = "kernel alone";
/// The columns.
const SERVERS: [&str; 4] = [KERNEL, "Node", "Nexus before", "Nexus"];

impl Findings {
    /// What a server was found to do.
    pub fn add(&mut self, server: &'static str, row: Row, value: f64) {
        eprintln!("    {server}: {}: {}", row.what(), number(value));
        self.0.entry(row).or_default().insert(server, value);
    }

    /// Whether nothing was measured.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The lines, with goals.
    pub fn table(&self) -> String {
        let is_there = |server: &&str| self.0.values().any(|found| found.contains_key(server));
        let servers: Vec<&str> = SERVERS.into_iter().filter(is_there).collect();
        let columns = servers.join(" | ");
        let mut text =
            format!("| | {columns} | goal |\n|---|{}---|\n", "---|".repeat(servers.len()));
        for (row, found) in &self.0 {
            let cell = |server: &&str| found.get(server).copied().map_or_else(String::new, number);
            let cells: Vec<String> = servers.iter().map(cell).collect();
            let nexus = found.get("Nexus").copied().unwrap_or(f64::NAN);
            let goal = row.goal().map_or_else(String::new, |goal| goal.says(nexus));
            text += &format!("| {} | {} | {goal} |\n", row.what(), cells.join(" | "));
        }
        text
    }
}

impl Goal {
    fn says(self, found: f64) -> String {
        let (goal, is_met) = match self {
            Goal::AtLeast(least) => (format!("≥ {}", number(least)), found >= least),
            Goal::AtMost(most) => (format!("≤ {}", number(most)), found <= most),
        };
        if is_met { goal } else { format!("{goal} **missed**") }
    }
}
