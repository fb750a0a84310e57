//! Remembers for a few seconds which access tokens PostgreSQL has called not revoked, so that the
//! rush at the start of a sale does not ask it the same question for every click. A revocation is
//! known at once: through Redis, and, if Redis forgets or never hears of it, through PostgreSQL's
//! notification (see [`revocations`](crate::auth::revocations)). Without notifications nothing is
//! remembered.

use std::{
    collections::HashMap,
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use nexus_common::types::ids::UserId;

/// How long an answer holds, in case a connection dies so quietly that missing notifications go
/// unnoticed.
const VALID: Duration = Duration::from_secs(10);
/// The most users that are remembered; the next constant limits the tokens of each.
const USERS: usize = 100_000;
const TOKENS: usize = 8;

/// Tokens that were not revoked a moment ago.
#[derive(Default)]
pub(crate) struct VerifiedTokens(Mutex<Known>);

#[derive(Default)]
struct Known {
    tokens: HashMap<UserId, Vec<(Box<str>, Instant)>>,
    /// Whether the listener is connected.
    listening: bool,
    /// Counts the revocations that made this forget tokens.
    epoch: u64,
}

/// When a look-up began.
pub(crate) struct Epoch(u64);

impl VerifiedTokens {
    fn known(&self) -> MutexGuard<'_, Known> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether the token was looked up a moment ago; if not, when the look-up that must follow
    /// begins.
    pub(crate) fn contains(&self, token: &str, user: UserId) -> Result<(), Epoch> {
        let known = self.known();
        let found = known.tokens.get(&user).is_some_and(|tokens| {
            tokens
                .iter()
                .any(|(known, since)| **known == *signature(token) && since.elapsed() < VALID)
        });
        if found { Ok(()) } else { Err(Epoch(known.epoch)) }
    }

    /// Remembers a look-up, unless a revocation has come since it began: it may have been this
    /// token's.
    pub(crate) fn insert(&self, token: &str, user: UserId, began: &Epoch) {
        let mut known = self.known();
        if !known.listening || known.epoch != began.0 {
            return;
        }
        if known.tokens.len() >= USERS {
            known
                .tokens
                .retain(|_, tokens| tokens.iter().any(|(_, since)| since.elapsed() < VALID));
            if known.tokens.len() >= USERS {
                known.tokens.clear();
            }
        }
        let tokens = known.tokens.entry(user).or_default();
        tokens.retain(|(known, since)| since.elapsed() < VALID && **known != *signature(token));
        if tokens.len() >= TOKENS {
            tokens.remove(0);
        }
        tokens.push((signature(token).into(), Instant::now()));
    }

    /// Forgets the tokens of a user, one of which has just been revoked.
    pub(crate) fn forget(&self, user: UserId) {
        let mut known = self.known();
        known.epoch += 1;
        known.tokens.remove(&user);
    }

    /// Notes that the listener has connected or disconnected.
    pub(crate) fn set_listening(&self, listening: bool) {
        let mut known = self.known();
        *known = Known { tokens: HashMap::new(), listening, epoch: known.epoch + 1 };
    }
}

/// A JWT's signature, which tells it from every other verified token.
fn signature(token: &str) -> &str {
    token.rsplit('.').next().unwrap_or(token)
}

#[cfg(test)]
mod tests {
    use super::*;

    const USER: UserId = UserId(7);

    fn look_up(verified: &VerifiedTokens) -> Option<Epoch> {
        verified.contains("a.b.c", USER).err()
    }

    #[test]
    fn what_is_revoked_during_a_look_up_is_not_remembered() {
        let verified = VerifiedTokens::default();
        verified.set_listening(true);
        let began = look_up(&verified).unwrap();
        verified.forget(USER);
        verified.insert("a.b.c", USER, &began);
        let began = look_up(&verified).unwrap();
        verified.insert("a.b.c", USER, &began);
        assert!(look_up(&verified).is_none());
    }

    #[test]
    fn nothing_is_remembered_while_nobody_would_tell_of_a_revocation() {
        let verified = VerifiedTokens::default();
        verified.insert("a.b.c", USER, &look_up(&verified).unwrap());
        assert!(look_up(&verified).is_some());
        verified.set_listening(true);
        verified.insert("a.b.c", USER, &look_up(&verified).unwrap());
        verified.set_listening(false);
        assert!(look_up(&verified).is_some());
    }
}
