//! The ledger of payments: what has arrived, what has gone back, what we owe, and what operators
//! have to know of it. What leads to an entry is in [`bookings`](crate::bookings) and
//! [`payments`](crate::payments).

pub mod alerts;
pub mod entries;
pub mod payment_states;
pub mod refunds;
