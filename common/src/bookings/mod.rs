//! Bookings: created from locked seats, then confirmed, cancelled or expired.

pub mod booking_states;
pub mod broadcasts;
pub mod cancellation;
pub mod cancellation_notices;
pub mod changes;
pub mod confirmation;
pub mod creation;
pub mod deadlines;
pub mod event_cancellation;
pub mod event_notices;
pub mod event_removal;
pub mod new_bookings;
pub mod sale;
pub mod views;
