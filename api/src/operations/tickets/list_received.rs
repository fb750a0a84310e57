//! `GET /tickets/received`

use nexus_common::tickets::transfers::{self, ReceivedTicket};
use serde::Deserialize;
use utoipa::ToSchema;

use crate::{
    app::App,
    auth::caller::Caller,
    http::{
        api_error::ApiError,
        fields::{Whole, page},
    },
    operations::{Endpoint, Paged},
    spec::operation::Operation,
};

#[derive(Deserialize, ToSchema)]
pub(crate) struct ListReceived {
    #[schema(value_type = Option<i32>, minimum = 1, maximum = 100, default = 10)]
    limit: Option<Whole>,
    #[schema(value_type = Option<i32>, minimum = 0, default = 0)]
    offset: Option<Whole>,
}

impl Endpoint for ListReceived {
    type Caller = Caller;
    type Response = Paged<ReceivedTicket>;

    fn spec() -> Operation {
        Operation::private("list_received", "List the tickets that others have given you")
            .description(
                "Their codes are at `GET /bookings/{booking_id}/tickets`, their files beside it.",
            )
    }

    async fn run(self, app: App, caller: Caller) -> Result<Self::Response, ApiError> {
        let page = page(&self.limit, &self.offset)?;
        let mut conn = app.db.acquire().await?;
        let (tickets, total) = transfers::received(&mut conn, caller.user, page).await?;
        Ok(Paged(tickets, page.describe(total)))
    }
}
