//! What the Nexus API and its workers share. One room per noun; each uses only the rooms before it:
//!
//! - [`types`], [`error`] – ids, money, time, labels, statuses; why something could not be done
//! - [`config`] – settings
//! - [`observability`] – logs, metrics, traces
//! - [`tls`], [`storage`] – certificates; PostgreSQL and Redis
//! - [`audit`] – who did what
//! - [`limiter`] – how often something may be done
//! - [`realtime`] – broadcasts, and what follows a commit
//! - [`jobs`] – the durable job queue
//! - [`providers`] – Razorpay, Twilio, SMTP
//! - [`accounts`], [`events`], [`seats`], [`tickets`], [`ledger`], [`bookings`], [`payments`] –
//!   what Nexus is about: each its types, rules, SQL and broadcasts
//! - [`door`] – who comes in
//! - [`waiting_rooms`] – who may buy now, and who is next
//! - [`idempotency`], [`books`], [`retention`] – what concerns several of them
//!
//! Verbs take the caller's connection (`freeing::free(&mut tx, …)`), so that the caller decides
//! what commits together; no verb opens a second connection inside one. Nothing here knows axum,
//! socketioxide or apalis.

pub mod accounts;
pub mod audit;
pub mod bookings;
pub mod books;
pub mod config;
pub mod door;
pub mod error;
pub mod events;
pub mod idempotency;
pub mod jobs;
pub mod ledger;
pub mod limiter;
pub mod observability;
pub mod payments;
pub mod providers;
pub mod realtime;
pub mod retention;
pub mod seats;
pub mod storage;
pub mod tickets;
pub mod tls;
pub mod types;
pub mod waiting_rooms;

pub use error::{Error, Result};

/// The output of `--version`: the version, and in releases the commit that they were built from,
/// which `make release` puts in.
pub const VERSION: &str = match option_env!("NEXUS_VERSION") {
    Some(version) => version,
    None => env!("CARGO_PKG_VERSION"),
};
