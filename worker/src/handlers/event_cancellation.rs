//! The handler of the bookings queue that cancels an event's bookings.

use std::{sync::Arc, time::Duration};

use nexus_common::{
    Error,
    domain::{
        after_commit::AfterCommit,
        event_cancellation,
        ids::{BookingId, EventId},
    },
    error::Kind,
    jobs::bookings::CancelEvent,
};

use super::bookings::Bookings;
use crate::{Attempt, Context, Failure};

/// Bookings that one run cancels.
const BATCH: usize = 100;

/// See [`CancelEvent`]. A booking that cannot be cancelled does not keep the others from it; the job comes back to it.
pub async fn cancel_event(
    cx: Arc<Context<Bookings>>,
    job: CancelEvent,
    attempt: Attempt,
) -> Result<(), Failure> {
    let event = EventId(job.event_id);
    let open = event_cancellation::open_bookings(&mut *cx.db.acquire().await?, event, BATCH as i64).await?;
    let mut failed = Vec::new();
    for booking in &open {
        match cancel_booking(&cx, event, *booking).await {
            Ok(true) => {}
            // The organiser has changed their mind in time; perhaps once more since.
            Ok(false) => return finish(&cx, event, &attempt).await,
            Err(error) if error.kind() == Kind::Unavailable => return Err(error.into()),
            Err(error) => {
                tracing::error!(
                    booking_id = booking.0,
                    event_id = event.0,
                    error = error.details(),
                    "a booking could not be cancelled with its event"
                );
                failed.push(error);
            }
        }
    }
    match failed.pop() {
        None if open.len() == BATCH => Err(Failure::Snooze(Duration::ZERO)),
        Some(_) if failed.len() + 1 < open.len() && open.len() == BATCH => {
            Err(Failure::Snooze(Duration::ZERO))
        }
        Some(error) => Err(error.into()),
        None => finish(&cx, event, &attempt).await,
    }
}

/// Completes the job, unless there are bookings to cancel now.
async fn finish(cx: &Context<Bookings>, event: EventId, attempt: &Attempt) -> Result<(), Failure> {
    let mut after = AfterCommit::default();
    let mut tx = cx.db.begin().await?;
    if !event_cancellation::finish(&mut tx, event, &mut after).await? {
        return Err(Failure::Snooze(Duration::ZERO));
    }
    attempt.lease.complete(&mut tx).await?;
    tx.commit().await?;
    after.run(&cx.cache, &cx.emitter, &cx.seats).await;
    Ok(())
}

async fn cancel_booking(cx: &Context<Bookings>, event: EventId, id: BookingId) -> Result<bool, Error> {
    let mut after = AfterCommit::default();
    let mut tx = cx.db.begin().await?;
    let cancelling = event_cancellation::cancel_booking(&mut tx, event, id, &mut after).await?;
    tx.commit().await?;
    after.run(&cx.cache, &cx.emitter, &cx.seats).await;
    Ok(cancelling)
}
