//! How much one address may hold at once: connections, or sessions of Socket.IO. Other limits count
//! what begins in a time; these count what has not ended.

use std::{
    collections::HashMap,
    net::IpAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use super::client_ip::ClientIp;

/// The places of every address. Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct Places {
    /// None: as many as anybody likes.
    pub(crate) most: Option<usize>,
    held: Arc<Held>,
}

/// By network; those that hold none are not listed.
#[derive(Debug, Default)]
struct Held(Mutex<HashMap<IpAddr, usize>>);

/// A place, which is given back when this is dropped.
#[derive(Debug)]
pub(crate) struct Place {
    network: IpAddr,
    held: Arc<Held>,
}

impl Places {
    /// So many for each address.
    pub(crate) fn new(most: Option<usize>) -> Self {
        Places { most, held: Arc::default() }
    }

    /// None if the address holds as many as it may.
    pub(crate) fn take(&self, address: ClientIp) -> Option<Place> {
        let network = address.network();
        let mut held = self.held.lock();
        let count = held.get(&network).copied().unwrap_or(0);
        if self.most.is_some_and(|most| count >= most) {
            return None;
        }
        held.insert(network, count + 1);
        Some(Place { network, held: self.held.clone() })
    }
}

impl Held {
    fn lock(&self) -> MutexGuard<'_, HashMap<IpAddr, usize>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut held = self.held.lock();
        match held.get_mut(&self.network) {
            Some(count) if *count > 1 => *count -= 1,
            _ => drop(held.remove(&self.network)),
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
    fn an_address_that_holds_nothing_takes_no_memory() {
        let places = Places::new(Some(1));
        let mapped = places.take(ClientIp::peer("::ffff:203.0.113.7".parse().unwrap()));
        assert!(places.take(ClientIp::peer("203.0.113.7".parse().unwrap())).is_none());
        drop(mapped);
        assert!(places.held.lock().is_empty());
    }
}
