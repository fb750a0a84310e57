//! `waiting_room:update`: what has changed in an event's waiting room, and whose turn it is.

use serde::Serialize;
use utoipa::ToSchema;

use super::{calling::Called, snapshots::Snapshot};
use crate::{
    realtime::{Audience, Broadcast, Listeners, Payload},
    types::time::Timestamp,
};

/// Once a second at most, and only when something has changed. With `you`, only the visitor's
/// clients hear it, who may lock seats from now on.
#[derive(Debug, Serialize, ToSchema)]
pub struct WaitingRoomUpdate {
    #[serde(flatten)]
    room: Snapshot,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(required = false, nullable = false)]
    you: Option<Turn>,
}

/// What a visitor who has been called is told.
#[derive(Debug, Serialize, ToSchema)]
struct Turn {
    position: i64,
    /// Until when the visitor may lock seats.
    window_ends_at: Timestamp,
}

impl Payload for WaitingRoomUpdate {
    const EVENT: &'static str = "waiting_room:update";
    const LISTENERS: Listeners = Listeners::Viewers;
}

/// For everybody who hears of the event.
pub fn changed(room: Snapshot) -> Broadcast {
    let audience = Audience::Event(room.event_id, room.visibility);
    Broadcast::new(audience, WaitingRoomUpdate { room, you: None })
}

/// For a visitor alone.
pub fn called(room: Snapshot, called: &Called) -> Broadcast {
    let turn = Turn { position: called.position, window_ends_at: called.window_ends_at };
    Broadcast::new(Audience::User(called.user), WaitingRoomUpdate { room, you: Some(turn) })
}
