//! What a queue's binary declares: which handler runs which kind of job, and what the worker's
//! clock enqueues.

use std::{collections::HashMap, sync::Arc, time::Duration};

use futures_util::{FutureExt, future::BoxFuture};
use nexus_common::{
    Result,
    jobs::{self, Job, Queue, RetryPolicy, cron},
    providers::Key,
};
use serde_json::Value;
use sqlx::PgPool;

use super::context::{Attempt, Context, JobFailure};

type Work = BoxFuture<'static, Result<(), JobFailure>>;
type Run<S> =
    dyn Fn(Arc<Context<S>>, Value, Attempt) -> Result<Work, serde_json::Error> + Send + Sync;
type Enqueue = dyn Fn(PgPool) -> BoxFuture<'static, Result<bool>> + Send + Sync;

/// The handlers and the schedule of one queue.
pub struct Registry<S> {
    queue: Queue,
    handlers: HashMap<&'static str, Handler<S>>,
    pub(super) schedule: Vec<Scheduled>,
    pub(super) keys: fn(&S) -> Vec<Key>,
    pub(super) mistakes: Vec<String>,
}

/// A handler, and what its job type says about attempts.
pub(super) struct Handler<S> {
    pub(super) retry: RetryPolicy,
    pub(super) timeout: Duration,
    /// Decodes the payload and starts the attempt; an error says that the payload is not this job.
    pub(super) run: Box<Run<S>>,
}

/// A job that the worker's clock enqueues.
pub(super) struct Scheduled {
    pub(super) kind: &'static str,
    /// `None`: once, when the worker starts.
    pub(super) period: Option<Duration>,
    pub(super) enqueue: Box<Enqueue>,
}

impl<S: Send + Sync + 'static> Registry<S> {
    pub(super) fn new(queue: Queue) -> Self {
        Registry {
            queue,
            handlers: HashMap::new(),
            schedule: Vec::new(),
            keys: |_| vec![],
            mistakes: Vec::new(),
        }
    }

    /// Runs jobs of the kind `J` with `handler`.
    pub fn on<J, H, F>(mut self, handler: H) -> Self
    where
        J: Job,
        H: Fn(Arc<Context<S>>, J, Attempt) -> F + Send + Sync + 'static,
        F: Future<Output = Result<(), JobFailure>> + Send + 'static,
    {
        self.expect_own::<J>();
        let run = move |context: Arc<Context<S>>, payload: Value, attempt: Attempt| {
            Ok(handler(context, serde_json::from_value(payload)?, attempt).boxed())
        };
        let handler = Handler { retry: J::RETRY, timeout: J::TIMEOUT, run: Box::new(run) };
        if self.handlers.insert(J::KIND, handler).is_some() {
            self.mistakes.push(format!("{} has two handlers", J::KIND));
        }
        self
    }

    /// Enqueues a job once per `period`, however many workers run. Periods are counted from the
    /// epoch.
    pub fn every<J: Job>(
        mut self,
        period: Duration,
        job: impl Fn() -> J + Send + Sync + 'static,
    ) -> Self {
        self.expect_own::<J>();
        let job = Arc::new(job);
        let enqueue = move |db: PgPool| {
            let job = job.clone();
            async move { cron::tick(&db, &job(), period).await }.boxed()
        };
        self.schedule.push(Scheduled {
            kind: J::KIND,
            period: Some(period),
            enqueue: Box::new(enqueue),
        });
        self
    }

    /// Enqueues a job whenever a worker starts, unless a live job has its unique key.
    pub fn at_start<J: Job>(mut self, job: impl Fn() -> J + Send + Sync + 'static) -> Self {
        self.expect_own::<J>();
        let job = Arc::new(job);
        let enqueue = move |db: PgPool| {
            let job = job.clone();
            async move { Ok(jobs::enqueue(&mut *db.acquire().await?, &job()).await?.is_some()) }
                .boxed()
        };
        self.schedule.push(Scheduled { kind: J::KIND, period: None, enqueue: Box::new(enqueue) });
        self
    }

    /// Operators are alerted when a provider refuses one of these keys.
    pub fn keys(mut self, keys: fn(&S) -> Vec<Key>) -> Self {
        self.keys = keys;
        self
    }

    /// The kinds that have a handler, by name.
    pub(super) fn kinds(&self) -> Vec<&'static str> {
        let mut kinds: Vec<_> = self.handlers.keys().copied().collect();
        kinds.sort_unstable();
        kinds
    }

    pub(super) fn handler(&self, kind: &str) -> Option<&Handler<S>> {
        self.handlers.get(kind)
    }

    /// A job of another queue would never reach this worker.
    fn expect_own<J: Job>(&mut self) {
        if J::QUEUE != self.queue {
            self.mistakes.push(format!(
                "{} belongs to the queue {}, not to {}",
                J::KIND,
                J::QUEUE.name(),
                self.queue.name()
            ));
        }
    }
}

#[cfg(test)]
mod tests {

    use super::*;
    use nexus_common::jobs::{cleanup::CleanUp, expiry::SweepExpired};

    async fn clean_up(_: Arc<Context<()>>, _: CleanUp, _: Attempt) -> Result<(), JobFailure> {
        Ok(())
    }

    #[test]
    fn a_registry_knows_its_kinds_and_finds_mistakes() {
        let registry = Registry::<()>::new(Queue::Cleanup).on(clean_up);
        assert!(registry.handler("clean_up").is_some());
        assert!(registry.handler("from_the_future").is_none());
        assert!(registry.mistakes.is_empty());

        let registry = registry.on(clean_up).at_start(|| SweepExpired {});
        assert_eq!(
            registry.mistakes,
            [
                "clean_up has two handlers",
                "sweep_expired belongs to the queue expiry, not to cleanup"
            ]
        );
    }
}
