//! `GET /seats/:eventId`

use nexus_common::{Error, seats::map::SeatMap, types::ids::EventId};
use serde::Deserialize;
use utoipa::ToSchema;

use crate::{
    app::App,
    auth::caller::MaybeCaller,
    http::{
        api_error::ApiError,
        fields::{Code, Field, Id, viewer},
    },
    operations::{Endpoint, One, Prepared},
    spec::operation::Operation,
};

#[derive(Deserialize, ToSchema)]
pub(crate) struct GetSeats {
    #[serde(rename = "eventId")]
    event_id: Id,
    share_code: Option<Code>,
}

impl Endpoint for GetSeats {
    type Caller = MaybeCaller;
    type Response = Prepared<One<SeatMap>>;

    fn spec() -> Operation {
        Operation::open_to_users("get_seats", "List the taken seats of an event")
            .description("Draw this first, then follow `event:seats-update`, whose versions continue from this `version`.")
            .failures([Error::EventNotFound])
    }

    async fn run(
        self,
        app: App,
        MaybeCaller(user): MaybeCaller,
    ) -> Result<Self::Response, ApiError> {
        let event = self.event_id.read().map(EventId);
        let event = event.ok_or_else(|| Error::invalid("Invalid event ID"))?;
        let viewer = viewer(user, &self.share_code);
        Ok(app.seat_maps.response(event, viewer).await?.into())
    }
}
