//! Calls: every call at a provider is counted, and the newest are kept.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Mutex;

use chrono::{DateTime, Utc};
use serde::Serialize;

use super::locked::locked;
use super::recent;
use super::target::Target;

const LIMIT: usize = 1_000;

/// One call as the provider saw it.
#[derive(Debug, Clone, Serialize)]
pub struct Call {
    /// When it arrived.
    pub at: DateTime<Utc>,
    /// What kind of call it was.
    pub target: Target,
    /// HTTP method, or `DATA` for SMTP.
    pub method: String,
    /// Path, or the recipients for SMTP.
    pub path: String,
    /// The answer; `None` when the connection was dropped or no answer came.
    pub status: Option<u16>,
}

/// How often a target was called since the start.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Count {
    pub calls: u64,
    /// Those answered with 2xx.
    pub succeeded: u64,
}

#[derive(Debug, Default)]
struct Log {
    newest: VecDeque<Call>,
    counts: BTreeMap<Target, Count>,
}

#[derive(Debug, Default)]
pub(crate) struct Calls(Mutex<Log>);

impl Calls {
    pub(crate) fn record(&self, call: Call) {
        let mut log = locked(&self.0);
        let count = log.counts.entry(call.target).or_default();
        count.calls += 1;
        count.succeeded +=
            u64::from(call.status.is_some_and(|status| (200..300).contains(&status)));
        recent::push(&mut log.newest, LIMIT, call);
    }

    pub(crate) fn count(&self, target: Target) -> Count {
        locked(&self.0).counts.get(&target).copied().unwrap_or_default()
    }

    pub(crate) fn newest(&self) -> Vec<Call> {
        locked(&self.0).newest.iter().cloned().collect()
    }

    pub(crate) fn counts(&self) -> BTreeMap<Target, Count> {
        locked(&self.0).counts.clone()
    }

    pub(crate) fn clear(&self) {
        *locked(&self.0) = Log::default();
    }
}
