//! The ledger of payments: money that has arrived or gone back, money that we owe, and alerts for
//! operators. [`bookings`](crate::bookings) and [`payments`](crate::payments) decide about its
//! entries.

pub mod alerts;
pub mod entries;
pub mod payment_states;
pub mod refunds;
