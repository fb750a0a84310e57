//! What an attempt's end means for its job, and how that is written down: in the ledger and in one
//! log line.

use std::time::Duration;

use nexus_common::{
    Error, Result,
    jobs::{RetryPolicy, lifecycle::Claimed},
    observability::traces::{self, OpenTelemetrySpanExt},
};
use sqlx::PgPool;
use tracing::Span;

use super::{batches::Batches, context::JobFailure};
use crate::dead_letters;

/// How an attempt ended.
#[derive(Debug)]
pub(super) enum Ended {
    /// The handler returned.
    Returned(Result<(), JobFailure>),
    /// The handler panicked or took too long, or the kind has none.
    Crashed { error: String, wait: Option<Duration> },
    /// The lease is lost: another worker may have the job.
    Lost,
    /// The worker is leaving and has stopped the handler.
    Interrupted,
}

/// What becomes of the job.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Verdict {
    Done,
    Retry {
        error: String,
        after: Duration,
    },
    Snooze(Duration),
    /// Other transactions held what the job needs: not a failure.
    Contended {
        error: String,
        after: Duration,
    },
    Dead(String),
    Cancelled(String),
    Lost,
    GiveBack,
}

/// Decides from how attempt number `attempt` ended.
pub(super) fn judge(ended: Ended, policy: &RetryPolicy, attempt: i32, max: i32) -> Verdict {
    let retry = |error: String, wait: Option<Duration>| {
        if attempt >= max {
            Verdict::Dead(error)
        } else {
            Verdict::Retry { error, after: wait.unwrap_or_else(|| policy.delay_after(attempt)) }
        }
    };
    match ended {
        Ended::Returned(Ok(())) => Verdict::Done,
        Ended::Returned(Err(
            JobFailure::Retry(Error::LeaseLost) | JobFailure::RetryAfter(_, Error::LeaseLost),
        )) => Verdict::Lost,
        Ended::Returned(Err(JobFailure::Retry(error) | JobFailure::RetryAfter(_, error)))
            if error.is_crowded() =>
        {
            Verdict::Contended { error: error.details(), after: policy.delay_after(attempt) }
        }
        Ended::Returned(Err(JobFailure::Retry(error))) => retry(error.details(), None),
        Ended::Returned(Err(JobFailure::RetryAfter(wait, error))) => {
            retry(error.details(), Some(wait))
        }
        Ended::Returned(Err(JobFailure::Snooze(wait))) => Verdict::Snooze(wait),
        Ended::Returned(Err(JobFailure::Discard(reason))) => Verdict::Dead(reason),
        Ended::Returned(Err(JobFailure::Refused(reason))) => Verdict::Cancelled(reason),
        Ended::Crashed { error, wait } => retry(error, wait),
        Ended::Lost => Verdict::Lost,
        Ended::Interrupted => Verdict::GiveBack,
    }
}

impl Verdict {
    /// Writes the verdict into the ledger; changes nothing if the lease is lost, so it may be
    /// repeated. Returns what became of the job: if the handler completed its job and failed after
    /// that, the job is done.
    pub(super) async fn record(
        self,
        claimed: &Claimed,
        db: &PgPool,
        batches: &Batches,
    ) -> Result<Verdict> {
        let lease = &claimed.lease;
        let recorded = match &self {
            // Its handler has committed that.
            Verdict::Done if lease.is_completed() => true,
            Verdict::Done => batches.complete(lease).await.map(|()| true)?,
            Verdict::Retry { error, after } => lease.retry(db, error, *after).await?,
            Verdict::Snooze(after) | Verdict::Contended { after, .. } => {
                lease.snooze(db, *after).await?
            }
            Verdict::Dead(error) => {
                let mut tx = db.begin().await?;
                let given_up = lease.give_up(&mut tx, error).await?;
                if given_up {
                    dead_letters::alert_operators(
                        &mut tx,
                        lease.job_id(),
                        &claimed.kind,
                        &claimed.payload,
                        error,
                    )
                    .await?;
                }
                tx.commit().await?;
                given_up
            }
            Verdict::Cancelled(reason) => lease.cancel(db, reason).await?,
            Verdict::GiveBack => batches.give_back(lease).await?,
            Verdict::Lost => true,
        };
        if recorded {
            Ok(self)
        } else if lease.is_done(db).await? {
            tracing::warn!(job_id = %lease.job_id(), verdict = ?self, "a handler did not end well after its job was done");
            Ok(Verdict::Done)
        } else {
            Ok(Verdict::Lost)
        }
    }

    /// Whether the job is pending again, so that the relay must consider a new due time.
    pub(super) fn is_pending(&self) -> bool {
        matches!(
            self,
            Verdict::Retry { .. }
                | Verdict::Snooze(_)
                | Verdict::Contended { .. }
                | Verdict::GiveBack
        )
    }

    /// The verdict's name in logs and metrics.
    pub(super) fn outcome(&self) -> &'static str {
        match self {
            Verdict::Done => "done",
            Verdict::Retry { .. } => "retry",
            Verdict::Snooze(_) | Verdict::Contended { .. } => "snooze",
            Verdict::Dead(_) => "dead",
            Verdict::Cancelled(_) => "cancelled",
            Verdict::Lost => "lost",
            Verdict::GiveBack => "given_back",
        }
    }

    /// The one log line of an attempt.
    pub(super) fn log(&self, claimed: &Claimed, trace_id: Option<&str>, took: Duration) {
        let (kind, job_id, attempt) =
            (claimed.kind.as_str(), claimed.lease.job_id(), claimed.attempt);
        let (max, user_id) = (claimed.max_attempts, claimed.user_id());
        let (outcome, duration_ms) = (self.outcome(), took.as_millis() as u64);
        match self {
            Verdict::Done => {
                tracing::info!(kind, %job_id, attempt, outcome, duration_ms, trace_id, user_id, "job is done");
            }
            Verdict::Retry { error, after } => {
                let retry_in_ms = after.as_millis() as u64;
                tracing::warn!(
                    kind, %job_id, attempt, max, outcome, duration_ms, retry_in_ms, error, trace_id, user_id,
                    "job failed and will be tried again"
                );
            }
            Verdict::Snooze(wait) => {
                let again_in_ms = wait.as_millis() as u64;
                // Some jobs never end, and say so once a second.
                tracing::debug!(kind, %job_id, attempt, outcome, duration_ms, again_in_ms, trace_id, user_id, "job waits");
            }
            Verdict::Contended { error, after } => {
                let again_in_ms = after.as_millis() as u64;
                tracing::warn!(
                    kind, %job_id, attempt, outcome, duration_ms, again_in_ms, error, trace_id, user_id,
                    "job waits for what others hold"
                );
            }
            Verdict::Dead(error) => {
                tracing::error!(kind, %job_id, attempt, max, outcome, duration_ms, error, trace_id, user_id, "job is dead");
            }
            Verdict::Cancelled(reason) => {
                tracing::info!(kind, %job_id, attempt, outcome, duration_ms, reason, trace_id, user_id, "job is cancelled");
            }
            Verdict::Lost => {
                tracing::info!(
                    kind, %job_id, attempt, outcome, duration_ms, trace_id, user_id,
                    "job's lease is lost; it may be another worker's now"
                );
            }
            Verdict::GiveBack => {
                tracing::info!(
                    kind, %job_id, attempt, outcome, duration_ms, trace_id, user_id,
                    "job is given back, the worker is leaving"
                );
            }
        }
    }

    /// Records in the attempt's span how it ended.
    pub(super) fn trace(&self, claimed: &Claimed, span: &Span) {
        span.set_attribute("nexus.job.id", claimed.lease.job_id().to_string());
        span.set_attribute("nexus.job.attempt", i64::from(claimed.attempt));
        span.set_attribute("nexus.outcome", self.outcome());
        if let Verdict::Retry { error, .. } | Verdict::Dead(error) = self {
            traces::failed(span, error);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const POLICY: RetryPolicy = RetryPolicy::INTERNAL;

    fn failed(failure: JobFailure) -> Ended {
        Ended::Returned(Err(failure))
    }

    #[test]
    fn a_failure_is_tried_again_until_the_last_attempt() {
        let error = || JobFailure::from(Error::invalid("no"));
        assert!(matches!(judge(failed(error()), &POLICY, 1, 3), Verdict::Retry { .. }));
        assert_eq!(judge(failed(error()), &POLICY, 3, 3), Verdict::Dead("no".into()));
        let refused = failed(JobFailure::Refused("no".into()));
        assert_eq!(judge(refused, &POLICY, 1, 3), Verdict::Cancelled("no".into()));

        let broke = || Ended::Crashed { error: "panicked".into(), wait: None };
        assert!(matches!(judge(broke(), &POLICY, 2, 3), Verdict::Retry { .. }));
        assert_eq!(judge(broke(), &POLICY, 3, 3), Verdict::Dead("panicked".into()));
    }

    #[test]
    fn the_handler_may_name_the_wait_or_the_end() {
        let wait = Duration::from_secs(7);
        let verdict =
            judge(failed(JobFailure::RetryAfter(wait, Error::invalid("busy"))), &POLICY, 1, 3);
        assert_eq!(verdict, Verdict::Retry { error: "busy".into(), after: wait });
        assert_eq!(
            judge(failed(JobFailure::Discard("void".into())), &POLICY, 1, 3),
            Verdict::Dead("void".into())
        );
        let wait = Duration::from_secs(60);
        assert_eq!(judge(failed(JobFailure::Snooze(wait)), &POLICY, 3, 3), Verdict::Snooze(wait));
    }

    #[test]
    fn to_wait_for_others_uses_no_attempt() {
        let crowded = [Error::Busy("held".into()), Error::from(sqlx::Error::PoolTimedOut)];
        for error in crowded {
            assert!(matches!(
                judge(failed(error.into()), &POLICY, 3, 3),
                Verdict::Contended { .. }
            ));
        }
    }

    #[test]
    fn a_lost_lease_is_nobodys_failure() {
        assert_eq!(judge(failed(Error::LeaseLost.into()), &POLICY, 3, 3), Verdict::Lost);
        assert_eq!(judge(Ended::Lost, &POLICY, 3, 3), Verdict::Lost);
        assert_eq!(judge(Ended::Interrupted, &POLICY, 3, 3), Verdict::GiveBack);
    }
}
