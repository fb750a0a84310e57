//! Compresses those responses that many clients get: each is compressed once, for all of them.
//! Others are sent as they are, and left to a proxy.

use std::{io::Write, sync::Arc};

use axum::{body::Bytes, response::Response};
use flate2::{Compression, write::GzEncoder};
use http::{HeaderValue, StatusCode, header};
use nexus_common::{Error, Result};
use tokio::{sync::OnceCell, task::spawn_blocking};

/// Shorter responses fit into a packet as they are.
const SHORTEST: usize = 1_000;

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

    /// The one that a client prefers which sends this `Accept-Encoding`. Of several, the better
    /// one: clients that can read them all seldom say what they prefer.
    pub(super) fn accepted(header: &str) -> Option<Self> {
        let accepts = |encoding: &Encoding| {
            header.split(',').any(|one| {
                let mut parts = one.split(';').map(str::trim);
                let name = parts.next().unwrap_or_default();
                let refused = parts.any(|part| {
                    part.strip_prefix("q=").and_then(|q| q.parse::<f32>().ok()) == Some(0.0)
                });
                name.eq_ignore_ascii_case(encoding.name()) && !refused
            })
        };
        [Encoding::Brotli, Encoding::Gzip].into_iter().find(accepts)
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

/// A body that many clients get; compressed when the first of them asks for it. Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct Shared(Arc<Encodings>);

#[derive(Debug)]
struct Encodings {
    plain: Bytes,
    brotli: OnceCell<Bytes>,
    gzip: OnceCell<Bytes>,
}

impl Shared {
    pub(crate) fn new(plain: Vec<u8>) -> Self {
        let (brotli, gzip) = (OnceCell::new(), OnceCell::new());
        Shared(Arc::new(Encodings { plain: plain.into(), brotli, gzip }))
    }

    pub(crate) fn len(&self) -> usize {
        self.0.plain.len()
    }

    /// A response with it, which may be compressed on its way.
    pub(crate) fn into_response(self, content_type: &'static str) -> Response {
        let mut response = Response::new(self.0.plain.clone().into());
        let content_type = HeaderValue::from_static(content_type);
        response.headers_mut().insert(header::CONTENT_TYPE, content_type);
        if self.len() >= SHORTEST {
            response.extensions_mut().insert(self);
        }
        response
    }

    async fn compressed(&self, encoding: Encoding) -> Result<Bytes> {
        let cell = match encoding {
            Encoding::Brotli => &self.0.brotli,
            Encoding::Gzip => &self.0.gzip,
        };
        let compress = async || {
            let plain = self.0.plain.clone();
            spawn_blocking(move || encoding.compress(&plain)).await.map_err(Error::internal)?
        };
        cell.get_or_try_init(compress).await.cloned()
    }
}

/// Compresses a [shared](Shared) body for a client that accepts `encoding`.
pub(super) async fn encode(mut response: Response, encoding: Option<Encoding>) -> Response {
    let Some(body) = response.extensions_mut().remove::<Shared>() else { return response };
    response.headers_mut().append(header::VARY, HeaderValue::from_static("accept-encoding"));
    let Some(encoding) = encoding.filter(|_| response.status() == StatusCode::OK) else {
        return response;
    };
    match body.compressed(encoding).await {
        Ok(compressed) => {
            let name = HeaderValue::from_static(encoding.name());
            response.headers_mut().insert(header::CONTENT_ENCODING, name);
            response.headers_mut().remove(header::CONTENT_LENGTH);
            response.map(|_| compressed.into())
        }
        Err(error) => {
            tracing::error!(error = error.details(), "a response could not be compressed");
            response
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_best_encoding_that_a_client_accepts_is_chosen() {
        let browser = Encoding::accepted("gzip, deflate, br, zstd");
        assert_eq!(browser, Some(Encoding::Brotli));
        assert_eq!(Encoding::accepted("GZIP;q=0.5"), Some(Encoding::Gzip));
        assert_eq!(Encoding::accepted("br;q=0, gzip; q=0.0, identity"), None);
        assert_eq!(Encoding::accepted(""), None);
    }
}
