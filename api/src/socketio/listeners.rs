//! The clients that are connected to this process, and who of them hears what.

use std::{
    cell::OnceCell,
    collections::{BTreeSet, HashMap},
    hash::Hash,
    ptr,
    sync::{
        Arc, OnceLock, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard, Weak,
        atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed},
    },
};

use axum::body::Bytes;
use nexus_common::{
    observability::metrics,
    realtime::Audience,
    types::ids::{EventId, UserId},
};
use serde_json::{Value, value::RawValue};
use socketioxide::{TransportType, socket::Sid};

use super::{queue::Queue, server::Socket, wire::Wire};

/// What may wait for a client until it polls.
const MOST_UNPOLLED: usize = 192 * 1024;
/// What a packet that waits takes beside its text.
const PACKET: usize = 256;

/// A connected client.
pub(crate) struct Listener {
    pub(super) socket: Socket,
    /// Its websocket, once it has one: a client that polls has none.
    wire: OnceLock<Arc<Wire>>,
    /// What it has been sent since it polled.
    unpolled: AtomicUsize,
    /// The process stops: the client is about to leave it, and may.
    is_leaving: AtomicBool,
    has_left: AtomicBool,
    _connected: metrics::Connected,
}

/// Broadcasts that are due together, for the same clients.
pub(super) struct Due<'a> {
    /// As they are written to a websocket.
    frames: Bytes,
    /// `[event, payload]` each.
    data: Vec<&'a RawValue>,
    /// Events and payloads, for clients that poll.
    packets: OnceCell<Vec<(&'a str, Value)>>,
}

impl<'a> Due<'a> {
    pub(super) fn new(frames: Bytes, data: Vec<&'a RawValue>) -> Self {
        Due { frames, data, packets: OnceCell::new() }
    }

    fn packets(&self) -> &[(&'a str, Value)] {
        self.packets.get_or_init(|| {
            self.data.iter().filter_map(|data| serde_json::from_str(data.get()).ok()).collect()
        })
    }
}

impl Listener {
    pub(super) fn new(socket: Socket) -> Arc<Self> {
        let wire = socket.req_parts().extensions.get::<Weak<Wire>>().and_then(Weak::upgrade);
        Arc::new(Listener {
            socket,
            wire: wire.map_or_else(OnceLock::new, OnceLock::from),
            unpolled: AtomicUsize::new(0),
            is_leaving: AtomicBool::new(false),
            has_left: AtomicBool::new(false),
            _connected: metrics::Connected::now(),
        })
    }

    pub(super) fn wire(&self) -> Option<&Arc<Wire>> {
        self.wire.get()
    }

    /// False if it has begun before.
    pub(super) fn begins_to_leave(&self) -> bool {
        !self.is_leaving.swap(true, Relaxed)
    }

    pub(super) fn leaves(&self) {
        self.has_left.store(true, Relaxed);
    }

    pub(super) fn has_left(&self) -> bool {
        self.has_left.load(Relaxed)
    }

    /// From now on, it hears broadcasts over this websocket.
    pub(super) fn has_upgraded(&self, wire: Arc<Wire>) {
        let _ = self.wire.set(wire);
    }

    /// Puts broadcasts in line. Returns whether they are the first: then it must be
    /// [flushed](Self::flush).
    pub(super) fn hear(&self, due: &Due<'_>) -> bool {
        match self.wire.get() {
            Some(wire) => wire.hear(due.frames.clone()),
            None => {
                self.hear_polling(due);
                false
            }
        }
    }

    pub(super) fn flush(&self) {
        if let Some(wire) = self.wire.get() {
            wire.flush();
        }
    }

    /// Whether more was to wait than may: it has missed something.
    fn is_let_go(&self) -> bool {
        self.unpolled.load(Relaxed) > MOST_UNPOLLED
    }

    fn hear_polling(&self, due: &Due<'_>) {
        if self.socket.transport_type() == TransportType::Polling {
            let due = due.frames.len() + due.data.len() * PACKET;
            let waiting = self.unpolled.fetch_add(due, Relaxed);
            if waiting + due > MOST_UNPOLLED {
                if waiting <= MOST_UNPOLLED {
                    metrics::slow_socket("bytes");
                }
                return;
            }
        }
        for (event, payload) in due.packets() {
            if let Err(error) = self.socket.emit(event, payload) {
                tracing::debug!(%error, event, "a broadcast did not reach a client that polls");
            }
        }
    }
}

/// All listeners of this process. Cheap to clone.
#[derive(Clone, Default)]
pub(crate) struct Listeners(Arc<RwLock<Index>>);

type Group = HashMap<Sid, Arc<Listener>>;

#[derive(Default)]
struct Index {
    all: HashMap<Sid, Entry>,
    /// Those that have never joined an event.
    everywhere: Group,
    joined: HashMap<EventId, Group>,
    /// Those that hear what is meant for their user alone.
    users: HashMap<UserId, Group>,
}

struct Entry {
    listener: Arc<Listener>,
    /// The events about whose seats and bookings it hears; `None`: about all.
    joined: Option<BTreeSet<EventId>>,
    user: Option<UserId>,
}

impl Index {
    /// A socket's entry. Another may have the same id: of a client that has disconnected, and
    /// connected again over the same connection.
    fn entry(&mut self, socket: &Socket) -> Option<&mut Entry> {
        self.all.get_mut(&socket.id).filter(|entry| ptr::eq(&*entry.listener.socket, &**socket))
    }

    fn all(&self) -> impl Iterator<Item = (&Sid, &Arc<Listener>)> {
        self.all.iter().map(|(sid, entry)| (sid, &entry.listener))
    }

    /// Those who hear about an event's seats and bookings.
    fn viewers(&self, event: EventId) -> impl Iterator<Item = (&Sid, &Arc<Listener>)> {
        self.everywhere.iter().chain(self.joined.get(&event).into_iter().flatten())
    }

    fn views(&self, sid: Sid, event: EventId) -> bool {
        let joined = self.all.get(&sid).map(|entry| &entry.joined);
        joined.is_some_and(|joined| joined.as_ref().is_none_or(|events| events.contains(&event)))
    }

    fn of(&self, user: UserId) -> impl Iterator<Item = (&Sid, &Arc<Listener>)> {
        self.users.get(&user).into_iter().flatten()
    }
}

/// Removes a client from one of the groups, and the group with its last client.
fn remove<K: Copy + Eq + Hash>(groups: &mut HashMap<K, Group>, key: K, sid: Sid) {
    if let Some(group) = groups.get_mut(&key) {
        group.remove(&sid);
        if group.is_empty() {
            groups.remove(&key);
        }
    }
}

impl Listeners {
    fn read(&self) -> RwLockReadGuard<'_, Index> {
        self.0.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, Index> {
        self.0.write().unwrap_or_else(PoisonError::into_inner)
    }

    /// A client has connected, unless it has left again: then it has no queue any more. It loses
    /// that before it is removed, so whoever is added here will be.
    pub(super) fn add(&self, listener: Arc<Listener>) {
        let sid = listener.socket.id;
        let mut index = self.write();
        if listener.socket.extensions.get::<Queue>().is_none() {
            return;
        }
        index.everywhere.insert(sid, listener.clone());
        index.all.insert(sid, Entry { listener, joined: None, user: None });
    }

    /// A client is gone.
    pub(super) fn remove(&self, socket: &Socket) {
        let (sid, mut index) = (socket.id, self.write());
        if index.entry(socket).is_none() {
            return;
        }
        let Some(Entry { joined, user, .. }) = index.all.remove(&sid) else { return };
        index.everywhere.remove(&sid);
        for event in joined.into_iter().flatten() {
            remove(&mut index.joined, event, sid);
        }
        if let Some(user) = user {
            remove(&mut index.users, user, sid);
        }
    }

    /// The client hears about this event, and not about those that it has not joined. False if it
    /// has joined `most` others.
    pub(super) fn join(&self, socket: &Socket, event: EventId, most: usize) -> bool {
        let (sid, mut index) = (socket.id, self.write());
        if index.entry(socket).is_none() {
            return true;
        }
        let Index { all, everywhere, joined, .. } = &mut *index;
        let Some(entry) = all.get_mut(&sid) else { return true };
        let events = entry.joined.get_or_insert_with(|| {
            everywhere.remove(&sid);
            BTreeSet::new()
        });
        if events.len() >= most && !events.contains(&event) {
            return false;
        }
        events.insert(event);
        joined.entry(event).or_default().insert(sid, entry.listener.clone());
        true
    }

    /// The client no longer hears about this event.
    pub(super) fn leave(&self, socket: &Socket, event: EventId) {
        let mut index = self.write();
        if let Some(events) = index.entry(socket).and_then(|entry| entry.joined.as_mut()) {
            events.remove(&event);
            remove(&mut index.joined, event, socket.id);
        }
    }

    /// The client hears what is meant for this user alone. False if it did already, or is gone.
    pub(super) fn identify(&self, socket: &Socket, user: UserId) -> bool {
        let mut index = self.write();
        let Some(entry) = index.entry(socket).filter(|entry| entry.user.is_none()) else {
            return false;
        };
        entry.user = Some(user);
        let listener = entry.listener.clone();
        index.users.entry(user).or_default().insert(socket.id, listener);
        true
    }

    /// The client no longer hears what is meant for its user alone.
    pub(super) fn make_anonymous(&self, socket: &Socket) {
        let mut index = self.write();
        if let Some(user) = index.entry(socket).and_then(|entry| entry.user.take()) {
            remove(&mut index.users, user, socket.id);
        }
    }

    pub(super) fn get(&self, sid: Sid) -> Option<Arc<Listener>> {
        self.read().all.get(&sid).map(|entry| entry.listener.clone())
    }

    /// The client has taken what waited for it.
    pub(super) fn polled(&self, sid: Sid) {
        if let Some(listener) = self.get(sid).filter(|listener| !listener.is_let_go()) {
            listener.unpolled.store(0, Relaxed);
        }
    }

    /// Whether the client polls too slowly to go on.
    pub(super) fn is_let_go(&self, sid: Sid) -> bool {
        self.get(sid).is_some_and(|listener| listener.is_let_go())
    }

    /// Those that hear what is meant for `user` alone, or all.
    pub(super) fn of(&self, user: Option<UserId>) -> Vec<Arc<Listener>> {
        let index = self.read();
        match user {
            Some(user) => index.of(user).map(|(_, listener)| listener.clone()).collect(),
            None => index.all.values().map(|entry| entry.listener.clone()).collect(),
        }
    }

    /// Those that hear a broadcast to `audience`, but for `except`.
    pub(super) fn audience(&self, audience: Audience, except: Option<Sid>) -> Vec<Arc<Listener>> {
        let index = self.read();
        let mut deaf: Vec<Sid> = except.into_iter().collect();
        let group: Box<dyn Iterator<Item = _>> = match audience {
            Audience::Everyone => Box::new(index.all()),
            Audience::Others(user) => {
                deaf.extend(index.of(user).map(|(sid, _)| *sid));
                Box::new(index.all())
            }
            Audience::Event(event) => Box::new(index.viewers(event)),
            Audience::Bystanders(parties) => {
                deaf.extend(parties.users().flat_map(|user| index.of(user)).map(|(sid, _)| *sid));
                Box::new(index.viewers(parties.event))
            }
            Audience::Parties(parties) => {
                let (index, event) = (&index, parties.event);
                let both = parties.users().flat_map(|user| index.of(user));
                Box::new(both.filter(move |(sid, _)| index.views(**sid, event)))
            }
            Audience::User(user) => Box::new(index.of(user)),
        };
        group
            .filter(|(sid, _)| !deaf.contains(sid))
            .map(|(_, listener): (_, &Arc<Listener>)| listener.clone())
            .collect()
    }
}
