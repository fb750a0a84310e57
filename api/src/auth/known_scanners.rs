//! Door keys that were good the last time, so that a request with one need not count for its address
//! before it is looked up. It is looked up all the same.

use std::{
    collections::HashSet,
    sync::{Mutex, PoisonError},
};

use nexus_common::door::keys::Token;

/// More than there are at all doors of one evening.
const MOST: usize = 20_000;

#[derive(Default)]
pub(crate) struct KnownScanners(Mutex<HashSet<Token>>);

impl KnownScanners {
    pub(crate) fn contains(&self, key: &Token) -> bool {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).contains(key)
    }

    /// Remembers a key that is good, and forgets one that is not.
    pub(crate) fn note(&self, key: Token, is_good: bool) {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if !is_good {
            known.remove(&key);
        } else if known.len() < MOST || known.contains(&key) {
            known.insert(key);
        } else {
            // Each is known again by its next request.
            known.clear();
        }
    }
}
