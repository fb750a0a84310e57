//! Broadcasts about an event of which only the last counts: at most one per event per 100 ms across
//! all processes, and always one after the last change.

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
    gate: ConnectionManager,
    publisher: P,
    compose: Arc<Compose>,
    /// Without Redis: events whose broadcast this process is about to send.
    due: Arc<Mutex<HashSet<EventId>>>,
    telling: TaskTracker,
}

const COALESCE: Duration = Duration::from_millis(100);

impl<P: Publish> Coalesced<P> {
    /// Sends what `compose` makes through `publisher`; processes take turns through Redis.
    pub fn new(
        settings: &Redis,
        publisher: P,
        compose: impl Fn(EventId) -> Composing + Send + Sync + 'static,
    ) -> Result<Self, RedisError> {
        let gate = connect(settings, Profile::TURNS)?;
        Ok(Coalesced {
            gate,
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
            // A change that finds the gate closed was committed before the gate opens again, so the
            // read after that sees it.
            match this.gate_is_mine(event).await {
                Some(false) => return,
                Some(true) => tokio::time::sleep(COALESCE + Duration::from_millis(5)).await,
                None => {
                    if !this.due.lock().await.insert(event) {
                        return;
                    }
                    tokio::time::sleep(COALESCE).await;
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

    /// Whether this process broadcasts for the event in the next 100 ms; `None` without Redis, when
    /// every process broadcasts by itself.
    async fn gate_is_mine(&self, event: EventId) -> Option<bool> {
        let options = redis::SetOptions::default()
            .conditional_set(redis::ExistenceCheck::NX)
            .with_expiration(redis::SetExpiry::PX(COALESCE.as_millis() as u64));
        let won: Result<Option<()>, _> =
            self.gate.clone().set_options(format!("seats_update:{event}"), 1, options).await;
        won.ok().map(|won| won.is_some())
    }
}
