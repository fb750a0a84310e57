//! Clients that send nonsense over a websocket, frame by frame (RFC 6455).

use nexus_tests::seeded_rng::SeededRng;
use nexus_tests::wire::Wire;

use super::Attack;
use super::packets::{bearable, connect, fatal, flood, pick};

type Make = fn(&mut SeededRng) -> Vec<u8>;

const TEXT: u8 = 0x81;
const BINARY: u8 = 0x82;
const CLOSE: u8 = 0x88;
const PING: u8 = 0x89;
const PONG: u8 = 0x8a;
/// Without this bit of its first byte, a frame is not the last of its message.
const LAST: u8 = 0x80;

/// Frames after which the connection cannot go on.
const BROKEN: [Make; 22] = [
    // Opcodes that there are not, and bits that have no meaning.
    |rng| frame(LAST | pick(rng, &[3, 4, 5, 6, 7, 11, 12, 13, 14, 15]), b"42[\"x\"]", rng),
    |rng| frame(TEXT | pick(rng, &[0x10, 0x20, 0x40, 0x70]), b"42[\"x\"]", rng),
    |rng| frame(PING | pick(rng, &[0x10, 0x20, 0x40, 0x70]), b"", rng),
    // Without a mask, as only servers send them.
    |_| vec![TEXT, 2, b'4', b'2'],
    |_| vec![PING, 0],
    // Parts without a beginning, a beginning after a beginning, parts that never end.
    |rng| frame(LAST, b"2[\"x\"]", rng),
    |rng| [frame(0x01, b"4", rng), frame(TEXT, b"3", rng)].concat(),
    |rng| [frame(0x01, b"4", rng), frame(0x02, b"3", rng), frame(LAST, b"", rng)].concat(),
    |rng| (0..50).fold(frame(0x01, b"42", rng), |all, _| [all, frame(0, b"[", rng)].concat()),
    // Control frames that are too long or come in parts.
    |rng| frame(pick(rng, &[CLOSE, PING, PONG]), &[b'x'; 126], rng),
    |rng| frame(pick(rng, &[0x08, 0x09, 0x0a]), b"x", rng),
    // Lengths that lie, and the same length in more bytes than it takes.
    |rng| header(TEXT, pick(rng, &[11, 126, 999_999, 1_000_001, u64::MAX / 2, 1 << 63, u64::MAX])),
    |rng| [header(TEXT, 1 + rng.below(900_000)), vec![0; 4], b"42[\"x\"]".to_vec()].concat(),
    |_| [&[TEXT, 0xff, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, b'3'][..], &[TEXT]].concat(),
    // Not UTF-8: never, not yet, and not any more.
    |rng| frame(TEXT, b"42[\"\xff\xfe\"]", rng),
    |rng| frame(TEXT, b"42[\"\xc3", rng),
    |rng| [frame(0x01, b"42[\"\xc3", rng), frame(LAST, b"\xc3\"]", rng)].concat(),
    // Closes with what is no reason.
    |rng| {
        let code: u16 = pick(rng, &[0, 999, 1_004, 1_005, 1_006, 1_015, 2_999, 5_000, 65_535]);
        frame(CLOSE, &code.to_be_bytes(), rng)
    },
    |rng| frame(CLOSE, b"\x03", rng),
    |rng| [frame(CLOSE, b"\x03\xe8\xff", rng), frame(TEXT, b"40", rng)].concat(),
    // Binary data that nobody waits for.
    |rng| frame(BINARY, b"\x04\x00\xff", rng),
    |rng| (0..rng.below(200)).map(|_| rng.below(256) as u8).collect(),
];

/// One connection from its upgrade to its end; returns how much of what it sent has been read.
pub(super) async fn abuse(attack: &Attack, rng: &mut SeededRng) -> u64 {
    let mut wire = Wire::connect(&attack.url).await.expect("a connection");
    wire.upgrade("EIO=4&transport=websocket").await;
    let connect = connect(rng, &attack.token);
    send(&mut wire, &messages(&connect, rng), rng).await;
    if !wire.says(r#"40{"sid""#).await {
        return 1;
    }
    let mut read = 1;
    for _ in 0..1 + rng.below(3) {
        let count = 1 + rng.below(40);
        let mut sent: Vec<u8> = (0..count).flat_map(|_| messages(&bearable(rng), rng)).collect();
        // What is asked last is answered only after all that came before it has been read.
        sent.extend(messages("40/read,", rng));
        if !(send(&mut wire, &sent, rng).await && wire.says("44/read,").await) {
            return read;
        }
        read += count;
    }
    let last = match rng.below(16) {
        0 => messages(&flood(rng), rng),
        1..9 => messages(&fatal(rng), rng),
        _ => pick(rng, &BROKEN)(rng),
    };
    send(&mut wire, &last, rng).await;
    wire.end().await;
    read + 1
}

/// Sends as it is, or in pieces that end in the middle of frames.
async fn send(wire: &mut Wire, bytes: &[u8], rng: &mut SeededRng) -> bool {
    let piece = if rng.below(4) == 0 { 1 + rng.below(500) as usize } else { bytes.len() };
    for piece in bytes.chunks(piece.max(1)) {
        if !wire.send(piece).await {
            return false;
        }
    }
    true
}

fn messages(packets: &str, rng: &mut SeededRng) -> Vec<u8> {
    packets.split('\x1e').flat_map(|packet| message(packet, rng)).collect()
}

/// One message, in one frame or in two with a ping between them.
fn message(packet: &str, rng: &mut SeededRng) -> Vec<u8> {
    let (head, payload) = match packet.strip_prefix('b') {
        Some(bytes) => (BINARY, bytes.as_bytes()),
        None => (TEXT, packet.as_bytes()),
    };
    if rng.below(8) > 0 {
        return frame(head, payload, rng);
    }
    let (first, second) = payload.split_at(rng.below(payload.len() as u64 + 1) as usize);
    [frame(head & !LAST, first, rng), frame(PING, b"?", rng), frame(LAST, second, rng)].concat()
}

/// Under a random mask, as clients have to send it.
fn frame(head: u8, payload: &[u8], rng: &mut SeededRng) -> Vec<u8> {
    let mask = (rng.below(1 << 32) as u32).to_be_bytes();
    let mut frame = header(head, payload.len() as u64);
    frame.extend(mask);
    frame.extend(payload.iter().zip(mask.iter().cycle()).map(|(byte, mask)| byte ^ mask));
    frame
}

/// What comes before the mask.
fn header(head: u8, length: u64) -> Vec<u8> {
    match length {
        0..126 => vec![head, 0x80 | length as u8],
        126..65_536 => [&[head, 0xfe][..], &(length as u16).to_be_bytes()].concat(),
        _ => [&[head, 0xff][..], &length.to_be_bytes()].concat(),
    }
}
