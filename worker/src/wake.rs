//! How the rest of a worker wakes its relay, and what the relay has to know when it wakes.

use std::sync::{
    Arc,
    atomic::{AtomicBool, AtomicUsize, Ordering},
};

use tokio::sync::Notify;

/// How the rest of the worker speaks to its relay.
pub(crate) struct Wake {
    pub(crate) bell: Notify,
    /// Redis holds all that it may, and more is due.
    pub(crate) full: AtomicBool,
    /// Something was due that had to wait for the end of another job.
    pub(crate) waiting: AtomicBool,
    pub(crate) claimed: AtomicUsize,
    refill_after: usize,
    /// What was pushed may be lost.
    pub(crate) lost: AtomicBool,
    /// Something is pending in an old place, perhaps before all that the relay looks at.
    pub(crate) back: AtomicBool,
}

impl Wake {
    /// For a worker whose relay refills Redis after so many claims.
    pub(crate) fn new(refill_after: usize) -> Arc<Self> {
        Arc::new(Wake {
            bell: Notify::new(),
            full: AtomicBool::new(false),
            waiting: AtomicBool::new(false),
            claimed: AtomicUsize::new(0),
            refill_after,
            lost: AtomicBool::new(false),
            back: AtomicBool::new(false),
        })
    }

    /// There may be something due.
    pub(crate) fn wake(&self) {
        self.bell.notify_one();
    }

    /// Something is pending in an old place.
    pub(crate) fn back(&self) {
        self.back.store(true, Ordering::Release);
        self.wake();
    }

    /// A delivery left Redis. Throughput must not depend on the relay's polling: it refills when a
    /// part has been used up.
    pub(crate) fn claimed(&self) {
        let claimed = self.claimed.fetch_add(1, Ordering::Relaxed) + 1;
        if claimed >= self.refill_after && self.full.load(Ordering::Relaxed) {
            self.claimed.store(0, Ordering::Relaxed);
            self.wake();
        }
    }

    /// A job has ended.
    pub(crate) fn ended(&self) {
        if self.waiting.load(Ordering::Relaxed) {
            self.wake();
        }
    }

    /// Redis was away or has been emptied: what was pushed may be lost.
    pub(crate) fn transport_failed(&self) {
        self.lost.store(true, Ordering::Release);
        self.wake();
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[tokio::test]
    async fn claims_wake_a_full_relay_only() {
        let wake = Wake::new(4);
        for _ in 0..16 {
            wake.claimed();
        }
        assert!(!rings(&wake).await, "nothing more is due");
        wake.full.store(true, Ordering::Relaxed);
        wake.claimed();
        assert!(rings(&wake).await);
        assert!(!rings(&wake).await, "a part must be used up first");
        for _ in 0..4 {
            wake.claimed();
        }
        assert!(rings(&wake).await);
    }

    async fn rings(wake: &Wake) -> bool {
        tokio::time::timeout(Duration::from_millis(5), wake.bell.notified()).await.is_ok()
    }
}
