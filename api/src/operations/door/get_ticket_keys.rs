//! `GET /events/:id/ticket-keys`

use nexus_common::{
    Error,
    tickets::keys::{self, PublishedKey},
};
use serde::Deserialize;
use utoipa::ToSchema;

use crate::{
    app::App,
    auth::caller::MaybeCaller,
    http::{
        api_error::ApiError,
        fields::{Code, Id, viewer},
    },
    operations::{All, Endpoint, seats},
    spec::operation::Operation,
};

#[derive(Deserialize, ToSchema)]
pub(crate) struct GetTicketKeys {
    #[serde(rename = "eventId")]
    event_id: Id,
    share_code: Option<Code>,
}

impl Endpoint for GetTicketKeys {
    type Caller = MaybeCaller;
    type Response = All<PublishedKey>;

    fn spec() -> Operation {
        Operation::open_to_users("get_ticket_keys", "Get the keys that check an event's tickets")
            .description("The public halves of those that sign tickets or have signed them, without those that were revoked. What is in a ticket's code: `docs/tickets.md`.")
            .failures([Error::EventNotFound])
    }

    async fn run(
        self,
        app: App,
        MaybeCaller(user): MaybeCaller,
    ) -> Result<Self::Response, ApiError> {
        let event = seats::event(&self.event_id)?;
        app.reads.require_visible(event, viewer(user, &self.share_code)).await?;
        Ok(All(keys::published(&mut *app.db.acquire().await?).await?))
    }
}
