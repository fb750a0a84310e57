//! Locking a seat.

use nexus_common::{
    Error, Result,
    domain::{
        after_commit::AfterCommit,
        bookings::in_words,
        ids::UserId,
        input::Input,
        seats::{SeatKey, SeatLabel},
    },
    realtime::{Audience, Broadcast},
};
use serde_json::json;

use super::{Done, id};
use crate::app::App;

/// `POST /seats/:eventId/seat-types/:id/lock`, `lock_seat`
pub(crate) async fn lock(app: App, user: UserId, input: Input) -> Result<Done> {
    let event = id(&input, "eventId", Error::EventNotFound, "Invalid event ID")?;
    let seat_type = id(&input, "seatTypeId", Error::SeatTypeNotFound, "Invalid seat type ID")?;
    let label = input
        .get("seat_label")
        .filter(|label| *label != "")
        .ok_or_else(|| Error::invalid("Seat label is required in request body"))?;
    let seat = SeatKey { event, seat_type, label: SeatLabel::from_value(label)? };
    let won = app.locks.lock(user, seat).await?;

    let valid = app.locks.valid();
    let mut after = AfterCommit::default();
    after.freed(won.cleared, "expired");
    after.counts_changed(event);
    after.tell(Broadcast::new(
        "seat_locked",
        Audience::Event(event),
        json!({
            "event_id": event,
            "seat_type_id": seat_type,
            "seat_label": won.lock.seat_label,
            "user_id": user,
            "available_quantity": won.available_quantity,
            "lock": won.lock,
        }),
    ));
    let message =
        format!("Seat {} locked successfully. Lock expires in {}.", won.lock.seat_label, in_words(valid));
    let data = json!({
        "lock": won.lock,
        "message": message,
        "expires_in_seconds": valid.as_secs(),
        "cache_hit": won.cache_hit,
    });
    Done::new(data, after)
}
