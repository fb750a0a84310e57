//! Broadcasts about an event of which only the last counts: at most so many per event and second
//! across all processes, and always one after the last change.

use std::{collections::HashSet, pin::Pin, sync::Arc, time::Duration};

use redis::{AsyncCommands, RedisError, aio::ConnectionManager};
use tokio::sync::Mutex;
use tokio_util::task::TaskTracker;

use super::{Broadcast, Publish};
use crate::{
    config::Redis,
    error::Result,
    observability::traces,
    storage::{
        postgres::bounded,
        redis::{Profile, connect},
    },
    types::ids::EventId,
};

/// Makes the broadcast with an event's present state.
type Compose = dyn Fn(EventId) -> Composing + Send + Sync;
type Composing = Pin<Box<dyn Future<Output = Result<Broadcast>> + Send>>;

/// Tells clients an event's state, some time after it has changed.
#[derive(Clone)]
pub struct Coalesced<P> {
    turns: ConnectionManager,
    /// In Redis, what is said when; the event's id follows.
    name: &'static str,
    every: Duration,
    publisher: P,
    compose: Arc<Compose>,
    /// Without Redis: events whose broadcast this process is about to send.
    due: Arc<Mutex<HashSet<EventId>>>,
    telling: TaskTracker,
}

impl<P: Publish> Coalesced<P> {
    /// Sends what `compose` makes through `publisher`, no more often than `every`; processes take
    /// turns through Redis, under `name`.
    pub fn new(
        settings: &Redis,
        name: &'static str,
        every: Duration,
        publisher: P,
        compose: impl Fn(EventId) -> Composing + Send + Sync + 'static,
    ) -> Result<Self, RedisError> {
        let turns = connect(settings, Profile::TURNS)?;
        Ok(Coalesced {
            turns,
            name,
            every,
            publisher,
            compose: Arc::new(compose),
            due: Arc::default(),
            telling: TaskTracker::new(),
        })
    }

    /// Call after committing a change of the event. Returns at once.
    pub fn changed(&self, event: EventId) {
        let this = self.clone();
        self.telling.spawn(traces::carried(async move {
            // A change that finds another's turn taken was committed before that turn ends, so the
            // read after it sees it.
            match this.turn_is_mine(event).await {
                Some(false) => return,
                Some(true) => tokio::time::sleep(this.every + Duration::from_millis(5)).await,
                None => {
                    if !this.due.lock().await.insert(event) {
                        return;
                    }
                    tokio::time::sleep(this.every).await;
                    this.due.lock().await.remove(&event);
                }
            }
            match bounded((this.compose)(event)).await {
                Ok(broadcast) => this.publisher.publish(broadcast).await,
                Err(error) => tracing::debug!(error = error.details(), %event, "no broadcast"),
            }
        }));
    }

    /// Returns when what has changed so far is told: nobody else would, for a process that ends.
    pub async fn settle(&self) {
        self.telling.close();
        self.telling.wait().await;
    }

    /// Whether this process is the next to broadcast for the event; `None` without Redis, when every
    /// process broadcasts by itself.
    async fn turn_is_mine(&self, event: EventId) -> Option<bool> {
        let options = redis::SetOptions::default()
            .conditional_set(redis::ExistenceCheck::NX)
            .with_expiration(redis::SetExpiry::PX(self.every.as_millis() as u64));
        let won: Result<Option<()>, _> =
            self.turns.clone().set_options(format!("{}:{event}", self.name), 1, options).await;
        won.ok().map(|won| won.is_some())
    }
}
