//! `GET /bookings/:id/wallet-links`

use nexus_common::{
    Error,
    types::{feature::Feature, ids::TicketId},
};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{files, viewed};
use crate::{
    app::App,
    auth::caller::Caller,
    http::{api_error::ApiError, fields::Id},
    operations::{All, Endpoint},
    spec::operation::Operation,
};

#[derive(Deserialize, ToSchema)]
pub(crate) struct GetWalletLinks {
    booking_id: Id,
}

/// The link that puts a ticket into Google Wallet.
#[derive(Serialize, ToSchema)]
pub(crate) struct WalletLink {
    id: TicketId,
    google: String,
}

impl Endpoint for GetWalletLinks {
    type Caller = Caller;
    type Response = All<WalletLink>;

    fn spec() -> Operation {
        Operation::private("get_wallet_links", "Get the tickets of a booking for Google Wallet")
            .description(
                "A link for each ticket. Whoever follows it has the ticket in their wallet.",
            )
            .failures([
                Error::BookingNotFound,
                Error::TicketsNotFound,
                Error::Off(Feature::GoogleWallet),
            ])
    }

    async fn run(self, app: App, caller: Caller) -> Result<Self::Response, ApiError> {
        let booking = viewed(&self.booking_id)?;
        let delivery = files::delivery(&app, caller.user, booking).await?;
        if !app.files.has_links() {
            return Err(Error::Off(Feature::GoogleWallet).into());
        }
        let links = files::make(&app, caller.user, move |files| {
            let link =
                |ticket| Ok(files.google_link(&delivery, ticket)?.map(|url| (ticket.id, url)));
            delivery.tickets.iter().filter_map(|ticket| link(ticket).transpose()).collect()
        });
        let links: Vec<(TicketId, String)> = links.await?;
        if links.is_empty() {
            return Err(Error::TicketsNotFound.into());
        }
        Ok(All(links.into_iter().map(|(id, google)| WalletLink { id, google }).collect()))
    }
}
