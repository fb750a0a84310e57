//! The job handlers: a function for each kind. The file named after a queue also holds the state
//! that all handlers of the queue share. The job's struct in [`nexus_common::jobs`] says when, how
//! often and for how long a handler runs.

pub mod account_mails;
pub mod bookings;
pub mod cancellation_notices;
pub mod cleanup;
pub mod event_cancellation;
pub mod event_notices;
pub mod expiry;
mod expiry_troubles;
mod messages;
pub mod notifications;
pub mod otp;
pub mod payments;
pub mod reconciliation;
pub mod refund_notices;
pub mod refunds;
pub mod transfers;
pub mod waiting_rooms;
pub mod webhooks;

use std::time::Duration;

use nexus_common::{
    Error,
    events::notices::Occasion,
    providers::{CallError, smtp::Email},
};

use crate::{
    JobFailure,
    letters::{EventWords, Written},
};

/// How long a job waits when it needs a provider whose credentials are not set.
const UNTIL_SET: Duration = Duration::from_secs(600);

/// A provider's client. Without one the job waits, and the attempt does not count.
fn needed<C>(client: &Option<C>) -> Result<&C, JobFailure> {
    client.as_ref().ok_or_else(|| JobFailure::Snooze(UNTIL_SET))
}

/// When and where an event is, in the words of mails.
fn words_of(name: &str, occasion: &Occasion) -> EventWords {
    EventWords::new(name, occasion.when(), &occasion.place())
}

/// A mail without files.
fn mail(to: String, to_name: Option<String>, written: Written, message_id: String) -> Email {
    let Written { subject, text, html } = written;
    let (inline, attachments) = (vec![], vec![]);
    Email { to, to_name, subject, text, html, message_id, inline, attachments }
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
