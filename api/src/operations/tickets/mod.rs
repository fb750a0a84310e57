//! Tickets apart from their bookings: who comes in with them, and giving them to others
//! (docs/transfers.md).

pub(crate) mod accept_transfer;
pub(crate) mod end_transfer;
pub(crate) mod list_holders;
pub(crate) mod list_received;
pub(crate) mod list_transfers;
pub(crate) mod name_holders;
pub(crate) mod offer_transfer;

use nexus_common::{
    Error, Result,
    tickets::holders::{Details, Holder},
    types::{ids::TransferId, text::joined_lines},
};

pub(crate) use self::{
    accept_transfer::AcceptTransfer, end_transfer::EndTransfer, list_holders::ListHolders,
    list_received::ListReceived, list_transfers::ListTransfers, name_holders::NameHolders,
    offer_transfer::OfferTransfer,
};
use crate::http::{
    fields::{Field, Id, Object, any_text, sent},
    texts::{optional, text},
};

text!(HolderName = "holder_name", at most 100, cleaned by joined_lines, any_text("Ravi Iyer"));

/// What a request says of whoever sits on a seat.
pub(super) fn holder(name: &Option<HolderName>, details: &Option<Object>) -> Result<Holder> {
    let name = optional(name.as_ref())?;
    // Of spaces that nobody sees, the door would be shown nothing.
    if name.as_ref().is_some_and(|name| !name.chars().any(char::is_alphanumeric)) {
        return Err(Error::invalid("holder_name must have a letter or a digit"));
    }
    let details = sent(details).and_then(Object::read).map(|value| {
        let longest = Details::LONGEST;
        value.as_object().and_then(Details::new).ok_or_else(|| {
            Error::invalid(format!(
                "holder_details must be an object of at most {longest} bytes, with plain numbers"
            ))
        })
    });
    Ok(Holder { name, details: details.transpose()? })
}

/// The transfer of a request's path.
fn transfer(id: &Id) -> Result<TransferId> {
    id.required(Error::TransferNotFound, "Invalid transfer ID").map(TransferId)
}
