//! `POST /tickets/:id/transfers`, `offer_transfer`

use nexus_common::{
    Error, Result,
    config::Limit,
    realtime::AfterCommit,
    tickets::transfers,
    types::{
        contacts::Email as EmailAddress,
        ids::{TicketId, TransferId},
        usage::Usage,
    },
};
use serde::{Deserialize, Serialize};
use std::time::Duration;
use utoipa::ToSchema;

use crate::{
    http::fields::{Email, Field, Id},
    operations::{Call, Command, Done},
    spec::operation::Operation,
};

#[derive(Deserialize, ToSchema)]
pub(crate) struct OfferTransfer {
    /// The ticket's number, `id`, and not its `ticket_id`.
    id: Id,
    /// Of whoever is to get it: an account that has verified this address, now or later.
    email: Email,
}

/// A ticket is offered.
#[derive(Serialize, ToSchema)]
pub(crate) struct OfferedTransfer {
    transfer_id: TransferId,
    message: &'static str,
}

impl Command for OfferTransfer {
    type Response = OfferedTransfer;

    fn spec() -> Operation {
        let usage = Usage { limit: 100, used: 100, until_room: Duration::from_secs(3600) };
        Operation::command("offer_transfer", "Offer a ticket to somebody")
            .description("Tells them by mail. The ticket stays the caller's, and its code stays good, until they have accepted. Possible until the event's `holders_until`, and before it starts.")
            .failures([
                Error::TicketNotFound,
                Error::TicketNotTransferable,
                Error::HoldersClosed,
                Error::TicketOffered,
                Error::RateLimited(usage),
            ])
    }

    async fn run(self, call: Call) -> Result<Done> {
        let ticket = self.id.required(Error::TicketNotFound, "Invalid ticket ID")?;
        let email = self.email.read().and_then(|text| EmailAddress::parse(text.trim()));
        let email = email.ok_or_else(|| Error::invalid("Invalid email format"))?;
        let budgets = &call.app.budgets;
        let taken = budgets.transfer(call.user).await?;
        let offered = offer(&call, TicketId(ticket), &email).await;
        if offered.is_err() {
            budgets.give_back(&taken, &[Limit::Transfers]).await;
        }
        offered
    }
}

async fn offer(call: &Call, ticket: TicketId, email: &EmailAddress) -> Result<Done> {
    let mut tx = call.begin().await?;
    let transfer_id = transfers::offer(&mut tx, ticket, call.user, email).await?;
    let data = OfferedTransfer { transfer_id, message: "Ticket offered successfully" };
    call.commit(tx, data, AfterCommit::default()).await
}
