//! What accounts may do.

use super::Env;

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
