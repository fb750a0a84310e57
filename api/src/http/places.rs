//! How much one address, and the networks that it belongs to, may hold at once: connections, or
//! sessions of Socket.IO. Other limits count what begins in a time; these count what has not ended.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use super::client_ip::{ClientIp, Network};

/// The places of every address. Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct Places {
    /// None: as many as anybody likes.
    pub(crate) most: Option<usize>,
    held: Arc<Held>,
}

/// By network; those that hold none are not listed.
#[derive(Debug, Default)]
struct Held(Mutex<HashMap<Network, usize>>);

/// How many times as many the wider networks may hold: more, because strangers share them, and yet
/// not all that a process has.
const WIDER: usize = 2;

/// A place, which is given back when this is dropped.
#[derive(Debug)]
pub(crate) struct Place {
    address: ClientIp,
    held: Arc<Held>,
}

impl Places {
    /// So many for each address.
    pub(crate) fn new(most: Option<usize>) -> Self {
        Places { most, held: Arc::default() }
    }

    /// None if the address, or one of its networks, holds as many as it may.
    pub(crate) fn take(&self, address: ClientIp) -> Option<Place> {
        let mut held = self.held.lock();
        let is_full = |(network, times): (Network, u32)| {
            let count = held.get(&network).copied().unwrap_or(0);
            let factor = if times == 1 { 1 } else { WIDER };
            self.most.is_some_and(|most| count >= most.saturating_mul(factor))
        };
        if address.networks().any(is_full) {
            return None;
        }
        for (network, _) in address.networks() {
            *held.entry(network).or_default() += 1;
        }
        Some(Place { address, held: self.held.clone() })
    }
}

impl Held {
    fn lock(&self) -> MutexGuard<'_, HashMap<Network, usize>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut held = self.held.lock();
        for (network, _) in self.address.networks() {
            match held.get_mut(&network) {
                Some(count) if *count > 1 => *count -= 1,
                _ => drop(held.remove(&network)),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_network_has_its_places_and_gets_each_back_once() {
        let places = Places::new(Some(2));
        let take = |address: &str| places.take(ClientIp::peer(address.parse().unwrap()));
        let first = take("2001:db8:1:2::1").expect("a place");
        let _second = take("2001:db8:1:2:ffff::2").expect("a place");
        assert!(take("2001:db8:1:2::3").is_none());
        let elsewhere = take("2001:db8:1:3::1");
        assert!(elsewhere.is_some());
        drop(first);
        let third = take("2001:db8:1:2::3");
        assert!(third.is_some());
        assert!(take("2001:db8:1:2::4").is_none());
    }

    #[test]
    fn a_48_holds_twice_as_much_as_one_address() {
        let places = Places::new(Some(2));
        let take =
            |n: u32| places.take(ClientIp::peer(format!("2001:db8:1:{n:x}00::1").parse().unwrap()));
        let mut held: Vec<_> = (0..4).map(|n| take(n).expect("a place")).collect();
        assert!(take(4).is_none());
        held.pop();
        assert!(take(4).is_some());
    }

    #[test]
    fn an_address_that_holds_nothing_takes_no_memory() {
        let places = Places::new(Some(1));
        let mapped = places.take(ClientIp::peer("::ffff:203.0.113.7".parse().unwrap()));
        assert!(places.take(ClientIp::peer("203.0.113.7".parse().unwrap())).is_none());
        drop(mapped);
        assert!(places.held.lock().is_empty());
    }
}
