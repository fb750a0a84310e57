//! Bookings, from the lock of a seat to tickets, and what ends them.

mod bad_input;
mod confirmation;
mod expiry;
mod held;
mod idempotency;
mod sale;
