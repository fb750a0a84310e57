//! Loopback ports that are free now and can be bound again after a stop.

use std::net::{Ipv4Addr, TcpListener};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixListener};
use std::sync::Mutex;

/// Below the range from which Linux takes the local ports of outgoing connections, so that a server
/// which is stopped and started again never finds its port in use by a client socket.
const RANGE: std::ops::Range<u16> = 15_000..32_000;

/// The ports that this process got lately, the oldest first. A server binds its port long before so
/// many others are asked for.
static CLAIMED: Mutex<Vec<Claim>> = Mutex::new(Vec::new());
const CLAIMS_KEPT: usize = 200;

/// A port that is meant for a server which has not bound it yet. Every process that asks this
/// module looks for the claims of the others: an abstract socket has one owner, leaves no file, and
/// goes with its process.
struct Claim {
    port: u16,
    _mark: UnixListener,
}

impl Claim {
    fn of(port: u16) -> Option<Self> {
        let name = SocketAddr::from_abstract_name(format!("nexus-port-{port}")).ok()?;
        Some(Self { port, _mark: UnixListener::bind_addr(&name).ok()? })
    }
}

/// A free loopback port that no other caller gets.
pub fn free() -> u16 {
    let mut ports = std::iter::repeat_with(|| rand::random_range(RANGE)).take(1_000);
    ports.find(|port| !is_ours(*port) && claim(*port)).unwrap_or(0)
}

/// Whether this process may start a server on this loopback port; if so, no other caller gets the
/// port.
pub fn claim(port: u16) -> bool {
    if is_ours(port) {
        return is_free(port);
    }
    let Some(claim) = Claim::of(port) else { return false };
    if !is_free(port) {
        return false;
    }
    let mut claimed = CLAIMED.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    claimed.push(claim);
    if claimed.len() > CLAIMS_KEPT {
        claimed.remove(0);
    }
    true
}

fn is_ours(port: u16) -> bool {
    let claimed = CLAIMED.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    claimed.iter().any(|claim| claim.port == port)
}

/// Whether a server could bind this loopback port now.
pub fn is_free(port: u16) -> bool {
    TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn a_port_that_was_given_out_is_not_given_out_again_although_no_server_listens_there_yet() {
        let given: BTreeSet<u16> = (0..CLAIMS_KEPT / 2).map(|_| free()).collect();
        assert_eq!(given.len(), CLAIMS_KEPT / 2);
    }

    #[test]
    fn a_port_that_another_process_has_claimed_is_not_free_for_this_one() {
        let mut ports = RANGE.filter(|port| is_free(*port));
        let (port, others) = ports.find_map(|port| Some((port, Claim::of(port)?))).unwrap();
        assert!(!claim(port));
        drop(others);
        assert!(claim(port));
    }
}
