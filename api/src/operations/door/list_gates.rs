//! `GET /events/:id/gates`

use nexus_common::{
    Error,
    door::{
        access,
        gates::{self, Gate},
    },
};
use serde::Deserialize;
use utoipa::ToSchema;

use crate::{
    app::App,
    auth::caller::DoorCaller,
    http::{api_error::ApiError, fields::Id},
    operations::{All, Endpoint, seats},
    spec::operation::Operation,
};

#[derive(Deserialize, ToSchema)]
pub(crate) struct ListGates {
    #[serde(rename = "eventId")]
    event_id: Id,
}

impl Endpoint for ListGates {
    type Caller = DoorCaller;
    type Response = All<Gate>;

    fn spec() -> Operation {
        Operation::at_the_door("list_gates", "List the gates of an event")
            .failures([Error::EventNotFound, Error::Forbidden(access::LET_IN)])
    }

    async fn run(
        self,
        app: App,
        DoorCaller(keeper): DoorCaller,
    ) -> Result<Self::Response, ApiError> {
        let event = seats::event(&self.event_id)?;
        let mut conn = app.db.acquire().await?;
        let door = access::door(&mut conn, event, keeper, app.settings.door_opens).await?;
        Ok(All(gates::of(&mut conn, door.event).await?))
    }
}
