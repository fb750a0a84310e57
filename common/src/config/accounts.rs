//! What accounts may do.

use super::Env;

/// EVENT_CREATION: who may create events. Unless set, organisers in production, and elsewhere users.
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
        let mut words =
            [("users", EventCreation::Users), ("organisers", EventCreation::Organisers)];
        if env.production {
            // The first is the default: whoever registers could sell tickets for anything.
            words.reverse();
        }
        env.one_of("EVENT_CREATION", &words)
    }
}
