//! `POST /transfers/:id/accept`, `accept_transfer`

use nexus_common::{
    Error, Result, realtime::AfterCommit, tickets::transfers, types::ids::TransferId,
};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::transfer;
use crate::{
    http::fields::Id,
    operations::{Call, Command, Done},
    spec::operation::Operation,
};

#[derive(Deserialize, ToSchema)]
pub(crate) struct AcceptTransfer {
    transfer_id: Id,
}

/// A ticket is accepted.
#[derive(Serialize, ToSchema)]
pub(crate) struct AcceptedTransfer {
    transfer_id: TransferId,
    message: &'static str,
}

impl Command for AcceptTransfer {
    type Response = AcceptedTransfer;

    fn spec() -> Operation {
        Operation::command("accept_transfer", "Accept a ticket")
            .description("By an account that has verified the address that it is offered to. The ticket is the caller's a moment later, with another code: `tickets:ready` says so, and so does the transfer's status.")
            .failures([
                Error::TransferNotFound,
                Error::TicketNotTransferable,
                Error::HoldersClosed,
                Error::PhoneNotVerified,
            ])
    }

    async fn run(self, call: Call) -> Result<Done> {
        let transfer_id = transfer(&self.transfer_id)?;
        let mut tx = call.begin().await?;
        transfers::accept(&mut tx, transfer_id, call.user).await?;
        let message = "Ticket accepted. It is yours in a moment.";
        let data = AcceptedTransfer { transfer_id, message };
        call.commit(tx, data, AfterCommit::default()).await
    }
}
