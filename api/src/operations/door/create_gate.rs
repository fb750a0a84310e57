//! `POST /events/:id/gates`

use nexus_common::{
    Error, Result,
    audit::Action,
    door::gates::{self, Gate},
    realtime::AfterCommit,
};
use serde::{Deserialize, Serialize};
use serde_json::json;
use utoipa::ToSchema;

use super::{GateName, SeatTypes, seat_types};
use crate::{
    http::{
        fields::{Id, sent},
        texts::some,
    },
    operations::{Call, Command, Done, seats},
    spec::operation::Operation,
};

#[derive(Deserialize, ToSchema)]
pub(crate) struct CreateGate {
    #[serde(rename = "eventId")]
    event_id: Id,
    name: GateName,
    seat_type_ids: Option<SeatTypes>,
}

/// A gate has been created or changed.
#[derive(Serialize, ToSchema)]
pub(crate) struct ChangedGate {
    pub(super) gate: Gate,
    pub(super) message: &'static str,
}

impl Command for CreateGate {
    type Response = ChangedGate;

    fn spec() -> Operation {
        Operation::command("create_gate", "Create a gate of an event")
            .description("An entrance, for all seat types or for some: who comes to another one is told where to go.")
            .failures([
                Error::EventNotFound,
                Error::EventTakenDown,
                Error::Forbidden(gates::MANAGE),
                Error::SeatTypeNotFound,
                Error::GateExists,
            ])
    }

    async fn run(self, call: Call) -> Result<Done> {
        let event = seats::event(&self.event_id)?;
        let (name, types) = (some(&self.name)?, seat_types(sent(&self.seat_type_ids))?);
        let mut tx = call.begin().await?;
        let gate = gates::create(&mut tx, event, call.user, &name, types.as_deref()).await?;
        call.record(&mut tx, Action::GateCreated, event, json!({ "gate": gate.id })).await?;
        let data = ChangedGate { gate, message: "Gate created successfully" };
        call.commit(tx, data, AfterCommit::default()).await
    }
}
