//! What a client sends that has solved a puzzle.

use std::convert::Infallible;

use axum::extract::FromRequestParts;
use http::request::Parts;

/// The header in which it comes: Base64, as ALTCHA's widget and libraries make it.
pub(crate) const SOLUTION: &str = "X-Altcha";

/// The solution of a puzzle that came with a request, if one did. It has not been looked at yet.
#[derive(Debug, Default)]
pub(crate) struct Solution(pub(crate) Option<String>);

impl<S: Sync> FromRequestParts<S> for Solution {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Infallible> {
        let sent = parts.headers.get(SOLUTION).and_then(|value| value.to_str().ok());
        Ok(Solution(sent.map(str::to_owned)))
    }
}
