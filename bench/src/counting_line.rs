//! A line to PostgreSQL that counts what is said on it, whatever says it: statements, and round
//! trips, of which statements that are sent together need one.

use std::sync::{
    Arc,
    atomic::{AtomicBool, AtomicU64, Ordering},
};

use anyhow::Result;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{
        TcpListener, TcpStream,
        tcp::{OwnedReadHalf, OwnedWriteHalf},
    },
    task::AbortHandle,
};

/// What has been counted so far.
#[derive(Debug, Default)]
struct Counts {
    statements: AtomicU64,
    round_trips: AtomicU64,
}

/// Forwards connections until it is dropped.
#[derive(Debug)]
pub struct CountingLine {
    port: u16,
    counts: Arc<Counts>,
    listening: AbortHandle,
}

impl CountingLine {
    /// To a port of this machine.
    pub async fn to(port: u16) -> Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let own = listener.local_addr()?.port();
        let counts = Arc::new(Counts::default());
        let counting = counts.clone();
        let listening = tokio::spawn(async move {
            while let Ok((near, _)) = listener.accept().await {
                let counts = counting.clone();
                tokio::spawn(async move {
                    let Ok(far) = TcpStream::connect(("127.0.0.1", port)).await else { return };
                    let _ = (near.set_nodelay(true), far.set_nodelay(true));
                    let (near, far) = (near.into_split(), far.into_split());
                    let is_answered = AtomicBool::new(true);
                    tokio::join!(
                        ask(near.0, far.1, &counts, &is_answered),
                        answer(far.0, near.1, &counts, &is_answered)
                    );
                });
            }
        });
        Ok(CountingLine { port: own, counts, listening: listening.abort_handle() })
    }

    /// Its near end.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Statements that were carried out so far.
    pub fn statements(&self) -> u64 {
        self.counts.statements.load(Ordering::Relaxed)
    }

    /// How often a client has spoken after everything that it had said was answered.
    pub fn round_trips(&self) -> u64 {
        self.counts.round_trips.load(Ordering::Relaxed)
    }
}

impl Drop for CountingLine {
    fn drop(&mut self) {
        self.listening.abort();
    }
}

async fn ask(
    mut from: OwnedReadHalf,
    mut to: OwnedWriteHalf,
    counts: &Counts,
    is_answered: &AtomicBool,
) {
    let mut buffer = vec![0; 64 * 1024];
    while let Ok(count @ 1..) = from.read(&mut buffer).await {
        if is_answered.swap(false, Ordering::Relaxed) {
            counts.round_trips.fetch_add(1, Ordering::Relaxed);
        }
        if to.write_all(&buffer[..count]).await.is_err() {
            return;
        }
    }
    let _ = to.shutdown().await;
}

async fn answer(
    mut from: OwnedReadHalf,
    mut to: OwnedWriteHalf,
    counts: &Counts,
    is_answered: &AtomicBool,
) {
    let (mut buffer, mut messages) = (vec![0; 64 * 1024], Messages::default());
    while let Ok(count @ 1..) = from.read(&mut buffer).await {
        messages.read(&buffer[..count], |kind| match kind {
            // CommandComplete
            b'C' => drop(counts.statements.fetch_add(1, Ordering::Relaxed)),
            // ReadyForQuery, CopyInResponse
            b'Z' | b'G' => is_answered.store(true, Ordering::Relaxed),
            _ => {}
        });
        if to.write_all(&buffer[..count]).await.is_err() {
            return;
        }
    }
    let _ = to.shutdown().await;
}

/// The messages of a server, which begin with their kind and their length.
#[derive(Debug, Default)]
struct Messages {
    head: Vec<u8>,
    /// Bytes of the last message that are still to come.
    rest: usize,
    has_begun: bool,
}

impl Messages {
    fn read(&mut self, mut bytes: &[u8], mut heard: impl FnMut(u8)) {
        // The answer to a client that would have liked TLS is one letter.
        if !std::mem::replace(&mut self.has_begun, true) && bytes.first() == Some(&b'N') {
            bytes = &bytes[1..];
        }
        while !bytes.is_empty() {
            let passed = self.rest.min(bytes.len());
            (self.rest, bytes) = (self.rest - passed, &bytes[passed..]);
            while self.rest == 0 && self.head.len() < 5 && !bytes.is_empty() {
                self.head.push(bytes[0]);
                bytes = &bytes[1..];
            }
            if let [kind, length @ ..] = &self.head[..]
                && let Ok(length) = <[u8; 4]>::try_from(length)
            {
                heard(*kind);
                self.rest = (u32::from_be_bytes(length) as usize).saturating_sub(4);
                self.head.clear();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_are_told_apart_however_they_arrive() {
        let said = b"NR\0\0\0\x08\0\0\0\0Z\0\0\0\x05IC\0\0\0\x0aBEGIN\0Z\0\0\0\x05T";
        for size in 1..=said.len() {
            let (mut messages, mut heard) = (Messages::default(), Vec::new());
            for bytes in said.chunks(size) {
                messages.read(bytes, |kind| heard.push(kind));
            }
            assert_eq!(heard, b"RZCZ", "{size} bytes at a time");
        }
    }
}
