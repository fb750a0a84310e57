//! `POST /seats/:eventId/locks`, `lock_seats`: several seats, all or none.

use std::collections::{BTreeMap, BTreeSet};

use nexus_common::{
    Error, Result,
    realtime::AfterCommit,
    seats::{
        broadcasts,
        lock::Lock,
        selection::{self, MOST_AT_ONCE, Selection},
    },
    types::{ids::SeatTypeId, seats::SeatLabel, time::in_words},
};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{Seat, event, lock_failures};
use crate::{
    http::fields::{AdmissionToken, Code, Field, Id, List, Object, SeatLimit, part, parts, sent},
    operations::{Call, Command, Done},
    spec::operation::Operation,
};

#[derive(Deserialize, ToSchema)]
pub(crate) struct LockSeats {
    #[serde(rename = "eventId")]
    event_id: Id,
    /// These seats; each once.
    #[schema(value_type = Option<Vec<Seat>>, max_items = 100)]
    seats: Option<List>,
    /// How many more seats of each type, the best available; at most 100 in all.
    #[schema(value_type = Option<BestAvailable>)]
    best_available: Option<Object>,
    share_code: Option<Code>,
    admission_token: Option<AdmissionToken>,
}

#[derive(Deserialize, ToSchema)]
pub(crate) struct BestAvailable {
    seat_type_id: Id,
    count: SeatLimit,
}

/// Several seats are locked.
#[derive(Serialize, ToSchema)]
pub(crate) struct LockedSeats {
    locks: Vec<Lock>,
    message: String,
    expires_in_seconds: u64,
}

impl TryFrom<LockSeats> for Selection {
    type Error = Error;

    fn try_from(request: LockSeats) -> Result<Self> {
        let event = event(&request.event_id)?;
        let wanted = match sent(&request.seats) {
            None => vec![],
            Some(list) => list.read().ok_or_else(|| Error::invalid("seats must be a list"))?,
        };
        // Before so many are looked at.
        if wanted.len() > MOST_AT_ONCE {
            return Err(selection::too_many());
        }
        let mut seats = BTreeSet::new();
        for seat in parts::<Seat>(wanted)? {
            let (Some(seat_type), Some(label)) = (seat.seat_type_id.read(), seat.seat_label.get())
            else {
                return Err(Error::invalid("Each seat must have seat_label and seat_type_id"));
            };
            if !seats.insert((SeatTypeId(seat_type), SeatLabel::from_value(label)?)) {
                return Err(Error::invalid("Each seat can be wanted once"));
            }
        }
        let mut best = BTreeMap::new();
        if let Some(wanted) = sent(&request.best_available).and_then(Object::read) {
            let wanted: BestAvailable = part(wanted)?;
            let count = wanted.count.read().and_then(|count| usize::try_from(count).ok());
            let (Some(seat_type), Some(count @ 1..)) = (wanted.seat_type_id.read(), count) else {
                return Err(Error::invalid("best_available must have seat_type_id and count"));
            };
            best.insert(SeatTypeId(seat_type), count);
        }
        Selection::new(event, seats, best)
    }
}

impl Command for LockSeats {
    type Response = LockedSeats;

    fn spec() -> Operation {
        Operation::command("lock_seats", "Lock several seats, all or none")
            .description("A private event needs its share code, unless the socket has joined the event with it. Others hear of each of up to ten seats by itself, and of more in one `seats_changed`.")
            .needs_one_of(&["seats", "best_available"])
            .failures(lock_failures())
    }

    async fn run(mut self, call: Call) -> Result<Done> {
        let viewer = call.viewer(event(&self.event_id)?, &self.share_code);
        let admission = self.admission_token.take();
        let won = call.lock(viewer.code, &admission, self.try_into()?).await?;
        let mut after = AfterCommit::default();
        broadcasts::locked(&mut after, &won, &call.app.pseudonyms);
        let locks: Vec<Lock> = won.locks.into_iter().map(|(lock, _)| lock).collect();
        let valid = call.app.locks.valid();
        let data = LockedSeats {
            message: format!(
                "{} seat(s) locked successfully. Locks expire in {}.",
                locks.len(),
                in_words(valid)
            ),
            expires_in_seconds: valid.as_secs(),
            locks,
        };
        Done::at_once(data, after)
    }
}
