//! One job, from the moment that the worker holds it to the verdict.
//!
//! The handler runs in a separate task: a panic stays there, and the supervisor can stop it when it
//! exceeds the time limit, when the lease is lost, or when the worker leaves. Wherever this process
//! dies, the row tells the rest: another relay's rescue finds expired leases.

use std::{
    any::Any,
    pin::Pin,
    sync::Arc,
    task::{self, Waker},
    time::Duration,
};

use futures_util::{
    FutureExt,
    future::{BoxFuture, MaybeDone, maybe_done},
};
use nexus_common::{
    Result,
    jobs::{
        Queue, RetryPolicy,
        lifecycle::{self, Claimed, Delivery},
        wakeups,
    },
    observability::{metrics, traces},
    storage::postgres::{bounded, within},
    types::backoff::Backoff,
};
use sqlx::PgPool;
use tokio::{
    sync::{AcquireError, OwnedSemaphorePermit, Semaphore},
    task::JoinHandle,
    time::{Instant, sleep, sleep_until, timeout},
};
use tokio_util::sync::CancellationToken;
use tracing::{Instrument, Span, field};

use super::{
    batches::Batches,
    context::{Attempt, Context, JobFailure},
    registry::{Handler, Registry},
    verdict::{Ended, Verdict, judge},
};
use crate::relay::signal::RelaySignal;

/// Runs the jobs of a worker.
pub(super) struct Executor<S> {
    pub(super) queue: Queue,
    pub(super) registry: Registry<S>,
    pub(super) context: Arc<Context<S>>,
    /// The runtime's own connections.
    pub(super) db: PgPool,
    /// Makes the ledger calls that every job needs.
    pub(super) batches: Batches,
    pub(super) lease: Duration,
    pub(super) lost_after: Duration,
    /// Bounds the handlers that run at once.
    pub(super) slots: Arc<Semaphore>,
    pub(super) relay: Arc<RelaySignal>,
    /// Cancelled when no more jobs may be claimed.
    pub(super) stop: CancellationToken,
    /// Cancelled when running jobs are to be given back.
    pub(super) kill: CancellationToken,
}

/// A place in the queue for a slot.
pub(super) type Place =
    Pin<Box<MaybeDone<BoxFuture<'static, Result<OwnedSemaphorePermit, AcquireError>>>>>;

/// A job of a kind that this version does not know waits this long for a newer worker, again and
/// again until its attempts are used up.
const UNKNOWN_KIND: Duration = Duration::from_secs(60);
/// An outcome that cannot be recorded for this long is left to the lease: the job will run again.
const RECORD_FOR: Duration = Duration::from_secs(30);
/// A job that was claimed ahead waits this long for a slot; then jobs before it have turned out to
/// be slow, and another worker may run it.
const PATIENCE: Duration = Duration::from_millis(250);

impl<S: Send + Sync + 'static> Executor<S> {
    /// Runs a job that Redis has brought, unless the delivery has been replaced. Without room for
    /// it the job goes back to the ledger, where other workers find it.
    pub(super) async fn receive(&self, delivery: Delivery) {
        let job = delivery.job_id;
        if self.stop.is_cancelled() || !self.relay.load.try_take(job) {
            return self.refuse(delivery).await;
        }
        match self.accept(delivery).await {
            Some((claimed, held_until)) => {
                self.relay.load.take([(job, claimed.priority)]);
                self.run(claimed, held_until, self.queue_up()).await;
            }
            None => self.relay.ended(job),
        }
    }

    /// Queues up for a slot. Jobs run in the order of these calls.
    pub(super) fn queue_up(&self) -> Place {
        let mut place = Box::pin(maybe_done(self.slots.clone().acquire_owned().boxed()));
        // The first look is what joins the queue.
        let _ = place.as_mut().poll(&mut task::Context::from_waker(Waker::noop()));
        place
    }

    /// Runs a claimed job, which is held until then at least, when its place in the queue has come.
    pub(super) async fn run(&self, claimed: Claimed, held_until: Instant, place: Place) {
        match self.slot(place, held_until).await {
            Some(slot) => self.attempt(&claimed, held_until, slot).await,
            None => {
                let returned = within(self.lease, self.batches.give_back(&claimed.lease)).await;
                if let Err(error) = returned {
                    tracing::debug!(job_id = %claimed.lease.job_id(), error = error.details(), "a job was not given back; its lease will run out");
                }
            }
        }
        self.relay.ended(claimed.lease.job_id());
    }

    /// A slot for a handler; `None` when the job had better run elsewhere.
    async fn slot(&self, mut place: Place, held_until: Instant) -> Option<OwnedSemaphorePermit> {
        let patience = held_until.min(Instant::now() + PATIENCE);
        tokio::select! {
            biased;
            () = self.stop.cancelled() => None,
            () = place.as_mut() => place.as_mut().take_output()?.ok(),
            () = sleep_until(patience) => None,
        }
    }

    /// Calls the handler, and records what becomes of the job.
    async fn attempt(&self, claimed: &Claimed, held_until: Instant, slot: OwnedSemaphorePermit) {
        metrics::claimed(self.queue, &claimed.kind, claimed.waited);
        let started = Instant::now();
        let span = tracing::info_span!(
            "job",
            otel.name = format!("job {}", claimed.kind),
            otel.kind = "consumer",
            kind = claimed.kind,
            job_id = %claimed.lease.job_id(),
            attempt = claimed.attempt,
            user_id = claimed.user_id(),
            trace_id = field::Empty,
        );
        let trace_id = traces::begin(&span, claimed.trace_context.as_deref());
        let (ended, policy) = match self.registry.handler(&claimed.kind) {
            Some(handler) => {
                (self.supervise(handler, claimed, held_until, &span).await, handler.retry)
            }
            None => {
                let error = format!(
                    "no handler for {} in version {}",
                    claimed.kind,
                    env!("CARGO_PKG_VERSION")
                );
                (Ended::Crashed { error, wait: Some(UNKNOWN_KIND) }, RetryPolicy::INTERNAL)
            }
        };
        let verdict = judge(ended, &policy, claimed.attempt, claimed.max_attempts);
        let took = started.elapsed();
        drop(slot);
        // Jobs that this one has enqueued are committed.
        wakeups::committed();
        let verdict = self.record(verdict, claimed).await;
        if verdict.is_pending() {
            self.relay.wake();
        }
        metrics::attempt(self.queue, &claimed.kind, verdict.outcome(), took);
        verdict.log(claimed, trace_id.as_deref(), took);
        verdict.trace(claimed, &span);
    }

    /// Writes the verdict down, and returns what became of the job.
    async fn record(&self, verdict: Verdict, claimed: &Claimed) -> Verdict {
        let give_up_at = Instant::now() + RECORD_FOR;
        let mut waits = Backoff::default();
        loop {
            match bounded(verdict.clone().record(claimed, &self.db, &self.batches)).await {
                Ok(verdict) => return verdict,
                Err(error) if Instant::now() > give_up_at || self.kill.is_cancelled() => {
                    let job_id = claimed.lease.job_id();
                    tracing::warn!(%job_id, error = error.details(), "an outcome is not recorded; the lease will run out");
                    return verdict;
                }
                Err(_) => sleep(waits.next_wait()).await,
            }
        }
    }

    /// Accepts the job, and returns it with the time until which it is held at least; `None` when
    /// it is not ours to run.
    async fn accept(&self, delivery: Delivery) -> Option<(Claimed, Instant)> {
        let give_up_at = Instant::now() + self.lost_after;
        let mut waits = Backoff::default();
        loop {
            if self.stop.is_cancelled() {
                self.refuse(delivery).await;
                return None;
            }
            // PostgreSQL starts the lease later than this moment.
            let asked = Instant::now();
            match self.batches.accept(delivery).await {
                Ok(accepted) => {
                    let claimed = accepted?;
                    if asked.elapsed() < self.lease / 3 {
                        return Some((claimed, asked + self.lease));
                    }
                    return self.hold(claimed).await;
                }
                // A rescue makes the job due again after that.
                Err(error) if Instant::now() > give_up_at => {
                    tracing::warn!(job_id = %delivery.job_id, error = error.details(), "a job could not be accepted");
                    return None;
                }
                Err(_) => {
                    let _ = timeout(waits.next_wait(), self.stop.cancelled()).await;
                }
            }
        }
    }

    /// Renews a lease that the worker got late: others may think that the worker is dead.
    async fn hold(&self, claimed: Claimed) -> Option<(Claimed, Instant)> {
        let asked = Instant::now();
        let renewed = within(self.lease, self.renew(&claimed)).await;
        matches!(renewed, Ok(Renewed::Held)).then_some((claimed, asked + self.lease))
    }

    async fn refuse(&self, delivery: Delivery) {
        if let Err(error) = within(self.lease, lifecycle::take_back(&self.db, &[delivery])).await {
            tracing::debug!(
                error = error.details(),
                "a job was not taken back; a rescue will find it"
            );
        }
    }

    async fn supervise(
        &self,
        handler: &Handler<S>,
        claimed: &Claimed,
        mut held_until: Instant,
        span: &Span,
    ) -> Ended {
        let attempt = Attempt {
            lease: claimed.lease.clone(),
            number: claimed.attempt,
            max: claimed.max_attempts,
            job_id: claimed.lease.job_id(),
        };
        let work = match (handler.run)(self.context.clone(), claimed.payload.clone(), attempt) {
            Ok(work) => work,
            Err(error) => {
                return Ended::Returned(Err(JobFailure::Discard(format!(
                    "the payload cannot be read: {error}"
                ))));
            }
        };
        let mut task = tokio::spawn(work.instrument(span.clone()));
        let time_limit = Instant::now() + handler.timeout;
        let third = self.lease / 3;
        let mut renew_at = held_until - self.lease + third;
        let mut committed = false;
        loop {
            let next =
                if committed { time_limit } else { time_limit.min(renew_at).min(held_until) };
            tokio::select! {
                biased;
                result = &mut task => return match result {
                    Ok(returned) => Ended::Returned(returned),
                    Err(error) if error.is_panic() => Ended::Crashed { error: panicked(error.into_panic().as_ref()), wait: None },
                    Err(_) => Ended::Interrupted,
                },
                () = self.kill.cancelled() => {
                    end(task).await;
                    return Ended::Interrupted;
                }
                () = sleep_until(next) => {}
            }
            let asked = Instant::now();
            if asked >= time_limit {
                end(task).await;
                let error = format!("timed out after {:?}", handler.timeout);
                return Ended::Crashed { error, wait: None };
            }
            if asked >= held_until {
                end(task).await;
                return Ended::Lost;
            }
            renew_at = asked + third;
            match within(third, self.renew(claimed)).await {
                Ok(Renewed::Held) => held_until = asked + self.lease,
                // The handler has committed and is doing what follows; no other worker can have the
                // job any more.
                Ok(Renewed::Done) => committed = true,
                Ok(Renewed::Lost) => {
                    end(task).await;
                    return Ended::Lost;
                }
                Err(error) => {
                    tracing::debug!(
                        error = error.details(),
                        "a lease was not renewed; trying again"
                    );
                }
            }
        }
    }

    async fn renew(&self, claimed: &Claimed) -> Result<Renewed> {
        let renewed = lifecycle::renew(&self.db, std::slice::from_ref(&claimed.lease), self.lease);
        if renewed.await? == [true] {
            Ok(Renewed::Held)
        } else if claimed.lease.is_done(&self.db).await? {
            Ok(Renewed::Done)
        } else {
            Ok(Renewed::Lost)
        }
    }
}

enum Renewed {
    Held,
    Done,
    Lost,
}

/// Stops a handler at its next await, and waits until it has stopped.
async fn end(task: JoinHandle<Result<(), JobFailure>>) {
    task.abort();
    if timeout(Duration::from_secs(1), task).await.is_err() {
        // It computes without awaiting. Its lease is gone, so it cannot commit anything.
        tracing::warn!("a handler does not stop");
    }
}

fn panicked(payload: &(dyn Any + Send)) -> String {
    let message = payload
        .downcast_ref::<&str>()
        .copied()
        .or_else(|| payload.downcast_ref::<String>().map(String::as_str));
    format!("panicked: {}", message.unwrap_or("(no message)"))
}
