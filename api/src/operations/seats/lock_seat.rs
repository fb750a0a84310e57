//! `POST /seats/:eventId/seat-types/:id/lock`, `lock_seat`

use nexus_common::{
    Error, Result,
    realtime::AfterCommit,
    seats::{broadcasts, lock::Lock, selection::Selection},
    types::time::in_words,
};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{lock_failures, seat};
use crate::{
    http::fields::{AdmissionToken, Code, Id, Label},
    operations::{Call, Command, Done},
    spec::operation::Operation,
};

#[derive(Deserialize, ToSchema)]
pub(crate) struct LockSeat {
    #[serde(rename = "eventId")]
    event_id: Id,
    #[serde(rename = "seatTypeId")]
    seat_type_id: Id,
    seat_label: Label,
    share_code: Option<Code>,
    admission_token: Option<AdmissionToken>,
}

/// A seat is locked.
#[derive(Serialize, ToSchema)]
pub(crate) struct LockedSeat {
    lock: Lock,
    message: String,
    expires_in_seconds: u64,
    /// Whether Redis took part in the decision.
    cache_hit: bool,
}

impl Command for LockSeat {
    type Response = LockedSeat;

    fn spec() -> Operation {
        Operation::command("lock_seat", "Lock a seat")
            .description("Nobody else can lock or book the seat until the lock expires. A private event needs its share code, unless the socket has joined the event with it. An event with a waiting room needs a visitor who has been called, or an admission token of an outside one.")
            .failures(lock_failures())
    }

    async fn run(self, call: Call) -> Result<Done> {
        let seat = seat(&self.event_id, &self.seat_type_id, &self.seat_label)?;
        let viewer = call.viewer(seat.event, &self.share_code);
        let won = call.lock(viewer.code, &self.admission_token, Selection::one(seat)).await?;
        let mut after = AfterCommit::default();
        broadcasts::locked(&mut after, &won, &call.app.pseudonyms);
        let (lock, _) =
            won.locks.first().ok_or_else(|| Error::internal("a lock was won and is not there"))?;
        let valid = call.app.locks.valid();
        let data = LockedSeat {
            lock: lock.clone(),
            message: format!(
                "Seat {} locked successfully. Lock expires in {}.",
                lock.seat_label,
                in_words(valid)
            ),
            expires_in_seconds: valid.as_secs(),
            cache_hit: won.cache_hit,
        };
        Done::at_once(data, after)
    }
}
