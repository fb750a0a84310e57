//! The handler of the bookings queue that cancels an event's bookings.

use std::{sync::Arc, time::Duration};

use nexus_common::{
    Error,
    bookings::event_cancellation,
    error::Kind,
    jobs::bookings::CancelEvent,
    realtime::AfterCommit,
    types::ids::{BookingId, EventId},
};
use rand::seq::SliceRandom;

use super::bookings::Bookings;
use crate::{Attempt, Context, JobFailure};

/// Bookings that one run cancels.
const BATCH: usize = 100;

/// Held bookings that one run waits for, two seconds each. If there are more, another transaction
/// probably holds the event's inventory.
const MOST_HELD: usize = 10;

/// See [`CancelEvent`]. A booking that cannot be cancelled, or that another transaction holds, does
/// not hold up the others; the job comes back to it.
pub async fn cancel_event(
    cx: Arc<Context<Bookings>>,
    job: CancelEvent,
    attempt: Attempt,
) -> Result<(), JobFailure> {
    let event = job.event_id;
    let mut open =
        event_cancellation::open_bookings(&mut *cx.db.acquire().await?, event, BATCH as i64)
            .await?;
    // Shuffled, so that the same bookings do not come first in every run.
    open.shuffle(&mut rand::rng());
    let (mut failed, mut held) = (Vec::new(), 0);
    for booking in &open {
        match cancel_booking(&cx, event, *booking).await {
            Ok(true) => {}
            // The organiser has changed their mind in time, perhaps more than once.
            Ok(false) => return finish(&cx, event, &attempt).await,
            Err(error) if is_away(&error) => return Err(error.into()),
            Err(error) => {
                held += usize::from(matches!(error, Error::Busy(_)));
                if held == MOST_HELD {
                    return Err(error.into());
                }
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
    if open.len() == BATCH && failed.len() < BATCH {
        return Err(JobFailure::Snooze(Duration::ZERO));
    }
    // Waiting for another transaction is not a failure of the job.
    match failed.into_iter().max_by_key(Error::is_crowded) {
        Some(error) => Err(error.into()),
        None => finish(&cx, event, &attempt).await,
    }
}

/// Whether no other booking could be cancelled either.
fn is_away(error: &Error) -> bool {
    error.kind() == Kind::Unavailable && !matches!(error, Error::Busy(_) | Error::Collision(_))
}

/// Completes the job, unless there are bookings to cancel now.
async fn finish(
    cx: &Context<Bookings>,
    event: EventId,
    attempt: &Attempt,
) -> Result<(), JobFailure> {
    let mut after = AfterCommit::default();
    let mut tx = cx.db.begin().await?;
    if !event_cancellation::finish(&mut tx, event, &mut after).await? {
        return Err(JobFailure::Snooze(Duration::ZERO));
    }
    attempt.lease.complete(&mut tx).await?;
    tx.commit().await?;
    after.run(&cx.cache, &cx.emitter, &cx.seats).await;
    Ok(())
}

async fn cancel_booking(
    cx: &Context<Bookings>,
    event: EventId,
    id: BookingId,
) -> Result<bool, Error> {
    let mut after = AfterCommit::default();
    let mut tx = cx.db.begin().await?;
    let cancelling = event_cancellation::cancel_booking(&mut tx, event, id, &mut after).await?;
    tx.commit().await?;
    after.run(&cx.cache, &cx.emitter, &cx.seats).await;
    Ok(cancelling)
}
