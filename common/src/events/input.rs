//! What organisers send about events: the rules and the messages of docs/contract.md#events. No SQL
//! here.

use super::seat_types::{MOST_TYPES, NewSeatType, TOO_MANY_TYPES};
use crate::{
    error::{Error, Result},
    types::{event_status::EventStatus, input::Input, time::Timestamp},
};

/// A new event, every rule checked.
#[derive(Debug)]
#[allow(missing_docs)] // columns of `events`
pub struct NewEvent {
    pub name: String,
    pub description: String,
    pub start_date: Timestamp,
    pub end_date: Timestamp,
    pub location: String,
    pub image_url: Option<String>,
    pub venue_name: Option<String>,
    pub status: EventStatus,
    pub is_public: bool,
    pub max_tickets_per_user: i32,
    pub seat_types: Vec<NewSeatType>,
}

impl NewEvent {
    /// Reads a request.
    pub fn parse(input: &Input) -> Result<Self> {
        let missing = || {
            Error::invalid(
                "Missing required fields: name, description, start_date, end_date, location, organizer_id",
            )
        };
        let required = |name| input.filled(name).ok_or_else(missing);
        let (name, description) = (required("name")?, required("description")?);
        let (start, end) = (required("start_date")?, required("end_date")?);
        let location = required("location")?;
        let seat_types = match input.list("seat_types") {
            Some(types) if !types.is_empty() => types,
            _ => return Err(Error::invalid("At least one seat type is required")),
        };
        if seat_types.len() > MOST_TYPES {
            return Err(Error::invalid(TOO_MANY_TYPES));
        }
        let seat_types = seat_types
            .iter()
            .enumerate()
            .map(|(index, value)| NewSeatType::parse_nth(&Input::from(value.clone()), index + 1))
            .collect::<Result<Vec<_>>>()?;
        let (start_date, end_date) = dates(start, end)?;
        Ok(NewEvent {
            name: bounded("name", name, 255)?,
            description: bounded("description", description, 20_000)?,
            start_date,
            end_date,
            location: bounded("location", location, 255)?,
            image_url: optional(input, "image_url", 2_000)?,
            venue_name: optional(input, "venue_name", 255)?,
            status: status(input)?.unwrap_or(EventStatus::Published),
            is_public: is_public(input)?.unwrap_or(true),
            max_tickets_per_user: max_tickets(input)?.unwrap_or(10),
            seat_types,
        })
    }
}

/// The fields of an event that a request changes.
#[derive(Debug, Default)]
#[allow(missing_docs)] // columns of `events`
pub struct EventChanges {
    pub name: Option<String>,
    pub description: Option<String>,
    pub start_date: Option<Timestamp>,
    pub end_date: Option<Timestamp>,
    pub location: Option<String>,
    /// `Some(None)` removes it.
    pub image_url: Option<Option<String>>,
    /// `Some(None)` removes it.
    pub venue_name: Option<Option<String>>,
    pub status: Option<EventStatus>,
    pub is_public: Option<bool>,
    pub max_tickets_per_user: Option<i32>,
}

impl EventChanges {
    /// What can be changed.
    pub const FIELDS: &[&str] = &[
        "name",
        "description",
        "start_date",
        "end_date",
        "location",
        "image_url",
        "venue_name",
        "status",
        "is_public",
        "max_tickets_per_user",
    ];

    /// Reads a request; fields that it does not know do not count.
    pub fn parse(input: &Input) -> Result<Self> {
        if !Self::FIELDS.iter().any(|field| input.was_sent(field)) {
            return Err(Error::invalid("No fields to update"));
        }
        let text = |name: &'static str, longest| match input.get(name) {
            None => Ok(None),
            Some(value) => match value.as_str().map(str::trim).filter(|text| !text.is_empty()) {
                Some(text) => bounded(name, text, longest).map(Some),
                None => Err(Error::invalid(format!("{name} must not be empty"))),
            },
        };
        let date = |name: &'static str| match input.get(name) {
            None => Ok(None),
            Some(value) => value
                .as_str()
                .and_then(Timestamp::parse)
                .map(Some)
                .ok_or_else(|| Error::invalid(format!("{name} is not a valid date"))),
        };
        let removable = |name: &'static str, longest| {
            input.was_sent(name).then(|| optional(input, name, longest)).transpose()
        };
        Ok(EventChanges {
            name: text("name", 255)?,
            description: text("description", 20_000)?,
            start_date: date("start_date")?,
            end_date: date("end_date")?,
            location: text("location", 255)?,
            image_url: removable("image_url", 2_000)?,
            venue_name: removable("venue_name", 255)?,
            status: status(input)?,
            is_public: is_public(input)?,
            max_tickets_per_user: max_tickets(input)?,
        })
    }
}

fn bounded(field: &str, text: &str, longest: usize) -> Result<String> {
    if text.chars().count() > longest {
        return Err(Error::invalid(format!("{field} must be at most {longest} characters long")));
    }
    Ok(text.to_owned())
}

fn optional(input: &Input, field: &str, longest: usize) -> Result<Option<String>> {
    input.optional_text(field)?.map(|text| bounded(field, text, longest)).transpose()
}

fn dates(start: &str, end: &str) -> Result<(Timestamp, Timestamp)> {
    let parse = |field, text| {
        Timestamp::parse(text).ok_or_else(|| Error::invalid(format!("{field} is not a valid date")))
    };
    let (start, end) = (parse("start_date", start)?, parse("end_date", end)?);
    if end < start { Err(ends_before_it_starts()) } else { Ok((start, end)) }
}

/// An event cannot end before it starts (docs/contract.md#change-13).
pub(crate) fn ends_before_it_starts() -> Error {
    Error::invalid("end_date must not be before start_date")
}

fn status(input: &Input) -> Result<Option<EventStatus>> {
    input
        .get("status")
        .map(|value| {
            value.as_str().and_then(EventStatus::parse).ok_or_else(|| {
                Error::invalid("status must be one of draft, published, cancelled, completed")
            })
        })
        .transpose()
}

fn is_public(input: &Input) -> Result<Option<bool>> {
    input
        .truth("is_public")
        .transpose()
        .map_err(|()| Error::invalid("is_public must be true or false"))
}

fn max_tickets(input: &Input) -> Result<Option<i32>> {
    // Zero meant "the default" in the Node service.
    match input.get("max_tickets_per_user").map(|_| input.whole("max_tickets_per_user")) {
        None | Some(Some(0)) => Ok(None),
        Some(Some(most @ 1..=10_000)) => Ok(Some(most as i32)),
        Some(_) => Err(Error::invalid("max_tickets_per_user must be between 1 and 10000")),
    }
}
