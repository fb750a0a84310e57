//! The limits of every request: the length of its URI, the size of its body, and how long the body
//! may take to arrive. [`connections`](crate::server::accept) limits its head.

use std::{
    collections::VecDeque,
    future::poll_fn,
    pin::Pin,
    sync::{Arc, OnceLock},
    task::{Context, Poll},
    time::Duration,
};

use axum::{
    body::{Body, Bytes, HttpBody, to_bytes},
    extract::Request,
    response::{IntoResponse, Response},
};
use futures_util::StreamExt;
use http::{HeaderMap, HeaderValue, header};
use http_body::{Frame, SizeHint};
use tokio::{
    sync::{Semaphore, SemaphorePermit},
    time::{Sleep, sleep, timeout},
};

use super::{
    api_error::ApiError,
    policy::{BODY_LIMIT, Policies},
};
use crate::{
    admission::receive,
    server::layers::{Answer, Layer},
};

/// Longer than any of our pages needs; most proxies have the same limit.
const LONGEST_URI: usize = 8 * 1024;
/// How long a client may go on sending an unwanted body, and how much of it, until it reads the
/// response.
const LINGER: Duration = Duration::from_secs(2);
const LEFTOVERS: usize = 4 * BODY_LIMIT;

/// Refuses requests that are too long, or whose bodies are longer than the policy of their path says
/// or take longer than this.
pub(crate) struct LimitBodies {
    pub(crate) timeout: Duration,
    pub(crate) policies: Policies,
}

impl Layer for LimitBodies {
    async fn around(&self, request: Request, inner: &impl Answer) -> Response {
        if request.uri().path_and_query().is_some_and(|uri| uri.as_str().len() > LONGEST_URI) {
            return ApiError::uri_too_long().into_response();
        }
        if request.body().is_end_stream() {
            return inner.answer(request).await;
        }
        let exceeded = Exceeded::default();
        let longest = self.policies.of(request.uri().path()).longest_body;
        let declared = request.body().size_hint().lower();
        // A client that waits for our `100 Continue` sends nothing that would have to be read.
        let is_sent = !request.headers().contains_key(header::EXPECT);
        let request = request.map(|body| {
            Body::new(Limited {
                body: Some(body),
                is_sent,
                left: longest,
                is_too_long: declared > longest as u64,
                clock: Box::pin(sleep(self.timeout)),
                exceeded: exceeded.clone(),
            })
        });
        let response = inner.answer(request).await;
        // Not every reader says why it could not read.
        match exceeded.0.get() {
            Some(excess) if excess.failure().status != response.status() => excess.refuse(),
            _ => response,
        }
    }
}

/// Which limit a body exceeds.
#[derive(Clone, Copy, Debug, thiserror::Error)]
pub(crate) enum Excess {
    #[error("the body is too large")]
    Size,
    #[error("the body takes too long to arrive")]
    Time,
}

impl Excess {
    /// The limit behind a failure to read a body, if there is one.
    pub(crate) fn of(error: &axum::Error) -> Option<Self> {
        let mut cause: Option<&(dyn std::error::Error + 'static)> = Some(error);
        while let Some(error) = cause {
            if let Some(excess) = error.downcast_ref::<Excess>() {
                return Some(*excess);
            }
            cause = error.source();
        }
        None
    }

    /// What its sender is told.
    pub(crate) fn failure(self) -> ApiError {
        match self {
            Excess::Size => ApiError::body_too_large(),
            Excess::Time => ApiError::request_timeout(),
        }
    }

    fn refuse(self) -> Response {
        let mut response = self.failure().into_response();
        response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
        response
    }
}

#[derive(Clone, Default)]
struct Exceeded(Arc<OnceLock<Excess>>);

/// A body within its limits.
struct Limited {
    /// None: it has ended, or was given up.
    body: Option<Body>,
    is_sent: bool,
    /// The declared length is too long: nothing of the body is read.
    is_too_long: bool,
    left: usize,
    clock: Pin<Box<Sleep>>,
    exceeded: Exceeded,
}

impl Limited {
    fn exceed(&mut self, excess: Excess) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let _ = self.exceeded.0.set(excess);
        if let Excess::Time = excess {
            self.body = None;
        }
        Poll::Ready(Some(Err(axum::Error::new(excess))))
    }
}

impl HttpBody for Limited {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let this = &mut *self;
        if this.is_too_long {
            return this.exceed(Excess::Size);
        }
        let Some(body) = &mut this.body else { return Poll::Ready(None) };
        this.is_sent = true;
        match Pin::new(body).poll_frame(cx) {
            Poll::Ready(Some(Ok(frame))) => {
                let length = frame.data_ref().map_or(0, Bytes::len);
                match this.left.checked_sub(length) {
                    Some(left) => this.left = left,
                    None => return this.exceed(Excess::Size),
                }
                Poll::Ready(Some(Ok(frame)))
            }
            Poll::Ready(ended) => {
                this.body = None;
                Poll::Ready(ended)
            }
            Poll::Pending => match this.clock.as_mut().poll(cx) {
                Poll::Ready(()) => this.exceed(Excess::Time),
                Poll::Pending => Poll::Pending,
            },
        }
    }

    fn is_end_stream(&self) -> bool {
        self.body.as_ref().is_none_or(HttpBody::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        self.body.as_ref().map(HttpBody::size_hint).unwrap_or_default()
    }
}

impl Drop for Limited {
    /// A client reads the response once its body is sent: closing earlier would destroy it.
    fn drop(&mut self) {
        if let (Some(body), true) =
            (self.body.take().filter(|body| !body.is_end_stream()), self.is_sent)
            && let Ok(runtime) = tokio::runtime::Handle::try_current()
        {
            runtime.spawn(timeout(LINGER, discard(body)));
        }
    }
}

/// How long a request waits for its body before it asks for a place. A client on the way to us
/// needs less; a slower one asks again when it has sent the rest.
const GATHERED_WITHIN: Duration = Duration::from_secs(1);
/// What all of them may take up before their requests are admitted, in KB: that of further ones stays
/// with their clients.
static ROOM: Semaphore = Semaphore::const_new(64 * 1_024);

/// The body as far as it comes soon: whoever asks for a place shall have everything with it. Reads
/// no more than about `most`, and nothing of which the client waits for our `100 Continue`.
pub(crate) async fn gather(headers: &HeaderMap, body: Body, most: usize) -> Body {
    let is_long = body.size_hint().lower() > most as u64;
    if body.is_end_stream() || is_long || headers.contains_key(header::EXPECT) {
        return body;
    }
    let longest = body.size_hint().upper().map_or(most, |upper| most.min(upper as usize));
    let Ok(room) = ROOM.try_acquire_many(longest.div_ceil(1_024) as u32) else { return body };
    let mut begun = Begun { came: VecDeque::new(), rest: Some(body), _room: room };
    let _ = timeout(GATHERED_WITHIN, begun.gather(most)).await;
    Body::new(begun)
}

/// A body of which a part has come.
struct Begun {
    came: VecDeque<Result<Frame<Bytes>, axum::Error>>,
    /// `None`: that is all.
    rest: Option<Body>,
    _room: SemaphorePermit<'static>,
}

impl Begun {
    /// Safe to drop at any time: what has come stays.
    async fn gather(&mut self, most: usize) {
        let mut length = 0;
        while let Some(rest) = self.rest.as_mut().filter(|_| length <= most) {
            match poll_fn(|cx| Pin::new(&mut *rest).poll_frame(cx)).await {
                Some(frame) => {
                    let data = frame.as_ref().ok().and_then(Frame::data_ref);
                    length += data.map_or(0, Bytes::len);
                    let is_last = frame.is_err() || rest.is_end_stream();
                    self.came.push_back(frame);
                    if is_last {
                        self.rest = None;
                    }
                }
                None => self.rest = None,
            }
        }
    }
}

impl HttpBody for Begun {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        if let Some(frame) = self.came.pop_front() {
            return Poll::Ready(Some(frame));
        }
        match &mut self.rest {
            Some(rest) => Pin::new(rest).poll_frame(cx),
            None => Poll::Ready(None),
        }
    }

    fn is_end_stream(&self) -> bool {
        self.came.is_empty() && self.rest.as_ref().is_none_or(HttpBody::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        let rest =
            self.rest.as_ref().map(HttpBody::size_hint).unwrap_or_else(|| SizeHint::with_exact(0));
        let data = self.came.iter().flatten().filter_map(Frame::data_ref);
        let came = data.map(|data| data.len() as u64).sum::<u64>();
        let mut hint = SizeHint::new();
        hint.set_lower(came + rest.lower());
        if let Some(upper) = rest.upper() {
            hint.set_upper(came + upper);
        }
        hint
    }
}

/// Lets the client of a request that is refused unread send its body, as [`Limited`] does.
pub(crate) fn leave_unread(request: Request) {
    let is_sent = !request.headers().contains_key(header::EXPECT);
    let body = request.into_body();
    if is_sent && !body.is_end_stream() {
        tokio::spawn(timeout(LINGER, discard(body)));
    }
}

async fn discard(body: Body) {
    let (mut data, mut discarded) = (body.into_data_stream(), 0);
    while let Some(Ok(bytes)) = data.next().await {
        discarded += bytes.len();
        if discarded > LEFTOVERS {
            break;
        }
    }
}

/// The whole body, within its limits, as it was sent: a compressed one is refused.
pub(crate) async fn read(headers: &HeaderMap, body: Body) -> Result<Bytes, ApiError> {
    if headers
        .get(header::CONTENT_ENCODING)
        .is_some_and(|coding| !coding.as_bytes().eq_ignore_ascii_case(b"identity"))
    {
        return Err(ApiError::unsupported_content_encoding());
    }
    let read = receive(to_bytes(body, BODY_LIMIT)).await?;
    read.map_err(|error| Excess::of(&error).map_or_else(ApiError::incomplete_body, Excess::failure))
}

#[cfg(test)]
mod tests {
    use futures_util::{FutureExt, stream};

    use super::*;

    fn never_sent() -> Body {
        Body::from_stream(stream::pending::<Result<Bytes, axum::Error>>())
    }

    #[tokio::test]
    async fn what_waits_for_a_place_takes_up_so_much_and_the_rest_stays_with_its_clients() {
        let headers = HeaderMap::new();
        let gathering: Vec<_> =
            (0..64).map(|_| Box::pin(gather(&headers, never_sent(), 1 << 20))).collect();
        let mut waiting = futures_util::future::select_all(gathering);
        assert!((&mut waiting).now_or_never().is_none());
        assert!(gather(&headers, never_sent(), 1 << 20).now_or_never().is_some(), "unread");
        drop(waiting);
        assert!(gather(&headers, never_sent(), 1 << 20).now_or_never().is_none(), "there is room");
    }
}
