//! How long old rows are kept.

use std::time::Duration;

use super::Env;

/// How long old rows are kept for operators to look at (docs/retention.md).
#[derive(Debug, Clone, Copy)]
pub struct Retention {
    /// WEBHOOKS_KEEP_DAYS, 90: webhooks that have been acted on.
    pub webhooks: Duration,
    /// WEBHOOK_BODIES_KEEP_DAYS, 30: their bodies, which have the buyer's contacts.
    pub webhook_bodies: Duration,
    /// ALERTS_KEEP_DAYS, 365: alerts that are closed.
    pub alerts: Duration,
    /// DEAD_MESSAGES_KEEP_DAYS, 90: messages that could not be sent.
    pub dead_messages: Duration,
    /// AUDIT_KEEP_DAYS, 365: rows of the audit log, which the schema keeps for a month at least.
    pub audit: Duration,
}

impl Retention {
    /// Reads the group.
    pub fn from_env(env: &mut Env) -> Self {
        const DAY: u64 = 86_400;
        let mut days = |name, default, least| {
            Duration::from_secs(env.between(name, default, least, 3_650) * DAY)
        };
        Retention {
            webhooks: days("WEBHOOKS_KEEP_DAYS", 90, 7),
            webhook_bodies: days("WEBHOOK_BODIES_KEEP_DAYS", 30, 1),
            alerts: days("ALERTS_KEEP_DAYS", 365, 1),
            dead_messages: days("DEAD_MESSAGES_KEEP_DAYS", 90, 1),
            audit: days("AUDIT_KEEP_DAYS", 365, 31),
        }
    }
}
