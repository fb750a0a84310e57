//! End to end: how fast jobs that become visible all at once are run and finished by workers that
//! were waiting for them.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};

use super::Workers;
use crate::{
    contenders::{Contender, Setup, Work},
    cpu::Cpu,
    hub::Hub,
    servers::Servers,
};

/// The longest measurement: it counts the jobs that have run by then.
const LONGEST: Duration = Duration::from_millis(2500);

/// The result of [`drain`].
#[derive(Debug, Clone, Copy)]
pub struct Drained {
    /// Jobs per second.
    pub rate: f64,
    pub jobs: usize,
    /// Seconds.
    pub time: f64,
    pub cpu: Cpu,
}

/// Lets `processes` workers run the setup's number of jobs, or as many as they can in [`LONGEST`].
pub async fn drain<C: Contender>(
    contender: &mut C,
    hub: &Hub,
    servers: &Servers,
    setup: &Setup,
    processes: usize,
    work: Work,
) -> Result<Drained> {
    let mut workers = Workers::start(contender, hub, servers, setup, processes).await?;
    let held = contender.hold(work, setup.jobs).await?;
    servers.settle().await?;
    let (before, cpu_before) = (workers.ran(), workers.cpu());
    let start = Instant::now();
    contender.release(held).await?;
    // The workers report; the servers are asked only when the last job has been started.
    let all = setup.jobs as u64;
    while workers.ran() < before + all && start.elapsed() < LONGEST {
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    let in_time = workers.ran() >= before + all;
    while in_time && !contender.is_idle().await? {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    let (time, ran) = (start.elapsed().as_secs_f64(), workers.ran() - before);
    let cpu = workers.cpu() - cpu_before;
    if in_time {
        workers.until_idle(contender).await?;
        let ran = workers.ran() - before;
        ensure!(ran == all, "{} {}: {all} jobs ran {ran} times", C::NAME, setup.name);
    }
    workers.stop().await?;
    Ok(Drained { rate: ran as f64 / time, jobs: ran as usize, time, cpu })
}
