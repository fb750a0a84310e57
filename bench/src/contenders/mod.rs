//! The systems that are measured. A job means the same in each: `noop` does nothing, `wait` waits,
//! `probe` says when it starts.

mod bullmq;
mod graphile;
mod nexus;

use std::{process::Command, time::Duration};

use anyhow::Result;
use serde_json::Value;

pub use self::{bullmq::Bullmq, graphile::Graphile, nexus::Nexus};
use crate::servers::Servers;

/// What a job does.
#[derive(Debug, Clone, Copy)]
pub enum Work {
    Noop,
    /// Waits so many milliseconds.
    Wait(u64),
}

/// How workers are set up.
#[derive(Debug, Clone)]
pub struct Setup {
    /// As the report names it.
    pub name: &'static str,
    /// What differs from the defaults, as the system spells it.
    pub settings: Value,
    /// How many jobs are enough for a measurement of some seconds.
    pub jobs: usize,
}

/// How jobs are enqueued.
#[derive(Debug, Clone, Copy)]
pub struct Enqueuing {
    /// For so long.
    pub time: Duration,
    /// So many transactions, or calls, at once.
    pub parallel: usize,
    /// So many jobs in each.
    pub batch: usize,
}

/// A job system.
#[allow(async_fn_in_trait, reason = "used in this crate only")]
pub trait Contender {
    /// A batch of jobs that is held back until it is released.
    type Held;

    /// As the report names it.
    const NAME: &'static str;

    /// Forgets every job. No worker runs.
    async fn reset(&mut self) -> Result<()>;

    /// A worker process.
    fn worker(&self, servers: &Servers, setup: &Setup) -> Result<Command>;

    /// Enqueues jobs that do nothing; returns jobs per second.
    async fn enqueue(&mut self, how: Enqueuing) -> Result<f64>;

    /// Enqueues jobs that no worker sees before they are released.
    async fn hold(&mut self, work: Work, jobs: usize) -> Result<Self::Held>;

    /// Lets the workers see them.
    async fn release(&mut self, held: Self::Held) -> Result<()>;

    /// Whether every job is finished.
    async fn is_idle(&mut self) -> Result<bool>;

    /// Enqueues a probe, alone in its transaction; returns the time just before that is committed,
    /// in microseconds since 1970.
    async fn probe(&mut self, seq: u64) -> Result<u64>;
}
