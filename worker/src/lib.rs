//! The Nexus workers: one binary per queue (`bin/`), each built from [`run_worker`] and the
//! handlers of its queue ([`handlers`]).
//!
//! PostgreSQL holds every job and its state (`nexus_common::jobs::lifecycle`); Redis only carries
//! deliveries to workers with a free slot. The path of a job:
//!
//! - `relay` takes due rows of the queue from the ledger and hands them to Redis, a bounded number
//!   at a time, or to its own worker while Redis is away;
//! - `transport` carries them; its folder `apalis` is the only place that knows apalis;
//! - `runtime::execute` claims a delivered job, runs its handler under a lease, and writes down
//!   what became of it;
//! - `runtime` starts and supervises all that, and shuts it down.
//!
//! Redis may lose everything at any time, a process may die at any point, and a delivery may come
//! twice: a job still runs to its end, and what its handler commits together with
//! [`nexus_common::jobs::lifecycle::Lease::complete`] happens exactly once.

mod dead_letters;
pub mod handlers;
mod letters;
mod orphaned_orders;
pub mod reconciler;
mod relay;
mod runtime;
mod transport;

use tikv_jemallocator::Jemalloc;

pub use self::runtime::{
    context::{Attempt, Context, JobFailure},
    program::run_worker,
    registry::Registry,
};

/// As in the API.
#[global_allocator]
static ALLOCATOR: Jemalloc = Jemalloc;

/// What a queue's `from_env` returns: builds the state of the queue's handlers once all settings
/// are known to be valid.
pub type Build<S> = Box<dyn FnOnce() -> nexus_common::Result<S> + Send>;
