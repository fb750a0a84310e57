//! A worker with nothing to do: how soon it starts a job that is committed, and what its waiting
//! costs.

use std::time::{Duration, Instant};

use anyhow::{Result, bail};

use super::Workers;
use crate::{
    contenders::{Contender, Setup},
    cpu::Cpu,
    hub::{Hub, Said},
    servers::Servers,
};

/// The result of a measurement.
#[derive(Debug, Clone)]
pub struct Idle {
    /// From commit to the handler's start, in milliseconds, sorted.
    pub latencies: Vec<f64>,
    /// Used by workers and servers in one idle second.
    pub cpu: Cpu,
}

/// How long an idle worker is looked at.
const WATCH: Duration = Duration::from_secs(2);

/// Enqueues `probes` jobs, one at a time with random gaps, each when the one before has been run.
pub async fn latency<C: Contender>(
    contender: &mut C,
    hub: &Hub,
    servers: &Servers,
    setup: &Setup,
    processes: usize,
    probes: u64,
) -> Result<Idle> {
    let mut workers = Workers::start(contender, hub, servers, setup, processes).await?;
    let mut latencies = Vec::new();
    for seq in 0..probes {
        tokio::time::sleep(Duration::from_micros(rand::random_range(5_000..30_000))).await;
        let committed = contender.probe(seq).await?;
        let started = heard(&mut workers, seq).await?;
        latencies.push((started as f64 - committed as f64) / 1000.0);
    }
    latencies.sort_by(f64::total_cmp);
    let before = workers.cpu();
    tokio::time::sleep(WATCH).await;
    let mut cpu = workers.cpu() - before;
    let seconds = WATCH.as_secs_f64();
    for used in [&mut cpu.processes, &mut cpu.postgres, &mut cpu.redis, &mut cpu.machine] {
        *used /= seconds;
    }
    workers.stop().await?;
    Ok(Idle { latencies, cpu })
}

/// When the probe's handler started.
async fn heard(workers: &mut Workers, seq: u64) -> Result<u64> {
    let deadline = Instant::now() + Duration::from_secs(10);
    while Instant::now() < deadline {
        for peer in &mut workers.peers {
            while let Some(said) = peer.overhear() {
                if let Said::Probe { probe, at } = said
                    && probe == seq
                {
                    return Ok(at);
                }
            }
        }
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    bail!("probe {seq} was not run")
}
