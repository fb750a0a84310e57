//! The door of an event: who may let people in, at which gates, with which keys; who is in; and how
//! many. What is in a ticket's code is [`tickets`](crate::tickets)' business (docs/door.md).

pub mod access;
pub mod bundles;
pub mod check_ins;
pub mod conflicts;
pub mod counts;
pub mod gates;
pub mod keys;
pub mod search;
pub mod staff;
pub mod verdicts;
