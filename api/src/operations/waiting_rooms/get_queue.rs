//! `GET /events/:id/queue`

use nexus_common::Error;
use serde::Deserialize;
use utoipa::ToSchema;

use crate::{
    app::App,
    auth::caller::MaybeCaller,
    http::{
        api_error::ApiError,
        fields::{Code, Id, viewer},
    },
    operations::{Endpoint, One, seats},
    spec::operation::Operation,
    waiting_rooms::QueueState,
};

#[derive(Deserialize, ToSchema)]
pub(crate) struct GetQueue {
    #[serde(rename = "eventId")]
    event_id: Id,
    share_code: Option<Code>,
}

impl Endpoint for GetQueue {
    type Caller = MaybeCaller;
    type Response = One<QueueState>;

    fn spec() -> Operation {
        Operation::open_to_users("get_queue", "Get an event's waiting room, and where you are in it")
            .description("From memory, and a second old at most. `poll_after_seconds` says when to ask again; `waiting_room:update` tells of changes before that.")
            .failures([Error::EventNotFound, Error::WaitingRoomNotFound])
    }

    async fn run(
        self,
        app: App,
        MaybeCaller(user): MaybeCaller,
    ) -> Result<Self::Response, ApiError> {
        let event = seats::event(&self.event_id)?;
        Ok(One(app.waiting_rooms.state(event, viewer(user, &self.share_code)).await?))
    }
}
