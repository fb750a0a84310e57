//! Whether the service is alive, and its documents.

pub(crate) mod documents;
pub(crate) mod health;
