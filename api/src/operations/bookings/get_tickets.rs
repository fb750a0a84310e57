//! `GET /bookings/:id/tickets`

use nexus_common::{
    Error,
    tickets::views::{self, Tickets},
};
use serde::Deserialize;
use utoipa::ToSchema;

use super::{files, viewed};
use crate::{
    app::App,
    auth::caller::Caller,
    http::{api_error::ApiError, fields::Id},
    operations::{Endpoint, One},
    spec::operation::Operation,
};

#[derive(Deserialize, ToSchema)]
pub(crate) struct GetTickets {
    booking_id: Id,
}

impl Endpoint for GetTickets {
    type Caller = Caller;
    type Response = One<Tickets>;

    fn spec() -> Operation {
        Operation::private("get_tickets", "Get the tickets of a booking")
            .failures([Error::BookingNotFoundOrForbidden])
    }

    async fn run(self, app: App, caller: Caller) -> Result<Self::Response, ApiError> {
        let id = viewed(&self.booking_id)?;
        let mut conn = app.db.acquire().await?;
        let tickets = views::of_booking(&mut conn, id, caller.user).await?;
        // Nobody else needs to wait for the drawing, nor do those whose tickets are still to be made.
        drop(conn);
        let drawn = match tickets.is_empty() {
            true => tickets.drawn(),
            false => files::in_turn(&app.drawing, || tickets.drawn()).await,
        };
        Ok(One(drawn?))
    }
}
