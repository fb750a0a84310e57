//! Batches what a worker writes about its jobs: acceptances, completions and returns that arrive at
//! the same time are one statement each, so that a busy worker pays once per group of jobs, not once
//! per job. (Renewals are not: a handler that is about to commit holds the row of its job, and must
//! not hold up the others.)

use std::{sync::Arc, time::Duration};

use nexus_common::{
    Result,
    jobs::lifecycle::{self, Claimed, Delivery, Lease},
    storage::groups::Groups,
};
use sqlx::PgPool;

/// Makes the ledger calls that every job needs. One group of each kind at a time: the few
/// connections of the runtime are also for renewals.
pub(super) struct Batches {
    acceptances: Groups<Delivery, Option<Claimed>>,
    completions: Groups<Lease, ()>,
    returns: Groups<Lease, bool>,
}

impl Batches {
    /// For the worker of that name, which holds its jobs for `lease`. The tasks behind it end when
    /// it is dropped.
    pub(super) fn new(db: &PgPool, worker: &str, lease: Duration) -> Self {
        let worker = Arc::<str>::from(worker);
        let (accepting, completing, returning) = (db.clone(), db.clone(), db.clone());
        Batches {
            acceptances: Groups::at_once(1, move |deliveries: Vec<Delivery>| {
                let (db, worker) = (accepting.clone(), worker.clone());
                async move { each(lifecycle::accept(&db, &deliveries, &worker, lease).await) }
            }),
            completions: Groups::at_once(1, move |leases: Vec<Lease>| {
                let db = completing.clone();
                async move {
                    lifecycle::complete(&db, &leases).await?;
                    each(Ok(vec![(); leases.len()]))
                }
            }),
            returns: Groups::at_once(1, move |leases: Vec<Lease>| {
                let db = returning.clone();
                async move { each(lifecycle::give_back(&db, &leases).await) }
            }),
        }
    }

    /// Like [`lifecycle::accept`], for one delivery.
    pub(super) async fn accept(&self, delivery: Delivery) -> Result<Option<Claimed>> {
        self.acceptances.call(delivery).await
    }

    /// Like [`lifecycle::complete`], for one job.
    pub(super) async fn complete(&self, lease: &Lease) -> Result<()> {
        self.completions.call(lease.clone()).await
    }

    /// Like [`lifecycle::give_back`], for one job.
    pub(super) async fn give_back(&self, lease: &Lease) -> Result<bool> {
        self.returns.call(lease.clone()).await
    }
}

fn each<R>(results: Result<Vec<R>>) -> Result<Vec<Result<R>>> {
    Ok(results?.into_iter().map(Ok).collect())
}
