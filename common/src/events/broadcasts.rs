//! Broadcasts about events and their seat types.

use serde::Serialize;
use utoipa::ToSchema;

use super::{
    changes::CreatedSeatType,
    event::{Event, EventUpdated},
    seat_types::SeatType,
};
use crate::{
    realtime::{Listeners, Payload},
    types::ids::{EventId, SeatTypeId},
};

/// An event has been created.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct EventCreated {
    pub event: Event,
    pub seat_types: Vec<CreatedSeatType>,
    pub total_seats_available: i64,
}

impl Payload for EventCreated {
    const EVENT: &'static str = "event_created";
    const LISTENERS: Listeners = Listeners::Everybody;
}

/// An event has changed.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct EventChanged {
    pub event: EventUpdated,
}

impl Payload for EventChanged {
    const EVENT: &'static str = "event_updated";
    const LISTENERS: Listeners = Listeners::Everybody;
}

/// An event has been deleted.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct EventDeleted {
    pub message: String,
    pub deleted_event_id: EventId,
}

impl Payload for EventDeleted {
    const EVENT: &'static str = "event_deleted";
    const LISTENERS: Listeners = Listeners::Everybody;
}

/// A seat type has been created.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct SeatTypeCreated {
    pub event_id: EventId,
    pub seat_type: SeatType,
}

impl Payload for SeatTypeCreated {
    const EVENT: &'static str = "seat_type_created";
    const LISTENERS: Listeners = Listeners::Everybody;
}

/// A seat type has changed.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct SeatTypeUpdated {
    pub event_id: EventId,
    pub seat_type: SeatType,
}

impl Payload for SeatTypeUpdated {
    const EVENT: &'static str = "seat_type_updated";
    const LISTENERS: Listeners = Listeners::Everybody;
}

/// A seat type has been deleted.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct SeatTypeDeleted {
    pub event_id: EventId,
    pub seat_type_id: SeatTypeId,
    /// The whole sentence about the deletion, because clients get that today
    /// (docs/contract.md#broadcasts).
    pub seat_type_name: String,
}

impl Payload for SeatTypeDeleted {
    const EVENT: &'static str = "seat_type_deleted";
    const LISTENERS: Listeners = Listeners::Everybody;
}
