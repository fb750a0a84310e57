//! Commands on events and their seat types, for organisers.

use nexus_common::{
    Error, Result,
    accounts::roles,
    bookings::event_removal,
    config::EventCreation,
    events::{
        broadcasts::{
            EventChanged, EventCreated, EventDeleted, SeatTypeCreated, SeatTypeDeleted,
            SeatTypeUpdated,
        },
        changes,
        input::{EventChanges, NewEvent},
        seat_types::{self, NewSeatType, SeatTypeChanges},
    },
    realtime::{AfterCommit, Broadcast},
    types::ids::{EventId, SeatTypeId},
};

use super::{Call, Done};
use crate::answers::{ChangedEvent, ChangedSeatType, CreatedEvent, DeletedSeatType};

fn event_id(call: &Call) -> Result<EventId> {
    call.id("eventId", Error::EventNotFound, "Invalid event ID")
}

fn seat_type_id(call: &Call) -> Result<SeatTypeId> {
    call.id("seatTypeId", Error::SeatTypeNotFound, "Invalid seat type ID")
}

/// `POST /events/create`, `create_event`
pub(crate) async fn create(call: Call) -> Result<Done> {
    let new = NewEvent::parse(&call.input)?;
    let chargeable = call.app.settings.chargeable;
    new.seat_types.iter().try_for_each(|seat_type| chargeable.check_price(seat_type.price))?;
    let mut tx = call.begin().await?;
    if call.app.settings.event_creation == EventCreation::Organisers {
        roles::require_organiser(&mut tx, call.user).await?;
    }
    let (event, seat_types) = changes::create(&mut tx, call.user, &new).await?;

    let total: i64 = seat_types.iter().map(|seat_type| i64::from(seat_type.quantity)).sum();
    let audience = event.audience();
    let news = EventCreated { event, seat_types, total_seats_available: total };
    let mut after = AfterCommit::default();
    after.tell(Broadcast::new(audience, news.clone()));
    let message = format!(
        "Event created successfully with {total} virtual seats. Seats will be generated on-demand when booked."
    );
    let data = CreatedEvent { news, message };
    call.commit(tx, data, after).await
}

/// `PUT /events/:id`, `update_event`
pub(crate) async fn update(call: Call) -> Result<Done> {
    let id = event_id(&call)?;
    let changes = EventChanges::parse(&call.input)?;
    let _turn = call.turn(id).await?;
    let mut tx = call.begin().await?;
    let (event, news) = changes::update(&mut tx, id, call.user, &changes).await?;

    let mut after = AfterCommit::default();
    for (audience, event) in news {
        after.tell(Broadcast::new(audience, EventChanged { event }));
    }
    let data = ChangedEvent { event, message: "Event updated successfully" };
    call.commit(tx, data, after).await
}

/// `DELETE /events/:id`, `delete_event`
pub(crate) async fn delete(call: Call) -> Result<Done> {
    let id = event_id(&call)?;
    let _turn = call.turn(id).await?;
    let mut tx = call.begin().await?;
    let (name, audience) = event_removal::delete(&mut tx, id, call.user).await?;

    let message = format!("Event \"{name}\" deleted successfully");
    let news = EventDeleted { message, deleted_event_id: id };
    let mut after = AfterCommit::default();
    after.tell(Broadcast::new(audience, news.clone()));
    call.commit(tx, news, after).await
}

/// `POST /seats/:eventId/seat-types`, `create_seat_type`
pub(crate) async fn create_seat_type(call: Call) -> Result<Done> {
    let event = event_id(&call)?;
    let new = NewSeatType::parse(&call.input)?;
    call.app.settings.chargeable.check_price(new.price)?;
    let _turn = call.turn(event).await?;
    let mut tx = call.begin().await?;
    let (seat_type, audience) = seat_types::create(&mut tx, event, call.user, &new).await?;
    let mut after = AfterCommit::default();
    after.counts_changed(event);
    after.tell(Broadcast::new(
        audience,
        SeatTypeCreated { event_id: event, seat_type: seat_type.clone() },
    ));
    let data = ChangedSeatType { seat_type, message: "Seat type created successfully" };
    call.commit(tx, data, after).await
}

/// `PUT /seats/:eventId/seat-types/:id`, `update_seat_type`
pub(crate) async fn update_seat_type(call: Call) -> Result<Done> {
    let (event, id) = (event_id(&call)?, seat_type_id(&call)?);
    let changes = SeatTypeChanges::parse(&call.input)?;
    let _turn = call.turn(event).await?;
    let mut tx = call.begin().await?;
    let chargeable = call.app.settings.chargeable;
    let (seat_type, audience) =
        seat_types::update(&mut tx, event, id, call.user, &changes, chargeable).await?;
    let mut after = AfterCommit::default();
    after.counts_changed(event);
    after.tell(Broadcast::new(
        audience,
        SeatTypeUpdated { event_id: event, seat_type: seat_type.clone() },
    ));
    let data = ChangedSeatType { seat_type, message: "Seat type updated successfully" };
    call.commit(tx, data, after).await
}

/// `DELETE /seats/:eventId/seat-types/:id`, `delete_seat_type`
pub(crate) async fn delete_seat_type(call: Call) -> Result<Done> {
    let (event, id) = (event_id(&call)?, seat_type_id(&call)?);
    let _turn = call.turn(event).await?;
    let mut tx = call.begin().await?;
    let (name, audience) = seat_types::delete(&mut tx, event, id, call.user).await?;

    let message = format!("Seat type \"{name}\" deleted successfully");
    let mut after = AfterCommit::default();
    after.counts_changed(event);
    let news =
        SeatTypeDeleted { event_id: event, seat_type_id: id, seat_type_name: message.clone() };
    after.tell(Broadcast::new(audience, news));
    let data = DeletedSeatType { message, deleted_seat_type_id: id };
    call.commit(tx, data, after).await
}
