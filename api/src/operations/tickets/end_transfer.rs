//! `DELETE /transfers/:id`, `end_transfer`

use nexus_common::{
    Error, Result,
    realtime::AfterCommit,
    tickets::transfers,
    types::{ids::TransferId, statuses::TransferStatus},
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
pub(crate) struct EndTransfer {
    transfer_id: Id,
}

/// An offer has ended.
#[derive(Serialize, ToSchema)]
pub(crate) struct EndedTransfer {
    transfer_id: TransferId,
    /// `withdrawn` or `declined`.
    status: TransferStatus,
    message: &'static str,
}

impl Command for EndTransfer {
    type Response = EndedTransfer;

    fn spec() -> Operation {
        Operation::command("end_transfer", "Withdraw or decline an offer of a ticket")
            .description("By whoever has made it, or was to get the ticket, as long as nobody has accepted it.")
            .failures([Error::TransferNotFound])
    }

    async fn run(self, call: Call) -> Result<Done> {
        let transfer_id = transfer(&self.transfer_id)?;
        let mut tx = call.begin().await?;
        let status = transfers::end(&mut tx, transfer_id, call.user).await?;
        let data = EndedTransfer { transfer_id, status, message: "The offer has ended" };
        call.commit(tx, data, AfterCommit::default()).await
    }
}
