//! How long old rows are kept.

use std::time::Duration;

use super::Env;

/// How long old rows are kept for operators to look at (docs/retention.md).
#[derive(Debug, Clone, Copy)]
pub struct Retention {
    /// WEBHOOKS_KEEP_DAYS, 90: webhooks that have been acted on.
    pub webhooks: Duration,
    /// ALERTS_KEEP_DAYS, 365: alerts that are closed.
    pub alerts: Duration,
}

impl Retention {
    /// Reads the group.
    pub fn from_env(env: &mut Env) -> Self {
        const DAY: u64 = 86_400;
        Retention {
            webhooks: Duration::from_secs(env.between("WEBHOOKS_KEEP_DAYS", 90, 7, 3_650) * DAY),
            alerts: Duration::from_secs(env.between("ALERTS_KEEP_DAYS", 365, 1, 3_650) * DAY),
        }
    }
}
