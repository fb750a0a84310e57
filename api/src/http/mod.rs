//! What HTTP adds to a request and its response, whoever reads it: its client, its fields, its
//! limits, its failure.

pub(crate) mod body_limits;
pub(crate) mod client_ip;
pub(crate) mod failure;
pub(crate) mod fields;
pub(crate) mod policy;
pub(crate) mod request;
