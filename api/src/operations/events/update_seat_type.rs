//! `PUT /seats/:eventId/seat-types/:id`, `update_seat_type`

use nexus_common::{
    Error, Result,
    audit::Action,
    events::{
        broadcasts::SeatTypeUpdated,
        seat_types::{self, SeatTypeChanges},
    },
    realtime::{AfterCommit, Broadcast},
};
use serde::Deserialize;
use serde_json::json;
use utoipa::ToSchema;

use super::{
    MANAGE,
    create_seat_type::ChangedSeatType,
    fields::{self, SeatTypeDescription, SeatTypeName},
    price_not_payable, to,
};
use crate::{
    http::{
        fields::{Change, Field, Id, Price, Quantity, change},
        texts::some,
    },
    operations::{Call, Command, Done, seats},
    spec::operation::Operation,
};

#[derive(Deserialize, ToSchema)]
pub(crate) struct UpdateSeatType {
    #[serde(rename = "eventId")]
    event_id: Id,
    #[serde(rename = "seatTypeId")]
    seat_type_id: Id,
    #[serde(default, deserialize_with = "change")]
    #[schema(value_type = Option<SeatTypeName>)]
    name: Change<SeatTypeName>,
    #[serde(default, deserialize_with = "change")]
    #[schema(value_type = Option<Price>)]
    price: Change<Price>,
    /// Not below the number of seats that are locked or booked.
    #[serde(default, deserialize_with = "change")]
    #[schema(value_type = Option<Quantity>)]
    quantity: Change<Quantity>,
    /// Null removes it.
    #[serde(default, deserialize_with = "change")]
    #[schema(value_type = Option<SeatTypeDescription>)]
    description: Change<SeatTypeDescription>,
}

/// The fields that can be changed.
const FIELDS: [&str; 4] = ["name", "description", "price", "quantity"];

impl TryFrom<UpdateSeatType> for SeatTypeChanges {
    type Error = Error;

    fn try_from(request: UpdateSeatType) -> Result<Self> {
        if request.name.is_none()
            && request.description.is_none()
            && request.price.is_none()
            && request.quantity.is_none()
        {
            return Err(Error::invalid("No fields to update"));
        }
        let description = request.description.as_ref();
        Ok(SeatTypeChanges {
            name: to(&request.name).map(some).transpose()?,
            description: description
                .map(|field| fields::description(field.as_ref()))
                .transpose()?,
            price: to(&request.price).and_then(Field::read).map(fields::price).transpose()?,
            quantity: to(&request.quantity).map(fields::quantity).transpose()?,
        })
    }
}

impl Command for UpdateSeatType {
    type Response = ChangedSeatType;

    fn spec() -> Operation {
        Operation::command("update_seat_type", "Update a seat type")
            .description("Fields that are not sent stay as they are.")
            .changes(&FIELDS)
            .failures([
                Error::EventNotFound,
                Error::EventTakenDown,
                Error::SeatTypeNotFound,
                MANAGE,
                Error::QuantityBelowTaken(2),
                price_not_payable(),
            ])
    }

    async fn run(self, call: Call) -> Result<Done> {
        let (event, id) = (seats::event(&self.event_id)?, seats::seat_type(&self.seat_type_id)?);
        let changes = SeatTypeChanges::try_from(self)?;
        let _turn = call.turn(event).await?;
        let mut tx = call.begin().await?;
        let chargeable = call.app.settings.chargeable;
        let (seat_type, audience) =
            seat_types::update(&mut tx, event, id, call.user, &changes, chargeable).await?;
        let mut details = changes.fields();
        details["event"] = json!(event);
        call.record(&mut tx, Action::SeatTypeUpdated, id, details).await?;
        let mut after = AfterCommit::default();
        after.counts_changed(event);
        let updated = SeatTypeUpdated { event_id: event, seat_type: seat_type.shortened() };
        after.tell(Broadcast::new(audience, updated));
        let data = ChangedSeatType { seat_type, message: "Seat type updated successfully" };
        call.commit(tx, data, after).await
    }
}
