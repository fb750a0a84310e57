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

    /// The same from an address of this machine.
    pub async fn connect_from(address: [u8; 4], url: &str) -> std::io::Result<Self> {
        let socket = TcpSocket::new_v4()?;
        socket.bind((address, 0).into())?;
        Self::over(socket, url).await
    }

    /// The same, with a receive buffer of so many bytes.
    pub async fn connect_with(url: &str, buffer: Option<u32>) -> std::io::Result<Self> {
        let socket = TcpSocket::new_v4()?;
        if let Some(buffer) = buffer {
            socket.set_recv_buffer_size(buffer)?;
        }
        Self::over(socket, url).await
    }

    async fn over(socket: TcpSocket, url: &str) -> std::io::Result<Self> {
        let address = url.trim_start_matches("http://").parse().expect("an address");
        Ok(Self { tcp: socket.connect(address).await?, read: Vec::new() })
    }

    /// Sends bytes; whether the other side takes them.
    pub async fn send(&mut self, bytes: impl AsRef<[u8]>) -> bool {
        timeout(SOON, self.tcp.write_all(bytes.as_ref())).await.is_ok_and(|sent| sent.is_ok())
    }

    /// Closes the sending half, and reads on; the other side may have closed already.
    pub async fn finish(&mut self) {
        let _ = self.tcp.shutdown().await;
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
        let upgraded = self.ask(upgrade(query)).await;
        assert_eq!(upgraded.status, 101, "{upgraded:?}");
    }

    /// Becomes a Socket.IO client that has connected over a websocket.
    pub async fn open_websocket(&mut self) {
        self.connected(&Value::Null).await.expect("a websocket");
    }

    /// The same with a handshake's `auth`: what the client is told when it is connected; none if
    /// the other side would not have it.
    pub async fn connected(&mut self, auth: &Value) -> Option<Value> {
        self.send(upgrade("EIO=4&transport=websocket")).await;
        let connected = async {
            let end = loop {
                if let Some(end) = self.read.windows(4).position(|part| part == b"\r\n\r\n") {
                    break end + 4;
                }
                self.read_some().await?;
            };
            let head: Vec<u8> = self.read.drain(..end).collect();
            head.starts_with(b"HTTP/1.1 101").then_some(())?;
            while !self.packet().await?.starts_with('0') {}
            let connect = if auth.is_null() { "40".to_owned() } else { format!("40{auth}") };
            self.send(text_frame(&connect)).await;
            loop {
                if let Some(told) = self.packet().await?.strip_prefix("40") {
                    return serde_json::from_str(told).ok();
                }
            }
        };
        timeout(SOON, connected).await.ok()?
    }

    /// A websocket's next packet, however late; none when the other side says goodbye, or closes.
    pub async fn packet(&mut self) -> Option<String> {
        loop {
            match first_frame(&self.read) {
                Some((opcode, payload)) => {
                    let text = String::from_utf8_lossy(&self.read[payload.clone()]).into_owned();
                    self.read.drain(..payload.end);
                    return (opcode == TEXT).then_some(text);
                }
                None => self.read_some().await?,
            }
        }
    }

    /// Reads until the other side says this, and forgets what has come; false if it closes instead.
    pub async fn says(&mut self, text: &str) -> bool {
        let mut looked = 0;
        while !self.read[looked..].windows(text.len()).any(|part| part == text.as_bytes()) {
            looked = (self.read.len() + 1).saturating_sub(text.len());
            if !self.more().await {
                return false;
            }
        }
        self.read.clear();
        true
    }

    async fn read_some(&mut self) -> Option<()> {
        let read = self.tcp.read_buf(&mut self.read).await;
        read.is_ok_and(|read| read > 0).then_some(())
    }

    /// Waits until the other side has closed; discards what comes before.
    pub async fn until_closed(&mut self) {
        while self.more().await {
            self.read.clear();
        }
    }

    /// Sends nothing more, and waits until the other side has closed, too.
    pub async fn end(mut self) {
        self.finish().await;
        self.until_closed().await;
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

/// The opcode of a text in one frame.
const TEXT: u8 = 1;

fn upgrade(query: &str) -> String {
    format!(
        "GET /socket.io/?{query} HTTP/1.1\r\nhost: nexus\r\nconnection: upgrade\r\n\
         upgrade: websocket\r\nsec-websocket-version: 13\r\n\
         sec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
    )
}

/// A websocket's frame with a text, as a client sends it: under a mask, here of zeros.
pub fn text_frame(text: &str) -> Vec<u8> {
    const MASKED: u8 = 0x80;
    let mut frame = vec![0x80 | TEXT];
    match (u8::try_from(text.len()), u16::try_from(text.len())) {
        (Ok(length @ ..=125), _) => frame.push(MASKED | length),
        (_, Ok(length)) => {
            frame.push(MASKED | 126);
            frame.extend(length.to_be_bytes());
        }
        _ => panic!("a short text"),
    }
    frame.extend([0; 4]);
    frame.extend(text.as_bytes());
    frame
}

/// The opcode and the payload of the first frame that a server has sent, once it is whole.
fn first_frame(bytes: &[u8]) -> Option<(u8, std::ops::Range<usize>)> {
    let (head, length) = match *bytes.get(1)? {
        126 => (4, u16::from_be_bytes(*bytes.get(2..)?.first_chunk()?).into()),
        127 => (10, u64::from_be_bytes(*bytes.get(2..)?.first_chunk()?) as usize),
        length => (2, length.into()),
    };
    let end = head + length;
    (bytes.len() >= end).then_some((bytes[0] & 0x0f, head..end))
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
