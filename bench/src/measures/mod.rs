//! What is measured, one file each.

pub mod drain;
pub mod latency;
pub mod overload;
pub mod stress;

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use futures_util::future::try_join_all;

use crate::{
    contenders::{Contender, Enqueuing, Setup, Work},
    cpu::Cpu,
    hub::{Hub, Peer, Said},
    servers::Servers,
};

/// Calls `transaction` again and again as `how` says; returns jobs per second.
pub async fn repeat(how: Enqueuing, transaction: impl AsyncFn() -> Result<()>) -> Result<f64> {
    let start = Instant::now();
    let one_after_the_other = async || -> Result<usize> {
        let mut calls = 0;
        while start.elapsed() < how.time {
            transaction().await?;
            calls += 1;
        }
        Ok(calls)
    };
    let calls: usize =
        try_join_all((0..how.parallel).map(|_| one_after_the_other())).await?.into_iter().sum();
    Ok((calls * how.batch) as f64 / start.elapsed().as_secs_f64())
}

/// Worker processes of one system.
struct Workers {
    peers: Vec<Peer>,
    /// By peer, since it was started.
    ran: Vec<u64>,
    postgres: Option<u32>,
    redis: Option<u32>,
}

/// Every worker has run something within this time.
const WARM_PATIENCE: Duration = Duration::from_secs(15);
/// And everything else is done within this time.
const PATIENCE: Duration = Duration::from_secs(60);

impl Workers {
    /// Starts so many processes, and returns when each of them has run a job and nothing is left.
    async fn start<C: Contender>(
        contender: &mut C,
        hub: &Hub,
        servers: &Servers,
        setup: &Setup,
        processes: usize,
    ) -> Result<Self> {
        contender.reset().await?;
        let mut peers = Vec::new();
        for _ in 0..processes {
            peers.push(hub.start(contender.worker(servers, setup)?).await?);
        }
        let ran = vec![0; processes];
        let mut workers =
            Workers { peers, ran, postgres: servers.postgres.id(), redis: servers.redis.id() };
        let deadline = Instant::now() + WARM_PATIENCE;
        while workers.ran.contains(&0) {
            ensure!(Instant::now() < deadline, "{}: a worker runs nothing", C::NAME);
            let held = contender.hold(Work::Wait(20), 100 * processes).await?;
            contender.release(held).await?;
            workers.until_idle(contender).await?;
        }
        Ok(workers)
    }

    /// How many jobs they have started.
    fn ran(&mut self) -> u64 {
        for (peer, ran) in self.peers.iter_mut().zip(&mut self.ran) {
            while let Some(said) = peer.overhear() {
                if let Said::Ran { ran: now } = said {
                    *ran = now;
                }
            }
        }
        self.ran.iter().sum()
    }

    async fn until_idle<C: Contender>(&mut self, contender: &mut C) -> Result<()> {
        let deadline = Instant::now() + PATIENCE;
        while !contender.is_idle().await? {
            ensure!(Instant::now() < deadline, "{}: jobs are left", C::NAME);
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        // The last reports may still be on their way.
        tokio::time::sleep(Duration::from_millis(30)).await;
        self.ran();
        Ok(())
    }

    fn cpu(&self) -> Cpu {
        let ids: Vec<u32> = self.peers.iter().map(Peer::id).collect();
        Cpu::used(&ids, &[], self.postgres, self.redis)
    }

    async fn stop(self) -> Result<()> {
        for peer in self.peers {
            peer.stop().await?;
        }
        Ok(())
    }
}
