//! The admin who looks at the pages.

use nexus_common::types::ids::UserId;

/// An admin, by cookie or bearer token.
pub(super) struct Admin {
    pub(super) user: UserId,
    /// The token in the forms of this admin's pages; a bearer token needs none, because browsers do
    /// not add it by themselves.
    pub(super) form_token: Option<String>,
}

impl Admin {
    /// The token for forms.
    pub(super) fn form_token(&self) -> &str {
        self.form_token.as_deref().unwrap_or_default()
    }
}
