//! How tokens are stored.

use super::Env;

/// How tokens are stored in PostgreSQL and Redis. Look-ups find both forms.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TokenStorage {
    /// Hashed: an attacker who reads the database or Redis cannot log in.
    Hashed,
    /// In plain text: the Node service, which works on the same data, looks for them in this form
    /// (docs/contract.md#existing-data).
    Raw,
}

impl TokenStorage {
    /// SIDE_BY_SIDE, off: whether the Node service works on the same data, and so must find tokens
    /// in plain text.
    pub fn from_env(env: &mut Env) -> Self {
        let words = [("off", TokenStorage::Hashed), ("on", TokenStorage::Raw)];
        env.one_of("SIDE_BY_SIDE", &words)
    }
}
