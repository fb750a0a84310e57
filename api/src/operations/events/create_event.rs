//! `POST /events/create`, `create_event`

use nexus_common::{
    Error, Result,
    accounts::roles,
    audit::Action,
    config::EventCreation,
    events::{
        broadcasts::EventCreated,
        changes::{self, NewEvent},
        seat_types::{MOST_TYPES, NewSeatType, TOO_MANY_TYPES},
    },
    realtime::{AfterCommit, Broadcast},
    types::{statuses::EventStatus, time_zone::TimeZone},
};
use serde::{Deserialize, Serialize};
use serde_json::json;
use utoipa::ToSchema;

use super::{
    date, dates,
    fields::{
        EventDescription, EventName, ImageUrl, Location, SeatTypeDescription, SeatTypeName,
        VenueName, new_seat_type,
    },
    is_public, max_tickets, price_not_payable, status, time_zone, truth,
};
use crate::{
    http::{
        fields::{
            Field, List, Price, SomeQuantity, Text, TicketLimit, Time, Truth, Zone, filled, parts,
            sent,
        },
        texts::{checked, optional},
    },
    operations::{Call, Command, Done},
    spec::operation::Operation,
};

#[derive(Deserialize, ToSchema)]
pub(crate) struct CreateEvent {
    name: EventName,
    description: EventDescription,
    start_date: Time,
    /// Not before the start.
    end_date: Time,
    location: Location,
    #[schema(value_type = Vec<SeatTypeOfEvent>, min_items = 1, max_items = 100)]
    seat_types: List,
    image_url: Option<ImageUrl>,
    venue_name: Option<VenueName>,
    /// `published` by default.
    #[schema(value_type = Option<EventStatus>)]
    status: Option<Text>,
    /// True by default.
    is_public: Option<Truth>,
    /// Seats that one user can hold and own; 10 by default, and for 0.
    max_tickets_per_user: Option<TicketLimit>,
    /// Only users with a verified phone number lock and book its seats; false by default.
    require_verified_phone: Option<Truth>,
    /// In which people are told its times; that of the installation by default.
    time_zone: Option<Zone>,
    /// Until when holders of its tickets can be named and tickets transferred. Without it, and if
    /// it is later than the start, until the event starts.
    holders_until: Option<Time>,
}

#[derive(Deserialize, ToSchema)]
#[schema(as = NewSeatType)]
pub(crate) struct SeatTypeOfEvent {
    name: SeatTypeName,
    price: Price,
    quantity: SomeQuantity,
    description: Option<SeatTypeDescription>,
}

/// An event has been created.
#[derive(Serialize, ToSchema)]
pub(crate) struct CreatedEvent {
    #[serde(flatten)]
    created: EventCreated,
    message: String,
}

impl CreateEvent {
    /// The event that it describes, in this zone unless it says another one.
    pub(crate) fn event(self, zone: TimeZone) -> Result<NewEvent> {
        let request = self;
        let missing = || {
            Error::invalid(
                "Missing required fields: name, description, start_date, end_date, location, organizer_id",
            )
        };
        let name = filled(&request.name).ok_or_else(missing)?;
        let description = filled(&request.description).ok_or_else(missing)?;
        let start = filled(&request.start_date).ok_or_else(missing)?;
        let end = filled(&request.end_date).ok_or_else(missing)?;
        let location = filled(&request.location).ok_or_else(missing)?;
        let seat_types = match request.seat_types.read() {
            Some(types) if !types.is_empty() => types,
            _ => return Err(Error::invalid("At least one seat type is required")),
        };
        if seat_types.len() > MOST_TYPES {
            return Err(Error::invalid(TOO_MANY_TYPES));
        }
        let seat_types = parts::<SeatTypeOfEvent>(seat_types)?
            .into_iter()
            .enumerate()
            .map(|(index, seat_type)| seat_type.nth(index + 1))
            .collect::<Result<Vec<_>>>()?;
        let (start_date, end_date) = dates(start, end)?;
        Ok(NewEvent {
            name: checked::<EventName>(name)?,
            description: checked::<EventDescription>(description)?,
            start_date,
            end_date,
            location: checked::<Location>(location)?,
            image_url: optional(request.image_url.as_ref())?,
            venue_name: optional(request.venue_name.as_ref())?,
            status: status(sent(&request.status))?.unwrap_or(EventStatus::Published),
            is_public: is_public(sent(&request.is_public))?.unwrap_or(true),
            max_tickets_per_user: max_tickets(sent(&request.max_tickets_per_user))?.unwrap_or(10),
            require_verified_phone: truth(
                "require_verified_phone",
                sent(&request.require_verified_phone),
            )?
            .unwrap_or(false),
            time_zone: time_zone(sent(&request.time_zone))?.unwrap_or(zone),
            holders_until: sent(&request.holders_until)
                .map(|time| date("holders_until", time.read()))
                .transpose()?,
            seat_types,
        })
    }
}

impl SeatTypeOfEvent {
    /// The seat type number `nth` of its event, counted from 1.
    fn nth(self, nth: usize) -> Result<NewSeatType> {
        let missing = || {
            Error::invalid(format!(
                "Seat type {nth} is missing required fields: name, price, quantity"
            ))
        };
        if self.quantity.read() == Some(0) {
            return Err(missing());
        }
        let about = self.description.as_ref();
        new_seat_type(&self.name, &self.price, &self.quantity, about, missing)
    }
}

impl Command for CreateEvent {
    type Response = CreatedEvent;

    fn spec() -> Operation {
        Operation::command("create_event", "Create an event and its seat types").failures([
            Error::Forbidden("create events"),
            Error::EventLimit(2_000),
            price_not_payable(),
        ])
    }

    async fn run(self, call: Call) -> Result<Done> {
        let new = self.event(call.app.settings.time_zone)?;
        let chargeable = call.app.settings.chargeable;
        new.seat_types.iter().try_for_each(|seat_type| chargeable.check_price(seat_type.price))?;
        call.app.budgets.event(call.user).await?;
        let mut tx = call.begin().await?;
        if call.app.settings.event_creation == EventCreation::Organisers {
            roles::require_organiser(&mut tx, call.user).await?;
        }
        changes::require_room(&mut tx, call.user, call.app.settings.most_events).await?;
        let (event, seat_types) = changes::create(&mut tx, call.user, &new).await?;

        call.record(&mut tx, Action::EventCreated, event.id, json!({})).await?;
        let total: i64 = seat_types.iter().map(|seat_type| i64::from(seat_type.quantity)).sum();
        let audience = event.audience();
        let created = EventCreated { event, seat_types, total_seats_available: total };
        let mut after = AfterCommit::default();
        after.tell(Broadcast::new(audience, created.shortened()));
        let message = format!(
            "Event created successfully with {total} virtual seats. Seats will be generated on-demand when booked."
        );
        call.commit(tx, CreatedEvent { created, message }, after).await
    }
}
