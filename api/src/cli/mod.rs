//! What `nexus-api` does for operators beside serving.

pub(crate) mod accounts;
