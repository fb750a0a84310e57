//! How the other parts of a worker wake its relay, and what they tell it.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use nexus_common::{
    jobs::{JobId, Queue, wakeups},
    storage::listener::Heard,
};
use tokio::sync::Notify;

use super::load::Load;

/// Wakes the relay of a worker, and holds what the relay has to know then.
pub(crate) struct RelaySignal {
    pub(crate) notify: Notify,
    pub(crate) load: Load,
    /// A due job has to wait for the end of another job.
    pub(crate) waiting: AtomicBool,
    /// Pushed deliveries may be lost.
    pub(crate) lost: AtomicBool,
    /// A job is pending in an old place, perhaps before all that the relay looks at.
    pub(crate) back: AtomicBool,
}

impl RelaySignal {
    /// For a worker with so many slots.
    pub(crate) fn new(slots: usize) -> Arc<Self> {
        Arc::new(RelaySignal {
            notify: Notify::new(),
            load: Load::new(slots),
            waiting: AtomicBool::new(false),
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

    /// The worker no longer holds a job.
    pub(crate) fn ended(&self, job: JobId) {
        self.load.drop(job);
        if self.waiting.load(Ordering::Acquire) && self.load.is_low() {
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
    async fn the_end_of_a_job_wakes_the_relay_if_another_waits_for_it() {
        let signal = RelaySignal::new(1);
        let job = JobId::from_u128(1);
        signal.load.take([(job, 0)]);
        signal.ended(job);
        assert!(!wakes(&signal).await, "nothing more is due");
        signal.waiting.store(true, Ordering::Release);
        signal.load.take([(job, 0)]);
        signal.ended(job);
        assert!(wakes(&signal).await);
    }

    async fn wakes(signal: &RelaySignal) -> bool {
        tokio::time::timeout(Duration::from_millis(5), signal.notify.notified()).await.is_ok()
    }
}
