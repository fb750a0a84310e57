//! Broadcasts to buyers about their tickets.

use serde::Serialize;
use utoipa::ToSchema;

use crate::{
    realtime::{Listeners, Payload},
    types::ids::{BookingId, UserId},
};

/// The tickets can be fetched.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct TicketsReady {
    pub booking_id: BookingId,
    pub booking_reference: String,
    pub ticket_count: i64,
    pub user_id: UserId,
}

impl Payload for TicketsReady {
    const EVENT: &'static str = "tickets:ready";
    const LISTENERS: Listeners = Listeners::Buyer;
}
