//! A longer line to PostgreSQL: every byte arrives later, in order, and as fast as it was sent.
//! Without it, client and server on one machine would hide what a round trip between machines
//! costs.

use std::time::{Duration, Instant};

use anyhow::Result;
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    sync::mpsc,
    task::AbortHandle,
    time::sleep_until,
};

/// Forwards connections until it is dropped.
#[derive(Debug)]
pub struct SlowLine {
    port: u16,
    listening: AbortHandle,
}

impl SlowLine {
    /// To a port of this machine; a round trip takes `round_trip` longer.
    pub async fn to(port: u16, round_trip: Duration) -> Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let own = listener.local_addr()?.port();
        let listening = tokio::spawn(async move {
            while let Ok((near, _)) = listener.accept().await {
                tokio::spawn(async move {
                    let Ok(far) = TcpStream::connect(("127.0.0.1", port)).await else { return };
                    let _ = (near.set_nodelay(true), far.set_nodelay(true));
                    let (near, far) = (near.into_split(), far.into_split());
                    tokio::join!(
                        forward(near.0, far.1, round_trip / 2),
                        forward(far.0, near.1, round_trip / 2)
                    );
                });
            }
        });
        Ok(SlowLine { port: own, listening: listening.abort_handle() })
    }

    /// Its near end.
    pub fn port(&self) -> u16 {
        self.port
    }
}

impl Drop for SlowLine {
    fn drop(&mut self) {
        self.listening.abort();
    }
}

async fn forward(
    mut from: impl AsyncRead + Unpin,
    mut to: impl AsyncWrite + Unpin,
    delay: Duration,
) {
    let (sender, mut under_way) = mpsc::unbounded_channel::<(Instant, Vec<u8>)>();
    let read = async move {
        let mut buffer = vec![0; 64 * 1024];
        while let Ok(count @ 1..) = from.read(&mut buffer).await {
            if sender.send((Instant::now() + delay, buffer[..count].to_vec())).is_err() {
                break;
            }
        }
    };
    let write = async move {
        while let Some((due, bytes)) = under_way.recv().await {
            sleep_until(due.into()).await;
            if to.write_all(&bytes).await.is_err() {
                return;
            }
        }
        let _ = to.shutdown().await;
    };
    tokio::join!(read, write);
}
