//! Replays the recording of the Node service against Nexus: every exchange in order, in one
//! installation.
//!
//! - [`recording`] – the exchanges, and the form in which outcomes are compared
//! - [`driver`], [`handshakes`], [`hearing`] – sends them; connects sockets in every way; listens
//!   with the other clients
//! - [`arrangements`], [`observations`] – what the recording did between exchanges; what takes more
//!   than one message
//! - [`mapping`] – what Nexus makes up differently: tokens, references, order ids, times
//! - [`rule`], [`outcome`], [`rules`] – what an intended difference is, how it is said, and all of
//!   them
//! - [`compare`], [`report`] – whether an outcome is the expected one; the result

mod arrangements;
pub mod compare;
pub mod driver;
mod handshakes;
mod hearing;
pub mod mapping;
mod observations;
pub mod outcome;
pub mod recording;
pub mod report;
pub mod rule;
pub mod rules;

pub use compare::differences;
pub use driver::Replay;
pub use recording::{Exchange, load};
pub use report::Report;
pub use rule::{Case, Rule};
