//! Tickets: made when a booking is confirmed, signed, and sent.

pub mod broadcasts;
pub mod codes;
pub mod delivery;
pub mod files;
pub mod issuing;
pub mod keys;
pub mod reissue;
pub mod views;
