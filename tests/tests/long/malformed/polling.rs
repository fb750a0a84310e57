//! Clients that send nonsense in requests.

use nexus_tests::seeded_rng::SeededRng;
use nexus_tests::wire::{Said, Wire, text_frame};

use super::Attack;
use super::packets::{bearable, connect, fatal, flood, pick};

const OPEN: &str = "EIO=4&transport=polling";

type Make = fn(&mut SeededRng, &str) -> Vec<u8>;

/// Requests after which a session cannot go on, or that belong to none. They get its query.
const BROKEN: [Make; 30] = [
    |rng, query| post(query, fatal(rng)),
    |rng, query| post(query, fatal(rng)),
    |rng, query| post(query, fatal(rng)),
    |rng, query| post(query, flood(rng)),
    // Bodies of separators only, of thousands of packets, of no text, of no base64, and too long.
    |rng, query| post(query, "\x1e".repeat(1 + rng.below(9) as usize)),
    |rng, query| {
        let packet = pick(rng, &["3", "40/nowhere,", "42[\"x\"]", "41", "40", "bAAAA"]);
        post(query, format!("{packet}\x1e").repeat(5_000))
    },
    |_, query| post(query, b"42[\"\xff\xfe\"]"),
    |_, query| post(query, "bnot base64!"),
    |_, query| post(query, "bAAA"),
    |rng, query| post(query, "4".repeat(1_000_001 + rng.below(50) as usize)),
    |_, query| post(query, ""),
    // Bodies that break off, or are not as long as they say.
    |_, query| request("POST", query, "transfer-encoding: chunked", b"7\r\n42[\"x\"]\r\n9\r\n42["),
    |_, query| {
        request("POST", query, "transfer-encoding: chunked", b"zz\r\n42[\"x\"]\r\n0\r\n\r\n")
    },
    |_, query| request("POST", query, "transfer-encoding: chunked", &[b'f'; 40]),
    |_, query| request("POST", query, "content-length: 99", b"42[\"x\"]"),
    |_, query| request("POST", query, "content-length: -1", b"42[\"x\"]"),
    // Types of content.
    |_, query| request("POST", query, "content-type: \x7f/\0\r\ncontent-length: 1", b"3"),
    |_, query| typed(query, "application/octet-stream"),
    |_, query| typed(query, "multipart/form-data; boundary="),
    |_, query| typed(query, "text/plain; charset=\u{ff}"),
    // Methods.
    |_, query| request("OPTIONS", query, "origin: null", b""),
    |rng, query| {
        let method = pick(rng, &["PUT", "DELETE", "PATCH", "TRACE", "BREW"]);
        request(method, query, "content-length: 1", b"3")
    },
    // Sessions, transports and versions that there are not.
    |rng, _| {
        let sid =
            pick(rng, &["", "AAAAAAAAAAAAAAAA", "short", "%00", "\u{e9}", "AAAAAAAAAAAAAAA!"]);
        request(pick(rng, &["GET", "POST"]), &format!("{OPEN}&sid={sid}"), "x: y", b"")
    },
    |rng, query| {
        let transport = pick(rng, &["", "carrier-pigeon", "websocket", "websocket=polling"]);
        request("GET", &query.replace("polling", transport), "x: y", b"")
    },
    |rng, query| {
        let version = pick(rng, &["", "EIO=3", "EIO=5", "EIO=", "EIO=44", "eio=4"]);
        request("GET", &query.replace("EIO=4", version), "x: y", b"")
    },
    |rng, _| request(pick(rng, &["GET", "POST", "PUT"]), "", "x: y", b""),
    |rng, _| request(pick(rng, &["POST", "PUT"]), OPEN, "content-length: 2", b"40"),
    // Upgrades without a key, and without a wish for one.
    |_, query| request("GET", &query.replace("polling", "websocket"), "upgrade: websocket", b""),
    |_, query| request("GET", &query.replace("polling", "websocket"), "sec-websocket-key: x", b""),
    |_, _| request("GET", OPEN, "connection: upgrade\r\nupgrade: nonsense", b""),
];

/// A session and the connection that it mostly uses.
struct Session<'a> {
    attack: &'a Attack,
    wire: Wire,
    query: String,
}

/// One session from its opening to its end; returns how much of what it sent has been read.
pub(super) async fn abuse(attack: &Attack, rng: &mut SeededRng) -> u64 {
    let mut wire = Wire::connect(&attack.url).await.expect("a connection");
    let opened = wire.ask(request("GET", OPEN, "x: y", b"")).await;
    let sid = opened.text.split('"').nth(3).unwrap_or_else(|| panic!("no session: {opened:?}"));
    let mut session = Session { attack, wire, query: format!("{OPEN}&sid={sid}") };
    let mut read = 1;
    if session.say(&connect(rng, &attack.token)).await && session.hears(r#"40{"sid""#).await {
        read += session.chat(rng).await;
    }
    read + session.end(rng).await
}

impl Session<'_> {
    /// Nonsense for as long as the session bears it.
    async fn chat(&mut self, rng: &mut SeededRng) -> u64 {
        let mut read = 0;
        for _ in 0..1 + rng.below(3) {
            let mut packets: Vec<String> = (0..1 + rng.below(60)).map(|_| bearable(rng)).collect();
            // What is asked last is answered only after all that came before it has been read.
            packets.push("40/read,".to_owned());
            if !(self.say(&packets.join("\x1e")).await && self.hears("44/read,").await) {
                break;
            }
            read += packets.len() as u64 - 1;
        }
        read
    }

    async fn end(self, rng: &mut SeededRng) -> u64 {
        let broken = match rng.below(4) {
            0 => return self.polls_twice().await,
            1 => return self.upgrades(rng).await,
            _ => pick(rng, &BROKEN)(rng, &self.query),
        };
        let Self { attack, mut wire, query } = self;
        wire.send(broken).await;
        until_answered(wire).await;
        close(attack, &query).await;
        1
    }

    /// Polls over two connections at once.
    async fn polls_twice(self) -> u64 {
        let Self { attack, wire, query } = self;
        let mut polls = [wire, Wire::connect(&attack.url).await.expect("a connection")];
        for poll in &mut polls {
            poll.send(request("GET", &query, "x: y", b"")).await;
        }
        // Whether it has closed the session or not.
        close(attack, &query).await;
        for poll in polls {
            until_answered(poll).await;
        }
        2
    }

    /// Upgrades to a websocket without the probe, with a wrong one, or once more when it has one.
    async fn upgrades(self, rng: &mut SeededRng) -> u64 {
        let Self { attack, wire: mut polling, query } = self;
        let upgraded = async || {
            let mut wire = Wire::connect(&attack.url).await.expect("a connection");
            wire.upgrade(&query.replace("polling", "websocket")).await;
            wire
        };
        let mut websocket = upgraded().await;
        let mut others = Vec::new();
        let way = rng.below(5);
        let probes = match way {
            0 => vec![],
            1 => text_frame(pick(rng, &["2prob", "3probe", "5", "40"])),
            2 => [text_frame("2probe"), text_frame("2probe")].concat(),
            _ => text_frame("2probe"),
        };
        websocket.send(probes).await;
        if way > 2 && websocket.says("3probe").await {
            let last = if way == 3 { vec![] } else { text_frame("5") };
            websocket.send(last).await;
            polling.send(post(&query, fatal(rng))).await;
            polling.send(request("GET", &query, "x: y", b"")).await;
            others.push(upgraded().await);
        }
        for websocket in [websocket].into_iter().chain(others) {
            websocket.end().await;
        }
        close(attack, &query).await;
        until_answered(polling).await;
        2
    }

    async fn say(&mut self, packets: &str) -> bool {
        self.wire.send(post(&self.query, packets)).await;
        self.wire.response().await.is_some_and(|said| checked(said).status == 200)
    }

    /// Polls until the server says this; false if the session ends instead.
    async fn hears(&mut self, text: &str) -> bool {
        loop {
            self.wire.send(request("GET", &self.query, "x: y", b"")).await;
            match self.wire.response().await.map(checked) {
                Some(said) if said.status == 200 && said.text.contains(text) => return true,
                Some(said) if said.status == 200 => {}
                _ => return false,
            }
        }
    }
}

/// Closes a session, of which nothing may be left, if it is still there.
async fn close(attack: &Attack, query: &str) {
    let mut wire = Wire::connect(&attack.url).await.expect("a connection");
    wire.send(post(query, "1")).await;
    until_answered(wire).await;
}

/// Sends nothing more, and reads answers until the server has closed.
async fn until_answered(mut wire: Wire) {
    wire.finish().await;
    while let Some(said) = wire.response().await {
        checked(said);
    }
}

/// Nonsense is the client's fault.
fn checked(said: Said) -> Said {
    assert!(said.status < 500, "{said:?}");
    said
}

fn post(query: &str, body: impl AsRef<[u8]>) -> Vec<u8> {
    let body = body.as_ref();
    request("POST", query, &format!("content-length: {}", body.len()), body)
}

fn typed(query: &str, content: &str) -> Vec<u8> {
    request("POST", query, &format!("content-type: {content}\r\ncontent-length: 1"), b"3")
}

fn request(method: &str, query: &str, headers: &str, body: &[u8]) -> Vec<u8> {
    let head = format!("{method} /socket.io/?{query} HTTP/1.1\r\nhost: nexus\r\n{headers}\r\n\r\n");
    [head.as_bytes(), body].concat()
}
