//! Events and their seat types: what organisers create and change, and what everyone sees. The
//! seats themselves are in [`seats`](crate::seats).

pub mod broadcasts;
pub mod cancellation;
pub mod changes;
pub mod event;
pub mod inventory;
pub mod notices;
pub mod seat_types;
pub mod stamps;
pub mod takedown;
pub mod turns;
pub mod views;
