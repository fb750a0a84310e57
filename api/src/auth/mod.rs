//! Identity: tokens, passwords, one-time passwords.

pub(crate) mod caller;
pub(crate) mod codes;
pub(crate) mod expiries;
pub(crate) mod known_scanners;
pub(crate) mod login;
pub(crate) mod revocations;
pub(crate) mod verified_tokens;
