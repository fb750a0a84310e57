//! What `nexus-api` does for operators besides serving.

pub(crate) mod accounts;
pub(crate) mod ticket_keys;
pub(crate) mod waiting_rooms;
