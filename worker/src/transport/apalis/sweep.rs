//! Keeps Redis small. apalis removes nothing (its `vacuum` blocks Redis and deletes jobs that
//! wait), so finished ids and the traces of workers that are gone are removed here, in bounded
//! steps.

use std::{collections::HashMap, sync::Arc, time::Duration};

use apalis_redis::Config;
use redis::{RedisError, Script, aio::ConnectionManager};
use tokio::{
    sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel},
    time::{MissedTickBehavior, interval},
};

/// Ids removed by one call.
const BATCH: usize = 500;
const EVERY: Duration = Duration::from_secs(1);
/// Most ids that are kept for another try after their removal failed. The rest waits for the end of
/// its apalis worker.
const KEEP: usize = 20_000;
/// How long after a worker's last sign of life its metadata vanishes by itself. A worker without
/// metadata is dead: only Redis measures that, so the workers' clocks do not matter.
const METADATA: Duration = Duration::from_secs(10);
/// Rounds between two searches for dead workers.
const LOOK_FOR_DEAD: u64 = 2;

/// Removes finished ids with their data, but only those that this worker still has: an id that
/// another worker has taken over will be delivered again, and a delivery without data would end
/// every worker that fetches it.
const REMOVE: &str = r"
    -- KEYS: inflight set, data hash. ARGV: prefix of the metadata keys, ids.
    for i = 2, #ARGV do
        if redis.call('SREM', KEYS[1], ARGV[i]) == 1 then
            redis.call('HDEL', KEYS[2], ARGV[i])
            redis.call('DEL', ARGV[1] .. ':' .. ARGV[i])
        end
    end";

/// Registered workers whose metadata has vanished, or will never vanish because apalis wrote it
/// when it registered a worker that had been given up.
const DEAD: &str = r"
    -- KEYS: workers set. ARGV: prefix of the workers' metadata.
    local dead = {}
    for _, worker in ipairs(redis.call('ZRANGE', KEYS[1], 0, -1)) do
        if redis.call('PTTL', ARGV[1] .. worker) < 0 then
            table.insert(dead, worker)
        end
    end
    return dead";

/// Removes a worker and up to `ARGV[2]` ids that it had fetched; returns how many there were. The
/// ids of a healthy worker go back to the others. After a failure they are dropped: one of them may
/// be what ended apalis, and the ledger hands the jobs over anew.
const RETIRE: &str = r"
    -- KEYS: workers set, inflight set, data hash, worker's metadata, active list.
    -- ARGV: worker, how many ids, prefix of the metadata keys, 1 if it was healthy.
    redis.call('ZREM', KEYS[1], ARGV[1])
    redis.call('DEL', KEYS[4])
    local ids = redis.call('SPOP', KEYS[2], ARGV[2])
    for _, id in ipairs(ids) do
        if ARGV[4] == '1' and redis.call('HEXISTS', KEYS[3], id) == 1 then
            redis.call('RPUSH', KEYS[5], id)
        else
            redis.call('HDEL', KEYS[3], id)
            redis.call('DEL', ARGV[3] .. ':' .. id)
        end
    end
    return #ids";

/// Where finished jobs are reported.
#[derive(Clone)]
pub(super) struct Finished(UnboundedSender<Report>);

pub(super) enum Report {
    /// The apalis worker has this name from now on.
    Alive(Arc<str>),
    /// A worker's id that is no longer needed.
    Finished(Arc<str>, String),
}

impl Finished {
    pub(super) fn channel() -> (Self, UnboundedReceiver<Report>) {
        let (sender, inbox) = unbounded_channel();
        (Finished(sender), inbox)
    }

    pub(super) fn alive(&self, worker: &str) {
        let _ = self.0.send(Report::Alive(worker.into()));
    }

    /// Never blocks. The channel never holds many: apalis fetches nothing while Redis is away.
    pub(super) fn report(&self, worker: Arc<str>, id: String) {
        let _ = self.0.send(Report::Finished(worker, id));
    }
}

/// Removes finished ids and dead workers from Redis.
#[derive(Clone)]
pub(super) struct Sweep {
    conn: ConnectionManager,
    config: Config,
}

impl Sweep {
    pub(super) fn new(conn: ConnectionManager, config: Config) -> Self {
        Sweep { conn, config }
    }

    /// Removes reported ids until the sender is gone.
    pub(super) async fn run(self, mut inbox: UnboundedReceiver<Report>) {
        let mut tick = interval(EVERY);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut alive: Option<Arc<str>> = None;
        let mut finished: HashMap<Arc<str>, Vec<String>> = HashMap::new();
        for round in 0_u64.. {
            tick.tick().await;
            loop {
                match inbox.try_recv() {
                    Ok(Report::Alive(worker)) => alive = Some(worker),
                    Ok(Report::Finished(worker, id)) => {
                        finished.entry(worker).or_default().push(id)
                    }
                    Err(_) if inbox.is_closed() => return,
                    Err(_) => break,
                }
            }
            if let Err(error) = self.remove(&mut finished).await {
                tracing::debug!(%error, "finished ids were not removed from Redis; trying again");
            }
            if round.is_multiple_of(2)
                && let Some(worker) = &alive
                && let Err(error) = self.announce(worker).await
            {
                tracing::debug!(%error, "a worker could not say that it lives");
            }
            if round.is_multiple_of(LOOK_FOR_DEAD)
                && let Err(error) = self.retire_dead().await
            {
                tracing::debug!(%error, "dead workers were not looked for");
            }
        }
    }

    async fn remove(
        &self,
        finished: &mut HashMap<Arc<str>, Vec<String>>,
    ) -> Result<(), RedisError> {
        let script = Script::new(REMOVE);
        for (worker, ids) in finished.iter_mut() {
            ids.drain(..ids.len().saturating_sub(KEEP));
            while !ids.is_empty() {
                let batch = &ids[ids.len().saturating_sub(BATCH)..];
                let mut call = script.prepare_invoke();
                call.key(self.inflight(worker))
                    .key(self.config.job_data_hash())
                    .arg(self.config.job_meta_hash());
                for id in batch {
                    call.arg(id);
                }
                let left = ids.len() - batch.len();
                call.invoke_async::<()>(&mut self.conn.clone()).await?;
                ids.truncate(left);
            }
        }
        finished.clear();
        Ok(())
    }

    /// Removes the traces of a worker that has ended.
    pub(super) async fn retire(&self, worker: &str, healthy: bool) -> Result<(), RedisError> {
        let script = Script::new(RETIRE);
        loop {
            let removed: usize = script
                .key(self.config.workers_set())
                .key(self.inflight(worker))
                .key(self.config.job_data_hash())
                .key(self.metadata(worker))
                .key(self.config.active_jobs_list())
                .arg(worker)
                .arg(BATCH)
                .arg(self.config.job_meta_hash())
                .arg(u8::from(healthy))
                .invoke_async(&mut self.conn.clone())
                .await?;
            if removed < BATCH {
                return Ok(());
            }
        }
    }

    /// Removes the traces of workers that died without cleaning up; the ids that they had fetched
    /// go to the other workers.
    async fn retire_dead(&self) -> Result<(), RedisError> {
        let dead: Vec<String> = Script::new(DEAD)
            .key(self.config.workers_set())
            .arg(self.metadata(""))
            .invoke_async(&mut self.conn.clone())
            .await?;
        for worker in dead {
            tracing::info!(worker, "a worker has vanished");
            self.retire(&worker, true).await?;
        }
        Ok(())
    }

    /// Announces that a worker lives, before it registers: its metadata, to which apalis adds, must
    /// vanish even if the process dies at once.
    pub(super) async fn announce(&self, worker: &str) -> Result<(), RedisError> {
        redis::pipe()
            .hset(self.metadata(worker), "worker", worker)
            .expire(self.metadata(worker), METADATA.as_secs() as i64)
            .query_async(&mut self.conn.clone())
            .await
    }

    fn inflight(&self, worker: &str) -> String {
        format!("{}:{worker}", self.config.inflight_jobs_set())
    }

    fn metadata(&self, worker: &str) -> String {
        format!("{}:metadata:{worker}", self.config.workers_set())
    }
}
