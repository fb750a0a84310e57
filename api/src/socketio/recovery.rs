//! Recovery of connection state, as Socket.IO has it: a client that has been away for a moment, and
//! comes back to the same process, hears what it has missed. It is told its `pid` when it connects,
//! and an offset after every broadcast; it comes back with both (docs/realtime.md#recovery).

use std::{
    collections::{HashMap, VecDeque},
    fmt,
    time::Instant,
};

use serde_json::Value;
use socketioxide::socket::Sid;
use uuid::Uuid;

use super::{
    ears::Joined,
    recent::{LONGEST, Offset},
};

/// Clients that are remembered when they have left, at most.
const MOST_AWAY: usize = 50_000;

/// A client across its connections. Whoever has it hears what the client had joined.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Pid(Uuid);

impl Pid {
    pub(super) fn new() -> Self {
        Pid(Uuid::new_v4())
    }
}

impl fmt::Display for Pid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.simple().fmt(f)
    }
}

/// Socket.IO's packet that tells a client that it is connected.
pub(super) const CONNECTED: &[u8] = b"40{";

/// The same packet, which tells it its `pid`, too.
pub(super) fn tell(connected: &[u8], pid: Pid) -> Option<Vec<u8>> {
    let without_end = connected.strip_suffix(b"}")?;
    Some([without_end, format!(r#","pid":"{pid}"}}"#).as_bytes()].concat())
}

/// A client that comes back, and how far it has heard.
#[derive(Clone, Copy, Debug)]
pub(super) struct Returning {
    pub(super) pid: Pid,
    pub(super) offset: Option<Offset>,
}

impl Returning {
    /// Reads the handshake's `auth`.
    pub(super) fn read(auth: &Value) -> Option<Self> {
        let pid = Pid(Uuid::try_parse(auth.get("pid")?.as_str()?).ok()?);
        let offset = auth.get("offset").and_then(Value::as_str).and_then(Offset::parse);
        Some(Returning { pid, offset })
    }
}

/// A client, apart from what it hears.
#[derive(Clone, Debug)]
pub(super) struct Client {
    pub(super) pid: Pid,
    /// The number of the last broadcast before it connected.
    pub(super) since: u64,
    /// Its earlier sockets, the latest last: what these have caused, it has not been told.
    pub(super) before: Vec<Sid>,
}

/// What is known of a client that is away.
#[derive(Clone)]
pub(super) struct Left {
    pub(super) client: Client,
    pub(super) joined: Option<Joined>,
}

/// Clients that are away, and may come back.
#[derive(Default)]
pub(super) struct Away {
    clients: HashMap<Pid, (Left, Instant)>,
    /// In the order in which they left; some are back.
    order: VecDeque<(Pid, Instant)>,
}

impl Away {
    pub(super) fn leave(&mut self, pid: Pid, left: Left) {
        let now = Instant::now();
        self.clients.insert(pid, (left, now));
        self.order.push_back((pid, now));
        while let Some((pid, at)) = self.order.front()
            && (now - *at > LONGEST || self.order.len() > MOST_AWAY)
        {
            // It may have come back, and left again.
            if self.clients.get(pid).is_some_and(|(_, left)| left == at) {
                self.clients.remove(pid);
            }
            self.order.pop_front();
        }
    }

    pub(super) fn get(&self, pid: Pid) -> Option<&Left> {
        let (left, at) = self.clients.get(&pid)?;
        (at.elapsed() <= LONGEST).then_some(left)
    }

    pub(super) fn has_returned(&mut self, pid: Pid) {
        self.clients.remove(&pid);
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn who_comes_back_says_who_it_is_and_perhaps_how_far_it_has_heard() {
        let pid = Pid::new();
        let read =
            |auth: Value| Returning::read(&auth).map(|returning| (returning.pid, returning.offset));
        let told = pid.to_string();
        let offset = Offset::parse("7f");
        assert_eq!(read(json!({"pid": told, "offset": "7f"})), Some((pid, offset)));
        assert_eq!(read(json!({"pid": told})), Some((pid, None)));
        assert_eq!(read(json!({"pid": told, "offset": 12})), Some((pid, None)));
        assert_eq!(read(json!({"pid": "x"})), None);
        assert_eq!(read(json!({"token": "x"})), None);
    }
}
