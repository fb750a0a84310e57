//! HTTP below the routes: connections, heads, bodies.

mod bad_requests;
mod connections;
mod headers;
mod overload;
mod transport;
