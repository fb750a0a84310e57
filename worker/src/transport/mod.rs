//! Carries deliveries from the relays of a queue to its workers. It may lose, repeat and reorder
//! them: the ledger notices. The only implementation runs on apalis and Redis, in [`apalis`];
//! nothing outside that folder knows it.

mod apalis;

use std::sync::Arc;

use futures_util::future::BoxFuture;
use nexus_common::{
    Error, Result, config,
    jobs::{Queue, lifecycle::Delivery},
};
use tokio::sync::Semaphore;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use crate::relay::signal::RelaySignal;

/// The transport of one queue, as one worker uses it.
pub(crate) trait Transport: Send + Sync + 'static {
    /// Whether it answers.
    fn ping(&self) -> impl Future<Output = Result<()>> + Send;

    /// What it holds of the queue.
    fn depth(&self) -> impl Future<Output = Result<Depth>> + Send;

    /// Sends deliveries to the workers of the queue: all of them or, on an error, perhaps none.
    /// Workers receive them in this order, when they [look](Self::fetch) or after a while.
    fn push(&self, deliveries: &[Delivery]) -> impl Future<Output = Result<()>> + Send;

    /// Receives deliveries and hands them to the consumer until its worker stops.
    fn receive(&self, consumer: Consumer) -> impl Future<Output = ()> + Send;

    /// Looks for deliveries now: there are some, and the worker has room.
    fn fetch(&self);
}

/// What a transport holds of a queue.
pub(crate) struct Depth {
    /// Deliveries that no worker has received.
    pub(crate) deliveries: usize,
    /// Worker processes that live or died just now.
    pub(crate) workers: usize,
}

/// What a worker offers to the transport.
pub(crate) struct Consumer {
    pub(crate) run_delivery: RunDelivery,
    /// Bounds the jobs that run at once.
    pub(crate) slots: Arc<Semaphore>,
    /// Knows every running job.
    pub(crate) running: TaskTracker,
    /// Is told when deliveries may have been lost.
    pub(crate) relay: Arc<RelaySignal>,
    pub(crate) stop: CancellationToken,
}

/// Runs a delivered job to its end, or refuses it.
pub(crate) type RunDelivery = Arc<dyn Fn(Delivery) -> BoxFuture<'static, ()> + Send + Sync>;

/// The transport of `queue` for the process `worker`. It connects when it is first used.
pub(crate) fn open(
    redis: &config::Redis,
    queue: Queue,
    worker: &str,
) -> Result<impl Transport + use<>> {
    apalis::Apalis::open(redis, queue, worker).map_err(Error::internal)
}
