//! The transport on apalis and Redis: fast, and lossy (docs/apalis.md).
//!
//! apalis-redis 1.0.0 ends a worker on any trouble with Redis. So a job never runs inside the
//! apalis worker but in a task of ours, which outlives it, and [`Apalis::receive`] starts a new
//! worker under a new name. Nothing is acknowledged through apalis (`persist_results(false)`): an
//! id stays in the worker's inflight set until [`sweep`] removes it together with its data.

mod intake;
mod sweep;
mod wakeup;

use std::{
    sync::{Arc, Mutex},
    time::{Duration, SystemTime},
};

use apalis::prelude::{BackendExt, TaskBuilder, TaskId, WorkerBuilder, WorkerContext};
use apalis_redis::{Config, RedisStorage, RedisTask, queries};
use futures_util::task::AtomicWaker;
use nexus_common::{
    Error, Result, config,
    jobs::{Queue, lifecycle::Delivery},
    storage::redis::{Profile, connect},
    types::backoff::Backoff,
};
use redis::{RedisError, aio::ConnectionManager};
use serde_json::Value;
use tokio::time::{Instant, sleep, timeout};
use ulid::{Generator, Ulid};

use self::{
    intake::Intake,
    sweep::{Finished, Sweep},
    wakeup::Wakeup,
};
use super::{Consumer, Depth, Transport};

/// The apalis queue of one of our queues.
pub(super) struct Apalis {
    worker: String,
    config: Config,
    /// For calls that must fail fast.
    conn: ConnectionManager,
    /// For apalis, whose worker ends on a time-out.
    patient: ConnectionManager,
    ids: Mutex<Generator>,
    fetch: Arc<AtomicWaker>,
}

/// How long the steps before a worker starts, or when it ends, may take.
const FAST: Duration = Duration::from_secs(2);
const HEARTBEAT: Duration = Duration::from_secs(2);
/// Heartbeats in a day.
const A_DAY: usize = 24 * 3_600 / HEARTBEAT.as_secs() as usize;
/// A worker that lived this long did not fail at its start.
const SETTLED: Duration = Duration::from_secs(5);

impl Apalis {
    pub(super) fn open(
        settings: &config::Redis,
        queue: Queue,
        worker: &str,
    ) -> Result<Self, RedisError> {
        Ok(Apalis {
            worker: worker.to_owned(),
            // One at a time: a task that waits in a worker's buffer cannot be run by another
            // worker, and stops the heartbeat.
            config: Config::default()
                .queue(format!("nexus:{}", queue.name()))
                .batch_size(1)
                // apalis compares heartbeats, written by the clocks of other workers, with its own
                // clock: a worker whose clock is fast would take all others for dead. The sweep
                // finds dead workers by Redis's clock instead.
                .heartbeat_interval(HEARTBEAT)
                .missed_heartbeats(A_DAY)
                .lock_tasks(false)
                .persist_results(false)
                .emit_events(false),
            conn: connect(settings, Profile::DELIVERIES)?,
            patient: connect(settings, Profile::APALIS)?,
            ids: Mutex::new(Generator::new()),
            fetch: Arc::default(),
        })
    }

    fn task(&self, delivery: &Delivery) -> Result<RedisTask, serde_json::Error> {
        Ok(TaskBuilder::new(serde_json::to_vec(delivery)?)
            .task_id(TaskId::from_string(self.next_id()))
            .build())
    }

    /// apalis keeps due ids in a sorted set, ordered by second and then by id, so ids must rise
    /// with every push.
    fn next_id(&self) -> String {
        let mut ids = self.ids.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        ids.generate_from_datetime(SystemTime::now())
            .unwrap_or_else(|_| Ulid::generate())
            .to_string()
    }

    /// Waits until another try makes sense.
    async fn back(&self, waits: &mut Backoff) {
        sleep(waits.next_wait()).await;
        while self.ping().await.is_err() {
            sleep(waits.next_wait()).await;
        }
    }

    /// One life of an apalis worker; returns why it ended, or `None` when it was told to.
    async fn live(&self, name: &str, consumer: &Consumer, finished: &Finished) -> Option<String> {
        let backend = RedisStorage::<Value, _>::new(self.patient.clone())
            .with_config(self.config.clone())
            .poll_with_strategy(Wakeup::new(self.fetch.clone()));
        let context = WorkerContext::new(name);
        let worker = WorkerBuilder::new(context.clone()).backend(backend).build(Intake::new(
            name,
            consumer,
            finished,
            &self.fetch,
        ));
        // Spawned: awaited in place, its timers are not always polled.
        let mut run = tokio::spawn(worker.run());
        tokio::select! {
            ended = &mut run => Some(match ended {
                Ok(Ok(())) => "it ended by itself".into(),
                Ok(Err(error)) => error.to_string(),
                Err(error) => error.to_string(),
            }),
            () = consumer.stop.cancelled() => {
                if context.stop().is_err() || timeout(FAST, &mut run).await.is_err() {
                    run.abort();
                }
                None
            }
        }
    }
}

impl Transport for Apalis {
    async fn ping(&self) -> Result<()> {
        redis::cmd("PING").query_async(&mut self.conn.clone()).await.map_err(away)
    }

    async fn depth(&self) -> Result<Depth> {
        let (scheduled, active, workers): (usize, usize, usize) = redis::pipe()
            .zcard(self.config.scheduled_jobs_set())
            .llen(self.config.active_jobs_list())
            .zcard(self.config.workers_set())
            .query_async(&mut self.conn.clone())
            .await
            .map_err(away)?;
        Ok(Depth { deliveries: scheduled + active, workers })
    }

    async fn push(&self, deliveries: &[Delivery]) -> Result<()> {
        let tasks =
            deliveries.iter().map(|delivery| self.task(delivery)).collect::<Result<Vec<_>, _>>();
        let tasks = tasks.map_err(Error::internal)?;
        queries::push_tasks(&mut self.conn.clone(), &self.config, &tasks).await.map_err(away)?;
        Ok(())
    }

    async fn receive(&self, consumer: Consumer) {
        let (finished, inbox) = Finished::channel();
        let sweep = Sweep::new(self.conn.clone(), self.config.clone());
        let sweeper = tokio::spawn(sweep.clone().run(inbox));
        let mut waits = Backoff::default();
        for life in 1_u64.. {
            let name = format!("{}-{life}", self.worker);
            let since = Instant::now();
            finished.alive(&name);
            let _ = timeout(FAST, sweep.announce(&name)).await;
            let error = self.live(&name, &consumer, &finished).await;
            // Otherwise another worker does this, once this one has given no sign of life for ten
            // seconds.
            let _ = timeout(FAST, sweep.retire(&name, error.is_none())).await;
            let Some(error) = error else { break };
            consumer.relay.transport_failed();
            if since.elapsed() > SETTLED {
                waits.reset();
            }
            if waits.is_failing() {
                tracing::debug!(error, "the Redis consumer ended again");
            } else {
                tracing::warn!(error, "the Redis consumer ended; starting another");
            }
            tokio::select! {
                () = self.back(&mut waits) => {}
                () = consumer.stop.cancelled() => break,
            }
        }
        sweeper.abort();
    }

    fn fetch(&self) {
        self.fetch.wake();
    }
}

fn away(error: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Error {
    Error::Unavailable(error.into())
}
