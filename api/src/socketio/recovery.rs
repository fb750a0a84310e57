//! Recovery of connection state, as Socket.IO has it: a client that has been away for a moment, and
//! comes back to the same process, hears what it has missed. It is told its `pid` when it connects,
//! and an offset after every broadcast; it comes back with both (docs/realtime.md#recovery).

use std::{
    collections::{BTreeMap, HashMap, VecDeque},
    time::Instant,
};

use nexus_common::types::{ids::EventId, visibility::ShareCode};
use serde_json::Value;
use socketioxide::socket::Sid;
use uuid::Uuid;

use super::recent::LONGEST;

/// Clients that are remembered when they have left, at most.
const MOST_AWAY: usize = 50_000;

/// A client across its connections: the session of the first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Pid(pub(super) Sid);

impl Pid {
    /// As the client knows it. Another process must not take it for one of its own.
    pub(super) fn told(self, process: Uuid) -> String {
        format!("{}.{}", process.simple(), self.0)
    }
}

/// Socket.IO's packet that tells a client that it is connected.
pub(super) const CONNECTED: &[u8] = b"40{";

/// The same packet, which tells it its `pid`, too.
pub(super) fn tell(connected: &[u8], pid: &str) -> Option<Vec<u8>> {
    let without_end = connected.strip_suffix(b"}")?;
    Some([without_end, br#","pid":""#, pid.as_bytes(), br#""}"#].concat())
}

/// A client that comes back, and what it has heard.
#[derive(Clone, Copy, Debug)]
pub(super) struct Returning {
    pub(super) pid: Pid,
    /// The number of the last broadcast; none if it has heard none.
    pub(super) offset: Option<u64>,
}

impl Returning {
    /// Reads the handshake's `auth`.
    pub(super) fn read(auth: &Value, process: Uuid) -> Option<Self> {
        let (of, sid) = auth.get("pid")?.as_str()?.split_once('.')?;
        let offset = match auth.get("offset") {
            None | Some(Value::Null) => None,
            Some(offset) => Some(offset.as_str()?.parse().ok()?),
        };
        let pid = Pid(sid.parse().ok()?);
        (of == process.simple().to_string()).then_some(Returning { pid, offset })
    }
}

/// Events that a client has joined, and the share codes with which it has.
pub(super) type Joined = BTreeMap<EventId, Option<ShareCode>>;

/// What is known of a client that is away.
#[derive(Clone, Debug)]
pub(super) struct Left {
    pub(super) joined: Option<Joined>,
    /// Its session: what that has caused, it has not been told.
    pub(super) sid: Sid,
    /// The number of the last broadcast before it connected.
    pub(super) since: u64,
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
    use super::*;

    #[test]
    fn who_comes_back_says_so_to_the_same_process() {
        let (process, sid) = (Uuid::from_u128(7), Sid::new());
        let told = Pid(sid).told(process);
        let read = |auth: Value| {
            Returning::read(&auth, process).map(|returning| (returning.pid, returning.offset))
        };
        let auth = |offset: Value| serde_json::json!({"pid": told, "offset": offset});
        assert_eq!(read(auth("12".into())), Some((Pid(sid), Some(12))));
        assert_eq!(read(auth(Value::Null)), Some((Pid(sid), None)));
        assert_eq!(read(auth(12.into())), None);
        let elsewhere = Pid(sid).told(Uuid::from_u128(8));
        assert_eq!(read(serde_json::json!({"pid": elsewhere})), None);
        assert_eq!(read(serde_json::json!({"pid": "x"})), None);
    }
}
