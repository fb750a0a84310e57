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
    types::{
        ids::{EventId, SeatTypeId},
        text::shortened,
    },
};

/// How much of descriptions everybody is told, in characters: of an event's, of a seat type's, and
/// of those of all seat types of a new event together. Who wants to read on fetches the event.
const EVENT_TEXT: usize = 1_000;
const SEAT_TYPE_TEXT: usize = 200;
const SEAT_TYPE_TEXTS: usize = 2_000;

/// An event has been created.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct EventCreated {
    pub event: Event,
    pub seat_types: Vec<CreatedSeatType>,
    pub total_seats_available: i64,
}

impl EventCreated {
    /// What everybody is told.
    pub fn shortened(&self) -> Self {
        let mut told = self.clone();
        told.event.description = shortened(&told.event.description, EVENT_TEXT);
        let longest = SEAT_TYPE_TEXT.min(SEAT_TYPE_TEXTS / told.seat_types.len().max(1));
        for text in told.seat_types.iter_mut().filter_map(|told| told.description.as_mut()) {
            *text = shortened(text, longest);
        }
        told
    }
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

impl EventChanged {
    /// What everybody is told.
    pub fn shortened(mut self) -> Self {
        self.event.description = shortened(&self.event.description, EVENT_TEXT);
        self
    }
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

impl SeatType {
    /// What everybody is told.
    pub fn shortened(&self) -> Self {
        let description = self.description.as_deref().map(|text| shortened(text, SEAT_TYPE_TEXT));
        SeatType { description, ..self.clone() }
    }
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
