//! `GET /events/:id/seat-types`

use nexus_common::{Error, events::seat_types::SeatType};
use serde::Deserialize;
use utoipa::ToSchema;

use super::viewed;
use crate::{
    app::App,
    auth::caller::MaybeCaller,
    http::{
        api_error::ApiError,
        fields::{Code, Id, viewer},
    },
    operations::{All, Endpoint, Prepared},
    spec::operation::Operation,
};

#[derive(Deserialize, ToSchema)]
pub(crate) struct ListSeatTypes {
    #[serde(rename = "eventId")]
    event_id: Id,
    share_code: Option<Code>,
}

impl Endpoint for ListSeatTypes {
    type Caller = MaybeCaller;
    type Response = Prepared<All<SeatType>>;

    fn spec() -> Operation {
        Operation::open_to_users("list_seat_types", "List the seat types of an event")
            .failures([Error::EventNotFound])
    }

    async fn run(
        self,
        app: App,
        MaybeCaller(user): MaybeCaller,
    ) -> Result<Self::Response, ApiError> {
        let id = viewed(&self.event_id)?;
        let viewer = viewer(user, &self.share_code);
        Ok(app.reads.seat_types(id, viewer).await?.into())
    }
}
