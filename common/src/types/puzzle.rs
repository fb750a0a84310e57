//! A puzzle, as clients get it.

use serde::Serialize;
use utoipa::ToSchema;

/// Work that a client may do to be let past the limit of its network. These are the fields of an
/// ALTCHA challenge, so that ALTCHA's widget and libraries solve it: find the number for which the
/// SHA-256 of `salt` and the number, in decimal, is `challenge`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, ToSchema)]
pub struct Puzzle {
    pub algorithm: &'static str,
    /// In hexadecimal.
    pub challenge: String,
    /// The number is not larger.
    pub maxnumber: u32,
    pub salt: String,
    /// To be sent back as it is.
    pub signature: String,
}
