//! What a handler receives, and how it reports failure.

use std::{ops::Deref, time::Duration};

use nexus_common::{
    Error,
    jobs::{JobId, lifecycle::Lease},
    realtime::{Coalesced, Emitter},
    storage::Cache,
};
use sqlx::PgPool;

/// What the handlers of a worker share. Dereferences to the queue's state `S`, for instance its
/// clients.
pub struct Context<S> {
    /// Connections for handlers; the runtime has a separate pool, so that busy handlers cannot cost
    /// the worker its leases.
    pub db: PgPool,
    /// Seat locks and revoked tokens in Redis.
    pub cache: Cache,
    /// Sends broadcasts to clients.
    pub emitter: Emitter,
    /// Sends seat counts to clients.
    pub seats: Coalesced<Emitter>,
    /// What only this queue's handlers need.
    pub state: S,
}

impl<S> Deref for Context<S> {
    type Target = S;

    fn deref(&self) -> &S {
        &self.state
    }
}

/// The attempt that a handler is making.
#[derive(Clone, Debug)]
pub struct Attempt {
    /// The right to run the job. A handler whose effects are in PostgreSQL calls
    /// `attempt.lease.complete(&mut tx)` as the last statement of its transaction, so that the
    /// effects and "done" commit together; otherwise the runtime completes the job after `Ok(())`.
    /// A handler whose transaction fails after that must not return `Ok(())`.
    pub lease: Lease,
    /// 1 for the first attempt.
    pub number: i32,
    /// The attempt after which a failure is final.
    pub max: i32,
    pub job_id: JobId,
}

/// How an attempt ends without success.
#[derive(Debug)]
pub enum JobFailure {
    /// Try again after the wait of the job's retry policy. `?` on a domain or SQL error gives this,
    /// except for a key that a provider refuses, which makes the job wait.
    Retry(Error),
    /// Try again after exactly this time, because a provider said so (`Retry-After`).
    RetryAfter(Duration, Error),
    /// Not a failure, only too early: run again after this time. The attempt does not count.
    Snooze(Duration),
    /// Trying again cannot help: make the job a dead letter, for this reason.
    Discard(String),
    /// Trying again cannot help, and no operator can: whom the message is for takes none. The job is
    /// cancelled.
    Refused(String),
}

impl From<Error> for JobFailure {
    fn from(error: Error) -> Self {
        match error {
            Error::KeyRefused { wait, .. } => JobFailure::Snooze(wait),
            error => JobFailure::Retry(error),
        }
    }
}

impl From<sqlx::Error> for JobFailure {
    fn from(error: sqlx::Error) -> Self {
        JobFailure::Retry(error.into())
    }
}
