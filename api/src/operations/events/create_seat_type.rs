//! `POST /seats/:eventId/seat-types`, `create_seat_type`

use nexus_common::{
    Error, Result,
    events::{
        broadcasts::SeatTypeCreated,
        seat_types::{self, NewSeatType, SeatType},
    },
    realtime::{AfterCommit, Broadcast},
};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{MANAGE, price_not_payable, seat_type_fields};
use crate::{
    http::fields::{Field, Id, Lines, Price, Quantity, Text, filled},
    operations::{Call, Command, Done, seats},
    spec::operation::Operation,
};

#[derive(Deserialize, ToSchema)]
pub(crate) struct CreateSeatType {
    #[serde(rename = "eventId")]
    event_id: Id,
    #[schema(
        value_type = String,
        min_length = 1,
        max_length = 100,
        pattern = r"[^\s\x00-\x1f\x7f-\x9f]",
        example = "Balcony"
    )]
    name: Text,
    price: Price,
    quantity: Quantity,
    #[schema(value_type = Option<String>, max_length = 2_000)]
    description: Option<Lines>,
}

/// A seat type has been created or changed.
#[derive(Serialize, ToSchema)]
pub(crate) struct ChangedSeatType {
    pub(super) seat_type: SeatType,
    pub(super) message: &'static str,
}

impl TryFrom<CreateSeatType> for NewSeatType {
    type Error = Error;

    fn try_from(request: CreateSeatType) -> Result<Self> {
        let missing = || Error::invalid("Missing required fields: name, price, quantity");
        let name = filled(&request.name).ok_or_else(missing)?;
        let price = request.price.read().ok_or_else(missing)?;
        if request.quantity.get().is_none() {
            return Err(missing());
        }
        Ok(NewSeatType {
            name: seat_type_fields::name(name)?,
            description: seat_type_fields::description(request.description.as_ref())?,
            price: seat_type_fields::price(price)?,
            quantity: seat_type_fields::quantity(&request.quantity)?,
        })
    }
}

impl Command for CreateSeatType {
    type Response = ChangedSeatType;

    fn spec() -> Operation {
        Operation::command("create_seat_type", "Create a seat type").failures([
            Error::EventNotFound,
            MANAGE,
            price_not_payable(),
        ])
    }

    async fn run(self, call: Call) -> Result<Done> {
        let event = seats::event(&self.event_id)?;
        let new = NewSeatType::try_from(self)?;
        call.app.settings.chargeable.check_price(new.price)?;
        let _turn = call.turn(event).await?;
        let mut tx = call.begin().await?;
        let (seat_type, audience) = seat_types::create(&mut tx, event, call.user, &new).await?;
        let mut after = AfterCommit::default();
        after.counts_changed(event);
        let created = SeatTypeCreated { event_id: event, seat_type: seat_type.clone() };
        after.tell(Broadcast::new(audience, created));
        let data = ChangedSeatType { seat_type, message: "Seat type created successfully" };
        call.commit(tx, data, after).await
    }
}
