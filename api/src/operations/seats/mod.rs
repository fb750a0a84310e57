//! Seats: which are taken, and locking them (docs/contract.md#seats).

pub(crate) mod extend_lock;
pub(crate) mod get_seats;
pub(crate) mod lock_seat;
pub(crate) mod lock_seats;
pub(crate) mod unlock_seat;

use std::time::Duration;

use nexus_common::{
    Error, Result,
    types::{
        ids::{EventId, SeatTypeId},
        seats::{SeatKey, SeatLabel},
        usage::Usage,
    },
};
use serde::Deserialize;
use utoipa::ToSchema;

pub(crate) use self::{
    extend_lock::ExtendLock, get_seats::GetSeats, lock_seat::LockSeat, lock_seats::LockSeats,
    unlock_seat::UnlockSeat,
};
use crate::http::fields::{Field, Id, Label};

/// The event of a request's path.
pub(super) fn event(id: &Id) -> Result<EventId> {
    id.required(Error::EventNotFound, "Invalid event ID").map(EventId)
}

/// The seat type of a request's path.
pub(super) fn seat_type(id: &Id) -> Result<SeatTypeId> {
    id.required(Error::SeatTypeNotFound, "Invalid seat type ID").map(SeatTypeId)
}

/// The seat that a request is about.
fn seat(event_id: &Id, seat_type_id: &Id, label: &Label) -> Result<SeatKey> {
    let (event, seat_type) = (event(event_id)?, seat_type(seat_type_id)?);
    let label = label
        .get()
        .filter(|label| *label != "")
        .ok_or_else(|| Error::invalid("Seat label is required in request body"))?;
    Ok(SeatKey { event, seat_type, label: SeatLabel::from_value(label)? })
}

/// A seat of an event, as several operations name it.
#[derive(Deserialize, ToSchema)]
pub(crate) struct Seat {
    pub(crate) seat_type_id: Id,
    pub(crate) seat_label: Label,
}

/// Why a seat cannot be locked.
fn lock_failures() -> [Error; 11] {
    let usage = Usage { limit: 2, used: 3, until_room: Duration::from_secs(60) };
    [
        Error::EventNotFound,
        Error::SeatTypeNotFound,
        Error::EventNotOnSale,
        Error::QueueRequired(EventId(1)),
        Error::PhoneNotVerified,
        Error::SoldOut,
        Error::SeatTaken("V1".into()),
        Error::TicketLimit(10),
        Error::UnpaidSeats(20),
        Error::UnpaidSeatTime(usage),
        Error::CoolingDown(usage),
    ]
}

/// Why a caller's lock cannot be changed.
fn own_lock_failures() -> [Error; 5] {
    [
        Error::EventNotFound,
        Error::SeatTypeNotFound,
        Error::LockNotFound("V1".into()),
        Error::SeatInBooking("V1".into()),
        Error::LockExpired,
    ]
}
