//! Handlers of the expiry queue.

use std::{
    collections::HashMap,
    sync::Arc,
    time::{Duration, Instant},
};

use nexus_common::{
    Error,
    bookings::{changes, deadlines},
    config::{self, Env},
    events::inventory,
    jobs::expiry::SweepExpired,
    realtime::AfterCommit,
    seats::{
        broadcasts::{self, UnlockReason},
        freeing,
    },
    types::ids::{BookingId, EventId, SeatTypeId},
    waiting_rooms::snapshots::Snapshot,
};
use tokio::sync::Mutex;

use super::expiry_troubles::{Deadline, Troubles};
use crate::{Attempt, Build, Context, JobFailure};

/// What clients have been told last of each waiting room.
pub(super) type Told = HashMap<EventId, Snapshot>;

/// What these handlers need besides the common context.
pub struct Expiry {
    /// A deadline that is set from now on is at least this far away.
    horizon: Duration,
    /// Kept from one sweep to the next; only one sweep runs at a time.
    troubles: Mutex<Troubles>,
    pub(super) told: Mutex<Told>,
}

impl Expiry {
    /// Reads the settings.
    pub fn from_env(env: &mut Env) -> Build<Self> {
        let deadlines = config::Deadlines::from_env(env);
        // Looking at least once a minute costs nothing, and forgives a clock that jumped.
        let horizon = deadlines.lock.min(deadlines.booking).min(Duration::from_secs(60));
        Box::new(move || Ok(Expiry { horizon, troubles: Mutex::default(), told: Mutex::default() }))
    }
}

/// Bookings, and locks, that one look takes.
const BATCH: i64 = 100;
const LOCKS_AT_A_LOOK: i64 = 1_000;
/// Locks of a seat type that one transaction frees: few, so that other users of the event do not
/// wait for long.
const LOCKS: usize = 100;
/// How soon a deadline that could not be served is tried again.
const SOONEST: Duration = Duration::from_millis(50);

/// See [`SweepExpired`]. Each booking, and the locks of each seat type, get their own transaction.
/// A deadline that cannot be served, because another transaction holds the event's inventory or
/// because it fails, is passed over for a while and does not hold up the others.
pub async fn sweep_expired(
    cx: Arc<Context<Expiry>>,
    _job: SweepExpired,
    _attempt: Attempt,
) -> Result<(), JobFailure> {
    let mut troubles = cx.troubles.lock().await;
    loop {
        let looked = Instant::now();
        troubles.forget_old();
        let bookings = expire_bookings(&cx, &mut troubles).await?;
        let locks = free_locks(&cx, &mut troubles).await?;
        if bookings + locks > 0 {
            continue;
        }
        let horizon = cx.horizon.saturating_sub(looked.elapsed());
        let next = deadlines::next(&mut *cx.db.acquire().await?, &troubles.except()).await?;
        let wait = [next, troubles.next()].into_iter().flatten().fold(horizon, Duration::min);
        return Err(JobFailure::Snooze(wait.max(SOONEST)));
    }
}

/// Returns how many bookings it has looked at; each is either served now or passed over from now
/// on.
async fn expire_bookings(
    cx: &Context<Expiry>,
    troubles: &mut Troubles,
) -> Result<usize, JobFailure> {
    let except = troubles.except();
    let overdue = deadlines::overdue_bookings(&mut *cx.db.acquire().await?, &except, BATCH).await?;
    for (event, booking) in &overdue {
        if !troubles.is_held(*event) {
            let expired = expire(cx, *booking).await;
            troubles.note(expired, *event, Deadline::Booking(*booking))?;
        }
    }
    Ok(overdue.len())
}

async fn expire(cx: &Context<Expiry>, booking: BookingId) -> Result<bool, Error> {
    let mut after = AfterCommit::default();
    let mut tx = cx.db.begin().await?;
    let expired = changes::expire(&mut tx, booking, &mut after).await?;
    tx.commit().await?;
    after.run(&cx.cache, &cx.emitter, &cx.seats).await;
    Ok(expired)
}

/// Like [`expire_bookings`], by seat type.
async fn free_locks(cx: &Context<Expiry>, troubles: &mut Troubles) -> Result<usize, JobFailure> {
    let except = troubles.except();
    let expired =
        deadlines::expired_locks(&mut *cx.db.acquire().await?, &except, LOCKS_AT_A_LOOK).await?;
    for (event, seat_type) in &expired {
        if !troubles.is_held(*event) {
            let freed = free(cx, *event, *seat_type).await;
            troubles.note(freed, *event, Deadline::Locks(*seat_type))?;
        }
    }
    Ok(expired.len())
}

async fn free(cx: &Context<Expiry>, event: EventId, seat_type: SeatTypeId) -> Result<bool, Error> {
    let mut after = AfterCommit::default();
    let mut tx = cx.db.begin().await?;
    inventory::lock_inventory(&mut tx, &[event]).await?;
    let freed = freeing::free_expired(&mut tx, &[], &[(seat_type, LOCKS)].into()).await?;
    tx.commit().await?;
    let any = !freed.is_empty();
    broadcasts::freed(&mut after, freed, UnlockReason::Expired);
    after.run(&cx.cache, &cx.emitter, &cx.seats).await;
    Ok(any)
}
