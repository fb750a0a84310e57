//! `POST /bookings/create`, `create_booking`

use std::collections::{BTreeMap, BTreeSet};

use nexus_common::{
    Error, Result,
    bookings::{
        creation,
        new_bookings::{Created, NewBooking, Wanted},
    },
    config::Chargeable,
    observability::traces,
    types::{
        ids::{EventId, SeatTypeId},
        money::Paise,
        seats::SeatLabel,
    },
};
use serde::Deserialize;
use utoipa::ToSchema;

use crate::{
    http::fields::{Code, Field, Id, Label, List, Object, filled, parts},
    operations::{
        Call, Command, Done,
        tickets::{HolderName, holder},
    },
    spec::operation::Operation,
};

#[derive(Deserialize, ToSchema)]
pub(crate) struct CreateBooking {
    event_id: Id,
    /// Seats that the caller has locked; each once.
    #[schema(value_type = Vec<BookedSeat>, min_items = 1, max_items = 1000)]
    seat_details: List,
    share_code: Option<Code>,
}

/// A seat, and who sits there, as in `name_holders`.
#[derive(Deserialize, ToSchema)]
pub(crate) struct BookedSeat {
    seat_type_id: Id,
    seat_label: Label,
    holder_name: Option<HolderName>,
    holder_details: Option<Object>,
}

/// More than anybody sits with.
const MOST_SEATS: usize = 1_000;

impl TryFrom<CreateBooking> for NewBooking {
    type Error = Error;

    fn try_from(request: CreateBooking) -> Result<Self> {
        let event = request.event_id.read().map(EventId);
        let event = event.ok_or_else(|| Error::invalid("Event ID is required"))?;
        let details = match request.seat_details.read() {
            Some(details) if !details.is_empty() => details,
            _ => return Err(Error::invalid("At least one seat detail is required")),
        };
        // Before so many are looked at.
        if details.len() > MOST_SEATS {
            let message = format!("At most {MOST_SEATS} seats can be booked at once");
            return Err(Error::invalid(message));
        }
        let (mut seats, mut holders) = (BTreeSet::new(), BTreeMap::new());
        for seat in parts::<BookedSeat>(details)? {
            let incomplete =
                || Error::invalid("Each seat detail must have seat_label and seat_type_id");
            let label = filled(&seat.seat_label).ok_or_else(incomplete)?;
            let seat_type = seat.seat_type_id.read().map(SeatTypeId).ok_or_else(incomplete)?;
            // A seat cannot be booked twice.
            let key = (seat_type, SeatLabel::parse(&label)?);
            if !seats.insert(key.clone()) {
                return Err(Error::SeatsNotLocked);
            }
            let holder = holder(&seat.holder_name, &seat.holder_details)?;
            if holder.is_named() {
                holders.insert(key, holder);
            }
        }
        let code = request.share_code.as_ref().and_then(Code::read);
        Ok(NewBooking { event, seats, holders, code })
    }
}

impl Command for CreateBooking {
    type Response = Created;

    fn spec() -> Operation {
        Operation::command("create_booking", "Create a booking from locked seats")
            .description("The seats are reserved until the booking expires; it has to be paid before that. A booking that costs nothing is confirmed at once.")
            .failures([
                Error::EventNotFound,
                Error::EventStarted,
                Error::EventNotOnSale,
                Error::PhoneNotVerified,
                Error::SeatsNotLocked,
                Error::LockExpired,
                Error::SeatsLinked,
                Error::UnpaidBookings(5),
                Error::TotalNotPayable {
                    total: Paise::MAX,
                    least: Chargeable::LEAST,
                    most: Paise::MAX,
                },
            ])
    }

    async fn run(self, call: Call) -> Result<Done> {
        let (user, mut new) = (call.user, NewBooking::try_from(self)?);
        new.code = new.code.or_else(|| call.joined_with(new.event));
        // With a key, the booking and its response are committed together.
        if call.reservation.is_none() {
            let wanted = Wanted { user, new: new.clone(), trace: traces::current() };
            if let Some((created, after)) = call.app.bookings.call(wanted).await? {
                return Done::at_once(created, after);
            }
        }
        let mut tx = call.begin().await?;
        let (created, after) = creation::create(&mut tx, user, new, call.app.terms).await?;
        call.commit(tx, created, after).await
    }
}
