//! How tokens are stored.

use super::Env;

/// How tokens are stored in PostgreSQL and Redis. Whichever way it is, both are found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TokenStorage {
    /// Hashed: whoever reads the database or Redis can log in as nobody.
    Hashed,
    /// As they are: the Node service, which works on the same data, looks for them so
    /// (docs/contract.md#existing-data).
    Raw,
}

impl TokenStorage {
    /// SIDE_BY_SIDE, off: whether the Node service works on the same data, and so has to find
    /// tokens in PostgreSQL and Redis as they are.
    pub fn from_env(env: &mut Env) -> Self {
        let words = [("off", TokenStorage::Hashed), ("on", TokenStorage::Raw)];
        env.one_of("SIDE_BY_SIDE", &words)
    }
}
