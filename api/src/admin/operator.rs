//! The operator who looks at the pages.

use nexus_common::{accounts::roles::Role, types::ids::UserId};

/// An admin or an auditor, whose browser has the cookie of an open session.
pub(super) struct Admin {
    pub(super) user: UserId,
    pub(super) role: Role,
    /// Whether a code was given a moment ago.
    pub(super) is_fresh: bool,
    /// The cookie.
    pub(super) token: String,
    /// What every form of this operator's pages holds.
    pub(super) form_token: String,
}

impl Admin {
    /// Whether they may act, or only look.
    pub(super) fn may_act(&self) -> bool {
        self.role == Role::Admin
    }
}
