//! When the apalis worker looks into Redis: when the relay has seen in the ledger that something is
//! there, and every two seconds by itself.

use std::{
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use apalis::prelude::{PollSnapshot, PollStrategy};
use futures_util::task::AtomicWaker;
use tokio::time::{Interval, MissedTickBehavior, interval};

const EVERY: Duration = Duration::from_secs(2);

/// apalis fetches on every wake-up and ignores what a strategy returns; the strategy only has to
/// register a waker.
pub(super) struct Wakeup {
    tick: Interval,
    fetch: Arc<AtomicWaker>,
}

impl Wakeup {
    pub(super) fn new(fetch: Arc<AtomicWaker>) -> Self {
        let mut tick = interval(EVERY);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        Wakeup { tick, fetch }
    }
}

impl PollStrategy for Wakeup {
    fn poll_drive(&mut self, cx: &mut Context<'_>, _: &PollSnapshot) -> Poll<Option<()>> {
        self.fetch.register(cx.waker());
        let mut due = false;
        // Until it is pending: only then has it kept the waker.
        while self.tick.poll_tick(cx).is_ready() {
            due = true;
        }
        if due { Poll::Ready(Some(())) } else { Poll::Pending }
    }
}

#[cfg(test)]
mod tests {
    use futures_util::future::poll_fn;

    use super::*;

    #[tokio::test]
    async fn a_ready_tick_leaves_a_waker_for_the_next() {
        let mut strategy = Wakeup::new(Arc::default());
        for _ in 0..3 {
            // Hangs if nothing wakes this task.
            let next = poll_fn(|cx| strategy.poll_drive(cx, &PollSnapshot::new()));
            assert!(tokio::time::timeout(Duration::from_secs(2), next).await.is_ok());
        }
    }

    #[tokio::test]
    async fn to_fetch_wakes_at_once() {
        let fetch: Arc<AtomicWaker> = Arc::default();
        let mut strategy = Wakeup::new(fetch.clone());
        let flag = Arc::new(Flag::default());
        let waker = std::task::Waker::from(flag.clone());
        let _ = strategy.poll_drive(&mut Context::from_waker(&waker), &PollSnapshot::new());
        fetch.wake();
        assert!(flag.0.load(std::sync::atomic::Ordering::SeqCst));
    }

    #[derive(Default)]
    struct Flag(std::sync::atomic::AtomicBool);

    impl std::task::Wake for Flag {
        fn wake(self: Arc<Self>) {
            self.0.store(true, std::sync::atomic::Ordering::SeqCst);
        }
    }
}
