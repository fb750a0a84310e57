//! Which seats of an event are taken now: what a frontend draws first, before it follows
//! `event:seats-update`, `seat_locked` and `seat_unlocked`. All maps are made from one
//! [`Snapshot`], so users who ask at the same time need only one.

use std::collections::{BTreeMap, HashSet};

use serde::Serialize;
use sqlx::PgConnection;
use utoipa::ToSchema;

use super::freeing::{self, Freed};
use crate::{
    error::Result,
    events::{
        event,
        inventory::{self, SeatCounts},
    },
    types::{
        ids::{EventId, SeatTypeId, UserId},
        seats::SeatLabel,
        statuses::SeatStatus,
        time::Timestamp,
        visibility::{Viewer, Visibility},
    },
};

/// The taken seats of an event, with the counts and the version that belong to them.
#[derive(Debug, Serialize, ToSchema)]
pub struct SeatMap {
    #[serde(flatten)]
    pub counts: SeatCounts,
    pub taken: Vec<TakenSeat>,
}

/// A seat that is locked or booked.
#[derive(Debug, Serialize, ToSchema)]
pub struct TakenSeat {
    pub seat_type_id: SeatTypeId,
    pub seat_label: SeatLabel,
    pub status: SeatStatus,
    /// Whether it is the caller's.
    pub mine: bool,
    /// Until when the caller may book or pay it; null for booked seats and those of others.
    pub expires_at: Option<Timestamp>,
}

/// The seats of an event at one moment, and who has them.
#[derive(Debug)]
pub struct Snapshot {
    visibility: Visibility,
    counts: SeatCounts,
    seats: Vec<Seat>,
    holders: HashSet<UserId>,
    /// Expired locks that have not been freed, by seat type.
    over: BTreeMap<SeatTypeId, usize>,
}

#[derive(Debug)]
struct Seat {
    seat_type: SeatTypeId,
    label: SeatLabel,
    status: SeatStatus,
    holder: Option<UserId>,
    expires_at: Option<Timestamp>,
    /// Its lock has expired, and has not been freed.
    over: bool,
}

/// Takes a snapshot of an event. The caller's transaction must see one state of the database
/// throughout (REPEATABLE READ), so that seats and version belong together.
pub async fn snapshot(conn: &mut PgConnection, event: EventId) -> Result<Snapshot> {
    let (counts, visibility) = inventory::seat_counts(conn, event).await?;
    let seats = sqlx::query_as!(
        Seat,
        r#"SELECT event_seat_type_id AS seat_type, seat_label AS "label: _", status AS "status: _", user_id AS "holder: _",
                  expires_at AS "expires_at: _", status = 'locked' AND expires_at <= statement_timestamp() AS "over!"
           FROM seats WHERE event_id = $1 ORDER BY event_seat_type_id, id"#,
        event as _,
    )
    .fetch_all(conn)
    .await?;
    let mut over = BTreeMap::new();
    for seat in seats.iter().filter(|seat| seat.over) {
        *over.entry(seat.seat_type).or_insert(0) += 1;
    }
    Ok(Snapshot {
        visibility,
        counts,
        holders: seats.iter().filter_map(|seat| seat.holder).collect(),
        over,
        seats,
    })
}

/// Expired locks of a seat type that one transaction frees.
const PORTION: usize = 100;

impl Snapshot {
    /// [`Error::EventNotFound`](crate::Error::EventNotFound) unless `viewer` may know of the event.
    pub fn require_visible(&self, viewer: Viewer) -> Result<()> {
        event::require_visible(self.visibility, viewer)
    }

    /// Whether `viewer` has some of the seats.
    pub fn has_seats_of(&self, viewer: UserId) -> bool {
        self.holders.contains(&viewer)
    }

    /// The map, with the seats of `viewer` marked.
    pub fn map(&self, viewer: Option<UserId>) -> SeatMap {
        let taken = self.seats.iter().map(|seat| {
            let mine = viewer.is_some() && seat.holder == viewer;
            TakenSeat {
                seat_type_id: seat.seat_type,
                seat_label: seat.label.clone(),
                status: seat.status,
                mine,
                expires_at: seat.expires_at.filter(|_| mine && seat.status == SeatStatus::Locked),
            }
        });
        SeatMap { counts: self.counts.clone(), taken: taken.collect() }
    }

    /// Whether expired locks have not been freed yet: the expiry worker may be late.
    pub fn is_behind(&self) -> bool {
        !self.over.is_empty()
    }

    /// Frees the locks that had expired, which makes a new version. `None` when another transaction
    /// is about to make one.
    pub async fn free_expired(&self, conn: &mut PgConnection) -> Result<Option<Vec<Freed>>> {
        if !inventory::try_lock_inventory(conn, self.counts.event_id).await? {
            return Ok(None);
        }
        let room = self.over.iter().map(|(id, count)| (*id, (*count).min(PORTION))).collect();
        freeing::free_expired(conn, &[], &room).await.map(Some)
    }
}
