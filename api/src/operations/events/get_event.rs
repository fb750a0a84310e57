//! `GET /events/:id`

use nexus_common::{Error, events::views::EventDetail};
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
    operations::{Endpoint, One, Prepared},
    spec::operation::Operation,
};

#[derive(Deserialize, ToSchema)]
pub(crate) struct GetEvent {
    #[serde(rename = "eventId")]
    event_id: Id,
    share_code: Option<Code>,
}

impl Endpoint for GetEvent {
    type Caller = MaybeCaller;
    type Response = Prepared<One<EventDetail>>;

    fn spec() -> Operation {
        Operation::open_to_users("get_event", "Get an event").failures([Error::EventNotFound])
    }

    async fn run(
        self,
        app: App,
        MaybeCaller(user): MaybeCaller,
    ) -> Result<Self::Response, ApiError> {
        let id = viewed(&self.event_id)?;
        let viewer = viewer(user, &self.share_code);
        Ok(app.reads.event(id, viewer).await?.into())
    }
}
