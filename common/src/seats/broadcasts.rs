//! Broadcasts about seats.

use serde::Serialize;
use utoipa::ToSchema;

use super::{freeing::Freed, hints, lock::Lock};
use crate::{
    realtime::{AfterCommit, Audience, Broadcast, Listeners, Payload},
    types::{
        ids::{EventId, SeatTypeId, UserId},
        seats::SeatLabel,
    },
};

/// A user has locked a seat.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct SeatLocked {
    pub event_id: EventId,
    pub seat_type_id: SeatTypeId,
    pub seat_label: SeatLabel,
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

/// Collects what follows when seats become free: the broadcasts that say why, and the removal of
/// their keys.
pub fn freed(after: &mut AfterCommit, freed: Vec<Freed>, reason: UnlockReason) {
    let held = freed.iter().filter_map(|seat| Some((seat.holder?, &seat.key)));
    hints::drop_keys(after, held);
    for seat in freed {
        after.counts_changed(seat.key.event);
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
