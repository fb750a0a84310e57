//! `GET /events/:id/door-keys`

use nexus_common::{
    Error,
    door::keys::{self, DoorKey},
};
use serde::Deserialize;
use utoipa::ToSchema;

use crate::{
    app::App,
    auth::caller::Caller,
    http::{api_error::ApiError, fields::Id},
    operations::{All, Endpoint, seats},
    spec::operation::Operation,
};

#[derive(Deserialize, ToSchema)]
pub(crate) struct ListDoorKeys {
    #[serde(rename = "eventId")]
    event_id: Id,
}

impl Endpoint for ListDoorKeys {
    type Caller = Caller;
    type Response = All<DoorKey>;

    fn spec() -> Operation {
        Operation::private("list_door_keys", "List the door keys of an event")
            .description("Those that are good first, without their tokens, for its organiser.")
            .failures([Error::EventNotFound, Error::Forbidden(keys::MANAGE)])
    }

    async fn run(self, app: App, caller: Caller) -> Result<Self::Response, ApiError> {
        let event = seats::event(&self.event_id)?;
        let mut conn = app.db.acquire().await?;
        Ok(All(keys::list(&mut conn, event, caller.user).await?))
    }
}
