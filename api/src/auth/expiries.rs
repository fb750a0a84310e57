//! When the tokens that sockets came with expire: at that moment [`revocations`](super::revocations)
//! ends what these hear as their user's.

use std::{
    collections::BTreeSet,
    sync::{Mutex, MutexGuard, PoisonError},
};

use chrono::{DateTime, Utc};
use nexus_common::types::ids::UserId;
use tokio::sync::Notify;

/// When tokens that sockets came with expire, and whose they are.
#[derive(Default)]
pub(crate) struct Expiries {
    due: Mutex<BTreeSet<(DateTime<Utc>, UserId)>>,
    /// One comes that is due before all others.
    earlier: Notify,
}

impl Expiries {
    fn due(&self) -> MutexGuard<'_, BTreeSet<(DateTime<Utc>, UserId)>> {
        self.due.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Has the sockets of `user` looked at when a token expires.
    pub(crate) fn watch(&self, user: UserId, expires_at: DateTime<Utc>) {
        let mut due = self.due();
        due.insert((expires_at, user));
        if due.first() == Some(&(expires_at, user)) {
            self.earlier.notify_one();
        }
    }

    /// Whose tokens have expired by now.
    pub(super) fn expired(&self) -> BTreeSet<UserId> {
        let mut due = self.due();
        let later = due.split_off(&(Utc::now(), UserId(0)));
        std::mem::replace(&mut *due, later).into_iter().map(|(_, user)| user).collect()
    }

    /// Waits until a token may have expired.
    pub(super) async fn next(&self) {
        let first = self.due().first().map(|(expires_at, _)| *expires_at);
        let Some(first) = first else { return self.earlier.notified().await };
        let wait = (first - Utc::now()).to_std().unwrap_or_default();
        tokio::select! {
            () = tokio::time::sleep(wait) => {}
            () = self.earlier.notified() => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_token_is_due_once_it_has_expired() {
        let expiries = Expiries::default();
        let now = Utc::now();
        expiries.watch(UserId(1), now - Duration::from_secs(1));
        expiries.watch(UserId(2), now + Duration::from_secs(60));
        assert_eq!(expiries.expired(), BTreeSet::from([UserId(1)]));
        assert_eq!(expiries.expired(), BTreeSet::new());
    }
}
