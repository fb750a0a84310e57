//! The probe's kinds. They differ in what a kind says about its jobs, and do the same.

use std::time::Duration;

use nexus_common::jobs::{Job, Queue, RetryPolicy};
use serde::{Deserialize, Serialize};

/// What a job does: one step a run, and the last one in every run after that.
#[derive(Serialize, Deserialize)]
pub(crate) struct Script {
    pub(crate) steps: Vec<Step>,
    pub(crate) unique: Option<String>,
}

/// Times are in milliseconds.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Step {
    /// Commits its effect together with the job.
    Done,
    /// The same after a while.
    Sleep(u64),
    /// The same with the transaction open meanwhile, and without awaiting.
    Hold(u64),
    Retry,
    RetryAfter(u64),
    Snooze(u64),
    Discard,
    Panic,
    Hang,
    /// Takes the whole process along.
    Die,
    /// Dies with everything done but the commit.
    DieBeforeCommit,
    /// Dies when its effect has been committed, and with it the job.
    DieAfterCommit,
    PanicAfterCommit,
}

impl Script {
    pub(crate) fn of(step: Step) -> Self {
        Script { steps: vec![step], unique: None }
    }
}

macro_rules! kind {
    ($(#[$doc:meta])* $type:ident, $kind:literal, $retry:expr $(, $const:ident: $of:ty = $value:expr)*) => {
        $(#[$doc])*
        #[derive(Serialize, Deserialize)]
        pub(crate) struct $type(pub(crate) Script);

        impl Job for $type {
            const QUEUE: Queue = Queue::Cleanup;
            const KIND: &'static str = $kind;
            const RETRY: RetryPolicy = $retry;
            $(const $const: $of = $value;)*

            fn unique_key(&self) -> Option<String> {
                self.0.unique.clone()
            }
        }
    };
}

const fn retry(first_ms: u64, max_attempts: i32) -> RetryPolicy {
    RetryPolicy {
        first: Duration::from_millis(first_ms),
        longest: Duration::from_millis(first_ms * 4),
        max_attempts,
    }
}

kind!(
    /// Fails quickly, and is tried often.
    Plain, "probe", retry(50, 20)
);
kind!(
    /// Has little time and few attempts.
    Hasty, "probe_hasty", retry(50, 2), TIMEOUT: Duration = Duration::from_millis(300)
);
kind!(
    /// Waits long after a failure.
    Patient, "probe_patient", retry(60_000, 3)
);
kind!(
    /// Goes first.
    Urgent, "probe_urgent", retry(50, 20), PRIORITY: i16 = -1
);
kind!(
    /// Enqueued by the clock.
    Tick, "probe_tick", retry(50, 20)
);
