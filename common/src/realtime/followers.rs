//! The order in which a process carries out what follows its commits: a lock's broadcast leaves
//! before that of its release, though nobody waits for the first. What waits together shares a round
//! trip to Redis.

use std::{collections::BTreeSet, mem, pin::Pin};

use futures_util::future::join_all;
use tokio::sync::{mpsc, oneshot};

use super::{AfterCommit, Coalesced, Publish};
use crate::{observability::traces, storage::Cache, types::ids::EventId};

/// Followings that are carried out together.
const MOST: usize = 100;
/// Followings that may wait. Further ones are lost: clients lose hints.
const WAITING: usize = 10_000;

/// Carries out what follows commits. Cheap to clone; when the last clone is dropped, its task ends.
#[derive(Clone)]
pub struct Followers(mpsc::Sender<Following>);

struct Following {
    cache: redis::Pipeline,
    broadcasts: Pin<Box<dyn Future<Output = ()> + Send>>,
    changed: BTreeSet<EventId>,
    done: Option<oneshot::Sender<()>>,
}

impl Followers {
    /// Changes `cache`, and broadcasts `counts`.
    pub fn new<P: Publish>(cache: Cache, counts: Coalesced<P>) -> Self {
        let (sender, inbox) = mpsc::channel(WAITING);
        tokio::spawn(follow_all(inbox, cache, counts));
        Followers(sender)
    }

    /// Carries out `after` soon, without being waited for.
    pub fn follow<P: Publish>(&self, after: AfterCommit, publisher: P) {
        self.send(after, publisher, None);
    }

    /// Carries out `after`, and returns when Redis and its listeners know.
    pub async fn run<P: Publish>(&self, after: AfterCommit, publisher: P) {
        if after.is_empty() {
            return;
        }
        let (done, is_done) = oneshot::channel();
        self.send(after, publisher, Some(done));
        let _ = is_done.await;
    }

    /// Returns when everything is carried out.
    pub async fn settle(&self) {
        let (done, is_done) = oneshot::channel();
        let nothing = Following {
            cache: redis::Pipeline::default(),
            broadcasts: Box::pin(async {}),
            changed: BTreeSet::new(),
            done: Some(done),
        };
        if self.0.send(nothing).await.is_ok() {
            let _ = is_done.await;
        }
    }

    fn send<P: Publish>(
        &self,
        AfterCommit { cache, broadcasts, changed }: AfterCommit,
        publisher: P,
        done: Option<oneshot::Sender<()>>,
    ) {
        let broadcasts = Box::pin(traces::carried(async move {
            for broadcast in broadcasts {
                publisher.publish(broadcast).await;
            }
        }));
        let following = Following { cache, broadcasts, changed, done };
        if self.0.try_send(following).is_err() {
            tracing::warn!("broadcasts are lost: too many wait");
        }
    }
}

async fn follow_all<P: Publish>(
    mut inbox: mpsc::Receiver<Following>,
    cache: Cache,
    counts: Coalesced<P>,
) {
    let mut all = Vec::with_capacity(MOST);
    while inbox.recv_many(&mut all, MOST).await > 0 {
        // Redis first, so that a client that hears of a free seat can lock it.
        let mut pipe = redis::pipe();
        for following in &mut all {
            for command in mem::take(&mut following.cache).cmd_iter() {
                pipe.add_command(command.clone()).ignore();
            }
        }
        if !pipe.is_empty() {
            cache.pipeline::<()>(&pipe).await;
        }
        let mut changed = BTreeSet::new();
        let (broadcasts, waiting): (Vec<_>, Vec<_>) = all
            .drain(..)
            .map(|following| {
                changed.extend(following.changed);
                (following.broadcasts, following.done)
            })
            .unzip();
        join_all(broadcasts).await;
        for event in changed {
            counts.changed(event);
        }
        for done in waiting.into_iter().flatten() {
            let _ = done.send(());
        }
    }
}
