//! A lock: the request, and what it wins.

use std::time::Duration;

use serde::Serialize;
use utoipa::ToSchema;

use super::{freeing::Freed, selection::Selection};
use crate::{
    config::Unpaid,
    types::{
        ids::{EventId, NetworkHash, SeatId, SeatTypeId, UserId},
        seats::{SeatKey, SeatLabel},
        statuses::SeatStatus,
        time::Timestamp,
        visibility::{ShareCode, Visibility},
    },
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

/// Locks that a request has won.
#[derive(Clone, Debug)]
pub struct WonLocks {
    /// Each lock, and the count of its seat type after it.
    pub locks: Vec<(Lock, i32)>,
    /// The version of the event's counts, with these locks.
    pub version: i64,
    /// Who may know of the event.
    pub visibility: Visibility,
    /// Whether Redis took part in the decision.
    pub cache_hit: bool,
    /// Expired locks that the same commit freed; the caller tells clients of them.
    pub cleared: Vec<Freed>,
}

/// What every lock is subject to.
#[derive(Clone, Copy, Debug)]
pub struct Terms {
    /// How long it is valid.
    pub valid: Duration,
    /// What may be held without being paid for.
    pub unpaid: Unpaid,
}

/// A user's request for seats.
#[derive(Clone, Debug)]
pub(super) struct Request {
    pub(super) user: UserId,
    /// The share code that the user has shown, if the event is private.
    pub(super) code: Option<ShareCode>,
    /// From where the request comes.
    pub(super) network: NetworkHash,
    /// Whether seats that were locked from there have been held unpaid for too long.
    pub(super) is_spent: bool,
    /// Whether an outside system has let the user in; otherwise they have to be called where the
    /// event has a waiting room.
    pub(super) is_admitted: bool,
    pub(super) selection: Selection,
}
