//! A lock: what is asked for, and what is won.

use serde::Serialize;
use utoipa::ToSchema;

use super::{freeing::Freed, selection::Selection};
use crate::types::{
    ids::{EventId, SeatId, SeatTypeId, UserId},
    seats::{SeatKey, SeatLabel},
    statuses::SeatStatus,
    time::Timestamp,
};

/// A lock as the API shows it.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct Lock {
    pub id: SeatId,
    pub event_id: EventId,
    pub event_seat_type_id: SeatTypeId,
    pub seat_label: SeatLabel,
    pub user_id: UserId,
    pub status: SeatStatus,
    pub locked_at: Timestamp,
    pub expires_at: Timestamp,
}

impl Lock {
    pub fn key(&self) -> SeatKey {
        SeatKey {
            event: self.event_id,
            seat_type: self.event_seat_type_id,
            label: self.seat_label.clone(),
        }
    }
}

/// Locks that have been won.
#[derive(Clone, Debug)]
pub struct Won {
    /// Each lock, and what is left of its seat type after it.
    pub locks: Vec<(Lock, i32)>,
    /// Of the event's counts, with these locks.
    pub version: i64,
    /// Whether Redis took part in the decision.
    pub cache_hit: bool,
    /// Expired locks that were cleared away with the same commit; the caller tells clients of them.
    pub cleared: Vec<Freed>,
}

/// Somebody wants seats.
#[derive(Clone, Debug)]
pub(super) struct Request {
    pub(super) user: UserId,
    pub(super) selection: Selection,
}
