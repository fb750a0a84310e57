//! How the other parts of a worker wake its relay, and what they tell it.

use std::sync::{
    Arc,
    atomic::{AtomicBool, AtomicUsize, Ordering},
};

use nexus_common::{
    jobs::{Queue, wakeups},
    storage::listener::Heard,
};
use tokio::sync::Notify;

/// Wakes the relay of a worker, and holds what the relay has to know then.
pub(crate) struct RelaySignal {
    pub(crate) notify: Notify,
    /// The transport is full, and more jobs are due.
    pub(crate) full: AtomicBool,
    /// A due job had to wait for the end of another job.
    pub(crate) waiting: AtomicBool,
    pub(crate) claimed: AtomicUsize,
    refill_after: usize,
    /// Pushed deliveries may be lost.
    pub(crate) lost: AtomicBool,
    /// A job is pending in an old place, perhaps before all that the relay looks at.
    pub(crate) back: AtomicBool,
}

impl RelaySignal {
    /// The relay refills the transport after `refill_after` claims of its worker.
    pub(crate) fn new(refill_after: usize) -> Arc<Self> {
        Arc::new(RelaySignal {
            notify: Notify::new(),
            full: AtomicBool::new(false),
            waiting: AtomicBool::new(false),
            claimed: AtomicUsize::new(0),
            refill_after,
            lost: AtomicBool::new(false),
            back: AtomicBool::new(false),
        })
    }

    /// A job may be due.
    pub(crate) fn wake(&self) {
        self.notify.notify_one();
    }

    /// A job is pending in an old place.
    pub(crate) fn back(&self) {
        self.back.store(true, Ordering::Release);
        self.wake();
    }

    /// PostgreSQL notified that jobs were enqueued.
    pub(crate) fn hear(&self, queue: Queue, heard: Heard<'_>) {
        match heard {
            Heard::Message(notice) => match notice.strip_prefix(queue.name()) {
                Some("") => self.wake(),
                Some(wakeups::BACK) => self.back(),
                _ => {}
            },
            // Notices sent before the listener connected were not heard.
            Heard::Connected => self.back(),
            Heard::Disconnected => {}
        }
    }

    /// A worker has claimed a delivery. Throughput must not depend on how often the relay looks, so
    /// it refills the transport when a part has been used up.
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

    /// The transport was away or has been emptied: pushed deliveries may be lost.
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
        let signal = RelaySignal::new(4);
        for _ in 0..16 {
            signal.claimed();
        }
        assert!(!wakes(&signal).await, "nothing more is due");
        signal.full.store(true, Ordering::Relaxed);
        signal.claimed();
        assert!(wakes(&signal).await);
        assert!(!wakes(&signal).await, "a part must be used up first");
        for _ in 0..4 {
            signal.claimed();
        }
        assert!(wakes(&signal).await);
    }

    async fn wakes(signal: &RelaySignal) -> bool {
        tokio::time::timeout(Duration::from_millis(5), signal.notify.notified()).await.is_ok()
    }
}
