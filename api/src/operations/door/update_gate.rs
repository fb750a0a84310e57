//! `PUT /events/:id/gates/:gate`

use nexus_common::{
    Error, Result,
    audit::Action,
    door::gates::{self, GateChanges},
    realtime::AfterCommit,
};
use serde::Deserialize;
use serde_json::json;
use utoipa::ToSchema;

use super::{GateName, SeatTypes, create_gate::ChangedGate, gate, seat_types};
use crate::{
    http::{
        fields::{Change, Id, change},
        texts::some,
    },
    operations::{Call, Command, Done, seats},
    spec::operation::Operation,
};

#[derive(Deserialize, ToSchema)]
pub(crate) struct UpdateGate {
    #[serde(rename = "eventId")]
    event_id: Id,
    #[serde(rename = "gateId")]
    gate_id: Id,
    #[serde(default, deserialize_with = "change")]
    #[schema(value_type = Option<GateName>)]
    name: Change<GateName>,
    #[serde(default, deserialize_with = "change")]
    #[schema(value_type = Option<SeatTypes>)]
    seat_type_ids: Change<SeatTypes>,
}

impl Command for UpdateGate {
    type Response = ChangedGate;

    fn spec() -> Operation {
        Operation::command("update_gate", "Update a gate of an event")
            .description("Fields that are not sent stay as they are.")
            .changes(&["name", "seat_type_ids"])
            .failures([
                Error::EventNotFound,
                Error::EventTakenDown,
                Error::Forbidden(gates::MANAGE),
                Error::GateNotFound,
                Error::SeatTypeNotFound,
                Error::GateExists,
            ])
    }

    async fn run(self, call: Call) -> Result<Done> {
        let (event, id) = (seats::event(&self.event_id)?, gate(&self.gate_id)?);
        if self.name.is_none() && self.seat_type_ids.is_none() {
            return Err(Error::invalid("No fields to update"));
        }
        let name = self.name.as_ref().and_then(|name| name.as_ref()).map(some).transpose()?;
        let types = self.seat_type_ids.as_ref().map(|types| seat_types(types.as_ref()));
        let changes = GateChanges { name, seat_types: types.transpose()? };
        let mut tx = call.begin().await?;
        let gate = gates::update(&mut tx, event, id, call.user, &changes).await?;
        call.record(&mut tx, Action::GateUpdated, event, json!({ "gate": id })).await?;
        let data = ChangedGate { gate, message: "Gate updated successfully" };
        call.commit(tx, data, AfterCommit::default()).await
    }
}
