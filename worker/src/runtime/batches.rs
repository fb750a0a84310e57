//! Batches what a worker writes about its jobs: acceptances, completions and returns that arrive at
//! the same time are one statement each, so that a busy worker pays once per group of jobs, not
//! once per job. (Renewals are not: a handler that is about to commit holds the row of its job, and
//! must not hold up the others.) No call waits for others: a call that comes alone is made at once, and
//! the next group gathers meanwhile.

use std::{sync::Arc, time::Duration};

use nexus_common::{
    Error, Result,
    jobs::lifecycle::{self, Claimed, Delivery, Lease},
    storage::postgres::bounded,
};
use sqlx::PgPool;
use tokio::sync::{
    mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel},
    oneshot,
};

/// Most jobs in one statement.
const MOST: usize = 500;

/// Makes the ledger calls that every job needs.
pub(super) struct Batches {
    acceptances: UnboundedSender<Call<Delivery, Option<Claimed>>>,
    completions: UnboundedSender<Call<Lease, ()>>,
    returns: UnboundedSender<Call<Lease, bool>>,
}

struct Call<T, R> {
    what: T,
    answer: oneshot::Sender<Result<R>>,
}

impl Batches {
    /// For the worker of that name, which holds its jobs for `lease`. The tasks behind it end when
    /// it is dropped.
    pub(super) fn new(db: &PgPool, worker: &str, lease: Duration) -> Self {
        let worker = Arc::<str>::from(worker);
        Batches {
            acceptances: start(db, move |pool, deliveries: Vec<Delivery>| {
                let worker = worker.clone();
                async move { lifecycle::accept(&pool, &deliveries, &worker, lease).await }
            }),
            completions: start(db, |pool, leases: Vec<Lease>| async move {
                lifecycle::complete(&pool, &leases).await?;
                Ok(vec![(); leases.len()])
            }),
            returns: start(db, |pool, leases: Vec<Lease>| async move {
                lifecycle::give_back(&pool, &leases).await
            }),
        }
    }

    /// Like [`lifecycle::accept`], for one delivery.
    pub(super) async fn accept(&self, delivery: Delivery) -> Result<Option<Claimed>> {
        call(&self.acceptances, delivery).await
    }

    /// Like [`lifecycle::complete`], for one job.
    pub(super) async fn complete(&self, lease: &Lease) -> Result<()> {
        call(&self.completions, lease.clone()).await
    }

    /// Like [`lifecycle::give_back`], for one job.
    pub(super) async fn give_back(&self, lease: &Lease) -> Result<bool> {
        call(&self.returns, lease.clone()).await
    }
}

/// Starts a task that makes such calls together.
fn start<T, R, F>(
    db: &PgPool,
    make: impl Fn(PgPool, Vec<T>) -> F + Send + 'static,
) -> UnboundedSender<Call<T, R>>
where
    T: Send + 'static,
    R: Send + 'static,
    F: Future<Output = Result<Vec<R>>> + Send + 'static,
{
    let (calls, inbox) = unbounded_channel();
    let pool = db.clone();
    tokio::spawn(gather(inbox, move |all| make(pool.clone(), all)));
    calls
}

async fn call<T, R>(calls: &UnboundedSender<Call<T, R>>, what: T) -> Result<R> {
    let (answer, answered) = oneshot::channel();
    let _ = calls.send(Call { what, answer });
    answered.await.unwrap_or_else(|gone| Err(Error::Unavailable(Box::new(gone))))
}

/// Collects the calls that have come and makes them together, until the senders are gone. A caller
/// that no longer waits for its answer is treated like a worker that dies after the statement.
async fn gather<T, R, F>(mut inbox: UnboundedReceiver<Call<T, R>>, make: impl Fn(Vec<T>) -> F)
where
    F: Future<Output = Result<Vec<R>>>,
{
    let mut calls = Vec::new();
    while inbox.recv_many(&mut calls, MOST).await > 0 {
        let (all, answers): (Vec<T>, Vec<_>) =
            calls.drain(..).map(|call| (call.what, call.answer)).unzip();
        match bounded(make(all)).await {
            Ok(results) => {
                for (answer, result) in answers.into_iter().zip(results) {
                    let _ = answer.send(Ok(result));
                }
            }
            Err(error) => {
                for answer in answers {
                    let _ = answer.send(Err(Error::Unavailable(error.details().into())));
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use futures_util::future::join_all;
    use tokio::sync::Notify;

    use super::*;

    #[tokio::test]
    async fn calls_that_come_meanwhile_are_made_together_and_answered_one_by_one() {
        let (calls, inbox) = unbounded_channel();
        let (made, go) = (Arc::new(Mutex::new(Vec::new())), Arc::new(Notify::new()));
        let (log, gate) = (made.clone(), go.clone());
        let task = tokio::spawn(gather(inbox, move |numbers: Vec<u32>| {
            log.lock().unwrap().push(numbers.len());
            let gate = gate.clone();
            async move {
                gate.notified().await;
                Ok(numbers.iter().map(|number| number * 2).collect())
            }
        }));
        let first = tokio::spawn({
            let calls = calls.clone();
            async move { call(&calls, 1).await.unwrap() }
        });
        while made.lock().unwrap().is_empty() {
            tokio::task::yield_now().await;
        }
        let others = join_all((2..=10).map(|number| call(&calls, number)));
        let (first, others, ()) = tokio::join!(first, others, async {
            go.notify_one();
            while made.lock().unwrap().len() < 2 {
                tokio::task::yield_now().await;
            }
            go.notify_one();
        });
        assert_eq!(first.unwrap(), 2);
        assert_eq!(
            others.into_iter().map(Result::unwrap).collect::<Vec<u32>>(),
            [4, 6, 8, 10, 12, 14, 16, 18, 20]
        );
        assert_eq!(*made.lock().unwrap(), [1, 9]);
        drop(calls);
        task.await.unwrap();
    }

    #[tokio::test]
    async fn a_statement_that_fails_fails_for_all_who_wait_for_it() {
        let (calls, inbox) = unbounded_channel();
        tokio::spawn(gather(inbox, async |_: Vec<()>| Err::<Vec<()>, _>(Error::internal("no"))));
        let answers = join_all((0..3).map(|_| call(&calls, ()))).await;
        assert!(
            answers.iter().all(|answer| matches!(answer, Err(Error::Unavailable(_)))),
            "{answers:?}"
        );
    }
}
