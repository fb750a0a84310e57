//! A connection's bytes on their way to and from hyper, and what hyper does not do: limit how long
//! a request's head takes from its first byte, watch whether the client takes its responses, and
//! word its own refusals as ours. The response that makes a connection a websocket stays here for
//! whoever has the connection then.

use std::{
    io::{self, ErrorKind, IoSlice},
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed},
    },
    task::{Context, Poll, ready},
    time::Duration,
};

use axum::body::Bytes;
use nexus_common::observability::metrics;
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::TcpStream,
    sync::OwnedSemaphorePermit,
    time::{Sleep, sleep},
};

use super::refusal;
use crate::http::places::Place;

/// A client that takes this much of a response within the patience is slow, but reads.
const PROGRESS: usize = 64 * 1024;
/// How long a refused client may take, and how much more it may send, to read the reason: closing
/// on bytes that it has sent would destroy the response.
const LINGER: Duration = Duration::from_secs(2);
const LEFTOVERS: usize = 1 << 20;

/// Whether a request is being answered, or the connection has become a websocket. Neither waits for
/// a request.
#[derive(Clone, Default)]
pub(super) struct Serving(Arc<Requests>);

#[derive(Default)]
struct Requests {
    begun: AtomicUsize,
    ended: AtomicUsize,
    is_switching: AtomicBool,
}

impl Serving {
    pub(super) fn begin(&self) {
        self.0.begun.fetch_add(1, Relaxed);
    }

    pub(super) fn end(&self) {
        self.0.ended.fetch_add(1, Relaxed);
    }

    /// The next response makes it a websocket.
    pub(super) fn switch(&self) {
        self.0.is_switching.store(true, Relaxed);
    }

    fn now(&self) -> bool {
        self.requests() != self.0.ended.load(Relaxed)
    }

    fn requests(&self) -> usize {
        self.0.begun.load(Relaxed)
    }
}

pub(crate) struct Stream {
    tcp: TcpStream,
    serving: Serving,
    patience: Duration,
    /// Runs from the first byte of a request's head, and from the beginning.
    head: Option<Pin<Box<Sleep>>>,
    /// Whether a byte has come since the last request.
    begun: bool,
    /// How many requests there were at that time.
    requests: usize,
    /// Runs while the client takes nothing of its response.
    taking: Option<Pin<Box<Sleep>>>,
    /// How much the client has taken since then.
    taken: usize,
    /// Whether hyper has nothing more to write.
    flushed: bool,
    /// The rest of a refusal that is written instead of hyper's own.
    refusal: Option<Bytes>,
    /// The response that makes it a websocket: it is to leave with the first frame, in one packet.
    switching: Bytes,
    /// The connection ends with a refusal: how long it lingers, and how many more bytes have come.
    lingering: Option<(Pin<Box<Sleep>>, usize)>,
    counted: Counted,
}

/// Held as long as the connection lives, also as a websocket.
pub(crate) type Counted = (OwnedSemaphorePermit, Option<Place>, metrics::Connection);

impl Stream {
    pub(super) fn new(
        tcp: TcpStream,
        serving: Serving,
        patience: Duration,
        counted: Counted,
    ) -> Self {
        Stream {
            tcp,
            serving,
            patience,
            head: Some(Box::pin(sleep(patience))),
            begun: false,
            requests: 0,
            taking: None,
            taken: 0,
            flushed: true,
            refusal: None,
            switching: Bytes::new(),
            lingering: None,
            counted,
        }
    }

    /// For a connection that is no longer hyper's: with the response that has yet to be written.
    pub(crate) fn into_tcp(self) -> (TcpStream, Bytes, Counted) {
        (self.tcp, self.switching, self.counted)
    }

    /// Keeps the response that makes it a websocket, which is nothing but a head.
    fn keep_switching(&mut self, head: &[u8]) -> bool {
        let is_it = self.serving.0.is_switching.load(Relaxed)
            && head.starts_with(b"HTTP/1.1 101 ")
            && head.ends_with(b"\r\n\r\n");
        if is_it {
            self.switching = Bytes::copy_from_slice(head);
        }
        is_it
    }

    /// Starts, stops and checks the clock of a request's head.
    fn poll_head(&mut self, cx: &mut Context<'_>, read: usize) -> Poll<()> {
        let requests = self.serving.requests();
        if requests != self.requests {
            (self.head, self.begun, self.requests) = (None, false, requests);
        }
        if self.serving.now() {
            return Poll::Pending;
        }
        if read > 0 {
            self.begun = true;
            self.head.get_or_insert_with(|| Box::pin(sleep(self.patience)));
            return Poll::Pending;
        }
        match &mut self.head {
            Some(head) => head.as_mut().poll(cx),
            None => Poll::Pending,
        }
    }

    /// Answers 408 if possible, and returns why the connection ends.
    fn too_slow(&mut self) -> io::Error {
        // Browsers open spare connections: no request has begun on those.
        if self.begun {
            metrics::refused("slow");
            if self.flushed {
                let _ = self.tcp.try_write(&refusal::too_slow());
            }
        }
        io::Error::new(ErrorKind::TimedOut, "the request takes too long to arrive")
    }

    /// Watches how the client takes its response; a connection that becomes a websocket has other
    /// clocks.
    fn poll_taking(
        &mut self,
        cx: &mut Context<'_>,
        written: Poll<io::Result<usize>>,
    ) -> Poll<io::Result<usize>> {
        match written {
            Poll::Ready(written) => {
                self.taken += written.as_ref().map_or(0, |written| *written);
                if self.taken >= PROGRESS {
                    (self.taking, self.taken) = (None, 0);
                }
                Poll::Ready(written)
            }
            Poll::Pending if self.serving.now() => Poll::Pending,
            Poll::Pending => {
                let taking = self.taking.get_or_insert_with(|| Box::pin(sleep(self.patience)));
                ready!(taking.as_mut().poll(cx));
                metrics::refused("slow");
                Poll::Ready(Err(io::Error::new(
                    ErrorKind::TimedOut,
                    "the client does not take its response",
                )))
            }
        }
    }

    /// Writes the rest of a refusal; hyper then believes that it has written `all` of its own
    /// bytes.
    fn poll_refusal(
        &mut self,
        cx: &mut Context<'_>,
        mut rest: Bytes,
        all: usize,
    ) -> Poll<io::Result<usize>> {
        while !rest.is_empty() {
            match Pin::new(&mut self.tcp).poll_write(cx, &rest) {
                Poll::Ready(written) => drop(rest.split_to(written?)),
                Poll::Pending => {
                    self.refusal = Some(rest);
                    return Poll::Pending;
                }
            }
        }
        self.lingering = Some((Box::pin(sleep(LINGER)), 0));
        Poll::Ready(Ok(all))
    }

    /// A refusal to write, or to continue writing, in place of these bytes.
    fn refusal(&mut self, bytes: &[u8]) -> Option<Bytes> {
        let rest = self.refusal.take();
        rest.or_else(|| refusal::instead_of(bytes).inspect(|_| metrics::refused("unreadable")))
    }
}

impl AsyncRead for Stream {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let before = buf.filled().len();
        let read = Pin::new(&mut this.tcp).poll_read(cx, buf);
        match this.poll_head(cx, buf.filled().len() - before) {
            Poll::Ready(()) => Poll::Ready(Err(this.too_slow())),
            Poll::Pending => read,
        }
    }
}

impl AsyncWrite for Stream {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        this.flushed = false;
        if let Some(refusal) = this.refusal(buf) {
            return this.poll_refusal(cx, refusal, buf.len());
        }
        if this.keep_switching(buf) {
            return Poll::Ready(Ok(buf.len()));
        }
        let written = Pin::new(&mut this.tcp).poll_write(cx, buf);
        this.poll_taking(cx, written)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        this.flushed = false;
        // hyper's own responses consist of a head only.
        if let [head] = bufs
            && let Some(refusal) = this.refusal(head)
        {
            return this.poll_refusal(cx, refusal, head.len());
        }
        if let [head] = bufs
            && this.keep_switching(head)
        {
            return Poll::Ready(Ok(head.len()));
        }
        let written = Pin::new(&mut this.tcp).poll_write_vectored(cx, bufs);
        this.poll_taking(cx, written)
    }

    fn is_write_vectored(&self) -> bool {
        self.tcp.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        (this.taking, this.taken, this.flushed) = (None, 0, true);
        Pin::new(&mut this.tcp).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        ready!(Pin::new(&mut this.tcp).poll_shutdown(cx))?;
        let Some((clock, leftovers)) = &mut this.lingering else { return Poll::Ready(Ok(())) };
        let mut scratch = [0; 4096];
        while *leftovers < LEFTOVERS && clock.as_mut().poll(cx).is_pending() {
            let mut scratch = ReadBuf::new(&mut scratch);
            ready!(Pin::new(&mut this.tcp).poll_read(cx, &mut scratch))?;
            match scratch.filled().len() {
                0 => break,
                read => *leftovers += read,
            }
        }
        Poll::Ready(Ok(()))
    }
}

#[cfg(test)]
mod tests {
    use tokio::{io::AsyncWriteExt, net::TcpListener, sync::Semaphore};

    use super::*;

    const HEAD: &[u8] = b"HTTP/1.1 101 Switching Protocols\r\n\r\n";

    async fn stream(serving: Serving) -> (Stream, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let client = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let (tcp, _) = listener.accept().await.unwrap();
        let slot = Arc::new(Semaphore::new(1)).try_acquire_owned().unwrap();
        let counted = (slot, None, metrics::Connection::open());
        (Stream::new(tcp, serving, Duration::from_secs(10), counted), client)
    }

    #[tokio::test]
    async fn the_response_that_makes_it_a_websocket_is_kept() {
        let serving = Serving::default();
        let (mut stream, client) = stream(serving.clone()).await;
        serving.switch();
        stream.write_all(HEAD).await.unwrap();
        let nothing = client.try_read(&mut [0]).unwrap_err();
        assert_eq!(nothing.kind(), ErrorKind::WouldBlock);
        assert_eq!(stream.into_tcp().1, HEAD);
    }

    #[tokio::test]
    async fn a_body_that_reads_like_it_is_not() {
        let (mut stream, client) = stream(Serving::default()).await;
        stream.write_all(HEAD).await.unwrap();
        client.readable().await.unwrap();
        assert!(stream.into_tcp().1.is_empty());
    }
}
