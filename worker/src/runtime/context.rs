//! What a handler is given, and how it says that it failed.

use std::{ops::Deref, time::Duration};

use nexus_common::{
    Error,
    jobs::{JobId, lifecycle::Lease},
    realtime::{Coalesced, Emitter},
    storage::Cache,
};
use sqlx::PgPool;

/// What the handlers of a worker share. Dereferences to the queue's own state `S`, its clients for
/// instance.
pub struct Context<S> {
    /// Connections for handlers; the runtime keeps its own, so that busy handlers cannot cost the
    /// worker its leases.
    pub db: PgPool,
    /// Seat locks and revoked tokens in Redis.
    pub cache: Cache,
    /// Broadcasts to clients.
    pub emitter: Emitter,
    /// Seat counts to clients.
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
#[derive(Clone, Copy, Debug)]
pub struct Attempt {
    /// The right to run the job. A handler whose effects are in PostgreSQL calls
    /// `attempt.lease.complete(&mut tx)` as the last statement of its transaction, so that the
    /// effects and "done" commit together; otherwise the runtime completes the job after `Ok(())`.
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
    /// but for a key that a provider refuses, which makes the job wait.
    Retry(Error),
    /// Try again after exactly so long, because a provider said so (`Retry-After`).
    RetryAfter(Duration, Error),
    /// Nothing failed, it is just not time yet: run again after so long. The attempt does not
    /// count.
    Snooze(Duration),
    /// Trying again cannot help: a dead letter, for that reason.
    Discard(String),
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
