//! What `nexus-api` does for operators besides serving.

pub(crate) mod accounts;
