//! What clients that poll have posted, and not polled for the answers to. The library keeps those
//! until the next poll: as many bytes, or a few times as many, as the client cares to post.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use socketioxide::socket::Sid;

use super::server::MAX_MESSAGE;

/// The largest message and a few small ones.
const MOST: usize = MAX_MESSAGE + MAX_MESSAGE / 4;
/// A shorter answer to a poll is all there was.
const ALL: usize = MAX_MESSAGE / 2;
/// Sessions that are remembered: those that have ended are not known from the others.
const SESSIONS: usize = 100_000;

/// By session. Cheap to clone.
#[derive(Clone, Default)]
pub(crate) struct Posted(Arc<Mutex<HashMap<Sid, usize>>>);

impl Posted {
    fn sessions(&self) -> MutexGuard<'_, HashMap<Sid, usize>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether a session may post so many more bytes.
    pub(super) fn may(&self, sid: Sid, bytes: usize) -> bool {
        let mut sessions = self.sessions();
        if sessions.len() >= SESSIONS {
            sessions.clear();
        }
        let posted = sessions.entry(sid).or_default();
        *posted = posted.saturating_add(bytes);
        *posted <= MOST
    }

    /// The client has taken so many bytes of answers.
    pub(super) fn polled(&self, sid: Sid, bytes: usize) {
        let mut sessions = self.sessions();
        match sessions.get_mut(&sid) {
            Some(posted) if bytes >= ALL => *posted = posted.saturating_sub(bytes),
            _ => drop(sessions.remove(&sid)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_session_may_post_on_when_it_has_taken_the_answers() {
        let (posted, sid) = (Posted::default(), Sid::new());
        assert!(posted.may(sid, MAX_MESSAGE));
        assert!(posted.may(sid, 1_000));
        assert!(!posted.may(sid, MAX_MESSAGE));
        posted.polled(sid, 100);
        assert!(posted.may(sid, MAX_MESSAGE));
        posted.polled(sid, MAX_MESSAGE);
        assert!(posted.may(sid, MAX_MESSAGE));
        assert!(posted.may(Sid::new(), MAX_MESSAGE));
    }
}
