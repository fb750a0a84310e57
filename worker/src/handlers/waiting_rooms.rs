//! The handler that keeps waiting rooms going.

use std::{collections::HashMap, sync::Arc, time::Duration};

use nexus_common::{
    Error,
    jobs::expiry::CallVisitors,
    observability::metrics,
    realtime::Publish,
    storage::postgres::bounded,
    types::{ids::EventId, statuses::RoomState},
    waiting_rooms::{
        broadcasts,
        calling::{self, Called},
        draw,
        snapshots::{self, Snapshot},
    },
};

use super::expiry::{Expiry, Told};
use crate::{Attempt, Context, JobFailure};

/// How often the visitors of open rooms are called.
const EVERY: Duration = Duration::from_secs(1);
/// How often it is looked whether there is a room: one may be announced at any time.
const IDLE: Duration = Duration::from_secs(5);
/// An opening that is very near is not asked for more often.
const SOONEST: Duration = Duration::from_millis(50);

/// See [`CallVisitors`]. Each room by itself: one that fails does not hold up the others.
pub async fn call_visitors(
    cx: Arc<Context<Expiry>>,
    _job: CallVisitors,
    _attempt: Attempt,
) -> Result<(), JobFailure> {
    let mut told = cx.told.lock().await;
    let due = calling::due(&mut *cx.db.acquire().await?).await?;
    let is_busy = !due.open.is_empty() || !due.to_draw.is_empty();
    for event in due.to_draw {
        draw_room(&cx, event).await.unwrap_or_else(|error| later(event, &error));
    }
    let mut called = HashMap::new();
    for event in due.open {
        match bounded(call_next(&cx, event)).await {
            Ok(visitors) => drop(called.insert(event, visitors)),
            Err(error) => later(event, &error),
        }
    }
    tell(&cx, &mut told, &called).await?;
    let wait = if is_busy { EVERY } else { due.next.map_or(IDLE, |next| next.min(IDLE)) };
    Err(JobFailure::Snooze(wait.max(SOONEST)))
}

fn later(event: EventId, error: &Error) {
    let event_id = event.0;
    tracing::warn!(event_id, error = error.details(), "a waiting room is looked after later");
}

async fn draw_room(cx: &Context<Expiry>, event: EventId) -> Result<(), Error> {
    let mut tx = cx.db.begin().await?;
    let drawn = draw::draw(&mut tx, event).await?;
    tx.commit().await?;
    if let Some(visitors) = drawn {
        tracing::info!(event_id = event.0, visitors, "a waiting room is open");
    }
    Ok(())
}

async fn call_next(cx: &Context<Expiry>, event: EventId) -> Result<Vec<Called>, Error> {
    let mut tx = cx.db.begin().await?;
    let called = calling::step(&mut tx, event).await?;
    tx.commit().await?;
    metrics::visitors_called(called.len() as u64);
    Ok(called)
}

/// Tells those who have been called, and everybody what has changed since they were told.
async fn tell(
    cx: &Context<Expiry>,
    told: &mut Told,
    called: &HashMap<EventId, Vec<Called>>,
) -> Result<(), Error> {
    let rooms = snapshots::snapshots(&mut *cx.db.acquire().await?).await?;
    let mut before = std::mem::take(told);
    for room in rooms {
        for visitor in called.get(&room.event_id).into_iter().flatten() {
            cx.emitter.publish(broadcasts::called(room.clone(), visitor)).await;
        }
        metrics::waiting_room(room.event_id, room.waiting, room.shoppers, room.calls_per_minute);
        if before.remove(&room.event_id).as_ref() != Some(&room) {
            cx.emitter.publish(broadcasts::changed(room.clone())).await;
        }
        told.insert(room.event_id, room);
    }
    for closed in before.into_values() {
        metrics::waiting_room(closed.event_id, 0, 0, 0);
        let room = Snapshot { state: RoomState::Closed, ..closed };
        cx.emitter.publish(broadcasts::changed(room)).await;
    }
    Ok(())
}
