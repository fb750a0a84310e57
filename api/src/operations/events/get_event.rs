//! `GET /events/:id`

use nexus_common::{
    Error,
    events::views::{self, EventDetail},
};
use serde::Deserialize;
use utoipa::ToSchema;

use super::viewed;
use crate::{
    app::App,
    auth::caller::MaybeCaller,
    http::{api_error::ApiError, fields::Id},
    operations::{Endpoint, One},
    spec::operation::Operation,
};

#[derive(Deserialize, ToSchema)]
pub(crate) struct GetEvent {
    #[serde(rename = "eventId")]
    event_id: Id,
}

impl Endpoint for GetEvent {
    type Caller = MaybeCaller;
    type Response = One<EventDetail>;

    fn spec() -> Operation {
        Operation::open_to_users("get_event", "Get an event").failures([Error::EventNotFound])
    }

    async fn run(
        self,
        app: App,
        MaybeCaller(viewer): MaybeCaller,
    ) -> Result<Self::Response, ApiError> {
        let id = viewed(&self.event_id)?;
        let mut conn = app.db.acquire().await?;
        Ok(One(views::get(&mut conn, id, viewer).await?))
    }
}
