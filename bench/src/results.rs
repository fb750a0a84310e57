//! What all rounds have measured, row by row.

use crate::{
    comparison::Comparison,
    cpu::Cpu,
    crowd::rows::Findings,
    limits::Limits,
    measures::{drain::Drained, latency::Idle},
    samples::{Samples, percentile},
};

#[derive(Debug, Default)]
pub struct Results {
    /// Jobs enqueued per second, by the way of enqueuing and the system.
    pub enqueued: Vec<(&'static str, &'static str, Samples)>,
    /// Workers that had a backlog.
    pub drained: Vec<DrainRow>,
    /// Workers that had nothing to do.
    pub idle: Vec<IdleRow>,
    pub shop: Comparison,
    pub limits: Limits,
    pub crowd: Findings,
    /// The table of what a sale costs.
    pub costs: Option<String>,
}

/// One system, one setup, one kind of job, so many processes.
#[derive(Debug)]
pub struct DrainRow {
    /// What the jobs do.
    pub work: &'static str,
    pub system: &'static str,
    /// How set up.
    pub setup: &'static str,
    /// How many processes.
    pub processes: usize,
    /// Jobs per second.
    pub rate: Samples,
    /// Over all rounds.
    pub jobs: usize,
    /// Over all rounds, in seconds.
    pub time: f64,
    /// Over all rounds.
    pub cpu: Cpu,
}

/// One system, so many processes.
#[derive(Debug)]
pub struct IdleRow {
    pub system: &'static str,
    /// How many processes.
    pub processes: usize,
    /// Milliseconds from commit to the handler's start.
    pub p50: Samples,
    pub p99: Samples,
    /// Of an idle second: thousandths of a processor, workers and servers.
    pub workers: Samples,
    pub servers: Samples,
}

impl Results {
    /// One more round of enqueuing.
    pub fn add_enqueued(&mut self, how: &'static str, system: &'static str, rate: f64) {
        let row = match self.enqueued.iter().position(|row| (row.0, row.1) == (how, system)) {
            Some(row) => row,
            None => {
                self.enqueued.push((how, system, Samples::default()));
                self.enqueued.len() - 1
            }
        };
        self.enqueued[row].2.add(rate);
    }

    /// One more round of running jobs.
    pub fn add_drained(
        &mut self,
        work: &'static str,
        (system, setup): (&'static str, &'static str),
        processes: usize,
        drained: Drained,
    ) {
        let key = (work, system, setup, processes);
        let known = |row: &DrainRow| (row.work, row.system, row.setup, row.processes) == key;
        let row = self.drained.iter().position(known).unwrap_or_else(|| {
            let (rate, jobs, time, cpu) = (Samples::default(), 0, 0.0, Cpu::default());
            self.drained.push(DrainRow { work, system, setup, processes, rate, jobs, time, cpu });
            self.drained.len() - 1
        });
        let row = &mut self.drained[row];
        row.rate.add(drained.rate);
        row.jobs += drained.jobs;
        row.time += drained.time;
        row.cpu = row.cpu + drained.cpu;
    }

    /// One more round of idling.
    pub fn add_idle(&mut self, system: &'static str, processes: usize, idle: &Idle) {
        let known = |row: &IdleRow| (row.system, row.processes) == (system, processes);
        let row = self.idle.iter().position(known).unwrap_or_else(|| {
            let none = Samples::default;
            self.idle.push(IdleRow {
                system,
                processes,
                p50: none(),
                p99: none(),
                workers: none(),
                servers: none(),
            });
            self.idle.len() - 1
        });
        let row = &mut self.idle[row];
        row.p50.add(percentile(&idle.latencies, 0.5));
        row.p99.add(percentile(&idle.latencies, 0.99));
        row.workers.add(idle.cpu.processes * 1000.0);
        row.servers.add((idle.cpu.postgres + idle.cpu.redis) * 1000.0);
    }

    /// The jobs per second of a row that was measured.
    pub fn rate(&self, work: &str, system: &str, setup: &str, processes: usize) -> f64 {
        let row = self.drained.iter().find(|row| {
            (row.work, row.system, row.setup, row.processes) == (work, system, setup, processes)
        });
        row.map_or(f64::NAN, |row| row.rate.median())
    }
}
