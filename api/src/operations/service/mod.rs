//! Whether the service lives, and its documents.

pub(crate) mod documents;
pub(crate) mod health;
