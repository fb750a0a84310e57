//! Events and their seat types, as organisers change them and everyone sees them
//! (docs/contract.md#events, docs/contract.md#seats).

pub(crate) mod create_event;
pub(crate) mod create_seat_type;
pub(crate) mod delete_event;
pub(crate) mod delete_seat_type;
pub(crate) mod fields;
pub(crate) mod get_cancellation;
pub(crate) mod get_event;
pub(crate) mod list_events;
pub(crate) mod list_seat_types;
pub(crate) mod update_event;
pub(crate) mod update_seat_type;

use nexus_common::{
    Error, Result,
    config::Chargeable,
    events::changes::ends_before_it_starts,
    types::{
        ids::EventId, money::Paise, statuses::EventStatus, time::Timestamp, time_zone::TimeZone,
    },
};

pub(crate) use self::{
    create_event::CreateEvent, create_seat_type::CreateSeatType, delete_event::DeleteEvent,
    delete_seat_type::DeleteSeatType, get_cancellation::GetCancellation, get_event::GetEvent,
    list_events::ListEvents, list_seat_types::ListSeatTypes, update_event::UpdateEvent,
    update_seat_type::UpdateSeatType,
};
use crate::http::fields::{Field, Id, Text, TicketLimit, Truth, Zone, sent};

/// The event that the caller looks at.
fn viewed(id: &Id) -> Result<EventId> {
    id.read().map(EventId).ok_or_else(|| Error::invalid("Invalid event ID"))
}

fn date(field: &str, text: Option<String>) -> Result<Timestamp> {
    text.as_deref()
        .and_then(Timestamp::parse)
        .ok_or_else(|| Error::invalid(format!("{field} is not a valid date")))
}

/// The dates of a new event.
fn dates(start: String, end: String) -> Result<(Timestamp, Timestamp)> {
    let (start, end) = (date("start_date", Some(start))?, date("end_date", Some(end))?);
    if end < start { Err(ends_before_it_starts()) } else { Ok((start, end)) }
}

fn status(field: Option<&Text>) -> Result<Option<EventStatus>> {
    field
        .map(|field| {
            field.read().and_then(|word| word.parse().ok()).ok_or_else(|| {
                Error::invalid("status must be one of draft, published, cancelled, completed")
            })
        })
        .transpose()
}

fn is_public(field: Option<&Truth>) -> Result<Option<bool>> {
    truth("is_public", field)
}

fn truth(name: &str, field: Option<&Truth>) -> Result<Option<bool>> {
    let unreadable = || Error::invalid(format!("{name} must be true or false"));
    field.map(|field| field.read().ok_or_else(unreadable)).transpose()
}

fn time_zone(field: Option<&Zone>) -> Result<Option<TimeZone>> {
    let unknown =
        || Error::invalid("time_zone must be a name of the IANA database, such as Asia/Kolkata");
    field.map(|field| field.read().ok_or_else(unknown)).transpose()
}

fn max_tickets(field: Option<&TicketLimit>) -> Result<Option<i32>> {
    // Zero meant "the default" in the Node service.
    match field.map(Field::read) {
        None | Some(Some(0)) => Ok(None),
        Some(Some(most @ 1..=10_000)) => Ok(Some(most as i32)),
        Some(_) => Err(Error::invalid("max_tickets_per_user must be between 1 and 10000")),
    }
}

const MANAGE: Error = Error::Forbidden("manage seat types for this event");

fn price_not_payable() -> Error {
    Error::PriceNotPayable { least: Chargeable::LEAST, most: Paise::MAX }
}

/// A change's field, if the change sets a value.
fn to<F: Field>(change: &Option<Option<F>>) -> Option<&F> {
    change.as_ref().and_then(|field| sent(field))
}
