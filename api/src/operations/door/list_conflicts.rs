//! `GET /events/:id/check-ins/conflicts`

use nexus_common::{
    Error,
    door::{
        access,
        conflicts::{self, ConflictingCheckIn},
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
pub(crate) struct ListConflicts {
    #[serde(rename = "eventId")]
    event_id: Id,
}

impl Endpoint for ListConflicts {
    type Caller = DoorCaller;
    type Response = All<ConflictingCheckIn>;

    fn spec() -> Operation {
        Operation::at_the_door("list_conflicts", "List whom offline scanners should not have let in")
            .description("The newest 500, with the check-in that counts beside each; one that is undone is not listed any more.")
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
        Ok(All(conflicts::list(&mut conn, &door).await?))
    }
}
