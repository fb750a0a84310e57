//! Why input cannot be read.

/// The rule that the input breaks, in the contract's words.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Invalid(String);

impl Invalid {
    /// In the contract's words.
    pub fn new(message: impl Into<String>) -> Self {
        Invalid(message.into())
    }
}
