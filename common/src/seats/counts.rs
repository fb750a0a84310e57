//! `event:seats-update`: what is left of an event's seats, after that has changed.

use redis::RedisError;
use sqlx::PgPool;

use crate::{
    config::Redis,
    events::inventory,
    realtime::{Audience, Broadcast, Coalesced, Publish},
    types::ids::EventId,
};

/// Tells clients the counts of events, over `publisher`.
pub fn updates<P: Publish>(
    db: PgPool,
    settings: &Redis,
    publisher: P,
) -> Result<Coalesced<P>, RedisError> {
    Coalesced::new(settings, publisher, move |event: EventId| {
        let db = db.clone();
        Box::pin(async move {
            let counts = inventory::seat_counts(&mut *db.acquire().await?, event).await?;
            Ok(Broadcast::new(Audience::Event(event), counts))
        })
    })
}
