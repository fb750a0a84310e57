//! Loopback ports that are free now and can be bound again after a stop.

use std::net::{Ipv4Addr, TcpListener};

/// Below the range from which Linux takes the local ports of outgoing connections, so that a server which is
/// stopped and started again never finds its port in use by somebody's client socket.
const RANGE: std::ops::Range<u16> = 15_000..32_000;

/// A free loopback port, chosen at random so that test processes running side by side rarely pick the same.
pub fn free() -> u16 {
    std::iter::repeat_with(|| rand::random_range(RANGE)).take(1_000).find(|port| is_free(*port)).unwrap_or(0)
}

/// Whether a server could bind this loopback port now.
pub fn is_free(port: u16) -> bool {
    TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok()
}
