//! Which seats a user wants to lock: some by name, some by number; all or none.

use std::collections::{BTreeMap, BTreeSet};

use crate::{
    error::{Error, Result},
    types::{
        ids::{EventId, SeatTypeId},
        seats::{SeatKey, SeatLabel},
    },
};

/// Seats of one event that a user wants: all or none.
#[derive(Clone, Debug)]
pub struct Selection {
    pub event: EventId,
    pub(super) seats: BTreeSet<(SeatTypeId, SeatLabel)>,
    /// How many more seats of each type, the best that are left.
    pub(super) best: BTreeMap<SeatTypeId, usize>,
}

/// The most seats that a request may want.
pub const MOST_AT_ONCE: usize = 100;

/// The failure of a request that wants more than [`MOST_AT_ONCE`].
pub fn too_many() -> Error {
    Error::invalid(format!("At most {MOST_AT_ONCE} seats can be locked at once"))
}

impl Selection {
    pub fn one(seat: SeatKey) -> Self {
        Selection {
            event: seat.event,
            seats: BTreeSet::from([(seat.seat_type, seat.label)]),
            best: BTreeMap::new(),
        }
    }

    /// These seats of `event`, and a number of more seats by type.
    pub fn new(
        event: EventId,
        seats: BTreeSet<(SeatTypeId, SeatLabel)>,
        best: BTreeMap<SeatTypeId, usize>,
    ) -> Result<Self> {
        let selection = Selection { event, seats, best };
        match selection.wanted().values().fold(0, |sum: usize, count| sum.saturating_add(*count)) {
            0 => Err(Error::invalid("At least one seat is required")),
            1..=MOST_AT_ONCE => Ok(selection),
            _ => Err(too_many()),
        }
    }

    /// How many seats of each type.
    pub(super) fn wanted(&self) -> BTreeMap<SeatTypeId, usize> {
        let mut wanted = self.best.clone();
        for (seat_type, _) in &self.seats {
            *wanted.entry(*seat_type).or_default() += 1;
        }
        wanted
    }

    /// The seats that are wanted by name.
    pub(super) fn keys(&self) -> Vec<SeatKey> {
        let event = self.event;
        self.seats
            .iter()
            .map(|(seat_type, label)| SeatKey {
                event,
                seat_type: *seat_type,
                label: label.clone(),
            })
            .collect()
    }
}
