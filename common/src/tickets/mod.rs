//! Tickets: made when a booking is confirmed, signed, sent, and given to others.

pub mod broadcasts;
pub mod codes;
pub mod delivery;
pub mod files;
pub mod holders;
pub mod issuing;
pub mod keys;
pub mod reissue;
pub mod transfers;
pub mod views;
