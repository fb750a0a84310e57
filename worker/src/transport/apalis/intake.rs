//! The service that apalis calls in place of a job handler: it waits for a free slot before apalis
//! fetches a delivery, and hands the delivery to a task of ours.

use std::{
    sync::Arc,
    task::{Context, Poll, ready},
};

use apalis::prelude::{BoxDynError, Task};
use futures_util::{FutureExt, future::BoxFuture};
use nexus_common::jobs::lifecycle::Delivery;
use serde_json::Value;
use tokio::sync::OwnedSemaphorePermit;
use tokio_util::{
    sync::{CancellationToken, PollSemaphore},
    task::TaskTracker,
};
use tower::Service;

use super::sweep::Finished;
use crate::transport::{Consumer, RunJob};

/// The service of one apalis worker. It never fails: what became of the job is in the ledger.
pub(super) struct Intake {
    worker: Arc<str>,
    run_job: RunJob,
    slots: PollSemaphore,
    /// Taken by `poll_ready`, used by the `call` that follows.
    slot: Option<OwnedSemaphorePermit>,
    running: TaskTracker,
    finished: Finished,
    stop: CancellationToken,
}

impl Intake {
    pub(super) fn new(worker: &str, consumer: &Consumer, finished: &Finished) -> Self {
        Intake {
            worker: worker.into(),
            run_job: consumer.run_job.clone(),
            slots: PollSemaphore::new(consumer.slots.clone()),
            slot: None,
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
        if self.slot.is_none() {
            match ready!(self.slots.poll_acquire(cx)) {
                Some(slot) => self.slot = Some(slot),
                None => return Poll::Ready(Err("the slots are closed".into())),
            }
        }
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, task: Task<Value>) -> Self::Future {
        let slot = self.slot.take();
        let (worker, finished, run_job) =
            (self.worker.clone(), self.finished.clone(), self.run_job.clone());
        let id = task.task_id().map(ToString::to_string);
        let delivery = serde_json::from_value::<Delivery>(task.args);
        let job = self.running.spawn(async move {
            match delivery {
                Ok(delivery) => run_job(delivery).await,
                Err(error) => tracing::warn!(%error, "something in Redis is not a delivery"),
            }
            if let Some(id) = id {
                finished.report(worker, id);
            }
            drop(slot);
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
