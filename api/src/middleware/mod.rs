//! What wraps every request.

pub(crate) mod headers;
pub(crate) mod limits;
pub(crate) mod origin;
pub(crate) mod paths;
pub(crate) mod rate_limits;
pub(crate) mod requests;
pub(crate) mod revocation;
pub(crate) mod shutdown;
pub(crate) mod tags;
