//! What the Nexus API and its workers share: settings, errors, connections, the domain, the job
//! ledger and the providers' clients.
//!
//! Dependencies point one way: `domain` uses `jobs`, `db`, `error` and `realtime`; `clients` know
//! no domain type. Nothing here knows axum, socketioxide or apalis.

pub mod cache;
pub mod clients;
pub mod config;
pub mod db;
pub mod domain;
pub mod error;
pub mod feature;
pub mod jobs;
pub mod limiter;
pub mod metrics;
pub mod realtime;
pub mod telemetry;
pub mod traces;

pub use error::{Error, Result};

/// What `--version` says: the version, and of releases the commit that they were built from, which
/// `make release` puts in.
pub const VERSION: &str = match option_env!("NEXUS_VERSION") {
    Some(version) => version,
    None => env!("CARGO_PKG_VERSION"),
};
