//! A response that many callers get: serialised, tagged and compressed once. Some callers get one of
//! their own.

use http::HeaderValue;
use nexus_common::{Error, Result};
use serde::Serialize;

use crate::server::{encoding::BodyBytes, etag};

/// The body of a response, and its tag. Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct Body {
    pub(crate) json: BodyBytes,
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
        Self::prepare(response, BodyBytes::shared)
    }

    /// The envelope of `data` that is for one caller.
    pub(crate) fn for_one(data: impl Serialize) -> Result<Self> {
        Self::prepare(&Envelope { data }, BodyBytes::for_one)
    }

    fn prepare(response: &impl Serialize, json: fn(Vec<u8>) -> BodyBytes) -> Result<Self> {
        let bytes = serde_json::to_vec(response).map_err(Error::internal)?;
        Ok(Body { tag: etag::tag_of(&bytes), json: json(bytes) })
    }
}
