//! Where the processors' time goes, from Linux's `/proc`: what a rate costs, and what limits it.

use std::{
    collections::HashMap,
    fs,
    ops::{Add, Sub},
};

/// Processor seconds.
#[derive(Debug, Clone, Copy, Default)]
pub struct Cpu {
    /// Used by the API, or by the workers where only workers are measured.
    pub processes: f64,
    /// Used by the workers of a shop.
    pub workers: f64,
    /// Used by PostgreSQL with all its processes.
    pub postgres: f64,
    pub redis: f64,
    /// Used by the driver, with the providers' stand-ins.
    pub driver: f64,
    /// Used by the whole machine, other programs included.
    pub machine: f64,
}

/// Linux counts hundredths of a second.
const TICK: f64 = 0.01;

impl Cpu {
    /// The processor time used so far.
    pub fn used(
        processes: &[u32],
        workers: &[u32],
        postgres: Option<u32>,
        redis: Option<u32>,
    ) -> Self {
        let all = every_process();
        let own = |id: &u32| all.get(id).map_or(0, |process| process.ticks);
        let family: u64 = postgres.map_or(0, |server| {
            all.iter()
                .filter(|(id, process)| **id == server || process.parent == server)
                .map(|(_, p)| p.ticks)
                .sum()
        });
        let sum = |ids: &[u32]| ids.iter().map(own).sum::<u64>() as f64 * TICK;
        Cpu {
            processes: sum(processes),
            workers: sum(workers),
            driver: own(&std::process::id()) as f64 * TICK,
            postgres: family as f64 * TICK,
            redis: redis.as_ref().map_or(0, own) as f64 * TICK,
            machine: machine() as f64 * TICK,
        }
    }
}

impl Cpu {
    /// What each of those that may limit a rate has used.
    pub fn by_process(&self) -> [(&'static str, f64); 5] {
        [
            ("API", self.processes),
            ("workers", self.workers),
            ("PostgreSQL", self.postgres),
            ("Redis", self.redis),
            ("driver", self.driver),
        ]
    }

    /// The same over `seconds` in per cent of one processor, and what the whole machine has used.
    pub fn shares(&self, seconds: f64) -> String {
        let percent = |used: f64| (used * 100.0 / seconds).round();
        let named = self.by_process().into_iter().filter(|(_, used)| percent(*used) >= 1.0);
        let named: Vec<_> =
            named.map(|(name, used)| format!("{name} {} %", percent(used))).collect();
        format!("{}; all {} %", named.join(", "), percent(self.machine))
    }

    /// What limits a rate: whoever uses most, unless all wait.
    pub fn limit(&self, seconds: f64) -> String {
        let cores = std::thread::available_parallelism().map_or(1, usize::from) as f64;
        let most = self.by_process().into_iter().max_by(|(_, a), (_, b)| a.total_cmp(b));
        let Some((name, used)) = most else { return String::new() };
        let share = format!("{name} {:.0} %", used * 100.0 / seconds);
        let measured: f64 = self.by_process().iter().map(|(_, used)| used).sum();
        match self.machine / seconds {
            machine if machine >= 0.9 * cores && measured < 0.8 * self.machine => {
                format!("the processors, which others use, too: {share}")
            }
            machine if machine >= 0.9 * cores => format!("the processors: {share}"),
            _ if used >= 0.8 * seconds => share,
            _ => format!("waiting: {share}"),
        }
    }
}

impl Sub for Cpu {
    type Output = Cpu;

    fn sub(self, other: Cpu) -> Cpu {
        Cpu {
            processes: self.processes - other.processes,
            workers: self.workers - other.workers,
            driver: self.driver - other.driver,
            postgres: self.postgres - other.postgres,
            redis: self.redis - other.redis,
            machine: self.machine - other.machine,
        }
    }
}

impl Add for Cpu {
    type Output = Cpu;

    fn add(self, other: Cpu) -> Cpu {
        Cpu {
            processes: self.processes + other.processes,
            workers: self.workers + other.workers,
            driver: self.driver + other.driver,
            postgres: self.postgres + other.postgres,
            redis: self.redis + other.redis,
            machine: self.machine + other.machine,
        }
    }
}

struct Process {
    parent: u32,
    ticks: u64,
}

fn every_process() -> HashMap<u32, Process> {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    entries
        .filter_map(|entry| {
            let id = entry.file_name().to_str()?.parse().ok()?;
            let stat = fs::read_to_string(entry.path().join("stat")).ok()?;
            // The name, in brackets, may hold anything; the fields after it are numbers.
            let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_whitespace().collect();
            let number = |index: usize| fields.get(index)?.parse::<u64>().ok();
            // Own user and system time, and those of children that have ended.
            let ticks = (11..15).map(number).sum::<Option<u64>>()?;
            Some((id, Process { parent: number(1)? as u32, ticks }))
        })
        .collect()
}

/// Everything but idle and waiting.
fn machine() -> u64 {
    let stat = fs::read_to_string("/proc/stat").unwrap_or_default();
    let fields = stat.lines().next().unwrap_or_default().split_whitespace().skip(1);
    let ticks: Vec<u64> = fields.filter_map(|field| field.parse().ok()).collect();
    // user nice system idle iowait irq softirq steal; what guests use is part of user.
    ticks
        .iter()
        .take(8)
        .enumerate()
        .filter(|(index, _)| !matches!(index, 3 | 4))
        .map(|(_, ticks)| ticks)
        .sum()
}
