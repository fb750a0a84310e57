//! `event:seats-update`: the counts of an event's seats, after a change.

use std::time::Duration;

use redis::RedisError;
use sqlx::PgPool;

use crate::{
    config::Redis,
    events::inventory,
    realtime::{Audience, Broadcast, Coalesced, Publish},
    types::ids::EventId,
};

/// How often clients are told of one event.
const EVERY: Duration = Duration::from_millis(100);

/// Broadcasts the counts of events, over `publisher`.
pub fn updates<P: Publish>(
    db: PgPool,
    settings: &Redis,
    publisher: P,
) -> Result<Coalesced<P>, RedisError> {
    Coalesced::new(settings, "seats_update", EVERY, publisher, move |event: EventId| {
        let db = db.clone();
        Box::pin(async move {
            let (counts, visibility) =
                inventory::seat_counts(&mut *db.acquire().await?, event).await?;
            Ok(Broadcast::new(Audience::Event(event, visibility), counts))
        })
    })
}
