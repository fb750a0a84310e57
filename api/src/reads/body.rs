//! A response that many callers get: serialised, tagged and compressed once.

use http::HeaderValue;
use nexus_common::{Error, Result};
use serde::Serialize;

use crate::server::{encoding::Shared, etag};

/// The body of a response, and its tag. Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct Body {
    pub(crate) json: Shared,
    pub(crate) tag: Option<HeaderValue>,
}

/// The response around the data (docs/contract.md#transport).
#[derive(Serialize)]
struct Envelope<T> {
    data: T,
}

impl Body {
    /// The envelope of `data`.
    pub(crate) fn around(data: impl Serialize) -> Result<Self> {
        Self::of(&Envelope { data })
    }

    pub(crate) fn of(response: &impl Serialize) -> Result<Self> {
        let json = serde_json::to_vec(response).map_err(Error::internal)?;
        Ok(Body { tag: etag::tag_of(&json), json: Shared::new(json) })
    }
}
