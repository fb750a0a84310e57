//! Mutexes that no panic spoils.

use std::sync::{Mutex, MutexGuard, PoisonError};

/// A stand-in whose handler panicked in one test call stays usable.
pub(crate) fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
