//! What `nexus-api` does for operators besides serving.

pub(crate) mod accounts;
pub(crate) mod ticket_keys;
