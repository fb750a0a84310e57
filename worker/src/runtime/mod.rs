//! A worker process: its connections, its tasks, and its shutdown. Its `main` is in [`program`].
//!
//! On SIGTERM or SIGINT the worker stops claiming and relaying. Running jobs may finish within
//! SHUTDOWN_GRACE_MS; the worker stops the others and gives them back. A second signal ends the
//! grace.

mod batches;
pub(crate) mod context;
mod execute;
pub(crate) mod program;
pub(crate) mod registry;
mod schedule;
mod verdict;

use std::{sync::Arc, time::Duration};

use nexus_common::{
    Error, Result, config,
    jobs::{Queue, admin, wakeups},
    ledger::alerts,
    observability::metrics,
    realtime::Emitter,
    seats::counts,
    storage::{
        Cache,
        listener::listen_to_postgres,
        postgres::{self, bounded},
    },
    types::backoff::Backoff,
};
use sqlx::PgPool;
use tokio::{
    signal::unix::{SignalKind, signal},
    sync::Semaphore,
    time::{sleep, timeout},
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use self::{batches::Batches, context::Context, execute::Executor, registry::Registry};
use crate::{
    relay::{Relay, signal::RelaySignal},
    transport::{self, Consumer, Transport},
};

async fn run<S: Send + Sync + 'static>(
    queue: Queue,
    name: &str,
    config: config::Worker,
    build: impl FnOnce() -> Result<S>,
    registry: Registry<S>,
) -> Result<()> {
    metrics::export(config.observability.metrics)?;
    metrics::slots(queue, config.concurrency);
    let stop = CancellationToken::new();
    let kill = CancellationToken::new();
    on_signals(stop.clone(), kill.clone())?;

    let (own, handlers) = split(config.database.max_connections);
    let connect = |connections: u32, lock_timeout: Duration| {
        let settings = config::Database {
            max_connections: connections,
            lock_timeout: config.database.lock_timeout.min(lock_timeout),
            ..config.database.clone()
        };
        postgres::pool(&settings, name)
    };
    let db = connect(own, Duration::MAX);
    let handlers_db = connect(handlers, LOCK_TIMEOUT);
    let emitter = Emitter::new(&config.redis).map_err(Error::internal)?;
    let context = Arc::new(Context {
        cache: Cache::new(&config.redis).map_err(Error::internal)?,
        seats: counts::updates(handlers_db.clone(), &config.redis, emitter.clone())
            .map_err(Error::internal)?,
        emitter,
        db: handlers_db,
        state: build()?,
    });
    let worker = process_name(queue);
    let transport = Arc::new(transport::open(&config.redis, queue, &worker)?);

    tokio::select! {
        () = ready(&db, &*transport) => {}
        () = stop.cancelled() => return Ok(()),
    }

    wakeups::start(db.clone());
    let signal = RelaySignal::new(config.concurrency);
    let mut registry = registry;
    let clocks = schedule::start(std::mem::take(&mut registry.schedule), &db, &stop);
    for key in (registry.keys)(&context.state) {
        tokio::spawn(alerts::watch_key(context.db.clone(), key));
    }
    let woken = signal.clone();
    let notices = tokio::spawn(listen_to_postgres(
        connect(1, Duration::MAX),
        wakeups::CHANNEL,
        "enqueued jobs",
        move |heard| woken.hear(queue, heard),
    ));
    let sampler = tokio::spawn(sample(queue, db.clone(), context.db.clone()));
    let slots = Arc::new(Semaphore::new(config.concurrency));
    let executor = Arc::new(Executor {
        queue,
        registry,
        context,
        batches: Batches::new(&db, &worker, config.lease),
        db: db.clone(),
        lease: config.lease,
        lost_after: config.lost_after,
        slots: slots.clone(),
        relay: signal.clone(),
        stop: stop.clone(),
        kill: kill.clone(),
    });
    let running = TaskTracker::new();
    let (runs, tracker) = (executor.clone(), running.clone());
    let relay = Relay {
        db,
        queue,
        worker: worker.clone(),
        lease: config.lease,
        concurrency: config.concurrency,
        lost_after: config.lost_after,
        transport: transport.clone(),
        run_claimed: Box::new(move |claimed, held_until| {
            let (executor, place) = (runs.clone(), runs.queue_up());
            tracker.spawn(async move { executor.run(claimed, held_until, place).await });
        }),
        signal: signal.clone(),
        stop: stop.clone(),
    };
    let mut relaying = tokio::spawn(relay.run());
    let consumer = Consumer {
        run_delivery: Arc::new(move |delivery| {
            let executor = executor.clone();
            Box::pin(async move { executor.receive(delivery).await })
        }),
        slots,
        running: running.clone(),
        relay: signal,
        stop: stop.clone(),
    };
    let receiving = tokio::spawn(async move { transport.receive(consumer).await });
    tracing::info!(queue = queue.name(), worker, concurrency = config.concurrency, "worker ready");

    stop.cancelled().await;
    tracing::info!(running = running.len(), "worker is leaving");
    sampler.abort();
    notices.abort();
    running.close();
    let left = async {
        // Its last claim may still bring jobs, to give back.
        let _ = (&mut relaying).await;
        running.wait().await;
    };
    tokio::select! {
        () = left => {}
        () = sleep(config.grace) => {}
        () = kill.cancelled() => {}
    }
    kill.cancel();
    // Bounded: a job that is not given back in time is rescued when its lease has run out.
    let _ = timeout(Duration::from_secs(5), async {
        if !relaying.is_finished() {
            let _ = relaying.await;
        }
        running.wait().await;
        let _ = tokio::join!(receiving, clocks);
    })
    .await;
    tracing::info!("worker has left");
    Ok(())
}

/// A job that waits for a lock longer than this gives its slot and its connection to others, and
/// comes back later.
const LOCK_TIMEOUT: Duration = Duration::from_secs(2);

/// The shares of the connections that the runtime and the handlers get. The runtime's is a third,
/// but enough to renew leases while handlers use all of theirs.
fn split(connections: u32) -> (u32, u32) {
    let own = (connections / 3).clamp(1, 4);
    (own, connections.saturating_sub(own).max(1))
}

/// Waits until PostgreSQL has every migration and Redis answers.
async fn ready(db: &PgPool, transport: &impl Transport) {
    let mut waits = Backoff::default();
    loop {
        let problem = match bounded(postgres::is_migrated(db)).await {
            Err(error) => format!("PostgreSQL is away: {}", error.details()),
            Ok(false) => "PostgreSQL is not migrated; run nexus-api migrate".into(),
            Ok(true) => match transport.ping().await {
                Err(error) => format!("Redis is away: {}", error.details()),
                Ok(()) => return,
            },
        };
        if waits.is_failing() {
            tracing::debug!(problem, "still waiting");
        } else {
            tracing::warn!(problem, "waiting");
        }
        sleep(waits.next_wait()).await;
    }
}

/// How often the worker measures the queue's depth.
const SAMPLE_EVERY: Duration = Duration::from_secs(2);

/// Measures what no event reports: the length of the queue, and the use of the pools.
async fn sample(queue: Queue, db: PgPool, handlers_db: PgPool) {
    loop {
        if let Ok(depth) = bounded(admin::depth(&db, queue)).await {
            depth.record(queue);
        }
        metrics::pool("runtime", &db);
        metrics::pool("handlers", &handlers_db);
        sleep(SAMPLE_EVERY).await;
    }
}

fn on_signals(stop: CancellationToken, kill: CancellationToken) -> Result<()> {
    let mut terminate = signal(SignalKind::terminate()).map_err(Error::internal)?;
    let mut interrupt = signal(SignalKind::interrupt()).map_err(Error::internal)?;
    tokio::spawn(async move {
        for token in [stop, kill] {
            tokio::select! {
                _ = terminate.recv() => {}
                _ = interrupt.recv() => {}
            }
            token.cancel();
        }
    });
    Ok(())
}

/// Unique per start: under a name that Redis still remembers, apalis would refuse the worker or
/// give it another worker's jobs.
#[expect(clippy::disallowed_methods, reason = "the host's name is no setting")]
fn process_name(queue: Queue) -> String {
    let host = std::fs::read_to_string("/proc/sys/kernel/hostname")
        .or_else(|_| std::env::var("HOSTNAME"))
        .unwrap_or_default()
        .chars()
        .filter(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '.'))
        .take(63)
        .collect::<String>();
    let host = if host.is_empty() { "host" } else { &host };
    format!("{}-{host}-{}", queue.name(), ulid::Ulid::generate())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn handlers_and_runtime_share_the_connections() {
        assert_eq!(split(10), (3, 7));
        assert_eq!(split(2), (1, 1));
        assert_eq!(split(100), (4, 96));
    }

    #[test]
    fn a_process_name_is_unique() {
        assert_ne!(process_name(Queue::Otp), process_name(Queue::Otp));
        assert!(process_name(Queue::Otp).starts_with("otp-"));
    }
}
