//! Stamps: whether what was read of an event before is still so. A stamp changes with everything that
//! is shown of an event, whoever changes it; to compare it costs PostgreSQL less than to read the
//! event, and a process that has the event in memory nothing more.

use crate::types::ids::EventId;

/// Tells what is shown of an event at one moment from what is shown at another: `event_stamps` in
/// the schema.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stamp(i64);

impl From<i64> for Stamp {
    fn from(stamp: i64) -> Self {
        Stamp(stamp)
    }
}

/// What a caller knows of an event.
#[derive(Clone, Copy, Debug)]
pub struct Known {
    pub event: EventId,
    /// Of what the caller has in memory.
    pub stamp: Option<Stamp>,
}

/// Another look at an event.
#[derive(Debug)]
pub struct Look<T> {
    pub event: EventId,
    pub stamp: Stamp,
    /// `None`: what the caller knows is still so.
    pub changed: Option<T>,
}

/// The defect of a row that lacks what every row has.
pub(super) const INCOMPLETE: &str = "a row of an event or a seat type is not complete";

/// As parameters of a statement.
pub(super) fn split(known: &[Known]) -> (Vec<EventId>, Vec<Option<i64>>) {
    known.iter().map(|known| (known.event, known.stamp.map(|Stamp(stamp)| stamp))).unzip()
}
