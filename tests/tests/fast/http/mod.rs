//! HTTP whatever is asked for: connections, heads, bodies.

mod bad_requests;
mod connections;
mod headers;
mod transport;
