//! `DELETE /seats/:eventId/seat-types/:id`, `delete_seat_type`

use nexus_common::{
    Error, Result,
    audit::Action,
    events::{broadcasts::SeatTypeDeleted, seat_types},
    realtime::{AfterCommit, Broadcast},
    types::ids::SeatTypeId,
};
use serde::{Deserialize, Serialize};
use serde_json::json;
use utoipa::ToSchema;

use super::MANAGE;
use crate::{
    http::fields::Id,
    operations::{Call, Command, Done, seats},
    spec::operation::Operation,
};

#[derive(Deserialize, ToSchema)]
pub(crate) struct DeleteSeatType {
    #[serde(rename = "eventId")]
    event_id: Id,
    #[serde(rename = "seatTypeId")]
    seat_type_id: Id,
}

/// A seat type is gone.
#[derive(Serialize, ToSchema)]
pub(crate) struct DeletedSeatType {
    message: String,
    deleted_seat_type_id: SeatTypeId,
}

impl Command for DeleteSeatType {
    type Response = DeletedSeatType;

    fn spec() -> Operation {
        Operation::command("delete_seat_type", "Delete a seat type").failures([
            Error::EventNotFound,
            Error::EventTakenDown,
            Error::SeatTypeNotFound,
            MANAGE,
            Error::SeatTypeHasBookings(2),
        ])
    }

    async fn run(self, call: Call) -> Result<Done> {
        let (event, id) = (seats::event(&self.event_id)?, seats::seat_type(&self.seat_type_id)?);
        let _turn = call.turn(event).await?;
        let mut tx = call.begin().await?;
        let (name, audience) = seat_types::delete(&mut tx, event, id, call.user).await?;
        call.record(&mut tx, Action::SeatTypeDeleted, id, json!({ "event": event })).await?;

        let message = format!("Seat type \"{name}\" deleted successfully");
        let mut after = AfterCommit::default();
        after.counts_changed(event);
        let deleted =
            SeatTypeDeleted { event_id: event, seat_type_id: id, seat_type_name: message.clone() };
        after.tell(Broadcast::new(audience, deleted));
        call.commit(tx, DeletedSeatType { message, deleted_seat_type_id: id }, after).await
    }
}
