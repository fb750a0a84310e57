//! HTTP as a client of the shop needs it: one connection, one request after the other. A library
//! that can do everything would use more of the processors than the server that it measures.

use std::{cell::RefCell, io::ErrorKind};

use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

/// So much of a body says what became of a request.
const GLANCE: usize = 1024;

thread_local! {
    /// Where the bodies go that nobody reads.
    static UNREAD: RefCell<Box<[u8]>> = RefCell::new(vec![0; 64 * 1024].into());
}

/// A connection that is kept open.
#[derive(Debug)]
pub struct Connection {
    stream: TcpStream,
    read: Vec<u8>,
}

/// The response to a request.
#[derive(Debug)]
pub struct Response {
    pub status: u16,
    /// Seconds.
    pub retry_after: Option<u64>,
    pub body: Vec<u8>,
}

/// A request, ready to be sent.
#[derive(Debug)]
pub struct Request(Vec<u8>);

impl Request {
    /// A GET of a path below `/api/v1/`.
    pub fn get(path: &str, token: Option<&str>) -> Self {
        Self::new("GET", path, token, &[], None)
    }

    /// A POST of JSON.
    pub fn post(path: &str, token: Option<&str>, body: &str) -> Self {
        Self::new("POST", path, token, &[], Some(body))
    }

    /// A POST with headers of its own.
    pub fn post_with(path: &str, headers: &[(&str, &str)], body: &str) -> Self {
        Self::new("POST", path, None, headers, Some(body))
    }

    fn new(
        method: &str,
        path: &str,
        token: Option<&str>,
        headers: &[(&str, &str)],
        body: Option<&str>,
    ) -> Self {
        let mut text = format!("{method} /api/v1/{path} HTTP/1.1\r\nhost: 127.0.0.1\r\n");
        if let Some(token) = token {
            text += &format!("authorization: Bearer {token}\r\n");
        }
        for (name, value) in headers {
            text += &format!("{name}: {value}\r\n");
        }
        if let Some(body) = body {
            let length = body.len();
            text += &format!("content-type: application/json\r\ncontent-length: {length}\r\n");
        }
        text += "\r\n";
        text += body.unwrap_or_default();
        Request(text.into_bytes())
    }
}

impl Response {
    /// Its JSON, if it is a success.
    pub fn json(&self) -> Result<Value> {
        self.success()?;
        Ok(serde_json::from_slice(&self.body)?)
    }

    /// An error unless it is a success.
    pub fn success(&self) -> Result<()> {
        let text = || String::from_utf8_lossy(&self.body);
        ensure!((200..300).contains(&self.status), "refused: {} {}", self.status, text());
        Ok(())
    }
}

impl Connection {
    /// To a port of this machine.
    pub async fn open(port: u16) -> Result<Self> {
        let stream = TcpStream::connect(("127.0.0.1", port)).await?;
        stream.set_nodelay(true)?;
        Ok(Connection { stream, read: Vec::with_capacity(16 * 1024) })
    }

    /// Sends a request and reads the response.
    pub async fn call(&mut self, request: &Request) -> Result<Response> {
        self.exchange(request, usize::MAX).await
    }

    /// The same, but only the beginning of the body is kept. Of thousands of connections, each
    /// would have room for the largest body that it has seen: to give them that memory would use
    /// more of the processors than everything else the driver does.
    pub async fn glance(&mut self, request: &Request) -> Result<Response> {
        self.exchange(request, GLANCE).await
    }

    async fn exchange(&mut self, request: &Request, most: usize) -> Result<Response> {
        self.stream.write_all(&request.0).await?;
        let head = loop {
            if let Some(end) = find(&self.read, b"\r\n\r\n") {
                break end + 4;
            }
            self.fill().await?;
        };
        let text = std::str::from_utf8(&self.read[..head])?;
        let status: u16 = text.get(9..12).context("no status")?.parse()?;
        let header = |wanted: &str| {
            let mut headers = text.lines().filter_map(|line| line.split_once(':'));
            let found = headers.find(|(name, _)| name.eq_ignore_ascii_case(wanted));
            found.map(|(_, value)| value.trim())
        };
        let length: usize = header("content-length").map_or(Ok(0), str::parse)?;
        let retry_after = match status {
            503 => header("retry-after").and_then(|seconds| seconds.parse().ok()),
            _ => None,
        };
        let kept = length.min(most);
        while self.read.len() < head + kept {
            self.fill().await?;
        }
        let body = self.read[head..head + kept].to_vec();
        let unread = (head + length).saturating_sub(self.read.len());
        self.read.drain(..self.read.len().min(head + length));
        self.skip(unread).await?;
        Ok(Response { status, retry_after, body })
    }

    async fn skip(&mut self, mut length: usize) -> Result<()> {
        while length > 0 {
            self.stream.readable().await?;
            let read = UNREAD.with_borrow_mut(|buffer| {
                let part = length.min(buffer.len());
                self.stream.try_read(&mut buffer[..part])
            });
            match read {
                Ok(0) => bail!("the server has closed a connection"),
                Ok(count) => length -= count,
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }

    async fn fill(&mut self) -> Result<()> {
        let count = self.stream.read_buf(&mut self.read).await?;
        ensure!(count > 0, "the server has closed a connection");
        Ok(())
    }
}

fn find(text: &[u8], part: &[u8]) -> Option<usize> {
    text.windows(part.len()).position(|window| window == part)
}
