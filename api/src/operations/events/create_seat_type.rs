//! `POST /seats/:eventId/seat-types`, `create_seat_type`

use nexus_common::{
    Error, Result,
    audit::Action,
    events::{
        broadcasts::SeatTypeCreated,
        seat_types::{self, NewSeatType, SeatType},
    },
    realtime::{AfterCommit, Broadcast},
};
use serde::{Deserialize, Serialize};
use serde_json::json;
use utoipa::ToSchema;

use super::{
    MANAGE,
    fields::{SeatTypeDescription, SeatTypeName, new_seat_type},
    price_not_payable,
};
use crate::{
    http::fields::{Id, Price, Quantity},
    operations::{Call, Command, Done, seats},
    spec::operation::Operation,
};

#[derive(Deserialize, ToSchema)]
pub(crate) struct CreateSeatType {
    #[serde(rename = "eventId")]
    event_id: Id,
    name: SeatTypeName,
    price: Price,
    quantity: Quantity,
    description: Option<SeatTypeDescription>,
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
        let about = request.description.as_ref();
        new_seat_type(&request.name, &request.price, &request.quantity, about, missing)
    }
}

impl Command for CreateSeatType {
    type Response = ChangedSeatType;

    fn spec() -> Operation {
        Operation::command("create_seat_type", "Create a seat type").failures([
            Error::EventNotFound,
            Error::EventTakenDown,
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
        let details = json!({ "event": event });
        call.record(&mut tx, Action::SeatTypeCreated, seat_type.id, details).await?;
        let mut after = AfterCommit::default();
        after.counts_changed(event);
        let created = SeatTypeCreated { event_id: event, seat_type: seat_type.shortened() };
        after.tell(Broadcast::new(audience, created));
        let data = ChangedSeatType { seat_type, message: "Seat type created successfully" };
        call.commit(tx, data, after).await
    }
}
