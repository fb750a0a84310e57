//! The service that apalis calls in place of a job handler: it waits for a free slot before apalis
//! looks for a delivery, and hands the delivery to a task of ours. It does not keep the slot, which
//! the worker's own claims may need while nothing comes.

use std::{
    sync::Arc,
    task::{Context, Poll, ready},
};

use apalis::prelude::{BoxDynError, Task};
use futures_util::{FutureExt, future::BoxFuture, task::AtomicWaker};
use nexus_common::jobs::lifecycle::Delivery;
use serde_json::Value;
use tokio_util::{
    sync::{CancellationToken, PollSemaphore},
    task::TaskTracker,
};
use tower::Service;

use super::sweep::Finished;
use crate::transport::{Consumer, RunDelivery};

/// The service of one apalis worker. It never fails: what became of the job is in the ledger.
pub(super) struct Intake {
    worker: Arc<str>,
    run_delivery: RunDelivery,
    slots: PollSemaphore,
    /// Makes apalis look for another delivery.
    fetch: Arc<AtomicWaker>,
    running: TaskTracker,
    finished: Finished,
    stop: CancellationToken,
}

impl Intake {
    pub(super) fn new(
        worker: &str,
        consumer: &Consumer,
        finished: &Finished,
        fetch: &Arc<AtomicWaker>,
    ) -> Self {
        Intake {
            worker: worker.into(),
            run_delivery: consumer.run_delivery.clone(),
            slots: PollSemaphore::new(consumer.slots.clone()),
            fetch: fetch.clone(),
            running: consumer.running.clone(),
            finished: finished.clone(),
            stop: consumer.stop.clone(),
        }
    }
}

impl Service<Task<Value>> for Intake {
    type Response = ();
    type Error = BoxDynError;
    type Future = BoxFuture<'static, Result<(), BoxDynError>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), BoxDynError>> {
        let slot = ready!(self.slots.poll_acquire(cx));
        Poll::Ready(slot.map(drop).ok_or_else(|| "the slots are closed".into()))
    }

    fn call(&mut self, task: Task<Value>) -> Self::Future {
        let (worker, finished, run_delivery) =
            (self.worker.clone(), self.finished.clone(), self.run_delivery.clone());
        // Where one was, there may be more.
        self.fetch.wake();
        let id = task.task_id().map(ToString::to_string);
        let delivery = serde_json::from_value::<Delivery>(task.args);
        let job = self.running.spawn(async move {
            match delivery {
                Ok(delivery) => run_delivery(delivery).await,
                Err(error) => tracing::warn!(%error, "something in Redis is not a delivery"),
            }
            if let Some(id) = id {
                finished.report(worker, id);
            }
        });
        let stop = self.stop.clone();
        async move {
            // When the worker leaves, the runtime waits for the job; apalis need not.
            tokio::select! {
                _ = job => {}
                () = stop.cancelled() => {}
            }
            Ok(())
        }
        .boxed()
    }
}
