//! `event:seats-update`: the counts of an event's seats, after a change.

use redis::RedisError;
use sqlx::PgPool;

use crate::{
    config::Redis,
    events::inventory,
    realtime::{Audience, Broadcast, Coalesced, Publish},
    types::ids::EventId,
};

/// Broadcasts the counts of events, over `publisher`.
pub fn updates<P: Publish>(
    db: PgPool,
    settings: &Redis,
    publisher: P,
) -> Result<Coalesced<P>, RedisError> {
    Coalesced::new(settings, publisher, move |event: EventId| {
        let db = db.clone();
        Box::pin(async move {
            let (counts, visibility) =
                inventory::seat_counts(&mut *db.acquire().await?, event).await?;
            Ok(Broadcast::new(Audience::Event(event, visibility), counts))
        })
    })
}
