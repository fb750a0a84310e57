//! Which seats somebody wants to lock: some by name, some by number, all or none.

use std::collections::{BTreeMap, BTreeSet};

use crate::{
    error::{Error, Result},
    types::{
        ids::{EventId, SeatTypeId},
        input::Input,
        seats::{SeatKey, SeatLabel},
    },
};

/// Seats of one event that somebody wants, all or none.
#[derive(Clone, Debug)]
pub struct Selection {
    pub(super) event: EventId,
    pub(super) seats: BTreeSet<(SeatTypeId, SeatLabel)>,
    /// So many more of a type, whichever are the best that are left.
    pub(super) best: BTreeMap<SeatTypeId, usize>,
}

/// Most seats that can be wanted at once.
const MOST_AT_ONCE: usize = 100;

impl Selection {
    /// One seat.
    pub fn one(seat: SeatKey) -> Self {
        Selection {
            event: seat.event,
            seats: BTreeSet::from([(seat.seat_type, seat.label)]),
            best: BTreeMap::new(),
        }
    }

    /// Reads `seats` and `best_available` of a request for several seats of `event`.
    pub fn parse(event: EventId, input: &Input) -> Result<Self> {
        let mut seats = BTreeSet::new();
        let wanted = match input.get("seats") {
            None => &[],
            Some(_) => input.list("seats").ok_or_else(|| Error::invalid("seats must be a list"))?,
        };
        for seat in wanted {
            let seat = Input::from(seat.clone());
            let seat_type = seat.id("seat_type_id");
            let (Some(seat_type), Some(label)) = (seat_type, seat.get("seat_label")) else {
                return Err(Error::invalid("Each seat must have seat_label and seat_type_id"));
            };
            if !seats.insert((seat_type, SeatLabel::from_value(label)?)) {
                return Err(Error::invalid("Each seat can be wanted once"));
            }
        }
        let mut best = BTreeMap::new();
        if let Some(wanted) = input.get("best_available") {
            let wanted = Input::from(wanted.clone());
            let count = wanted.whole("count").and_then(|count| usize::try_from(count).ok());
            let (Some(seat_type), Some(count @ 1..)) = (wanted.id("seat_type_id"), count) else {
                return Err(Error::invalid("best_available must have seat_type_id and count"));
            };
            best.insert(seat_type, count);
        }
        let selection = Selection { event, seats, best };
        match selection.wanted().values().fold(0, |sum: usize, count| sum.saturating_add(*count)) {
            0 => Err(Error::invalid("At least one seat is required")),
            1..=MOST_AT_ONCE => Ok(selection),
            _ => Err(Error::invalid(format!("At most {MOST_AT_ONCE} seats can be locked at once"))),
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

    /// Those that are wanted by name.
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
