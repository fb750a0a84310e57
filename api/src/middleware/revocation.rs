//! Remembers for a few seconds which access tokens PostgreSQL has said are not revoked, so that the rush at the start of a sale does not
//! ask it the same thing again for every click. A logout is known at once through Redis; this matters only when Redis has forgotten it.

use std::{
    collections::HashMap,
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

use nexus_common::domain::ids::UserId;

/// How long an answer holds.
const VALID: Duration = Duration::from_secs(10);
/// At most so many are remembered.
const CAPACITY: usize = 100_000;

/// Tokens that were not revoked a moment ago.
#[derive(Default)]
pub(crate) struct Verified(Mutex<HashMap<Box<str>, (UserId, Instant)>>);

impl Verified {
    /// Whether the token was looked up a moment ago.
    pub(crate) fn contains(&self, token: &str) -> bool {
        let tokens = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        tokens.get(signature(token)).is_some_and(|(_, since)| since.elapsed() < VALID)
    }

    /// Remembers a look-up.
    pub(crate) fn insert(&self, token: &str, user: UserId) {
        let mut tokens = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if tokens.len() >= CAPACITY {
            tokens.retain(|_, (_, since)| since.elapsed() < VALID);
            if tokens.len() >= CAPACITY {
                tokens.clear();
            }
        }
        tokens.insert(signature(token).into(), (user, Instant::now()));
    }

    /// Forgets the tokens of a user, of whom one has just been revoked.
    pub(crate) fn forget(&self, user: UserId) {
        let mut tokens = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        tokens.retain(|_, (owner, _)| *owner != user);
    }
}

/// A JWT's last part tells it from every other that has been verified.
fn signature(token: &str) -> &str {
    token.rsplit('.').next().unwrap_or(token)
}
