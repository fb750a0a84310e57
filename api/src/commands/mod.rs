//! What a caller can ask for that changes something, whether over HTTP or a socket: both ways lead here. A command takes the caller and the
//! input (for HTTP: body and path segments, named as the socket's payload names them) and returns what to answer and what to do after it.

pub(crate) mod bookings;
pub(crate) mod events;
pub(crate) mod seats;

use nexus_common::{
    Error, Result,
    domain::{after_commit::AfterCommit, input::Input},
};
use serde::Serialize;
use serde_json::Value;

/// A command that has been carried out, and committed.
pub(crate) struct Done {
    /// The answer's `data`.
    pub(crate) data: Value,
    /// Broadcasts and cache changes; the way the command came by decides who hears of it.
    pub(crate) after: AfterCommit,
}

impl Done {
    pub(crate) fn new(data: impl Serialize, after: AfterCommit) -> Result<Self> {
        Ok(Done { data: serde_json::to_value(data).map_err(Error::internal)?, after })
    }
}

/// A required id: absent is `missing`, unreadable is `invalid`.
fn id<I: From<i32>>(input: &Input, field: &str, missing: Error, invalid: &str) -> Result<I> {
    if input.get(field).is_none() {
        return Err(missing);
    }
    input.id(field).ok_or_else(|| Error::invalid(invalid))
}
