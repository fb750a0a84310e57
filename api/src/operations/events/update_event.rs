//! `PUT /events/:id`, `update_event`

use nexus_common::{
    Error, Result,
    audit::Action,
    events::{
        broadcasts::EventChanged,
        changes::{self, EventChanges},
        event::EventUpdated,
    },
    realtime::{AfterCommit, Broadcast},
    types::statuses::EventStatus,
};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{
    date,
    fields::{EventDescription, EventName, ImageUrl, Location, VenueName},
    is_public, max_tickets, status, time_zone, to, truth,
};
use crate::{
    http::{
        fields::{Change, Field, Id, Text, TicketLimit, Time, Truth, Zone, change},
        texts::{WrittenText, optional, some},
    },
    operations::{Call, Command, Done, seats},
    spec::operation::Operation,
};

#[derive(Deserialize, ToSchema)]
pub(crate) struct UpdateEvent {
    #[serde(rename = "eventId")]
    event_id: Id,
    #[serde(default, deserialize_with = "change")]
    #[schema(value_type = Option<EventName>)]
    name: Change<EventName>,
    #[serde(default, deserialize_with = "change")]
    #[schema(value_type = Option<EventDescription>)]
    description: Change<EventDescription>,
    #[serde(default, deserialize_with = "change")]
    #[schema(value_type = Option<Time>)]
    start_date: Change<Time>,
    #[serde(default, deserialize_with = "change")]
    #[schema(value_type = Option<Time>)]
    end_date: Change<Time>,
    #[serde(default, deserialize_with = "change")]
    #[schema(value_type = Option<Location>)]
    location: Change<Location>,
    /// Null removes it.
    #[serde(default, deserialize_with = "change")]
    #[schema(value_type = Option<ImageUrl>)]
    image_url: Change<ImageUrl>,
    /// Null removes it.
    #[serde(default, deserialize_with = "change")]
    #[schema(value_type = Option<VenueName>)]
    venue_name: Change<VenueName>,
    #[serde(default, deserialize_with = "change")]
    #[schema(value_type = Option<EventStatus>)]
    status: Change<Text>,
    #[serde(default, deserialize_with = "change")]
    #[schema(value_type = Option<Truth>)]
    is_public: Change<Truth>,
    #[serde(default, deserialize_with = "change")]
    #[schema(value_type = Option<TicketLimit>)]
    max_tickets_per_user: Change<TicketLimit>,
    #[serde(default, deserialize_with = "change")]
    #[schema(value_type = Option<Truth>)]
    require_verified_phone: Change<Truth>,
    #[serde(default, deserialize_with = "change")]
    #[schema(value_type = Option<Zone>)]
    time_zone: Change<Zone>,
    /// Until when holders of its tickets can be named and tickets transferred; if it is later than
    /// the start, until the event starts. Null removes it: until the event starts.
    #[serde(default, deserialize_with = "change")]
    #[schema(value_type = Option<Time>)]
    holders_until: Change<Time>,
    /// Whoever has the share code so far can do nothing with it any more, and hears nothing more;
    /// `get_event` shows its organiser the new one.
    #[serde(default, deserialize_with = "change")]
    #[schema(value_type = Option<Truth>)]
    new_share_code: Change<Truth>,
}

/// An event has been changed.
#[derive(Serialize, ToSchema)]
pub(crate) struct ChangedEvent {
    event: EventUpdated,
    message: &'static str,
}

/// The fields that can be changed.
const FIELDS: [&str; 14] = [
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
    "require_verified_phone",
    "time_zone",
    "holders_until",
    "new_share_code",
];

impl UpdateEvent {
    fn is_empty(&self) -> bool {
        self.name.is_none()
            && self.description.is_none()
            && self.start_date.is_none()
            && self.end_date.is_none()
            && self.location.is_none()
            && self.image_url.is_none()
            && self.venue_name.is_none()
            && self.status.is_none()
            && self.is_public.is_none()
            && self.max_tickets_per_user.is_none()
            && self.require_verified_phone.is_none()
            && self.time_zone.is_none()
            && self.holders_until.is_none()
            && self.new_share_code.is_none()
    }
}

impl TryFrom<UpdateEvent> for EventChanges {
    type Error = Error;

    fn try_from(request: UpdateEvent) -> Result<Self> {
        if request.is_empty() {
            return Err(Error::invalid("No fields to update"));
        }
        Ok(EventChanges {
            name: to(&request.name).map(some).transpose()?,
            description: to(&request.description).map(some).transpose()?,
            start_date: to(&request.start_date)
                .map(|time| date("start_date", time.read()))
                .transpose()?,
            end_date: to(&request.end_date)
                .map(|time| date("end_date", time.read()))
                .transpose()?,
            location: to(&request.location).map(some).transpose()?,
            image_url: removable(&request.image_url)?,
            venue_name: removable(&request.venue_name)?,
            status: status(to(&request.status))?,
            is_public: is_public(to(&request.is_public))?,
            max_tickets_per_user: max_tickets(to(&request.max_tickets_per_user))?,
            require_verified_phone: truth(
                "require_verified_phone",
                to(&request.require_verified_phone),
            )?,
            time_zone: time_zone(to(&request.time_zone))?,
            holders_until: request
                .holders_until
                .as_ref()
                .map(|field| {
                    field.as_ref().map(|time| date("holders_until", time.read())).transpose()
                })
                .transpose()?,
            new_share_code: truth("new_share_code", to(&request.new_share_code))?.unwrap_or(false),
        })
    }
}

/// A field whose null, `Some(None)`, removes it.
fn removable<F: WrittenText>(change: &Change<F>) -> Result<Option<Option<String>>> {
    change.as_ref().map(|field| optional(field.as_ref())).transpose()
}

impl Command for UpdateEvent {
    type Response = ChangedEvent;

    fn spec() -> Operation {
        Operation::command("update_event", "Update an event")
            .description("Fields that are not sent stay as they are. With the status `cancelled`, every booking is cancelled and refunded, every lock freed, and buyers are told; `get_cancellation` says how far that is. Once a booking has been cancelled so, the status cannot be changed back. Buyers are told of another start, time zone or place, some minutes later, and once an hour at most.")
            .changes(&FIELDS)
            .failures([
                Error::EventNotFound,
                Error::Forbidden("update this event"),
                Error::EventCancelled,
                Error::EventHasBuyers,
                Error::EventTakenDown,
            ])
    }

    async fn run(self, call: Call) -> Result<Done> {
        let id = seats::event(&self.event_id)?;
        let changes = EventChanges::try_from(self)?;
        let _turn = call.turn(id).await?;
        let mut tx = call.begin().await?;
        let (event, told) =
            changes::update(&mut tx, id, call.user, &changes, call.app.settings.notice_delay)
                .await?;

        let action = match changes.status {
            Some(EventStatus::Cancelled) => Action::EventCancelled,
            _ => Action::EventUpdated,
        };
        call.record(&mut tx, action, id, changes.fields()).await?;

        let mut after = AfterCommit::default();
        for (audience, event) in told {
            after.tell(Broadcast::new(audience, EventChanged { event }.shortened()));
        }
        let data = ChangedEvent { event, message: "Event updated successfully" };
        call.commit(tx, data, after).await
    }
}
