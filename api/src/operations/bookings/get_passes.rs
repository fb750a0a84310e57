//! `GET /bookings/:id/tickets.pkpass`

use nexus_common::{
    Error,
    types::{feature::Feature, ids::TicketId},
};
use nexus_ticket_files::apple;
use serde::Deserialize;
use utoipa::ToSchema;

use super::{files, viewed};
use crate::{
    app::App,
    auth::caller::Caller,
    http::{
        api_error::ApiError,
        fields::{Field, Id, sent},
    },
    operations::{Download, Endpoint},
    spec::operation::Operation,
};

#[derive(Deserialize, ToSchema)]
pub(crate) struct GetPasses {
    booking_id: Id,
    /// Only this ticket, by its `id`.
    ticket_id: Option<Id>,
}

impl Endpoint for GetPasses {
    type Caller = Caller;
    type Response = Download;

    fn spec() -> Operation {
        Operation::private("get_passes", "Get the tickets of a booking for Apple Wallet")
            .description("A pass, or several in one file: ten at most, which are as many as Wallet takes at once.")
            .file_response(&[apple::PASS, apple::PASSES])
            .failures([
                Error::BookingNotFound,
                Error::TicketsNotFound,
                Error::TooManyPasses,
                Error::Off(Feature::AppleWallet),
            ])
    }

    async fn run(self, app: App, caller: Caller) -> Result<Self::Response, ApiError> {
        let booking = viewed(&self.booking_id)?;
        let unreadable = || Error::invalid("Invalid ticket ID");
        let only = sent(&self.ticket_id).map(|id| id.read().ok_or_else(unreadable)).transpose()?;
        let mut delivery = files::delivery(&app, caller.user, booking).await?;
        if !app.files.has_passes() {
            return Err(Error::Off(Feature::AppleWallet).into());
        }
        delivery.tickets.retain(|ticket| only.is_none_or(|only| ticket.id == TicketId(only)));
        if delivery.tickets.len() > apple::MOST {
            return Err(Error::TooManyPasses.into());
        }
        let passes = files::make(&app, caller.user, move |files| files.passes(&delivery)).await?;
        Ok(Download(passes.into_iter().next().ok_or(Error::TicketsNotFound)?))
    }
}
