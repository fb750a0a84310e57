//! Socket.IO on the wire, as far as a browser speaks it: the requests with the headers that Chrome
//! sends, masked frames, and what servers send back.

use std::{net::SocketAddr, ops::Range};

use anyhow::{Context, Result, ensure};

use super::orders::{Connect, Transport};

/// Between the packets of one response to a poll.
pub const SEPARATOR: u8 = 0x1e;

/// What browsers say of themselves with every request, with the cookies of a site that counts its
/// visitors.
const BROWSER: &str = "Pragma: no-cache\r\n\
    Cache-Control: no-cache\r\n\
    User-Agent: Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/142.0.0.0 Safari/537.36\r\n\
    Accept-Encoding: gzip, deflate, br, zstd\r\n\
    Accept-Language: en-IN,en-GB;q=0.9,en;q=0.8,hi;q=0.7\r\n\
    Cookie: _ga=GA1.1.1417923581.1764321804; _ga_9XW2KJ0T5C=GS2.1.s1764321804$o1$g1$t1764322190$j60$l0$h0; \
    _gid=GA1.2.902114837.1764321805; _fbp=fb.1.1764321805112.38410275519; consent=necessary%2Canalytics; \
    theme=dark; locale=en-IN; cf_clearance=kX0cH3l4c3h0l9d3rF0rAR34l1st1cS1z3-1764321806-1.2.1.1-q7Zt2fV9wLrB8mYpXe4KdNsUaGhJ0iTc\r\n";

/// What all clients of one order have in common.
#[derive(Debug)]
pub struct Plan {
    /// Where the server is.
    address: SocketAddr,
    elsewhere: Option<SocketAddr>,
    /// How packets travel.
    pub transport: Transport,
    /// The packet that connects to the namespace.
    pub connect: String,
    /// The packet that joins an event.
    pub join: Option<String>,
    /// `Host` and everything else that all requests have.
    headers: String,
}

impl Plan {
    /// As an order wants it.
    pub fn new(order: &Connect) -> Self {
        let auth = order.auth.as_ref().map_or_else(String::new, ToString::to_string);
        let join = order.join.map(|event| format!("42[\"join_event\",{event}]"));
        let mut headers = format!("Host: {}\r\n{BROWSER}", order.address);
        if let Some(origin) = &order.origin {
            headers += &format!("Origin: {origin}\r\n");
        }
        Plan {
            address: order.address,
            elsewhere: order.elsewhere,
            transport: order.transport,
            connect: format!("40{auth}"),
            join,
            headers,
        }
    }

    /// Where a client goes that has tried so often to come back.
    pub fn server(&self, tries: i32) -> SocketAddr {
        self.elsewhere.filter(|_| tries % 2 == 1).unwrap_or(self.address)
    }

    /// Asks for a websocket.
    pub fn upgrade(&self) -> String {
        format!(
            "GET /socket.io/?EIO=4&transport=websocket HTTP/1.1\r\n{}\
             Connection: Upgrade\r\nUpgrade: websocket\r\n\
             Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\
             Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits\r\n\r\n",
            self.headers
        )
    }

    /// Asks for what has happened in a session, or for a session.
    pub fn poll(&self, session: Option<&str>) -> String {
        let session = session.map_or_else(String::new, |id| format!("&sid={id}"));
        format!(
            "GET /socket.io/?EIO=4&transport=polling{session} HTTP/1.1\r\n{}Accept: */*\r\n\
             Connection: keep-alive\r\n\r\n",
            self.headers
        )
    }

    /// Sends packets in a session.
    pub fn post(&self, session: &str, packets: &str) -> String {
        format!(
            "POST /socket.io/?EIO=4&transport=polling&sid={session} HTTP/1.1\r\n{}Accept: */*\r\n\
             Connection: keep-alive\r\nContent-type: text/plain;charset=UTF-8\r\n\
             Content-Length: {}\r\n\r\n{packets}",
            self.headers,
            packets.len()
        )
    }
}

/// What a websocket frame is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Text,
    Close,
    Ping,
    /// Binary, continuations, pongs: not expected, not understood.
    Other,
}

/// Servers mask nothing; clients have to. On the way through loopback nobody is fooled by what he
/// sees, so that the key may be always the same.
const MASK: [u8; 4] = [0x37, 0xfa, 0x21, 0x3d];

/// A client's frame of up to 65,535 bytes.
pub fn frame(kind: Kind, payload: &[u8]) -> Vec<u8> {
    let code = match kind {
        Kind::Text => 0x81,
        Kind::Close => 0x88,
        Kind::Ping | Kind::Other => 0x8a,
    };
    let mut frame = Vec::with_capacity(payload.len() + 8);
    match payload.len() {
        length @ ..126 => frame.extend([code, 0x80 | length as u8]),
        length => {
            frame.extend([code, 0x80 | 126]);
            frame.extend((length as u16).to_be_bytes());
        }
    }
    frame.extend(MASK);
    frame.extend(payload.iter().zip(MASK.iter().cycle()).map(|(byte, mask)| byte ^ mask));
    frame
}

/// The first of a server's frames, and where its payload is, once all of it is there.
pub fn first_frame(bytes: &[u8]) -> Option<(Kind, Range<usize>)> {
    let [code, length, ..] = *bytes else { return None };
    let (start, length) = match length & 0x7f {
        126 => (4, u16::from_be_bytes(bytes.get(2..4)?.try_into().ok()?) as usize),
        127 => (10, u64::from_be_bytes(bytes.get(2..10)?.try_into().ok()?) as usize),
        length => (2, length as usize),
    };
    let kind = match code {
        0x81 => Kind::Text,
        0x88 => Kind::Close,
        0x89 => Kind::Ping,
        _ => Kind::Other,
    };
    (bytes.len() >= start + length).then_some((kind, start..start + length))
}

/// Where the head of a response ends, once all of it is there, with its status.
pub fn head(bytes: &[u8]) -> Result<Option<(u16, usize)>> {
    let Some(end) = bytes.windows(4).position(|window| window == b"\r\n\r\n") else {
        return Ok(None);
    };
    let status = bytes.get(9..12).and_then(|status| std::str::from_utf8(status).ok()?.parse().ok());
    Ok(Some((status.context("a response without a status")?, end + 4)))
}

/// Where the body of a response is, once all of it is there.
pub fn body(bytes: &[u8]) -> Result<Option<Range<usize>>> {
    let Some((status, start)) = head(bytes)? else { return Ok(None) };
    ensure!(status == 200, "{}", String::from_utf8_lossy(bytes));
    let head = std::str::from_utf8(&bytes[..start])?;
    let length = head.lines().filter_map(|line| line.split_once(':'));
    let length = length
        .filter(|(name, _)| name.eq_ignore_ascii_case("content-length"))
        .find_map(|(_, length)| length.trim().parse::<usize>().ok())
        .context("a response without a length")?;
    Ok((bytes.len() >= start + length).then_some(start..start + length))
}

/// The name of the event that a packet brings.
pub fn event(packet: &[u8]) -> Option<&str> {
    let named = packet.strip_prefix(b"42[\"")?;
    let end = named.iter().position(|byte| *byte == b'"')?;
    std::str::from_utf8(&named[..end]).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_are_read_once_they_are_whole() {
        let long = [&[0x81, 126, 1, 0][..], &[b'x'; 256]].concat();
        assert_eq!(first_frame(&long), Some((Kind::Text, 4..260)));
        assert_eq!(first_frame(&long[..259]), None);
        assert_eq!(first_frame(&[0x89, 0, 0x81]), Some((Kind::Ping, 2..2)));
        assert_eq!(first_frame(&[0x81]), None);
    }

    #[test]
    fn frames_are_masked() {
        // The example of RFC 6455.
        let hello = b"\x81\x85\x37\xfa\x21\x3d\x7f\x9f\x4d\x51\x58";
        assert_eq!(frame(Kind::Text, b"Hello"), hello);
    }

    #[test]
    fn events_have_names() {
        assert_eq!(event(b"42[\"seat_locked\",{}]"), Some("seat_locked"));
        assert_eq!(event(b"40{}"), None);
    }

    #[test]
    fn bodies_are_read_once_they_are_whole() {
        let response = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";
        assert_eq!(body(response).unwrap(), Some(38..40));
        assert_eq!(body(&response[..39]).unwrap(), None);
        assert!(body(b"HTTP/1.1 400 Bad Request\r\n\r\n").is_err());
    }
}
