//! Broadcasts about seats.

use serde::Serialize;
use utoipa::ToSchema;

use super::{
    freeing::Freed,
    hints,
    lock::{Lock, WonLocks},
    pseudonyms::Pseudonyms,
};
use crate::{
    realtime::{AfterCommit, Audience, Broadcast, Listeners, Parties, Payload},
    types::{
        ids::{EventId, SeatTypeId, UserId},
        seats::{SeatKey, SeatLabel},
        visibility::Visibility,
    },
};

/// As many seats as one command, or one deadline, is told of one by one. More of them are one
/// [`SeatsChanged`], so that nobody can have others flooded with the seats of an event of their own.
const MOST_SINGLY: usize = 10;

/// As many seats as one broadcast names.
const MOST_NAMED: usize = 100;

/// A user has locked a seat.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct SeatLocked {
    pub event_id: EventId,
    pub seat_type_id: SeatTypeId,
    pub seat_label: SeatLabel,
    /// For all but the user, here and in the lock, a number that stands for the user in this event.
    pub user_id: UserId,
    /// The seat type's count after this lock.
    pub available_quantity: i32,
    /// The version of the event's counts with this lock, as in `event:seats-update`. Of two
    /// broadcasts about one seat, the one with the higher version is the later; of one version,
    /// first `seat_unlocked`, then `seat_locked`, then `seat_booked`.
    pub version: i64,
    pub lock: Lock,
}

impl Payload for SeatLocked {
    const EVENT: &'static str = "seat_locked";
    const LISTENERS: Listeners = Listeners::Viewers;
}

/// A seat is free again.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct SeatUnlocked {
    pub event_id: EventId,
    pub seat_type_id: SeatTypeId,
    pub seat_label: SeatLabel,
    pub available_quantity: i32,
    /// As in `seat_locked`.
    pub version: i64,
    pub reason: UnlockReason,
}

impl Payload for SeatUnlocked {
    const EVENT: &'static str = "seat_unlocked";
    const LISTENERS: Listeners = Listeners::Viewers;
}

/// Why a seat is free again.
#[derive(Clone, Copy, Debug, Serialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum UnlockReason {
    Released,
    Expired,
    Cancelled,
}

/// A seat is sold.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct SeatBooked {
    pub event_id: EventId,
    pub seat_type_id: SeatTypeId,
    pub seat_label: SeatLabel,
    pub available_quantity: i32,
    /// As in `seat_locked`. Booking a locked seat changes no count, so most sales make no new
    /// version: then this is the newest version when the seat was sold, and `available_quantity`
    /// belongs to it.
    pub version: i64,
}

impl Payload for SeatBooked {
    const EVENT: &'static str = "seat_booked";
    const LISTENERS: Listeners = Listeners::Viewers;
}

impl SeatLocked {
    /// The payload for all but the user.
    fn masked(&self, pseudonym: UserId) -> Self {
        let lock = Lock { user_id: pseudonym, ..self.lock.clone() };
        SeatLocked { user_id: pseudonym, lock, ..self.clone() }
    }
}

/// Many seats of an event have changed at once. It comes in place of as many `seat_locked`,
/// `seat_unlocked` or `seat_booked`.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct SeatsChanged {
    pub event_id: EventId,
    /// As in those.
    pub version: i64,
    pub change: SeatChange,
    /// Why they are free again.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub reason: Option<UnlockReason>,
    /// How many.
    pub total: usize,
    /// At most a hundred of them: who has not been told of all fetches the seat map.
    #[schema(max_items = 100)]
    pub seats: Vec<ChangedSeat>,
}

impl Payload for SeatsChanged {
    const EVENT: &'static str = "seats_changed";
    const LISTENERS: Listeners = Listeners::Viewers;
}

/// What has become of seats.
#[derive(Clone, Copy, Debug, Serialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum SeatChange {
    Locked,
    Unlocked,
    Booked,
}

/// One of many seats.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct ChangedSeat {
    pub seat_type_id: SeatTypeId,
    pub seat_label: SeatLabel,
}

impl SeatsChanged {
    fn new(
        event: EventId,
        version: i64,
        change: SeatChange,
        seats: impl ExactSizeIterator<Item = SeatKey>,
    ) -> Self {
        let total = seats.len();
        let named =
            |seat: SeatKey| ChangedSeat { seat_type_id: seat.seat_type, seat_label: seat.label };
        let seats = seats.take(MOST_NAMED).map(named).collect();
        SeatsChanged { event_id: event, version, change, reason: None, total, seats }
    }
}

/// Collects what follows when a user has locked seats, and others have become free for that.
pub fn locked(after: &mut AfterCommit, won: &WonLocks, pseudonyms: &Pseudonyms) {
    freed(after, won.cleared.clone(), UnlockReason::Expired);
    for (lock, _) in &won.locks {
        hints::keep(after, &[lock.key()], lock.user_id, lock.locked_at, lock.expires_at);
        after.counts_changed(lock.event_id);
    }
    let Some((first, _)) = won.locks.first() else { return };
    let (event, user) = (first.event_id, first.user_id);
    if won.locks.len() > MOST_SINGLY {
        let seats = won.locks.iter().map(|(lock, _)| lock.key());
        let changed = SeatsChanged::new(event, won.version, SeatChange::Locked, seats);
        return after.tell(Broadcast::new(Audience::Event(event, won.visibility), changed));
    }
    let parties = Parties::one(user, event, won.visibility);
    let pseudonym = pseudonyms.of(user, event);
    for (lock, available_quantity) in &won.locks {
        let locked = SeatLocked {
            event_id: event,
            seat_type_id: lock.event_seat_type_id,
            seat_label: lock.seat_label.clone(),
            user_id: user,
            available_quantity: *available_quantity,
            version: won.version,
            lock: lock.clone(),
        };
        let masked = locked.masked(pseudonym);
        after.tell(Broadcast::new(Audience::Insiders(parties), locked));
        after.tell(Broadcast::new(Audience::Bystanders(parties), masked));
    }
}

/// Collects what clients hear when seats of one event are sold.
pub fn booked(
    after: &mut AfterCommit,
    event: EventId,
    visibility: Visibility,
    booked: Vec<SeatBooked>,
) {
    let audience = Audience::Event(event, visibility);
    let version = booked.iter().map(|seat| seat.version).max().unwrap_or_default();
    if booked.len() > MOST_SINGLY {
        let seats = booked.into_iter().map(|seat| SeatKey {
            event,
            seat_type: seat.seat_type_id,
            label: seat.seat_label,
        });
        let changed = SeatsChanged::new(event, version, SeatChange::Booked, seats);
        return after.tell(Broadcast::new(audience, changed));
    }
    for seat in booked {
        after.tell(Broadcast::new(audience, seat));
    }
}

/// Collects what follows when seats become free: the broadcasts that say why, and the removal of
/// their keys.
pub fn freed(after: &mut AfterCommit, freed: Vec<Freed>, reason: UnlockReason) {
    let held = freed.iter().filter_map(|seat| Some((seat.holder?, &seat.key)));
    hints::drop_keys(after, held);
    for seats in freed.chunk_by(|one, other| one.key.event == other.key.event) {
        freed_of_one_event(after, seats, reason);
    }
}

fn freed_of_one_event(after: &mut AfterCommit, freed: &[Freed], reason: UnlockReason) {
    let Some(first) = freed.first() else { return };
    let event = first.key.event;
    after.counts_changed(event);
    if freed.len() > MOST_SINGLY {
        let seats = freed.iter().map(|seat| seat.key.clone());
        let changed = SeatsChanged::new(event, first.version, SeatChange::Unlocked, seats);
        let changed = SeatsChanged { reason: Some(reason), ..changed };
        return after.tell(Broadcast::new(Audience::Event(event, first.visibility), changed));
    }
    for seat in freed.iter().cloned() {
        let audience = Audience::Event(seat.key.event, seat.visibility);
        let unlocked = SeatUnlocked {
            event_id: seat.key.event,
            seat_type_id: seat.key.seat_type,
            seat_label: seat.key.label,
            available_quantity: seat.available_quantity,
            version: seat.version,
            reason,
        };
        after.tell(Broadcast::new(audience, unlocked));
    }
}
