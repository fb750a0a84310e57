//! The job handlers: a function for each kind. The file named after a queue also holds the state
//! that all handlers of the queue share. The job's struct in [`nexus_common::jobs`] says when, how
//! often and for how long a handler runs.

pub mod account_mails;
pub mod bookings;
pub mod cancellation_notices;
pub mod cleanup;
pub mod event_cancellation;
pub mod expiry;
mod expiry_troubles;
mod messages;
pub mod notifications;
pub mod otp;
pub mod payments;
pub mod reconciliation;
pub mod refund_notices;
pub mod refunds;
pub mod webhooks;

use std::time::Duration;

use askama::Template;
use nexus_common::{Error, providers::CallError, types::time::Timestamp};

use crate::JobFailure;

/// How long a job waits when it needs a provider whose credentials are not set.
const UNTIL_SET: Duration = Duration::from_secs(600);

/// A provider's client. Without one the job waits, and the attempt does not count.
fn needed<C>(client: &Option<C>) -> Result<&C, JobFailure> {
    client.as_ref().ok_or_else(|| JobFailure::Snooze(UNTIL_SET))
}

/// The bodies of a mail: `templates/<mail>.txt` and `templates/<mail>.html`, which escapes text
/// that people have written.
fn bodies(text: impl Template, html: impl Template) -> Result<(String, String), JobFailure> {
    let text = text.render().map_err(Error::internal)?;
    Ok((text, html.render().map_err(Error::internal)?))
}

/// A point in time as mails show it.
fn moment(at: &Timestamp) -> String {
    at.0.format("%A, %-d %B %Y, %H:%M UTC").to_string()
}

/// A provider's refusal is final; any other failure may pass. While the provider refuses our key,
/// the job waits and the attempt does not count.
fn outward(error: CallError) -> JobFailure {
    match error {
        CallError::Refused { .. } | CallError::Invalid { .. } => {
            JobFailure::Discard(error.to_string())
        }
        CallError::Failed { .. } | CallError::KeyRefused { .. } => Error::from(error).into(),
    }
}
