//! What goes wrong, and when: at random, from a known seed.

use nexus_sandbox::postgres::Postgres;
use nexus_sandbox::redis::Redis;
use nexus_tests::looking::ask_redis;
use nexus_tests::probes::Processes;
use nexus_tests::seeded_rng::SeededRng;
use tokio::time::sleep;

/// Everything that may be killed.
pub(crate) struct FaultInjector<'a> {
    pub(crate) postgres: &'a mut Postgres,
    pub(crate) redis: &'a mut Redis,
    pub(crate) apis: Processes,
    pub(crate) workers: Vec<Processes>,
}

impl FaultInjector<'_> {
    /// Starts every process again that has died, by a fault or by its own jobs, as a supervisor
    /// does.
    pub(crate) fn supervise(&mut self) {
        self.apis.supervise();
        self.workers.iter_mut().for_each(Processes::supervise);
    }

    /// One fault at random; says which.
    pub(crate) async fn fault(&mut self, rng: &mut SeededRng) -> &'static str {
        match rng.below(100) {
            0..45 => {
                let kind = rng.below(self.workers.len() as u64) as usize;
                kill(&mut self.workers[kind], rng).await;
                "worker killed"
            }
            45..65 => {
                kill(&mut self.apis, rng).await;
                "API process killed"
            }
            65..77 => {
                ask_redis(self.redis.port(), "FLUSHALL").await;
                "Redis emptied"
            }
            77..89 => {
                self.redis.kill().await.expect("a kill");
                sleep(rng.pause(0, 500)).await;
                self.redis.restart().await.expect("Redis");
                "Redis killed and started"
            }
            _ => {
                self.postgres.kill().await.expect("a kill");
                sleep(rng.pause(0, 500)).await;
                self.postgres.restart().await.expect("PostgreSQL");
                "PostgreSQL killed and started"
            }
        }
    }
}

async fn kill(processes: &mut Processes, rng: &mut SeededRng) {
    let victim = rng.below(processes.len() as u64) as usize;
    processes.process(victim).kill_9_if_running().await;
    sleep(rng.pause(0, 300)).await;
}
