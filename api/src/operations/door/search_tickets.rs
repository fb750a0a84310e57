//! `GET /events/:id/tickets`

use std::time::Duration;

use nexus_common::{
    Error,
    door::{
        access,
        search::{self, FoundTicket, Query},
    },
    types::usage::Usage,
};
use serde::Deserialize;
use utoipa::ToSchema;

use crate::{
    app::App,
    auth::caller::DoorCaller,
    http::{
        api_error::ApiError,
        fields::{Field, Id, Text},
    },
    operations::{All, Endpoint, seats},
    spec::operation::Operation,
};

#[derive(Deserialize, ToSchema)]
pub(crate) struct SearchTickets {
    #[serde(rename = "eventId")]
    event_id: Id,
    /// A part of the buyer's name, three characters or more; the last four digits of their phone
    /// number, or all of them; or the beginning of a booking's reference or a ticket's id.
    #[schema(value_type = String, max_length = 4096, example = "Asha")]
    q: Text,
}

impl Endpoint for SearchTickets {
    type Caller = DoorCaller;
    type Response = All<FoundTicket>;

    fn spec() -> Operation {
        let usage = Usage { limit: 60, used: 60, until_room: Duration::from_secs(60) };
        Operation::at_the_door("search_tickets", "Look for tickets by hand")
            .description("The first fifty of an event's tickets that match, for somebody whose code cannot be read.")
            .failures([
                Error::EventNotFound,
                Error::EventTakenDown,
                Error::Forbidden(access::LET_IN),
                Error::SearchTooWide,
                Error::RateLimited(usage),
            ])
    }

    async fn run(
        self,
        app: App,
        DoorCaller(keeper): DoorCaller,
    ) -> Result<Self::Response, ApiError> {
        let event = seats::event(&self.event_id)?;
        let typed = self.q.required(Error::invalid("q is required"), "q must be text")?;
        let query = Query::parse(&typed).ok_or(Error::SearchTooWide)?;
        let mut conn = app.db.acquire().await?;
        let door = access::door(&mut conn, event, keeper, app.settings.door_opens).await?;
        // Redis is not waited for with a connection in hand.
        drop(conn);
        app.budgets.door_search(keeper).await?;
        Ok(All(search::find(&mut *app.db.acquire().await?, &door, &query).await?))
    }
}
