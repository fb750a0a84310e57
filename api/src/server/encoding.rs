//! Compresses those responses that many clients get: each is compressed once, for all of them.
//! Others are sent as they are, and left to a proxy.

use std::{io::Write, sync::Arc};

use axum::{body::Bytes, response::Response};
use flate2::{Compression, write::GzEncoder};
use http::{HeaderMap, HeaderValue, StatusCode, header};
use nexus_common::{Error, Result};
use tokio::{
    sync::{OnceCell, Semaphore},
    task::spawn_blocking,
};

/// Shorter responses fit into a packet as they are.
const SHORTEST: usize = 1_000;

/// How many bodies are compressed at once: requests that are answered come first.
static TURNS: Semaphore = Semaphore::const_new(2);

/// How a body may be compressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Encoding {
    Brotli,
    Gzip,
}

impl Encoding {
    fn name(self) -> &'static str {
        match self {
            Encoding::Brotli => "br",
            Encoding::Gzip => "gzip",
        }
    }

    /// The better one of those that a client accepts: who can read both seldom says which it
    /// prefers.
    pub(super) fn accepted(headers: &HeaderMap) -> Option<Self> {
        let lines = headers.get_all(header::ACCEPT_ENCODING).into_iter();
        let accepted: Vec<&str> =
            lines.filter_map(|line| line.to_str().ok()).flat_map(|line| line.split(',')).collect();
        [Encoding::Brotli, Encoding::Gzip]
            .into_iter()
            .find(|encoding| accepted.iter().any(|one| encoding.is_accepted(one)))
    }

    /// By one element of the header.
    fn is_accepted(self, one: &str) -> bool {
        let mut parts = one.split(';').map(str::trim);
        let name = parts.next().unwrap_or_default();
        let refused = parts.any(|part| {
            let q = part.to_ascii_lowercase();
            q.strip_prefix("q=").and_then(|q| q.parse::<f32>().ok()) == Some(0.0)
        });
        name.eq_ignore_ascii_case(self.name()) && !refused
    }

    /// Compresses, rather quickly than well: a map of many seats is out of date in a moment.
    fn compress(self, body: &[u8]) -> Result<Bytes> {
        let compressed = match self {
            Encoding::Gzip => {
                let mut encoder = GzEncoder::new(Vec::new(), Compression::new(4));
                encoder.write_all(body).and_then(|()| encoder.finish())
            }
            Encoding::Brotli => {
                let (quality, window) = (4, 20);
                let mut encoder =
                    brotli::CompressorWriter::new(Vec::new(), 32 << 10, quality, window);
                encoder.write_all(body).map(|()| encoder.into_inner())
            }
        };
        Ok(Bytes::from(compressed.map_err(Error::internal)?))
    }
}

/// A body that clients get, perhaps many of them. Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct BodyBytes {
    plain: Bytes,
    /// Of a body for many.
    compressed: Option<Arc<Compressed>>,
}

/// Made when somebody first asks for it.
#[derive(Debug, Default)]
struct Compressed {
    brotli: OnceCell<Bytes>,
    gzip: OnceCell<Bytes>,
}

impl BodyBytes {
    /// For many clients.
    pub(crate) fn shared(plain: Vec<u8>) -> Self {
        BodyBytes { plain: plain.into(), compressed: Some(Arc::default()) }
    }

    /// For one client: it is not worth to compress it.
    pub(crate) fn for_one(plain: Vec<u8>) -> Self {
        BodyBytes { plain: plain.into(), compressed: None }
    }

    pub(crate) fn len(&self) -> usize {
        self.plain.len()
    }

    /// A response with it, which may be compressed on its way.
    pub(crate) fn into_response(self, content_type: &'static str) -> Response {
        let mut response = Response::new(self.plain.clone().into());
        let content_type = HeaderValue::from_static(content_type);
        response.headers_mut().insert(header::CONTENT_TYPE, content_type);
        if self.compressed.is_some() && self.len() >= SHORTEST {
            response.extensions_mut().insert(self);
        }
        response
    }

    /// `None` while as much is being compressed as may be, or if it cannot be.
    async fn compressed(&self, encoding: Encoding) -> Option<Bytes> {
        let compressed = self.compressed.as_ref()?;
        let cell = match encoding {
            Encoding::Brotli => &compressed.brotli,
            Encoding::Gzip => &compressed.gzip,
        };
        let compress = async || {
            let turn = TURNS.try_acquire().map_err(|_| None)?;
            let plain = self.plain.clone();
            let made = spawn_blocking(move || {
                let made = encoding.compress(&plain);
                drop(turn);
                made
            });
            made.await.map_err(Error::internal).flatten().map_err(Some)
        };
        match cell.get_or_try_init(compress).await {
            Ok(made) => Some(made.clone()),
            Err(error) => {
                if let Some(error) = error {
                    let error = error.details();
                    tracing::error!(error, "a response could not be compressed");
                }
                None
            }
        }
    }
}

/// Compresses a [body for many](BodyBytes::shared) for a client that accepts `encoding`.
pub(super) async fn encode(mut response: Response, encoding: Option<Encoding>) -> Response {
    let Some(body) = response.extensions_mut().remove::<BodyBytes>() else { return response };
    response.headers_mut().append(header::VARY, HeaderValue::from_static("accept-encoding"));
    let Some(encoding) = encoding.filter(|_| response.status() == StatusCode::OK) else {
        return response;
    };
    let Some(compressed) = body.compressed(encoding).await else { return response };
    let name = HeaderValue::from_static(encoding.name());
    response.headers_mut().insert(header::CONTENT_ENCODING, name);
    response.headers_mut().remove(header::CONTENT_LENGTH);
    response.map(|_| compressed.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_best_encoding_that_a_client_accepts_is_chosen() {
        let accepted = |lines: &[&'static str]| {
            let lines = lines.iter().map(|line| HeaderValue::from_static(line));
            Encoding::accepted(&lines.map(|line| (header::ACCEPT_ENCODING, line)).collect())
        };
        assert_eq!(accepted(&["gzip, deflate, br, zstd"]), Some(Encoding::Brotli));
        assert_eq!(accepted(&["gzip", "br"]), Some(Encoding::Brotli));
        assert_eq!(accepted(&["GZIP;q=0.5"]), Some(Encoding::Gzip));
        assert_eq!(accepted(&["br;q=0, gzip; Q=0.0, identity"]), None);
        assert_eq!(accepted(&[]), None);
    }
}
