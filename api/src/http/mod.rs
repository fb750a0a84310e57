//! What HTTP adds to a request and its response: the client, the fields, the limits, the failure.

pub(crate) mod api_error;
pub(crate) mod body_limits;
pub(crate) mod client_ip;
pub(crate) mod fields;
pub(crate) mod found;
pub(crate) mod html;
pub(crate) mod lenient;
pub(crate) mod places;
pub(crate) mod policy;
pub(crate) mod request;
pub(crate) mod solution;
pub(crate) mod texts;
