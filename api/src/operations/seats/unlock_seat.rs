//! `DELETE /seats/:eventId/seat-types/:id/lock`, `unlock_seat`: gives back the caller's lock.

use nexus_common::{
    Result,
    realtime::AfterCommit,
    seats::{
        broadcasts::{self, UnlockReason},
        lock_changes,
    },
    types::{
        ids::{EventId, SeatTypeId},
        seats::SeatLabel,
    },
};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{own_lock_failures, seat};
use crate::{
    http::fields::{Id, Label},
    operations::{Call, Command, Done},
    spec::operation::Operation,
};

#[derive(Deserialize, ToSchema)]
pub(crate) struct UnlockSeat {
    #[serde(rename = "eventId")]
    event_id: Id,
    #[serde(rename = "seatTypeId")]
    seat_type_id: Id,
    seat_label: Label,
}

/// A seat is given back.
#[derive(Serialize, ToSchema)]
pub(crate) struct UnlockedSeat {
    event_id: EventId,
    seat_type_id: SeatTypeId,
    seat_label: SeatLabel,
    available_quantity: i32,
    message: String,
}

impl Command for UnlockSeat {
    type Response = UnlockedSeat;

    fn spec() -> Operation {
        Operation::command("unlock_seat", "Unlock a seat").failures(own_lock_failures())
    }

    async fn run(self, call: Call) -> Result<Done> {
        let seat = seat(&self.event_id, &self.seat_type_id, &self.seat_label)?;
        let _turn = call.turn(seat.event).await?;
        let mut tx = call.begin().await?;
        let freed = lock_changes::release(&mut tx, call.user, &seat).await?;
        let data = UnlockedSeat {
            event_id: seat.event,
            seat_type_id: seat.seat_type,
            message: format!("Seat {} released successfully.", seat.label),
            seat_label: seat.label,
            available_quantity: freed.available_quantity,
        };
        let mut after = AfterCommit::default();
        broadcasts::freed(&mut after, vec![freed], UnlockReason::Released);
        call.commit(tx, data, after).await
    }
}
