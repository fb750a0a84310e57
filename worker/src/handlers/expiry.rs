//! Handlers of the expiry queue.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use nexus_common::{
    config::{self, Env},
    domain::{after_commit::AfterCommit, booking_changes, news::UnlockReason, seats},
    jobs::expiry::SweepExpired,
};

use crate::{Attempt, Build, Context, Failure};

/// What these handlers need beside the common context.
pub struct Expiry {
    /// No deadline that does not exist yet can be sooner than this.
    horizon: Duration,
}

impl Expiry {
    /// Reads the settings.
    pub fn from_env(env: &mut Env) -> Build<Self> {
        let deadlines = config::Deadlines::from_env(env);
        // Looking once a minute costs nothing, and forgives a clock that jumped.
        let horizon = deadlines.lock.min(deadlines.booking).min(Duration::from_secs(60));
        Box::new(move || Ok(Expiry { horizon }))
    }
}

/// Bookings that one look takes.
const BATCH: i64 = 100;
/// Locks of a seat type that one transaction frees: others of its event do not wait for long.
const LOCKS: usize = 100;
/// A deadline that could not be served is tried again after this.
const SOONEST: Duration = Duration::from_millis(50);

/// See [`SweepExpired`]. Each booking and each event is a transaction of its own: one that is stuck does not hold up the others for long.
pub async fn sweep_expired(
    cx: Arc<Context<Expiry>>,
    _job: SweepExpired,
    _attempt: Attempt,
) -> Result<(), Failure> {
    loop {
        let looked = Instant::now();
        let bookings = expire_bookings(&cx).await?;
        let locks = free_locks(&cx).await?;
        if bookings + locks > 0 {
            continue;
        }
        let horizon = cx.horizon.saturating_sub(looked.elapsed());
        let next = booking_changes::next_deadline(&mut *cx.db.acquire().await?).await?;
        let wait = next.map_or(horizon, |next| next.min(horizon));
        return Err(Failure::Snooze(wait.max(SOONEST)));
    }
}

async fn expire_bookings(cx: &Context<Expiry>) -> Result<usize, Failure> {
    let overdue = booking_changes::overdue(&mut *cx.db.acquire().await?, BATCH).await?;
    let mut expired = 0;
    for booking in overdue {
        let mut after = AfterCommit::default();
        let mut tx = cx.db.begin().await?;
        expired += usize::from(booking_changes::expire(&mut tx, booking, &mut after).await?);
        tx.commit().await?;
        after.run(&cx.cache, &cx.emitter, &cx.seats).await;
    }
    Ok(expired)
}

async fn free_locks(cx: &Context<Expiry>) -> Result<usize, Failure> {
    let events = booking_changes::expired_locks(&mut *cx.db.acquire().await?).await?;
    let mut count = 0;
    for (event, seat_types) in events {
        let mut after = AfterCommit::default();
        let mut tx = cx.db.begin().await?;
        seats::open_inventory(&mut tx, &[event]).await?;
        let room = seat_types.into_iter().map(|seat_type| (seat_type, LOCKS)).collect();
        let freed = seats::free_expired(&mut tx, &[], &room).await?;
        tx.commit().await?;
        count += freed.len();
        after.freed(freed, UnlockReason::Expired);
        after.run(&cx.cache, &cx.emitter, &cx.seats).await;
    }
    Ok(count)
}
