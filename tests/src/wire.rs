//! HTTP by hand: the test chooses every byte, sensible or not.

use std::collections::BTreeMap;

use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};
use tokio::time::timeout;

use crate::SOON;
use crate::stack::Stack;

#[derive(Debug)]
pub struct Wire {
    tcp: TcpStream,
    /// Bytes that have come and are not read yet.
    read: Vec<u8>,
}

#[derive(Debug)]
pub struct Said {
    /// HTTP status.
    pub status: u16,
    /// By their names in lower case.
    pub headers: BTreeMap<String, String>,
    /// The body as it came.
    pub text: String,
    /// The body as JSON, null when it is none.
    pub body: Value,
}

impl Stack {
    /// A connection to the API.
    pub async fn wire(&self) -> Wire {
        Wire::connect(&self.api_url(0)).await.expect("a connection")
    }
}

impl Wire {
    /// Connects to `http://host:port`.
    pub async fn connect(url: &str) -> std::io::Result<Self> {
        Self::connect_with(url, None).await
    }

    /// The same, with a receive buffer of so many bytes.
    pub async fn connect_with(url: &str, buffer: Option<u32>) -> std::io::Result<Self> {
        let address = url.trim_start_matches("http://").parse().expect("an address");
        let socket = TcpSocket::new_v4()?;
        if let Some(buffer) = buffer {
            socket.set_recv_buffer_size(buffer)?;
        }
        Ok(Self { tcp: socket.connect(address).await?, read: Vec::new() })
    }

    /// Sends bytes; whether the other side takes them.
    pub async fn send(&mut self, bytes: impl AsRef<[u8]>) -> bool {
        timeout(SOON, self.tcp.write_all(bytes.as_ref())).await.is_ok_and(|sent| sent.is_ok())
    }

    /// Closes the sending half, and reads on.
    pub async fn finish(&mut self) {
        self.tcp.shutdown().await.expect("half a connection");
    }

    /// The next answer; none if the connection is closed instead.
    pub async fn response(&mut self) -> Option<Said> {
        let head = loop {
            if let Some(end) = self.read.windows(4).position(|part| part == b"\r\n\r\n") {
                break String::from_utf8(self.read.drain(..end + 4).collect()).expect("a head");
            }
            if !self.more().await {
                return None;
            }
        };
        let mut lines = head.trim_end().lines();
        let status = lines.next().and_then(|line| line.split(' ').nth(1)?.parse().ok());
        let status = status.unwrap_or_else(|| panic!("no status: {head}"));
        let header = |line: &str| {
            let (name, value) = line.split_once(':').unwrap_or((line, ""));
            (name.to_ascii_lowercase(), value.trim().to_owned())
        };
        let headers: BTreeMap<_, _> = lines.map(header).collect();
        let length =
            headers.get("content-length").and_then(|length| length.parse().ok()).unwrap_or(0);
        while self.read.len() < length {
            assert!(self.more().await, "closed in the middle of a body: {head}");
        }
        let text = String::from_utf8(self.read.drain(..length).collect()).expect("text");
        let body = serde_json::from_str(&text).unwrap_or(Value::Null);
        Some(Said { status, headers, text, body })
    }

    /// Sends bytes and reads the response, which there has to be.
    pub async fn ask(&mut self, bytes: impl AsRef<[u8]>) -> Said {
        let bytes = bytes.as_ref();
        self.send(bytes).await;
        let shown = String::from_utf8_lossy(&bytes[..bytes.len().min(200)]).into_owned();
        self.response().await.unwrap_or_else(|| panic!("no response to {shown:?}"))
    }

    /// Becomes a websocket of Socket.IO.
    pub async fn upgrade(&mut self, query: &str) {
        let upgraded = self
            .ask(format!(
                "GET /socket.io/?{query} HTTP/1.1\r\nhost: nexus\r\nconnection: upgrade\r\n\
                 upgrade: websocket\r\nsec-websocket-version: 13\r\n\
                 sec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
            ))
            .await;
        assert_eq!(upgraded.status, 101, "{upgraded:?}");
    }

    /// Becomes a Socket.IO client that has connected over a websocket, and reads nothing more.
    pub async fn open_websocket(&mut self) {
        self.upgrade("EIO=4&transport=websocket").await;
        self.until_it_says(br#"0{"sid""#).await;
        self.send(text_frame("40")).await;
        self.until_it_says(br#"40{"sid""#).await;
        self.read.clear();
    }

    async fn until_it_says(&mut self, text: &[u8]) {
        while !self.read.windows(text.len()).any(|part| part == text) {
            assert!(self.more().await, "closed before it says {text:?}");
        }
    }

    /// Waits until the other side has closed; discards what comes before.
    pub async fn until_closed(&mut self) {
        while self.more().await {
            self.read.clear();
        }
    }

    /// Whether more has come before the end.
    async fn more(&mut self) -> bool {
        let read = timeout(SOON, self.tcp.read_buf(&mut self.read)).await;
        // A reset is an end, too.
        read.unwrap_or_else(|_| {
            panic!("nothing comes, and nobody closes; so far: {:?}", self.read.len())
        })
        .unwrap_or(0)
            > 0
    }
}

/// A websocket's frame with a short text, as a client sends it: under a mask, here of zeros.
pub fn text_frame(text: &str) -> Vec<u8> {
    let length = u8::try_from(text.len()).ok().filter(|length| *length < 126);
    let mut frame = vec![0x81, 0x80 | length.expect("a short text"), 0, 0, 0, 0];
    frame.extend(text.as_bytes());
    frame
}

impl Said {
    /// Checks that it is a failure in the envelope of the contract (docs/contract.md#failures).
    pub fn failed(&self, status: u16, code: &str) {
        let error = &self.body["error"];
        assert_eq!((self.status, error["code"].as_str()), (status, Some(code)), "{self:?}");
        assert!(error["message"].as_str().is_some_and(|message| !message.is_empty()), "{self:?}");
        assert_eq!(
            error["request_id"].as_str(),
            self.headers.get("x-request-id").map(String::as_str),
            "{self:?}"
        );
        assert_eq!(self.headers["content-type"], "application/json", "{self:?}");
    }
}
