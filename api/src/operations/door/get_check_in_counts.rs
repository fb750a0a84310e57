//! `GET /events/:id/check-ins/counts`

use nexus_common::{
    Error,
    door::{
        access,
        counts::{self, DoorCounts},
    },
};
use serde::Deserialize;
use utoipa::ToSchema;

use crate::{
    app::App,
    auth::caller::DoorCaller,
    http::{api_error::ApiError, fields::Id},
    operations::{Endpoint, One, seats},
    spec::operation::Operation,
};

#[derive(Deserialize, ToSchema)]
pub(crate) struct GetCheckInCounts {
    #[serde(rename = "eventId")]
    event_id: Id,
}

impl Endpoint for GetCheckInCounts {
    type Caller = DoorCaller;
    type Response = One<DoorCounts>;

    fn spec() -> Operation {
        Operation::at_the_door("get_check_in_counts", "Get how many are in")
            .description("The organiser's clients hear the same as `event:checkin-update`, at most twice a second.")
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
        let (counts, _) = counts::of(&mut conn, door.event).await?;
        Ok(One(counts))
    }
}
