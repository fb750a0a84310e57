//! Tests that take seconds, by noun. Each has servers of its own, so that all of them may run at
//! once: `cargo test --workspace --test fast seats::`.

#![allow(
    clippy::expect_used,
    clippy::unwrap_used,
    clippy::panic,
    reason = "helpers of tests are tests"
)]

mod accounts;
mod bookings;
mod contract;
mod database;
mod delivery;
mod door;
mod events;
mod http;
mod jobs;
mod legacy;
mod operating;
mod payments;
mod rate_limits;
mod readiness;
mod realtime;
mod repository;
mod seats;
mod tickets;
mod transfers;
mod waiting_rooms;
