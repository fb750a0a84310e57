//! `DELETE /events/:id/door-keys/:key`

use nexus_common::{
    Error, Result,
    audit::Action,
    door::keys::{self, DoorKey},
    realtime::AfterCommit,
};
use serde::{Deserialize, Serialize};
use serde_json::json;
use utoipa::ToSchema;

use super::door_key;
use crate::{
    http::fields::Id,
    operations::{Call, Command, Done, seats},
    spec::operation::Operation,
};

#[derive(Deserialize, ToSchema)]
pub(crate) struct RevokeDoorKey {
    #[serde(rename = "eventId")]
    event_id: Id,
    #[serde(rename = "doorKeyId")]
    door_key_id: Id,
}

/// A door key is worth nothing any more.
#[derive(Serialize, ToSchema)]
pub(crate) struct RevokedDoorKey {
    message: &'static str,
    door_key: DoorKey,
}

impl Command for RevokeDoorKey {
    type Response = RevokedDoorKey;

    fn spec() -> Operation {
        Operation::command("revoke_door_key", "Revoke a door key")
            .description(
                "At once: the next request with it is refused. What it has checked in stays so.",
            )
            .failures([
                Error::EventNotFound,
                Error::Forbidden(keys::MANAGE),
                Error::DoorKeyNotFound,
            ])
    }

    async fn run(self, call: Call) -> Result<Done> {
        let (event, id) = (seats::event(&self.event_id)?, door_key(&self.door_key_id)?);
        let mut tx = call.begin().await?;
        let key = keys::revoke(&mut tx, event, id, call.user).await?;
        call.record(&mut tx, Action::DoorKeyRevoked, event, json!({ "door_key": id })).await?;
        let data = RevokedDoorKey { message: "Door key revoked successfully", door_key: key };
        call.commit(tx, data, AfterCommit::default()).await
    }
}
