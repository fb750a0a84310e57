//! The harness of the black-box tests: [`Stack`] is an empty installation for one test (PostgreSQL,
//! Redis, providers, every Nexus process), with clients that speak the wire as any client would.
//!
//! - [`stack`], [`template`], [`program`], [`settings`] – the installation: servers, processes,
//!   their logs and settings
//! - [`probes`] – workers whose jobs fail, hang and die as they are told
//! - [`looking`] – what is in the database, in Redis and in the logs
//! - [`passage`] – a way to a server, which can vanish
//! - [`client`], [`response`], [`shop`], [`refusals`] – REST clients and their responses, what
//!   people do in a ticket shop, what they must not do
//! - [`puzzles`] – proof of work, as clients do it
//! - [`wire`] – HTTP by hand, byte for byte
//! - [`socket`], [`browser`], [`lines`] – the official Socket.IO clients, a real browser, and the
//!   processes that both run in
//! - [`collector`], [`metrics`] – where traces go, and what Prometheus reads
//! - [`authority`] – certificates, good and bad
//! - [`operators`] – logins to the operators' pages
//! - [`conformance`] – the documents of the API, against which everything that it sends is checked
//! - [`legacy`] – the Node service and the database that it leaves behind
//! - [`invariants`], [`settlement`] – what must hold whenever a test has ended; where the money is
//! - [`replay`] – the recording of the Node service, replayed
//! - [`repository`] – the files of the repository, what git and cargo know of them
//! - [`waiting`], [`seeded_rng`], [`qr`] – deadlines instead of sleeps; seeded random numbers;
//!   reading QR codes
//!
//! The harness knows the wire, the environment variables and the tables; it links no code of Nexus.
//! Its functions return no errors: they panic with what was expected and what was seen.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a harness fails its test by panicking"
)]

pub mod authority;
pub mod browser;
pub mod client;
pub mod collector;
pub mod conformance;
pub mod invariants;
pub mod legacy;
pub mod lines;
pub mod looking;
pub mod metrics;
pub mod operators;
pub mod passage;
pub mod probes;
pub mod program;
pub mod puzzles;
pub mod qr;
pub mod refusals;
pub mod replay;
pub mod repository;
pub mod response;
pub mod seeded_rng;
pub mod settings;
pub mod settlement;
pub mod shop;
pub mod socket;
pub mod stack;
pub mod template;
pub mod waiting;
pub mod wire;

use std::time::Duration;

pub use browser::{Browser, Page};
pub use client::Client;
pub use legacy::{LegacyShop, NodeService};
pub use nexus_sandbox::providers::{Fault, Outcome, Pay, Target};
pub use reqwest::Method;
pub use response::Response;
pub use serde_json::{Value, json};
pub use shop::{Booking, Event};
pub use socket::SocketClient;
pub use stack::Stack;
pub use waiting::{eventually, seen};

/// Long enough for everything that works, even on a busy machine; a test that waits for so long has
/// failed.
pub const SOON: Duration = Duration::from_secs(15);
