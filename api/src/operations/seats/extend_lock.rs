//! `POST /seats/:eventId/seat-types/:id/lock/extend`, `extend_lock`: keeps the caller's lock for
//! longer, within bounds.

use nexus_common::{
    Error, Result,
    realtime::AfterCommit,
    seats::{hints, lock::Lock, lock_changes},
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
pub(crate) struct ExtendLock {
    #[serde(rename = "eventId")]
    event_id: Id,
    #[serde(rename = "seatTypeId")]
    seat_type_id: Id,
    seat_label: Label,
}

/// A lock has been extended.
#[derive(Serialize, ToSchema)]
pub(crate) struct ExtendedLock {
    lock: Lock,
    message: String,
    expires_in_seconds: i64,
}

impl Command for ExtendLock {
    type Response = ExtendedLock;

    fn spec() -> Operation {
        Operation::command("extend_lock", "Extend a lock")
            .description("The lock is valid for its full time again, but never for more than 20 minutes in all.")
            .failures(own_lock_failures())
            .failures([Error::LockLimit("V1".into()), Error::EventNotOnSale])
    }

    async fn run(self, call: Call) -> Result<Done> {
        let seat = seat(&self.event_id, &self.seat_type_id, &self.seat_label)?;
        let _turn = call.turn(seat.event).await?;
        let mut tx = call.begin().await?;
        let (lock, now) =
            lock_changes::extend(&mut tx, call.user, &seat, call.app.locks.valid()).await?;
        let left = (lock.expires_at.0 - now.0).num_seconds().max(0);
        let mut after = AfterCommit::default();
        hints::keep(&mut after, &[seat], call.user, now, lock.expires_at);
        let data = ExtendedLock {
            message: format!(
                "Lock on seat {} extended. It expires in {left} seconds.",
                lock.seat_label
            ),
            expires_in_seconds: left,
            lock,
        };
        call.commit(tx, data, after).await
    }
}
