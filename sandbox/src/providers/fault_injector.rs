//! What goes wrong on purpose: which call, how often, and how.

use std::collections::VecDeque;
use std::sync::Mutex;
use std::time::Duration;

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use serde::{Deserialize, Serialize};

use super::locked::locked;
use super::recent;
use super::target::Target;

const LIMIT: usize = 1_000;

/// One way of going wrong. Several fields may be set at once (slow, then an error); the rest stays
/// default.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Fault {
    /// Wait before the provider does its work.
    pub delay_ms: u64,
    /// Do the work, and wait before answering.
    pub delay_response_ms: u64,
    /// Do nothing, and answer this (for SMTP a reply code: 4xx is temporary, 5xx permanent).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub status: Option<u16>,
    /// Do nothing, and close the connection.
    pub drop: bool,
    /// Do the work, and close the connection instead of answering.
    pub drop_after: bool,
    /// Webhook: never deliver this event (a replay still does).
    pub lose: bool,
    /// Webhook: deliver this many extra copies at the same time.
    pub duplicate: usize,
    /// Webhook: deliver this much later.
    pub late_ms: u64,
    /// Webhook: deliver later by a time that is drawn, this much at most; so events overtake each
    /// other.
    pub late_up_to_ms: u64,
    /// Webhook: deliver after the next event was delivered (or after 5 s).
    pub reorder: bool,
}

impl Fault {
    /// Wait before working.
    pub fn delay(delay: Duration) -> Self {
        Self { delay_ms: millis(delay), ..Self::default() }
    }

    /// Wait before answering.
    pub fn delay_response(delay: Duration) -> Self {
        Self { delay_response_ms: millis(delay), ..Self::default() }
    }

    /// Answer an error without working.
    pub fn status(status: u16) -> Self {
        Self { status: Some(status), ..Self::default() }
    }

    /// Close the connection without working.
    pub fn dropped() -> Self {
        Self { drop: true, ..Self::default() }
    }

    /// Work, then close the connection.
    pub fn dropped_after() -> Self {
        Self { drop_after: true, ..Self::default() }
    }

    /// A webhook that never comes.
    pub fn lost() -> Self {
        Self { lose: true, ..Self::default() }
    }

    /// A webhook that comes `1 + copies` times.
    pub fn duplicated(copies: usize) -> Self {
        Self { duplicate: copies, ..Self::default() }
    }

    /// A webhook that comes late.
    pub fn late(delay: Duration) -> Self {
        Self { late_ms: millis(delay), ..Self::default() }
    }

    /// A webhook that comes late, by anything up to `delay`.
    pub fn late_up_to(delay: Duration) -> Self {
        Self { late_up_to_ms: millis(delay), ..Self::default() }
    }

    /// A webhook that comes after its successor.
    pub fn reordered() -> Self {
        Self { reorder: true, ..Self::default() }
    }

    pub(crate) async fn wait_before(&self) {
        tokio::time::sleep(Duration::from_millis(self.delay_ms)).await;
    }

    pub(crate) async fn wait_after(&self) {
        tokio::time::sleep(Duration::from_millis(self.delay_response_ms)).await;
    }

    /// Refuses a fault that its target cannot show, rather than silently working.
    fn check(&self, target: Target) -> Result<(), String> {
        let late = self.late_ms > 0 || self.late_up_to_ms > 0;
        let webhook_only = self.lose || self.duplicate > 0 || late || self.reorder;
        let calls_only = self.drop || self.drop_after || self.status.is_some();
        let calls_only = calls_only || self.delay_ms > 0 || self.delay_response_ms > 0;
        match (target == Target::Webhook, webhook_only, calls_only) {
            (_, false, false) => Err("the fault does nothing".to_owned()),
            (true, _, true) => {
                Err("a webhook can be lose, duplicate, late_ms, late_up_to_ms or reorder"
                    .to_owned())
            }
            (false, true, _) => {
                Err("lose, duplicate, late_ms, late_up_to_ms and reorder are for webhooks"
                    .to_owned())
            }
            _ if self.status.is_some_and(|status| !(400..600).contains(&status)) => {
                Err("status must be between 400 and 599".to_owned())
            }
            _ => Ok(()),
        }
    }
}

/// A fault that waits for its calls.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ActiveFault {
    pub target: Target,
    /// How many more; `None` means until cleared.
    #[serde(default)]
    pub times: Option<u32>,
    /// How many of a hundred calls. Those that are spared meet the target's next fault, if there is
    /// one: 30 and 20 and one without a share are three tenths, two tenths and the rest.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub percent: Option<u8>,
    /// Starts the draws anew, so that the same calls in the same order meet the same faults.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seed: Option<u64>,
    /// Only calls whose path names this, an order for instance; the others are not counted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub about: Option<String>,
    /// What happens to them.
    pub fault: Fault,
}

impl ActiveFault {
    /// Refuses a fault that makes no sense.
    pub(crate) fn check(&self) -> Result<(), String> {
        if self.percent.is_some_and(|percent| !(1..=100).contains(&percent)) {
            return Err("percent must be between 1 and 100".to_owned());
        }
        if self.about.is_some() && matches!(self.target, Target::Smtp | Target::Webhook) {
            return Err("about is for calls that have a path".to_owned());
        }
        self.fault.check(self.target)
    }
}

#[derive(Debug)]
pub(crate) struct FaultInjector(Mutex<Script>);

#[derive(Debug)]
struct Script {
    active: VecDeque<ActiveFault>,
    draws: StdRng,
}

impl Default for FaultInjector {
    fn default() -> Self {
        Self(Mutex::new(Script { active: VecDeque::new(), draws: StdRng::seed_from_u64(0) }))
    }
}

impl FaultInjector {
    pub(crate) fn add(&self, fault: ActiveFault) {
        let mut script = locked(&self.0);
        if let Some(seed) = fault.seed {
            script.draws = StdRng::seed_from_u64(seed);
        }
        recent::push(&mut script.active, LIMIT, fault);
    }

    pub(crate) fn list(&self) -> Vec<ActiveFault> {
        locked(&self.0).active.iter().cloned().collect()
    }

    pub(crate) fn clear(&self) {
        locked(&self.0).active.clear();
    }

    /// Decides the fault of this call: the oldest of its target that does not spare it, used up by
    /// one. A call without a path has an empty one.
    pub(crate) fn take(&self, target: Target, path: &str) -> Fault {
        let mut script = locked(&self.0);
        let Script { active, draws } = &mut *script;
        active.retain(|active| active.times != Some(0));
        let mut drawn: Option<u8> = None;
        let names = |id: &String| path.split('/').any(|part| part == id);
        let meets = |active: &&mut ActiveFault| {
            active.target == target && active.about.as_ref().is_none_or(names)
        };
        for candidate in active.iter_mut().filter(meets) {
            if let Some(percent) = candidate.percent {
                let rest = drawn.get_or_insert_with(|| draws.random_range(0..100));
                if *rest >= percent {
                    *rest -= percent;
                    continue;
                }
            }
            candidate.times = candidate.times.map(|times| times - 1);
            let mut fault = candidate.fault.clone();
            if fault.late_up_to_ms > 0 {
                fault.late_ms += draws.random_range(0..=fault.late_up_to_ms);
            }
            return fault;
        }
        Fault::default()
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
