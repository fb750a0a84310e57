//! What a caller can ask for that changes something, whether over HTTP or a socket: both ways lead
//! here. A command takes a [`Call`] and returns what to answer and what to do after it.

pub(crate) mod bookings;
pub(crate) mod confirmation;
pub(crate) mod events;
pub(crate) mod orders;
pub(crate) mod seats;

use nexus_common::{
    Error, Result,
    bookings::changes,
    events::turns::Turn,
    idempotency::{Answer, Reservation},
    realtime::AfterCommit,
    types::{
        ids::{BookingId, EventId, UserId},
        input::Input,
    },
};
use serde::Serialize;
use serde_json::Value;
use sqlx::PgTransaction;

use crate::app::App;

/// Somebody asks for something.
pub(crate) struct Call {
    pub(crate) app: App,
    pub(crate) user: UserId,
    /// For HTTP: body and path segments, named as the socket's payload names them.
    pub(crate) input: Input,
    /// Of the request's `Idempotency-Key`, if it has one.
    pub(crate) reservation: Option<Reservation>,
}

/// A command that has been carried out, and committed.
pub(crate) struct Done {
    /// The answer's `data`.
    pub(crate) data: Value,
    /// Broadcasts and cache changes; the way the command came by decides who hears of it.
    pub(crate) after: AfterCommit,
}

impl Done {
    pub(crate) fn new(data: impl Serialize, after: AfterCommit) -> Result<Self> {
        Ok(Done { data: serde_json::to_value(data).map_err(Error::internal)?, after })
    }
}

impl Call {
    /// Waits for a turn at the inventory of `event`, before the command takes a connection: an
    /// event whose inventory is held may have a share of those, and not all.
    async fn turn(&self, event: EventId) -> Result<Turn> {
        self.app.turns.turn(event).await
    }

    /// The same for the event of a booking, if there is such a booking.
    async fn turn_of(&self, booking: BookingId) -> Result<Option<Turn>> {
        // The connection goes back before the wait: in the match's own head it would be kept until
        // the end.
        let event = changes::event(&mut *self.app.db.acquire().await?, booking).await?;
        match event {
            Some(event) => Ok(Some(self.turn(event).await?)),
            None => Ok(None),
        }
    }

    /// Begins the command's transaction.
    async fn begin(&self) -> Result<PgTransaction<'static>> {
        Ok(self.app.db.begin().await?)
    }

    /// Commits the command together with its answer, so that no crash can come between the two: a
    /// request that is sent again with the same `Idempotency-Key` is never carried out twice.
    async fn commit(
        &self,
        mut tx: PgTransaction<'static>,
        data: impl Serialize,
        after: AfterCommit,
    ) -> Result<Done> {
        let done = Done::new(data, after)?;
        if let Some(reservation) = &self.reservation {
            let answer = Answer { status: 200, body: done.data.clone() };
            if !reservation.complete(&mut tx, &answer).await? {
                return Err(Error::RequestInFlight);
            }
        }
        tx.commit().await?;
        Ok(done)
    }

    /// A required id: absent is `missing`, unreadable is `invalid`.
    fn id<I: From<i32>>(&self, field: &str, missing: Error, invalid: &str) -> Result<I> {
        if self.input.get(field).is_none() {
            return Err(missing);
        }
        self.input.id(field).ok_or_else(|| Error::invalid(invalid))
    }
}
