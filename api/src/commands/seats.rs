//! Locking seats, keeping them locked, giving them back.

use nexus_common::{
    Error, Result,
    realtime::{AfterCommit, Audience, Broadcast},
    seats::{
        broadcasts::{self, SeatLocked, UnlockReason},
        hints,
        lock::{Lock, Won},
        lock_changes,
        selection::Selection,
    },
    types::{
        ids::EventId,
        seats::{SeatKey, SeatLabel},
        time::in_words,
    },
};

use super::{Call, Done};
use crate::answers::{ExtendedLock, LockedSeat, LockedSeats, UnlockedSeat};

fn event_id(call: &Call) -> Result<EventId> {
    call.id("eventId", Error::EventNotFound, "Invalid event ID")
}

/// The seat that a call is about.
fn seat(call: &Call) -> Result<SeatKey> {
    let event = event_id(call)?;
    let seat_type = call.id("seatTypeId", Error::SeatTypeNotFound, "Invalid seat type ID")?;
    let label = call
        .input
        .get("seat_label")
        .filter(|label| *label != "")
        .ok_or_else(|| Error::invalid("Seat label is required in request body"))?;
    Ok(SeatKey { event, seat_type, label: SeatLabel::from_value(label)? })
}

/// `POST /seats/:eventId/seat-types/:id/lock`, `lock_seat`
pub(crate) async fn lock(call: Call) -> Result<Done> {
    let mut won = call.app.locks.lock(call.user, Selection::one(seat(&call)?)).await?;
    let after = news(&mut won);
    let (lock, _) =
        won.locks.first().ok_or_else(|| Error::internal("a lock was won and is not there"))?;
    let valid = call.app.locks.valid();
    let data = LockedSeat {
        lock: lock.clone(),
        message: format!(
            "Seat {} locked successfully. Lock expires in {}.",
            lock.seat_label,
            in_words(valid)
        ),
        expires_in_seconds: valid.as_secs(),
        cache_hit: won.cache_hit,
    };
    Done::new(data, after)
}

/// `POST /seats/:eventId/locks`, `lock_seats`: several seats, all or none.
pub(crate) async fn lock_several(call: Call) -> Result<Done> {
    let selection = Selection::parse(event_id(&call)?, &call.input)?;
    let mut won = call.app.locks.lock(call.user, selection).await?;
    let after = news(&mut won);
    let locks: Vec<Lock> = won.locks.into_iter().map(|(lock, _)| lock).collect();
    let valid = call.app.locks.valid();
    let data = LockedSeats {
        message: format!(
            "{} seat(s) locked successfully. Locks expire in {}.",
            locks.len(),
            in_words(valid)
        ),
        expires_in_seconds: valid.as_secs(),
        locks,
    };
    Done::new(data, after)
}

/// What others hear of new locks.
fn news(won: &mut Won) -> AfterCommit {
    let mut after = AfterCommit::default();
    broadcasts::freed(&mut after, std::mem::take(&mut won.cleared), UnlockReason::Expired);
    for (lock, available_quantity) in &won.locks {
        after.counts_changed(lock.event_id);
        let news = SeatLocked {
            event_id: lock.event_id,
            seat_type_id: lock.event_seat_type_id,
            seat_label: lock.seat_label.clone(),
            user_id: lock.user_id,
            available_quantity: *available_quantity,
            version: won.version,
            lock: lock.clone(),
        };
        after.tell(Broadcast::new(Audience::Event(lock.event_id), news));
    }
    after
}

/// `DELETE /seats/:eventId/seat-types/:id/lock`, `unlock_seat`: gives back one's own lock.
pub(crate) async fn unlock(call: Call) -> Result<Done> {
    let seat = seat(&call)?;
    let _turn = call.turn(seat.event).await?;
    let mut tx = call.begin().await?;
    let freed = lock_changes::release(&mut tx, call.user, &seat).await?;
    let data = UnlockedSeat {
        event_id: seat.event,
        seat_type_id: seat.seat_type,
        message: format!("Seat {} released successfully.", seat.label),
        seat_label: seat.label,
        available_quantity: freed.available_quantity,
    };
    let mut after = AfterCommit::default();
    broadcasts::freed(&mut after, vec![freed], UnlockReason::Released);
    call.commit(tx, data, after).await
}

/// `POST /seats/:eventId/seat-types/:id/lock/extend`, `extend_lock`: keeps one's own lock for
/// longer, within bounds.
pub(crate) async fn extend(call: Call) -> Result<Done> {
    let seat = seat(&call)?;
    let _turn = call.turn(seat.event).await?;
    let mut tx = call.begin().await?;
    let (lock, now) =
        lock_changes::extend(&mut tx, call.user, &seat, call.app.locks.valid()).await?;
    let left = (lock.expires_at.0 - now.0).num_seconds().max(0);
    let mut after = AfterCommit::default();
    hints::keep(&mut after, &[seat], call.user, now, lock.expires_at);
    let data = ExtendedLock {
        message: format!(
            "Lock on seat {} extended. It expires in {left} seconds.",
            lock.seat_label
        ),
        expires_in_seconds: left,
        lock,
    };
    call.commit(tx, data, after).await
}
