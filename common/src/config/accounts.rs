//! Accounts: how their tokens are kept, and what they may do.

use super::Env;
use crate::domain::tokens::Keeping;

/// SIDE_BY_SIDE, off: whether the Node service works on the same data, and so has to find tokens in
/// PostgreSQL and Redis as they are.
pub fn tokens_kept(env: &mut Env) -> Keeping {
    env.one_of("SIDE_BY_SIDE", &[("off", Keeping::Hashed), ("on", Keeping::Raw)])
}

/// EVENT_CREATION, users: who may create events.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EventCreation {
    /// Every user, as existing frontends expect.
    Users,
    /// Organisers and admins.
    Organisers,
}

impl EventCreation {
    /// Reads the setting.
    pub fn from_env(env: &mut Env) -> Self {
        let words = [("users", EventCreation::Users), ("organisers", EventCreation::Organisers)];
        env.one_of("EVENT_CREATION", &words)
    }
}
