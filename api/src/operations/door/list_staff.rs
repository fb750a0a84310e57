//! `GET /events/:id/staff`

use nexus_common::{
    Error,
    door::staff::{self, StaffMember},
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
pub(crate) struct ListStaff {
    #[serde(rename = "eventId")]
    event_id: Id,
}

impl Endpoint for ListStaff {
    type Caller = Caller;
    type Response = All<StaffMember>;

    fn spec() -> Operation {
        Operation::private("list_staff", "List who may let people in to an event")
            .description("Besides its organiser, who alone sees the list.")
            .failures([Error::EventNotFound, Error::Forbidden(staff::MANAGE)])
    }

    async fn run(self, app: App, caller: Caller) -> Result<Self::Response, ApiError> {
        let event = seats::event(&self.event_id)?;
        let mut conn = app.db.acquire().await?;
        Ok(All(staff::list(&mut conn, event, caller.user).await?))
    }
}
