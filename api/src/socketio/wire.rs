//! The bytes to and from one websocket. The library's packets and our broadcasts leave here, whole
//! frame after whole frame; broadcasts that are due together leave in one system call. What the
//! client does not take at once waits, within bounds of bytes and seconds: a client that reads too
//! slowly is let go, and comes back.

use std::{
    collections::VecDeque,
    io::{self, ErrorKind, IoSlice},
    net::Shutdown,
    pin::Pin,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering::SeqCst},
    },
    task::{Context, Poll},
    time::Duration,
};

use axum::body::Bytes;
use nexus_common::observability::metrics;
use socket2::SockRef;
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::TcpStream,
    time::timeout,
};

use super::{
    due::{is_broadcast, offset_frame},
    recent::Offset,
    recovery::{CONNECTED, Pid, tell},
};
use crate::server::accept::Counted;

/// What may wait for a client in this process, beside the last round, and in the kernel, which
/// takes twice what it is told.
const MOST_WAITING: usize = 96 * 1024;
const KERNEL_BUFFER: usize = 64 * 1024;
/// How long a client may take nothing of what waits.
const PATIENCE: Duration = Duration::from_millis(if cfg!(test) { 200 } else { 20_000 });
/// A websocket's frame that closes it, because the service restarts (1012).
const GOODBYE: &[u8] = &[0x88, 2, 0x03, 0xf4];
/// An event that the library sends like any other to a client that is to leave. Nobody receives it:
/// when it comes here, all that was said before it is written.
pub(super) const LAST: &str = "nexus:last";
/// Frames that are handed to the kernel at once.
const AT_ONCE: usize = 64;

/// A websocket's connection.
pub(crate) struct Wire {
    tcp: TcpStream,
    outbox: Mutex<Outbox>,
    /// The library has read, and perhaps not understood all of it.
    is_reading: AtomicBool,
    /// It is to read no more.
    is_deaf: AtomicBool,
    _counted: Counted,
}

#[derive(Default)]
struct Outbox {
    /// What has to be written, in this order.
    due: VecDeque<Bytes>,
    bytes: usize,
    /// Broadcasts that wait until the library has said what comes before them.
    held: Vec<Bytes>,
    waits_for: WaitsFor,
    /// What the client is to be told when it is connected.
    pid: Option<Pid>,
    /// A task writes what is due as the client takes it.
    is_draining: bool,
    /// Nothing more will be written: by the library, or at all.
    is_closing: bool,
    is_broken: bool,
}

/// What the library has to say before the first broadcast.
#[derive(Default, PartialEq)]
enum WaitsFor {
    /// That the client is connected.
    #[default]
    Connected,
    /// All that waits for a client that has polled until now; nobody knows how much that is.
    Upgrade,
    Nothing,
}

impl Outbox {
    fn push(&mut self, frame: Bytes) {
        self.bytes += frame.len();
        self.due.push_back(frame);
    }

    fn release(&mut self) {
        self.waits_for = WaitsFor::Nothing;
        self.due.extend(std::mem::take(&mut self.held));
    }

    fn written(&mut self, mut bytes: usize) {
        self.bytes -= bytes;
        while let Some(frame) = self.due.front_mut() {
            if frame.len() > bytes {
                drop(frame.split_to(bytes));
                return;
            }
            bytes -= frame.len();
            self.due.pop_front();
        }
        // Most of the time, nothing is due: it is to cost nothing then.
        self.due = VecDeque::new();
    }

    fn give_up(&mut self) {
        *self = Outbox { is_draining: self.is_draining, is_broken: true, ..Outbox::default() };
    }
}

impl Wire {
    fn new(tcp: TcpStream, head: Bytes, waits_for: WaitsFor, counted: Counted) -> Arc<Self> {
        let _ = SockRef::from(&tcp).set_send_buffer_size(KERNEL_BUFFER);
        let is_of_new_session = waits_for == WaitsFor::Connected;
        let mut outbox = Outbox { waits_for, ..Outbox::default() };
        outbox.push(head);
        let (is_reading, is_deaf) = (AtomicBool::new(true), AtomicBool::new(false));
        let outbox = Mutex::new(outbox);
        let wire = Arc::new(Wire { tcp, outbox, is_reading, is_deaf, _counted: counted });
        // To a new session the library speaks first; others are waited for.
        if !is_of_new_session {
            wire.flush();
        }
        wire
    }

    fn outbox(&self) -> MutexGuard<'_, Outbox> {
        self.outbox.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Puts a broadcast's frames in line. Returns whether they are the first: then they must be
    /// [flushed](Self::flush).
    pub(super) fn hear(self: &Arc<Self>, frames: Bytes) -> bool {
        let mut outbox = self.outbox();
        self.make_room(&mut outbox);
        if outbox.is_broken || outbox.is_closing {
            return false;
        }
        if outbox.waits_for != WaitsFor::Nothing {
            outbox.bytes += frames.len();
            outbox.held.push(frames);
            return false;
        }
        let is_first = outbox.due.is_empty();
        outbox.push(frames);
        is_first
    }

    /// Writes what is due; what the client does not take now, it gets as soon as it does.
    pub(super) fn flush(self: &Arc<Self>) {
        self.write(&mut self.outbox());
    }

    /// The library has said all that waited for a client that polled.
    pub(super) fn upgraded(self: &Arc<Self>) {
        let mut outbox = self.outbox();
        outbox.release();
        self.write(&mut outbox);
    }

    /// Tells the client its `pid` when it is connected.
    pub(super) fn will_tell(&self, pid: Pid) {
        self.outbox().pid = Some(pid);
    }

    /// Its client is elsewhere by now.
    pub(super) fn break_off(&self) {
        self.hang_up(&mut self.outbox());
    }

    /// What the client sends from now on is thrown away.
    pub(super) fn stop_reading(&self) {
        self.is_deaf.store(true, SeqCst);
    }

    /// Whether the library may be about to hand on something that it has read.
    pub(super) fn is_reading(&self) -> bool {
        self.is_reading.load(SeqCst) && !self.is_over()
    }

    /// Whether nothing more can be written.
    pub(super) fn is_over(&self) -> bool {
        let outbox = self.outbox();
        outbox.is_broken || outbox.is_closing
    }

    fn write(self: &Arc<Self>, outbox: &mut Outbox) {
        while !outbox.due.is_empty() && !outbox.is_draining {
            match self.try_write(outbox) {
                Ok(()) => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    outbox.is_draining = true;
                    tokio::spawn(drain(self.clone()));
                }
                Err(_) => self.hang_up(outbox),
            }
        }
    }

    /// Lets go of a client for which too much waits that the kernel does not take, either.
    fn make_room(self: &Arc<Self>, outbox: &mut Outbox) {
        if outbox.bytes > MOST_WAITING {
            self.write(outbox);
        }
        if outbox.bytes > MOST_WAITING {
            self.let_go(outbox, "bytes");
        }
    }

    fn try_write(&self, outbox: &mut Outbox) -> io::Result<()> {
        let mut slices = [IoSlice::new(&[]); AT_ONCE];
        let frames = outbox.due.len().min(AT_ONCE);
        for (slice, frame) in slices.iter_mut().zip(&outbox.due) {
            *slice = IoSlice::new(frame);
        }
        let written = self.tcp.try_write_vectored(&slices[..frames])?;
        outbox.written(written);
        Ok(())
    }

    fn let_go(&self, outbox: &mut Outbox, bound: &'static str) {
        metrics::slow_socket(bound);
        self.hang_up(outbox);
    }

    /// Ends the connection: whoever reads from it, notices.
    fn hang_up(&self, outbox: &mut Outbox) {
        outbox.give_up();
        let _ = SockRef::from(&self.tcp).shutdown(Shutdown::Both);
    }

    /// Says goodbye as RFC 6455 has it, after all that is due. The client then closes the
    /// connection.
    fn say_goodbye(self: &Arc<Self>, outbox: &mut Outbox) {
        outbox.push(Bytes::from_static(GOODBYE));
        self.close(outbox);
    }

    fn close(self: &Arc<Self>, outbox: &mut Outbox) {
        self.write(outbox);
        outbox.is_closing = true;
        if outbox.due.is_empty() {
            let _ = SockRef::from(&self.tcp).shutdown(Shutdown::Write);
        }
    }
}

/// Writes what is due as the client takes it, until nothing is. Only a client that is slow needs
/// this task.
async fn drain(wire: Arc<Wire>) {
    loop {
        let writable = timeout(PATIENCE, wire.tcp.writable()).await;
        let mut outbox = wire.outbox();
        match writable {
            Err(_) => wire.let_go(&mut outbox, "seconds"),
            Ok(Err(_)) => wire.hang_up(&mut outbox),
            Ok(Ok(())) => match wire.try_write(&mut outbox) {
                Err(error) if error.kind() != ErrorKind::WouldBlock => wire.hang_up(&mut outbox),
                _ => {}
            },
        }
        if outbox.due.is_empty() {
            outbox.is_draining = false;
            if outbox.is_closing {
                wire.close(&mut outbox);
            }
            return;
        }
    }
}

/// The library's end of a websocket.
pub(super) struct Transport {
    wire: Arc<Wire>,
    /// What the client sent before the connection became a websocket.
    early: Bytes,
    polled: Option<Box<dyn Polled>>,
}

/// A session that has polled until now: what the library says to it may have waited for a poll.
pub(super) trait Polled: Send {
    /// What the client is to be told when it is connected, if it has not been told over a poll.
    fn take_pid(&self) -> Option<Pid>;
    /// The client takes so many broadcasts: the offset of the last.
    fn takes(&self, broadcasts: usize) -> Option<Offset>;
}

impl Transport {
    /// A connection that is a websocket once the client has this `head`: of a new session, or of
    /// one that has polled until now.
    pub(super) fn new(
        tcp: TcpStream,
        head: Bytes,
        early: Bytes,
        polled: Option<Box<dyn Polled>>,
        counted: Counted,
    ) -> Self {
        let waits_for = if polled.is_some() { WaitsFor::Upgrade } else { WaitsFor::Connected };
        // An empty slice, too, would keep hyper's buffer.
        let early = if early.is_empty() { Bytes::new() } else { early };
        Transport { wire: Wire::new(tcp, head, waits_for, counted), early, polled }
    }

    pub(super) fn wire(&self) -> Arc<Wire> {
        self.wire.clone()
    }
}

/// The library is done with the connection, or has never begun.
impl Drop for Transport {
    fn drop(&mut self) {
        self.wire.close(&mut self.wire.outbox());
    }
}

/// Where the frame begins that tells the client that it is connected.
fn connected(frames: &[u8]) -> Option<usize> {
    find(frames, |payload| payload.starts_with(CONNECTED))
}

/// How many broadcasts are in these frames.
fn broadcasts(frames: &[u8]) -> usize {
    payloads(frames).filter(|(_, payload)| is_broadcast(payload)).count()
}

/// The same frames, of which that one tells the client its `pid`, too.
fn with_pid(frames: &[u8], connected: usize, pid: Pid) -> Option<Vec<u8>> {
    let (before, frame) = frames.split_at_checked(connected)?;
    let (&[kind, length], rest) = frame.split_first_chunk()?;
    let (payload, after) = rest.split_at_checked(length.into())?;
    let payload = tell(payload, pid)?;
    let length = u8::try_from(payload.len()).ok().filter(|length| *length <= 125)?;
    Some([before, &[kind, length], &payload, after].concat())
}

/// What comes before the [last](LAST) frame, if that is among these.
fn before_last(frames: &[u8]) -> Option<&[u8]> {
    let is_last = |payload: &[u8]| {
        let event =
            payload.strip_prefix(b"42[\"").and_then(|event| event.strip_prefix(LAST.as_bytes()));
        event.is_some_and(|rest| rest.starts_with(b"\""))
    };
    Some(&frames[..find(frames, is_last)?])
}

/// Where the first frame begins with such a payload.
fn find(frames: &[u8], is_it: impl Fn(&[u8]) -> bool) -> Option<usize> {
    payloads(frames).find(|(_, payload)| is_it(payload)).map(|(start, _)| start)
}

/// Where each frame begins, and its payload. All are whole.
fn payloads(frames: &[u8]) -> impl Iterator<Item = (usize, &[u8])> {
    let mut rest = frames;
    std::iter::from_fn(move || {
        let start = frames.len() - rest.len();
        let [_, length, after @ ..] = rest else { return None };
        let (length, after) = match (length, after) {
            (126, [a, b, after @ ..]) => (u16::from_be_bytes([*a, *b]).into(), after),
            (127, after) => {
                let (length, after) = after.split_first_chunk()?;
                (usize::try_from(u64::from_be_bytes(*length)).ok()?, after)
            }
            (length, after) => (usize::from(*length), after),
        };
        let (payload, after) = after.split_at_checked(length)?;
        rest = after;
        Some((start, payload))
    })
}

impl AsyncRead for Transport {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let Transport { wire, early, .. } = self.get_mut();
        // Before it is looked whether the library is to read: who forbids it must not miss what is
        // read now.
        wire.is_reading.store(true, SeqCst);
        if !early.is_empty() && !wire.is_deaf.load(SeqCst) {
            let taken = early.len().min(buf.remaining());
            buf.put_slice(&early.split_to(taken));
            if early.is_empty() {
                *early = Bytes::new();
            }
            return Poll::Ready(Ok(()));
        }
        loop {
            if wire.tcp.poll_read_ready(cx)?.is_pending() {
                wire.is_reading.store(false, SeqCst);
                return Poll::Pending;
            }
            match wire.tcp.try_read(buf.initialize_unfilled()) {
                Ok(read) if read > 0 && wire.is_deaf.load(SeqCst) => {}
                Ok(read) => {
                    buf.advance(read);
                    return Poll::Ready(Ok(()));
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                Err(error) => return Poll::Ready(Err(error)),
            }
        }
    }
}

impl AsyncWrite for Transport {
    /// Takes all of the library's frames, which are whole ones, so that it never waits for the
    /// client.
    fn poll_write(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
        frames: &[u8],
    ) -> Poll<io::Result<usize>> {
        let Transport { wire, polled, .. } = &*self;
        let connected = connected(frames);
        // Before the outbox is locked: who adds a client locks the index first, and then its outbox.
        let polled_pid = connected.and(polled.as_ref()).and_then(|polled| polled.take_pid());
        let offset = polled.as_ref().and_then(|polled| match broadcasts(frames) {
            0 => None,
            broadcasts => polled.takes(broadcasts),
        });
        let mut outbox = wire.outbox();
        wire.make_room(&mut outbox);
        if outbox.is_broken {
            return Poll::Ready(Err(ErrorKind::BrokenPipe.into()));
        }
        if outbox.is_closing {
            return Poll::Ready(Ok(frames.len()));
        }
        if wire.is_deaf.load(SeqCst)
            && let Some(before) = before_last(frames)
        {
            outbox.release();
            outbox.push(Bytes::copy_from_slice(before));
            wire.say_goodbye(&mut outbox);
            return Poll::Ready(Ok(frames.len()));
        }
        let told = connected.and_then(|connected| {
            with_pid(frames, connected, polled_pid.or_else(|| outbox.pid.take())?)
        });
        outbox.push(told.unwrap_or_else(|| frames.to_vec()).into());
        if let Some(offset) = offset {
            outbox.push(offset_frame(offset).into());
        }
        if connected.is_some() && outbox.waits_for == WaitsFor::Connected {
            outbox.release();
        }
        wire.write(&mut outbox);
        Poll::Ready(Ok(frames.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.wire.close(&mut self.wire.outbox());
        Poll::Ready(Ok(()))
    }
}

#[cfg(test)]
mod tests {
    use tokio::{
        io::{AsyncReadExt, AsyncWriteExt},
        net::{TcpListener, TcpSocket},
        sync::Semaphore,
    };

    use super::*;

    struct Nobody;

    impl Polled for Nobody {
        fn take_pid(&self) -> Option<Pid> {
            None
        }

        fn takes(&self, _: usize) -> Option<Offset> {
            None
        }
    }

    async fn pair(has_polled: bool) -> (Transport, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let client = TcpSocket::new_v4().unwrap();
        // So that what it does not read waits on our side.
        client.set_recv_buffer_size(4_096).unwrap();
        let client = client.connect(listener.local_addr().unwrap()).await.unwrap();
        let (tcp, _) = listener.accept().await.unwrap();
        let slot = Arc::new(Semaphore::new(1)).try_acquire_owned().unwrap();
        let counted = (slot, None, metrics::Connection::open());
        let polled = has_polled.then(|| -> Box<dyn Polled> { Box::new(Nobody) });
        let (head, early) = (Bytes::from_static(b"<head>"), Bytes::from_static(b"early"));
        (Transport::new(tcp, head, early, polled, counted), client)
    }

    /// Puts a broadcast in line and writes it, as a round does.
    fn broadcast(wire: &Arc<Wire>, frames: impl Into<Bytes>) {
        if wire.hear(frames.into()) {
            wire.flush();
        }
    }

    async fn read(client: &mut TcpStream, length: usize) -> String {
        let mut text = vec![0; length];
        client.read_exact(&mut text).await.unwrap();
        String::from_utf8(text).unwrap()
    }

    #[tokio::test]
    async fn the_head_of_a_new_session_leaves_with_the_first_frame() {
        let (mut transport, mut client) = pair(false).await;
        let nothing = client.try_read(&mut [0]).unwrap_err();
        assert_eq!(nothing.kind(), ErrorKind::WouldBlock);
        transport.write_all(b"<open>").await.unwrap();
        assert_eq!(read(&mut client, 12).await, "<head><open>");
    }

    #[tokio::test]
    async fn the_head_does_not_wait_for_a_frame_that_does_not_come() {
        let (_transport, mut client) = pair(true).await;
        assert_eq!(read(&mut client, 6).await, "<head>");
        let (transport, mut client) = pair(false).await;
        drop(transport);
        assert_eq!(read(&mut client, 6).await, "<head>");
    }

    #[tokio::test]
    async fn no_broadcast_comes_before_the_client_is_told_that_it_is_connected() {
        let (mut transport, mut client) = pair(false).await;
        let wire = transport.wire();
        let frame = |text: &str| format!("\x01{}{text}", text.len() as u8 as char);
        let (open, ping, connected) = (frame("0{}"), frame("2"), frame("40{}"));
        broadcast(&wire, "<one>");
        transport.write_all(open.as_bytes()).await.unwrap();
        transport.write_all(ping.as_bytes()).await.unwrap();
        broadcast(&wire, "<two>");
        // The library may write several frames at once.
        transport.write_all(format!("{ping}{connected}").as_bytes()).await.unwrap();
        broadcast(&wire, "<three>");
        let expected = format!("<head>{open}{ping}{ping}{connected}<one><two><three>");
        assert_eq!(read(&mut client, expected.len()).await, expected);
    }

    #[tokio::test]
    async fn what_waited_for_a_poll_comes_before_the_broadcasts_of_the_websocket() {
        let (mut transport, mut client) = pair(true).await;
        let wire = transport.wire();
        transport.write_all(b"<probed>").await.unwrap();
        broadcast(&wire, "<broadcast>");
        transport.write_all(b"<had waited>").await.unwrap();
        wire.upgraded();
        let expected = "<head><probed><had waited><broadcast>";
        assert_eq!(read(&mut client, expected.len()).await, expected);
    }

    #[tokio::test]
    async fn what_the_client_sent_early_is_read_first() {
        let (mut transport, mut client) = pair(false).await;
        client.write_all(b" and late").await.unwrap();
        let mut text = [0; 14];
        transport.read_exact(&mut text).await.unwrap();
        assert_eq!(&text, b"early and late");
    }

    #[tokio::test]
    async fn a_slow_client_gets_everything_in_order() {
        let (_transport, mut client) = pair(false).await;
        let wire = _transport.wire();
        wire.upgraded();
        assert_eq!(read(&mut client, 6).await, "<head>");
        let frames: Vec<String> = (0..60).map(|n| format!("{n:08}").repeat(1_000)).collect();
        let reader = async {
            let mut text = String::new();
            for frame in &frames {
                text += &read(&mut client, frame.len()).await;
            }
            text
        };
        let writer = async {
            for frame in &frames {
                broadcast(&wire, frame.clone());
                tokio::task::yield_now().await;
                while wire.outbox().bytes > MOST_WAITING / 2 {
                    tokio::task::yield_now().await;
                }
            }
        };
        let (text, ()) = tokio::join!(reader, writer);
        assert!(text == frames.concat());
        assert!(wire.outbox().due.is_empty());
    }

    #[tokio::test]
    async fn a_client_that_reads_nothing_is_let_go_and_costs_no_more_than_its_bounds() {
        let (mut transport, _client) = pair(false).await;
        let wire = transport.wire();
        wire.upgraded();
        let frame = Bytes::from(vec![b'x'; 1_000]);
        let mut most = 0;
        while !wire.is_over() {
            broadcast(&wire, frame.clone());
            most = most.max(wire.outbox().bytes);
        }
        assert!(most <= MOST_WAITING + frame.len(), "{most}");
        assert_eq!(wire.outbox().bytes, 0);
        let mut rest = Vec::new();
        // The library reads that the connection has ended.
        transport.read_to_end(&mut rest).await.unwrap();
        assert_eq!(transport.write(b"more").await.unwrap_err().kind(), ErrorKind::BrokenPipe);
    }

    #[tokio::test]
    async fn a_client_that_takes_nothing_for_too_long_is_let_go() {
        let (mut transport, _client) = pair(false).await;
        let wire = transport.wire();
        wire.upgraded();
        while !wire.outbox().is_draining {
            broadcast(&wire, vec![b'x'; 1_000]);
        }
        assert!(!wire.is_over());
        transport.read_to_end(&mut Vec::new()).await.unwrap();
        assert!(wire.is_over());
    }
}
