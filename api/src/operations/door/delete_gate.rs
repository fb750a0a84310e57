//! `DELETE /events/:id/gates/:gate`

use nexus_common::{
    Error, Result, audit::Action, door::gates, realtime::AfterCommit, types::ids::GateId,
};
use serde::{Deserialize, Serialize};
use serde_json::json;
use utoipa::ToSchema;

use super::gate;
use crate::{
    http::fields::Id,
    operations::{Call, Command, Done, seats},
    spec::operation::Operation,
};

#[derive(Deserialize, ToSchema)]
pub(crate) struct DeleteGate {
    #[serde(rename = "eventId")]
    event_id: Id,
    #[serde(rename = "gateId")]
    gate_id: Id,
}

/// A gate is gone.
#[derive(Serialize, ToSchema)]
pub(crate) struct DeletedGate {
    message: &'static str,
    deleted_gate_id: GateId,
}

impl Command for DeleteGate {
    type Response = DeletedGate;

    fn spec() -> Operation {
        Operation::command("delete_gate", "Delete a gate of an event").failures([
            Error::EventNotFound,
            Error::Forbidden(gates::MANAGE),
            Error::GateNotFound,
            Error::GateInUse,
        ])
    }

    async fn run(self, call: Call) -> Result<Done> {
        let (event, id) = (seats::event(&self.event_id)?, gate(&self.gate_id)?);
        let mut tx = call.begin().await?;
        gates::delete(&mut tx, event, id, call.user).await?;
        call.record(&mut tx, Action::GateDeleted, event, json!({ "gate": id })).await?;
        let data = DeletedGate { message: "Gate deleted successfully", deleted_gate_id: id };
        call.commit(tx, data, AfterCommit::default()).await
    }
}
