//! Broadcasts as clients get them: encoded once, however many get them.

use std::{cell::OnceCell, sync::Arc};

use axum::body::Bytes;
use serde_json::Value;

use super::recent::{Numbered, Offset};

/// Broadcasts that are due together, for the same clients.
pub(super) struct Due<'a> {
    /// As they are written to a websocket: after each, its number.
    pub(super) frames: Bytes,
    said: &'a [Arc<Numbered>],
    /// Events and payloads, for clients that poll.
    packets: OnceCell<Vec<(Option<Offset>, &'a str, Value)>>,
}

/// The event that tells a client the number of the broadcast before it. The official client takes
/// the last text that an event brings for its offset.
const OFFSET: &str = "offset";

fn event(offset: Offset) -> String {
    format!(r#"["{OFFSET}","{offset}"]"#)
}

/// Whether a packet of the library is a broadcast: so are all events but responses, errors and
/// offsets.
pub(super) fn is_broadcast(packet: &[u8]) -> bool {
    let event = packet.strip_prefix(br#"42[""#);
    let name = event.and_then(|event| event.split(|byte| *byte == b'"').next());
    let others: [&[u8]; 2] = [b"error", OFFSET.as_bytes()];
    name.is_some_and(|name| !others.contains(&name) && !name.ends_with(b"_response"))
}

/// The packet that tells an offset.
pub(super) fn offset_packet(offset: Offset) -> String {
    format!("42{}", event(offset))
}

/// The same as it is written to a websocket.
pub(super) fn offset_frame(offset: Offset) -> Vec<u8> {
    let mut frame = Vec::new();
    write_frame(&mut frame, &event(offset));
    frame
}

impl<'a> Due<'a> {
    /// Encodes broadcasts once for all their listeners.
    pub(super) fn of(said: &'a [Arc<Numbered>]) -> Self {
        let length = |numbered: &Arc<Numbered>| numbered.said.data.get().len() + 48;
        let mut frames = Vec::with_capacity(said.iter().map(length).sum());
        for numbered in said {
            if !numbered.said.is_nothing() {
                write_frame(&mut frames, numbered.said.data.get());
            }
            write_frame(&mut frames, &event(numbered.offset));
        }
        Due { frames: frames.into(), said, packets: OnceCell::new() }
    }

    /// Each with its offset, if that has to be told when it is taken.
    pub(super) fn packets(&self) -> &[(Option<Offset>, &'a str, Value)] {
        let packet = |numbered: &'a Arc<Numbered>| {
            if numbered.said.is_nothing() {
                return Some((None, OFFSET, numbered.offset.to_string().into()));
            }
            let (event, payload) = serde_json::from_str(numbered.said.data.get()).ok()?;
            Some((Some(numbered.offset), event, payload))
        };
        self.packets.get_or_init(|| self.said.iter().filter_map(packet).collect())
    }

    pub(super) fn first(&self) -> u64 {
        self.said.first().map_or(0, |numbered| numbered.number)
    }
}

/// A Socket.IO event (`42`) in a text frame of RFC 6455, which a server does not mask.
fn write_frame(frames: &mut Vec<u8>, data: &str) {
    const EVENT: &[u8] = b"42";
    const FINAL_TEXT: u8 = 0x81;
    let length = EVENT.len() + data.len();
    frames.push(FINAL_TEXT);
    match (u8::try_from(length), u16::try_from(length)) {
        (Ok(length @ ..=125), _) => frames.push(length),
        (_, Ok(length)) => {
            frames.push(126);
            frames.extend(length.to_be_bytes());
        }
        _ => {
            frames.push(127);
            frames.extend((length as u64).to_be_bytes());
        }
    }
    frames.extend(EVENT);
    frames.extend(data.as_bytes());
}
