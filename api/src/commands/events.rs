//! Commands on events and their seat types, for organisers.

use nexus_common::{
    Error, Result,
    domain::{
        after_commit::AfterCommit,
        event_input::{EventChanges, NewEvent},
        event_removal, events,
        ids::{EventId, SeatTypeId, UserId},
        input::Input,
        seat_types::{self, NewSeatType, SeatTypeChanges},
    },
    realtime::{Audience, Broadcast},
};
use serde_json::json;

use super::{Done, id};
use crate::app::App;

fn event_id(input: &Input) -> Result<EventId> {
    id(input, "eventId", Error::EventNotFound, "Invalid event ID")
}

fn seat_type_id(input: &Input) -> Result<SeatTypeId> {
    id(input, "seatTypeId", Error::SeatTypeNotFound, "Invalid seat type ID")
}

/// `POST /events/create`, `create_event`
pub(crate) async fn create(app: App, user: UserId, input: Input) -> Result<Done> {
    let new = NewEvent::parse(&input)?;
    let mut tx = app.db.begin().await?;
    let (event, seat_types) = events::create(&mut tx, user, &new).await?;
    tx.commit().await?;

    let total: i64 = seat_types.iter().map(|seat_type| i64::from(seat_type.quantity)).sum();
    let mut after = AfterCommit::default();
    let news = json!({ "event": event, "seat_types": seat_types, "total_seats_available": total });
    after.tell(Broadcast::new("event_created", event.audience(), &news));
    let mut data = news;
    data["message"] = json!(format!(
        "Event created successfully with {total} virtual seats. Seats will be generated on-demand when booked."
    ));
    Done::new(data, after)
}

/// `PUT /events/:id`, `update_event`
pub(crate) async fn update(app: App, user: UserId, input: Input) -> Result<Done> {
    let id = event_id(&input)?;
    let changes = EventChanges::parse(&input)?;
    let mut tx = app.db.begin().await?;
    let (event, audience) = events::update(&mut tx, id, user, &changes).await?;
    tx.commit().await?;

    let mut after = AfterCommit::default();
    after.tell(Broadcast::new("event_updated", audience, json!({ "event": event })));
    Done::new(json!({ "event": event, "message": "Event updated successfully" }), after)
}

/// `DELETE /events/:id`, `delete_event`
pub(crate) async fn delete(app: App, user: UserId, input: Input) -> Result<Done> {
    let id = event_id(&input)?;
    let mut tx = app.db.begin().await?;
    let (name, audience) = event_removal::delete(&mut tx, id, user).await?;
    tx.commit().await?;

    let message = format!("Event \"{name}\" deleted successfully");
    let data = json!({ "message": message, "deleted_event_id": id });
    let mut after = AfterCommit::default();
    after.tell(Broadcast::new("event_deleted", audience, &data));
    Done::new(data, after)
}

/// `POST /seats/:eventId/seat-types`, `create_seat_type`
pub(crate) async fn create_seat_type(app: App, user: UserId, input: Input) -> Result<Done> {
    let event = event_id(&input)?;
    let new = NewSeatType::parse(&input)?;
    let mut tx = app.db.begin().await?;
    let (seat_type, audience) = seat_types::create(&mut tx, event, user, &new).await?;
    tx.commit().await?;
    seat_type_news("seat_type_created", "Seat type created successfully", seat_type, audience)
}

/// `PUT /seats/:eventId/seat-types/:id`, `update_seat_type`
pub(crate) async fn update_seat_type(app: App, user: UserId, input: Input) -> Result<Done> {
    let (event, id) = (event_id(&input)?, seat_type_id(&input)?);
    let changes = SeatTypeChanges::parse(&input)?;
    let mut tx = app.db.begin().await?;
    let (seat_type, audience) = seat_types::update(&mut tx, event, id, user, &changes).await?;
    tx.commit().await?;
    seat_type_news("seat_type_updated", "Seat type updated successfully", seat_type, audience)
}

fn seat_type_news(
    news: &'static str,
    message: &str,
    seat_type: seat_types::SeatType,
    audience: Audience,
) -> Result<Done> {
    let mut after = AfterCommit::default();
    let event = seat_type.event_id;
    after.tell(Broadcast::new(news, audience, json!({ "event_id": event, "seat_type": seat_type })));
    after.counts_changed(event);
    Done::new(json!({ "seat_type": seat_type, "message": message }), after)
}

/// `DELETE /seats/:eventId/seat-types/:id`, `delete_seat_type`
pub(crate) async fn delete_seat_type(app: App, user: UserId, input: Input) -> Result<Done> {
    let (event, id) = (event_id(&input)?, seat_type_id(&input)?);
    let mut tx = app.db.begin().await?;
    let (name, audience) = seat_types::delete(&mut tx, event, id, user).await?;
    tx.commit().await?;

    let message = format!("Seat type \"{name}\" deleted successfully");
    let mut after = AfterCommit::default();
    // The name is the whole sentence: that is what clients get today (CONTRACT.md, section 8).
    after.tell(Broadcast::new(
        "seat_type_deleted",
        audience,
        json!({ "event_id": event, "seat_type_id": id, "seat_type_name": message }),
    ));
    after.counts_changed(event);
    Done::new(json!({ "message": message, "deleted_seat_type_id": id }), after)
}
