//! One delivery, from claim to verdict.
//!
//! The handler runs in a separate task: a panic stays there, and the supervisor can stop it when it
//! exceeds the time limit, when the lease is lost, or when the worker leaves. Wherever this process
//! dies, the row tells the rest: another relay's rescue finds `queued` rows and expired leases.

use std::{any::Any, sync::Arc, time::Duration};

use nexus_common::{
    Result,
    jobs::{
        Queue, RetryPolicy,
        lifecycle::{self, Claimed, Delivery},
    },
    observability::{metrics, traces},
    storage::postgres::{bounded, within},
    types::backoff::Backoff,
};
use sqlx::PgPool;
use tokio::{
    task::JoinHandle,
    time::{Instant, MissedTickBehavior, interval_at, sleep, sleep_until, timeout},
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
    pub(super) relay: Arc<RelaySignal>,
    /// Cancelled when no more jobs may be claimed.
    pub(super) stop: CancellationToken,
    /// Cancelled when running jobs are to be given back.
    pub(super) kill: CancellationToken,
}

/// A job of a kind that this version does not know waits this long for a newer worker, again and
/// again until its attempts are used up.
const UNKNOWN_KIND: Duration = Duration::from_secs(60);
/// An outcome that cannot be recorded for this long is left to the lease: the job will run again.
const RECORD_FOR: Duration = Duration::from_secs(30);

impl<S: Send + Sync + 'static> Executor<S> {
    /// Runs the delivered job, unless the delivery has been replaced.
    pub(super) async fn run(&self, delivery: Delivery) {
        let Some(claimed) = self.claim(delivery).await else { return };
        let Some(held_until) = self.begin(&claimed).await else { return };
        metrics::claimed(self.queue, &claimed.kind, claimed.waited);
        let started = Instant::now();
        let span = tracing::info_span!(
            "job",
            otel.name = format!("job {}", claimed.kind),
            otel.kind = "consumer",
            kind = claimed.kind,
            job_id = %claimed.lease.job_id(),
            attempt = claimed.attempt,
            trace_id = field::Empty,
        );
        let trace_id = traces::begin(&span, claimed.trace_context.as_deref());
        let (ended, policy) = match self.registry.handler(&claimed.kind) {
            Some(handler) => {
                (self.supervise(handler, &claimed, held_until, &span).await, handler.retry)
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
        let verdict = self.record(verdict, &claimed).await;
        if verdict.is_pending() {
            self.relay.wake();
        } else {
            self.relay.ended();
        }
        metrics::attempt(self.queue, &claimed.kind, verdict.outcome(), took);
        verdict.log(&claimed, trace_id.as_deref(), took);
        verdict.trace(&claimed, &span);
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

    /// Claims the job; `None` when it is not ours to run.
    async fn claim(&self, delivery: Delivery) -> Option<Claimed> {
        let give_up_at = Instant::now() + self.lost_after;
        let mut waits = Backoff::default();
        loop {
            if self.stop.is_cancelled() {
                self.refuse(delivery).await;
                return None;
            }
            match self.batches.claim(delivery).await {
                Ok(claimed) => {
                    self.relay.claimed();
                    return claimed;
                }
                // A rescue hands the job over again after that.
                Err(error) if Instant::now() > give_up_at => {
                    tracing::warn!(job_id = %delivery.job_id, error = error.details(), "a job could not be claimed");
                    return None;
                }
                Err(_) => {
                    let _ = timeout(waits.next_wait(), self.stop.cancelled()).await;
                }
            }
        }
    }

    /// Counts the attempt, and returns the time until which the job is held at least; `None` when
    /// it is no longer ours to run. Counting starts here because the claim may have taken long.
    async fn begin(&self, claimed: &Claimed) -> Option<Instant> {
        let job_id = claimed.lease.job_id();
        let give_up_at = Instant::now() + self.lost_after;
        let mut waits = Backoff::default();
        while !self.kill.is_cancelled() {
            // PostgreSQL starts the lease later than this moment.
            let held_until = Instant::now() + self.lease;
            let begun = tokio::select! {
                begun = self.batches.begin(claimed.lease, claimed.attempt) => begun,
                () = self.kill.cancelled() => break,
            };
            match begun {
                Ok(true) if Instant::now() < held_until => return Some(held_until),
                // The answer came after the lease may have run out.
                Ok(true) => {}
                Ok(false) => {
                    tracing::info!(kind = claimed.kind, %job_id, "a claim took longer than its lease; the job was not begun");
                    return None;
                }
                Err(error) if Instant::now() > give_up_at => {
                    tracing::warn!(%job_id, error = error.details(), "a job could not be begun");
                    break;
                }
                Err(_) => {
                    let _ = timeout(waits.next_wait(), self.kill.cancelled()).await;
                }
            }
        }
        // Earlier statements may have succeeded, but the handler has not begun.
        let given_back = claimed.lease.give_back(&self.db, claimed.attempt);
        if let Err(error) = within(self.lease, given_back).await {
            tracing::debug!(%job_id, error = error.details(), "a job was not given back; its lease will run out");
        }
        None
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
            lease: claimed.lease,
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
        let time_limit = sleep(handler.timeout);
        tokio::pin!(time_limit);
        let third = self.lease / 3;
        let mut renewals = interval_at(Instant::now() + third, third);
        renewals.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut committed = false;
        loop {
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
                () = &mut time_limit => {
                    end(task).await;
                    return Ended::Crashed { error: format!("timed out after {:?}", handler.timeout), wait: None };
                }
                () = sleep_until(held_until), if !committed => {
                    end(task).await;
                    return Ended::Lost;
                }
                _ = renewals.tick(), if !committed => {
                    let asked = Instant::now();
                    match within(third, self.renew(claimed)).await {
                        Ok(Renewed::Held) => held_until = asked + self.lease,
                        // The handler has committed and is doing what follows; no other worker can
                        // have the job any more.
                        Ok(Renewed::Done) => committed = true,
                        Ok(Renewed::Lost) => {
                            end(task).await;
                            return Ended::Lost;
                        }
                        Err(error) => tracing::debug!(error = error.details(), "a lease was not renewed; trying again"),
                    }
                }
            }
        }
    }

    async fn renew(&self, claimed: &Claimed) -> Result<Renewed> {
        if claimed.lease.renew(&self.db, self.lease).await? {
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
