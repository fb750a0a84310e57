//! What the jobs do: a function for each kind. The file that has a queue's name also has the state
//! that all handlers of the queue share. The job's struct in [`nexus_common::jobs`] says when, how
//! often and for how long a handler is run.

pub mod bookings;
pub mod cancellation_notices;
pub mod cleanup;
pub mod event_cancellation;
pub mod expiry;
mod expiry_troubles;
pub mod notifications;
pub mod otp;
pub mod payments;
pub mod reconciliation;
pub mod refund_notices;
pub mod refunds;
pub mod webhooks;

use std::time::Duration;

use nexus_common::{Error, providers::CallError};

use crate::JobFailure;

/// How long a job waits that needs a provider whose credentials are not set.
const UNTIL_SET: Duration = Duration::from_secs(600);

/// A provider's client; without one the job waits, and does not count the attempt.
fn needed<C>(client: &Option<C>) -> Result<&C, JobFailure> {
    client.as_ref().ok_or_else(|| JobFailure::Snooze(UNTIL_SET))
}

/// A provider's refusal is final; anything else may pass. A key that it refuses makes the job wait,
/// without counting the attempt.
fn outward(error: CallError) -> JobFailure {
    match error {
        CallError::Refused { .. } | CallError::Invalid { .. } => {
            JobFailure::Discard(error.to_string())
        }
        CallError::Failed { .. } | CallError::KeyRefused { .. } => Error::from(error).into(),
    }
}
