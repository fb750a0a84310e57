//! `POST /events/:id/door-keys`: no command, because the response to one may be kept for a day, and
//! this one holds a secret.

use nexus_common::{
    Error,
    audit::{self, Action},
    door::keys::{self, NewDoorKey},
    storage::postgres,
};
use serde::Deserialize;
use serde_json::json;
use utoipa::ToSchema;

use super::{DeviceName, optional_gate};
use crate::{
    app::App,
    auth::caller::Caller,
    http::{api_error::ApiError, fields::Id, texts::some},
    operations::{Endpoint, One, seats},
    spec::operation::Operation,
};

#[derive(Deserialize, ToSchema)]
pub(crate) struct CreateDoorKey {
    #[serde(rename = "eventId")]
    event_id: Id,
    /// What the organiser calls the device.
    name: DeviceName,
    /// Where the device is. Without one, it says itself.
    gate_id: Option<Id>,
}

impl Endpoint for CreateDoorKey {
    type Caller = Caller;
    type Response = One<NewDoorKey>;

    fn spec() -> Operation {
        Operation::private("create_door_key", "Create a door key for a device")
            .description("A token with which a device lets people in to this event, and does nothing else. It is shown once, can be revoked at any time, and ends two days after the event.")
            .failures([
                Error::EventNotFound,
                Error::EventTakenDown,
                Error::Forbidden(keys::MANAGE),
                Error::GateNotFound,
            ])
    }

    async fn run(self, app: App, caller: Caller) -> Result<Self::Response, ApiError> {
        let event = seats::event(&self.event_id)?;
        let (name, gate) = (some(&self.name)?, optional_gate(&self.gate_id)?);
        let mut tx = postgres::begin(&app.db).await?;
        let created =
            keys::create(&mut tx, event, caller.user, &name, gate, &app.bundle_keys).await?;
        let details = json!({ "door_key": created.key.id });
        let (action, actor) = (Action::DoorKeyCreated, Some(caller.user));
        audit::record(&mut tx, action, actor, event, details).await?;
        tx.commit().await?;
        Ok(One(created))
    }
}
