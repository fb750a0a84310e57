//! `GET /events/:id/cancellation`

use nexus_common::{
    Error,
    events::cancellation::{self, EventCancellation},
};
use serde::Deserialize;
use utoipa::ToSchema;

use super::viewed;
use crate::{
    app::App,
    auth::caller::Caller,
    http::{api_error::ApiError, fields::Id},
    operations::{Endpoint, One},
    spec::operation::Operation,
};

#[derive(Deserialize, ToSchema)]
pub(crate) struct GetCancellation {
    #[serde(rename = "eventId")]
    event_id: Id,
}

impl Endpoint for GetCancellation {
    type Caller = Caller;
    type Response = One<EventCancellation>;

    fn spec() -> Operation {
        Operation::private("get_cancellation", "Get the progress of an event's cancellation")
            .failures([
                Error::EventNotFound,
                Error::Forbidden("see how far this event's cancellation is"),
                Error::EventNotCancelled,
            ])
    }

    async fn run(self, app: App, caller: Caller) -> Result<Self::Response, ApiError> {
        let id = viewed(&self.event_id)?;
        let mut conn = app.db.acquire().await?;
        Ok(One(cancellation::progress(&mut conn, id, caller.user).await?))
    }
}
