//! Calls that are made together: those that come while a group is being written form the next one,
//! so that a busy process pays for a transaction once per group, not once per call. No call waits
//! for others to come: one that comes alone is made at once. Nor does it wait for long for a group
//! that is slow.
//!
//! Nor does a group wait for rows that other transactions hold, because all later calls would wait
//! behind it: it skips them, and whoever called makes that call by itself.

use std::{sync::Arc, time::Duration};

use tokio::{
    sync::{
        mpsc::{Receiver, Sender, channel, error::TrySendError},
        oneshot,
    },
    task::JoinSet,
    time::timeout,
};

use super::postgres::bounded;
use crate::error::{Error, Kind, Result};

/// Calls in one group.
const MOST: usize = 200;
/// How long a group is waited for before the next one begins beside it.
const PATIENCE: Duration = Duration::from_millis(50);
/// Groups that may be under way at once, unless it is said otherwise.
const MOST_GROUPS: usize = 4;
/// Calls that may wait; further ones are told to come back.
const WAITING: usize = 10_000;

/// The way to make calls of one kind. Cheap to clone; when the last clone is dropped, its task
/// ends.
pub struct Groups<T, R>(Sender<Call<T, R>>);

struct Call<T, R> {
    what: T,
    reply: oneshot::Sender<Result<R>>,
}

impl<T, R> Clone for Groups<T, R> {
    fn clone(&self) -> Self {
        Groups(self.0.clone())
    }
}

impl<T, R> Groups<T, R>
where
    T: Clone + Send + 'static,
    R: Send + 'static,
{
    /// `make` makes a group of calls, and returns one result for each, in order. If it fails, it
    /// has changed nothing.
    pub fn new<F>(make: impl Fn(Vec<T>) -> F + Send + Sync + 'static) -> Self
    where
        F: Future<Output = Result<Vec<Result<R>>>> + Send + 'static,
    {
        Self::at_once(MOST_GROUPS, make)
    }

    /// The same with no more groups under way at once than that: each may use a connection.
    pub fn at_once<F>(most: usize, make: impl Fn(Vec<T>) -> F + Send + Sync + 'static) -> Self
    where
        F: Future<Output = Result<Vec<Result<R>>>> + Send + 'static,
    {
        let (sender, inbox) = channel(WAITING);
        tokio::spawn(gather(inbox, most, make));
        Groups(sender)
    }

    /// Makes one call. A caller that no longer waits when its group begins has called in vain.
    pub async fn call(&self, what: T) -> Result<R> {
        let (reply, replied) = oneshot::channel();
        self.0.try_send(Call { what, reply }).map_err(|error| match error {
            TrySendError::Full(_) => Error::overloaded(),
            TrySendError::Closed(_) => Error::internal("nobody makes these calls any more"),
        })?;
        replied.await.unwrap_or_else(|_| Err(Error::internal("a group of calls came to nothing")))
    }
}

async fn gather<T, R, F>(
    mut inbox: Receiver<Call<T, R>>,
    most: usize,
    make: impl Fn(Vec<T>) -> F + Send + Sync + 'static,
) where
    T: Clone + Send + 'static,
    R: Send + 'static,
    F: Future<Output = Result<Vec<Result<R>>>> + Send + 'static,
{
    let make = Arc::new(make);
    let mut under_way = JoinSet::new();
    let mut calls = Vec::new();
    while inbox.recv_many(&mut calls, MOST).await > 0 {
        calls.retain(|call| !call.reply.is_closed());
        under_way.spawn(answer(make.clone(), std::mem::take(&mut calls)));
        // Until one of them is over, or has taken so long that the next one begins beside it.
        let _ = timeout(PATIENCE, under_way.join_next()).await;
        while under_way.len() >= most {
            under_way.join_next().await;
        }
        while under_way.try_join_next().is_some() {}
    }
    under_way.detach_all();
}

/// Makes a group, and tells its callers.
async fn answer<T, R, F>(make: Arc<impl Fn(Vec<T>) -> F + Send + Sync>, group: Vec<Call<T, R>>)
where
    T: Clone + Send + 'static,
    R: Send + 'static,
    F: Future<Output = Result<Vec<Result<R>>>> + Send + 'static,
{
    let (all, replies): (Vec<T>, Vec<_>) =
        group.into_iter().map(|call| (call.what, call.reply)).unzip();
    match together(&*make, all.clone()).await {
        Ok(results) => {
            for (reply, result) in replies.into_iter().zip(results) {
                let _ = reply.send(result);
            }
        }
        // One bad apple must not spoil the group: each is made by itself, once.
        Err(error) if spares_others(&error) && all.len() > 1 => {
            tracing::warn!(
                error = error.details(),
                "a group failed; its calls are made one by one"
            );
            for (what, reply) in all.into_iter().zip(replies) {
                let made = together(&*make, vec![what]).await.and_then(|mut only| {
                    only.pop().unwrap_or_else(|| Err(Error::internal("a call was not made")))
                });
                let _ = reply.send(made);
            }
        }
        Err(error) => {
            for reply in replies {
                let _ = reply.send(Err(error.repeated()));
            }
        }
    }
}

/// Whether a failure may be due to one call of a group, and the others can be made without it.
fn spares_others(error: &Error) -> bool {
    error.kind() == Kind::Internal || matches!(error, Error::Collision(_))
}

/// A separate task: if it panics, its callers are told, and later ones are served.
async fn together<T, R, F>(make: &impl Fn(Vec<T>) -> F, all: Vec<T>) -> Result<Vec<Result<R>>>
where
    R: Send + 'static,
    F: Future<Output = Result<Vec<Result<R>>>> + Send + 'static,
{
    if all.is_empty() {
        return Ok(vec![]);
    }
    tokio::spawn(bounded(make(all))).await.unwrap_or_else(|error| Err(Error::internal(error)))
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use futures_util::future::join_all;
    use tokio::sync::Notify;

    use super::*;

    #[tokio::test]
    async fn calls_that_come_meanwhile_are_made_together_and_answered_one_by_one() {
        let (made, go) = (Arc::new(Mutex::new(Vec::new())), Arc::new(Notify::new()));
        let (log, gate) = (made.clone(), go.clone());
        let doubled = Groups::new(move |numbers: Vec<u32>| {
            log.lock().unwrap().push(numbers.len());
            let gate = gate.clone();
            async move {
                gate.notified().await;
                Ok(numbers.into_iter().map(|number| Ok(number * 2)).collect())
            }
        });
        let until = async |groups: usize| {
            while made.lock().unwrap().len() < groups {
                tokio::task::yield_now().await;
            }
        };
        let first = tokio::spawn({
            let doubled = doubled.clone();
            async move { doubled.call(1).await.unwrap() }
        });
        until(1).await;
        let others = join_all((2..=10).map(|number| doubled.call(number)));
        let (first, others, ()) = tokio::join!(first, others, async {
            go.notify_one();
            until(2).await;
            go.notify_one();
        });
        assert_eq!(first.unwrap(), 2);
        let others: Vec<u32> = others.into_iter().map(Result::unwrap).collect();
        assert_eq!(others, [4, 6, 8, 10, 12, 14, 16, 18, 20]);
        assert_eq!(*made.lock().unwrap(), [1, 9]);
    }

    #[tokio::test]
    async fn a_group_that_takes_long_is_not_waited_for() {
        let gate = Arc::new(Notify::new());
        let opened = gate.clone();
        let slow = Groups::new(move |numbers: Vec<u32>| {
            let gate = gate.clone();
            async move {
                if numbers.contains(&1) {
                    gate.notified().await;
                }
                Ok(numbers.into_iter().map(Ok).collect())
            }
        });
        let first = slow.call(1);
        let others = async {
            // The first one is under way.
            tokio::task::yield_now().await;
            for number in 2..10 {
                assert_eq!(slow.call(number).await.unwrap(), number);
            }
            opened.notify_one();
        };
        let both = async { tokio::join!(first, others).0 };
        let first = timeout(Duration::from_secs(10), both).await.expect("nobody waits for it");
        assert_eq!(first.unwrap(), 1);
    }

    #[tokio::test]
    async fn a_call_that_spoils_its_group_fails_alone() {
        let halved = Groups::new(async |numbers: Vec<u32>| {
            assert!(!numbers.contains(&13), "a call can even panic");
            match numbers.iter().any(|number| number % 2 == 1) {
                true => Err(Error::internal("odd")),
                false => Ok(numbers.into_iter().map(|number| Ok(number / 2)).collect()),
            }
        });
        let made = join_all([2, 3, 4, 13, 6].map(|number| halved.call(number))).await;
        let made: Vec<Option<u32>> = made.into_iter().map(Result::ok).collect();
        assert_eq!(made, [Some(1), None, Some(2), None, Some(3)]);
    }
}
