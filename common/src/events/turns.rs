//! Turns at an event: which callers in this process may work on its inventory now. Other callers
//! wait without a connection and, after a while, without a slot: so an event whose inventory is
//! held for long keeps a share of this process, but never all of it.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    time::timeout,
};

use crate::{
    error::{Error, Result},
    types::ids::EventId,
};

/// How long an event whose inventory is held is left alone before one caller may try.
const PAUSE: Duration = Duration::from_secs(2);
/// Beyond this number, events are only remembered while a caller works on them.
const REMEMBERED: usize = 1_000;

/// The turns of all events.
pub struct Turns {
    most: usize,
    patience: Duration,
    events: Mutex<HashMap<EventId, Place>>,
}

struct Place {
    turns: Arc<Semaphore>,
    /// Another transaction held its inventory at the last try: no caller tries again before this.
    held_until: Option<Instant>,
}

/// The right to work on an event, until dropped.
#[must_use]
pub struct Turn(#[allow(dead_code, reason = "it is held, not read")] OwnedSemaphorePermit);

impl Turns {
    /// At most `most` callers work on one event at a time; one that has had no turn after
    /// `patience` must come again.
    pub fn new(most: usize, patience: Duration) -> Self {
        Turns { most: most.max(1), patience, events: Mutex::default() }
    }

    /// Waits for a turn, holding no connection. [`Error::Busy`] when none comes soon.
    pub async fn turn(&self, event: EventId) -> Result<Turn> {
        let turns = self.turns(event)?;
        match timeout(self.patience, turns.acquire_owned()).await {
            Ok(Ok(turn)) => Ok(Turn(turn)),
            _ => Err(busy(event)),
        }
    }

    /// Does `work` in a turn. If it finds the inventory held, the event is left alone for a while.
    pub async fn take<T>(
        &self,
        event: EventId,
        work: impl Future<Output = Result<T>>,
    ) -> Result<T> {
        let _turn = self.turn(event).await?;
        let result = work.await;
        let is_held = matches!(result, Err(Error::Busy(_)));
        if let Some(place) = self.events().get_mut(&event) {
            place.held_until = is_held.then(|| Instant::now() + PAUSE);
        }
        result
    }

    fn turns(&self, event: EventId) -> Result<Arc<Semaphore>> {
        let now = Instant::now();
        let mut events = self.events();
        if events.len() > REMEMBERED {
            events.retain(|_, place| Arc::strong_count(&place.turns) > 1);
        }
        let place = events.entry(event).or_insert_with(|| Place {
            turns: Arc::new(Semaphore::new(self.most)),
            held_until: None,
        });
        match &mut place.held_until {
            Some(until) if *until > now => return Err(busy(event)),
            // This caller tries; the others wait for the result.
            Some(until) => *until = now + PAUSE,
            None => {}
        }
        Ok(place.turns.clone())
    }

    fn events(&self) -> MutexGuard<'_, HashMap<EventId, Place>> {
        self.events.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn busy(event: EventId) -> Error {
    Error::Busy(format!("others wait for the inventory of event {event}").into())
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn held() -> Result<()> {
        Err(Error::Busy("held".into()))
    }

    #[tokio::test]
    async fn an_event_that_is_held_is_left_alone_and_others_are_not() {
        let turns = Turns::new(2, Duration::from_millis(10));
        turns.take(EventId(1), held()).await.unwrap_err();
        let tried = turns.take(EventId(1), async { Ok(()) }).await;
        assert!(matches!(tried, Err(Error::Busy(_))));
        turns.take(EventId(2), async { Ok(()) }).await.unwrap();
    }

    #[tokio::test]
    async fn whoever_finds_every_turn_taken_comes_again_later() {
        let turns = Turns::new(1, Duration::from_millis(10));
        let second = turns.take(EventId(1), async {
            let third = turns.take(EventId(1), async { Ok(()) }).await;
            assert!(matches!(third, Err(Error::Busy(_))));
            Ok(())
        });
        second.await.unwrap();
        turns.take(EventId(1), async { Ok(()) }).await.unwrap();
    }
}
