//! HTTP handlers: reads, accounts and payments. What changes events, seats and bookings is in
//! [`commands`](crate::commands), shared with sockets.

pub(crate) mod auth;
pub(crate) mod bookings;
pub(crate) mod command;
pub(crate) mod events;
pub(crate) mod health;
pub(crate) mod payments;
pub(crate) mod seats;
