//! `PUT /bookings/:id/holders`, `name_holders`

use std::collections::BTreeSet;

use nexus_common::{
    Error, Result,
    realtime::AfterCommit,
    tickets::holders,
    types::ids::{BookingId, SeatId},
};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{HolderName, holder};
use crate::{
    http::fields::{Field, Id, List, Object, parts},
    operations::{Call, Command, Done},
    spec::operation::Operation,
};

#[derive(Deserialize, ToSchema)]
pub(crate) struct NameHolders {
    booking_id: Id,
    /// Seats of the booking that are the caller's; each once. What is said of a seat replaces what
    /// was said before; seats that are not named stay as they are.
    #[schema(value_type = Vec<SeatHolder>, min_items = 1, max_items = 1000)]
    holders: List,
}

/// Who sits on a seat.
#[derive(Deserialize, ToSchema)]
pub(crate) struct SeatHolder {
    seat_id: Id,
    /// Without one, whoever the ticket belongs to.
    holder_name: Option<HolderName>,
    /// What the organiser asks of holders: any object of up to 2,000 bytes.
    holder_details: Option<Object>,
}

/// Holders are named.
#[derive(Serialize, ToSchema)]
pub(crate) struct NamedHolders {
    booking_id: BookingId,
    message: &'static str,
}

/// As many seats as a booking has.
const MOST: usize = 1_000;

impl Command for NameHolders {
    type Response = NamedHolders;

    fn spec() -> Operation {
        Operation::command("name_holders", "Say who sits on seats of a booking")
            .description("Until the event's `holders_until`, and before it starts. Tickets and mails that were sent before keep the name that they have; the files of tickets have the new one.")
            .failures([Error::BookingNotFound, Error::SeatsNotYours, Error::HoldersClosed])
    }

    async fn run(self, call: Call) -> Result<Done> {
        let booking = self.booking_id.required(Error::BookingNotFound, "Invalid booking ID")?;
        let booking = BookingId(booking);
        let wanted = self.holders.read().filter(|list| (1..=MOST).contains(&list.len()));
        let wanted = wanted.ok_or_else(|| {
            Error::invalid(format!("holders must be a list of 1 to {MOST} seats"))
        })?;
        let mut seats = Vec::with_capacity(wanted.len());
        let mut once = BTreeSet::new();
        for one in parts::<SeatHolder>(wanted)? {
            let seat =
                one.seat_id.required(Error::SeatsNotYours, "Each holder must have seat_id")?;
            if !once.insert(seat) {
                return Err(Error::invalid("Each seat can be named once"));
            }
            seats.push((SeatId(seat), holder(&one.holder_name, &one.holder_details)?));
        }
        let mut tx = call.begin().await?;
        holders::name(&mut tx, booking, call.user, &seats).await?;
        let data = NamedHolders { booking_id: booking, message: "Holders named successfully" };
        call.commit(tx, data, AfterCommit::default()).await
    }
}
