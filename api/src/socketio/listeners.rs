//! The clients that are connected to this process, and who of them hears what.

use std::{
    collections::{BTreeMap, HashMap, VecDeque},
    hash::Hash,
    ptr,
    sync::{
        Arc, Mutex, MutexGuard, OnceLock, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard,
        Weak,
        atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
    },
};

use nexus_common::{
    observability::metrics,
    realtime::{Audience, Parties},
    types::{
        ids::{EventId, UserId},
        visibility::{ShareCode, Visibility},
    },
};
use socketioxide::{TransportType, socket::Sid};

use super::{
    due::Due,
    queue::Queue,
    recent::{Numbered, Recent, Said},
    recovery::{Away, Joined, Left, Pid, Returning},
    server::Socket,
    wire::Wire,
};

/// What may wait for a client until it polls.
const MOST_UNPOLLED: usize = 192 * 1024;
/// What a packet that waits takes beside its text.
const PACKET: usize = 256;
/// Clients that have not been told who they are.
const MOST_UNTOLD: usize = 10_000;

/// A connected client.
pub(crate) struct Listener {
    pub(super) socket: Socket,
    /// Its websocket, once it has one: a client that polls has none.
    wire: OnceLock<Arc<Wire>>,
    unpolled: Mutex<Unpolled>,
    /// The process stops: the client is about to leave it, and may.
    is_leaving: AtomicBool,
    has_left: AtomicBool,
    /// The number of the last broadcast that it was told when it came back.
    has_heard: AtomicU64,
    _connected: metrics::Connected,
}

/// What waits for a client that polls.
#[derive(Default)]
struct Unpolled {
    bytes: usize,
    /// Of the broadcasts, in order.
    numbers: VecDeque<u64>,
}

impl Listener {
    fn unpolled(&self) -> MutexGuard<'_, Unpolled> {
        self.unpolled.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn new(socket: Socket) -> Arc<Self> {
        let wire = socket.req_parts().extensions.get::<Weak<Wire>>().and_then(Weak::upgrade);
        Arc::new(Listener {
            socket,
            wire: wire.map_or_else(OnceLock::new, OnceLock::from),
            unpolled: Mutex::default(),
            is_leaving: AtomicBool::new(false),
            has_left: AtomicBool::new(false),
            has_heard: AtomicU64::new(0),
            _connected: metrics::Connected::now(),
        })
    }

    /// Its client has missed something, and is to begin anew.
    fn let_go(&self) {
        self.unpolled().bytes = MOST_UNPOLLED + 1;
        if let Some(wire) = self.wire.get() {
            wire.break_off();
        }
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
        due.first() > self.has_heard.load(Relaxed) && self.put_in_line(due)
    }

    fn put_in_line(&self, due: &Due<'_>) -> bool {
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
        self.unpolled().bytes > MOST_UNPOLLED
    }

    fn hear_polling(&self, due: &Due<'_>) {
        let mut unpolled = self.unpolled();
        if self.socket.transport_type() == TransportType::Polling {
            let waiting = unpolled.bytes;
            unpolled.bytes += due.frames.len() + due.packets().len() * PACKET;
            if unpolled.bytes > MOST_UNPOLLED {
                if waiting <= MOST_UNPOLLED {
                    metrics::slow_socket("bytes");
                }
                return;
            }
        }
        for (number, event, payload) in due.packets() {
            match self.socket.emit(event, payload) {
                Ok(()) => unpolled.numbers.push_back(*number),
                Err(error) => {
                    tracing::debug!(%error, event, "a broadcast did not reach a client that polls");
                }
            }
        }
    }

    /// The client takes so many broadcasts: the number of the last.
    pub(super) fn takes(&self, count: usize) -> Option<u64> {
        let mut unpolled = self.unpolled();
        let count = count.min(unpolled.numbers.len());
        unpolled.numbers.drain(..count).next_back()
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
    recent: Recent,
    away: Away,
    /// The present session of clients that have come back.
    back: HashMap<Pid, Sid>,
    /// What clients that poll are to be told when they are connected.
    pids: HashMap<Sid, Pid>,
}

struct Entry {
    listener: Arc<Listener>,
    pid: Pid,
    /// The number of the last broadcast before it connected.
    since: u64,
    /// The events about whose seats and bookings it hears, and the codes with which it has joined
    /// them; `None`: about all.
    joined: Option<Joined>,
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

    /// Those who hear about an event's seats and bookings. Whether they may know of it is decided
    /// for every broadcast anew: an event that was open when they joined it may be private by now.
    fn viewers(
        &self,
        event: EventId,
        visibility: Visibility,
    ) -> Box<dyn Iterator<Item = (&Sid, &Arc<Listener>)> + '_> {
        let joined = self.joined.get(&event).into_iter().flatten();
        match visibility {
            Visibility::Open => Box::new(self.everywhere.iter().chain(joined)),
            Visibility::Private { organiser, code } => {
                let guests = joined.filter(move |(sid, _)| {
                    let entry = self.all.get(sid).filter(|entry| entry.user != Some(organiser));
                    entry.is_some_and(|entry| entry.has_joined(event, code))
                });
                Box::new(self.viewing(organiser, event).chain(guests))
            }
            Visibility::Draft { organiser } => Box::new(self.viewing(organiser, event)),
        }
    }

    /// A user's clients that have joined the event, or none.
    fn viewing(
        &self,
        user: UserId,
        event: EventId,
    ) -> impl Iterator<Item = (&Sid, &Arc<Listener>)> {
        let views = move |sid| self.all.get(sid).is_some_and(|entry| entry.views(event));
        self.of(user).filter(move |(sid, _)| views(*sid))
    }

    /// What is known of a client that is away, or whose last connection is not known to be broken.
    fn left(&self, pid: Pid) -> Option<Left> {
        let sid = self.back.get(&pid).copied().unwrap_or(pid.0);
        let still = self.all.get(&sid).filter(|entry| entry.pid == pid).map(Entry::left);
        still.or_else(|| self.away.get(pid).cloned())
    }

    /// Adds a client to its groups.
    fn insert(&mut self, sid: Sid, entry: Entry) {
        match &entry.joined {
            None => drop(self.everywhere.insert(sid, entry.listener.clone())),
            Some(events) => {
                for event in events.keys() {
                    self.joined.entry(*event).or_default().insert(sid, entry.listener.clone());
                }
            }
        }
        if let Some(user) = entry.user {
            self.users.entry(user).or_default().insert(sid, entry.listener.clone());
        }
        self.all.insert(sid, entry);
    }

    fn of(&self, user: UserId) -> impl Iterator<Item = (&Sid, &Arc<Listener>)> {
        self.users.get(&user).into_iter().flatten()
    }
}

impl Entry {
    fn views(&self, event: EventId) -> bool {
        self.joined.as_ref().is_none_or(|events| events.contains_key(&event))
    }

    fn has_joined(&self, event: EventId, code: ShareCode) -> bool {
        let joined = self.joined.as_ref().and_then(|events| events.get(&event));
        joined == Some(&Some(code))
    }

    fn left(&self) -> Left {
        let sid = self.listener.socket.id;
        Left { joined: self.joined.clone(), sid, since: self.since }
    }

    /// As [`Listeners::audience`] has it, for a client that was another socket before.
    fn hears(&self, numbered: &Numbered, before: Sid) -> bool {
        let may_view = |event, visibility| {
            self.views(event)
                && match visibility {
                    Visibility::Open => true,
                    Visibility::Private { organiser, code } => {
                        self.user == Some(organiser) || self.has_joined(event, code)
                    }
                    Visibility::Draft { organiser } => self.user == Some(organiser),
                }
        };
        let is_party = |parties: Parties| parties.users().any(|user| self.user == Some(user));
        let hears = match numbered.said.to {
            Audience::Everyone => true,
            Audience::Others(user) => self.user != Some(user),
            Audience::Event(event, visibility) => may_view(event, visibility),
            Audience::Bystanders(parties) => {
                may_view(parties.event, parties.visibility) && !is_party(parties)
            }
            Audience::Parties(parties) => self.views(parties.event) && is_party(parties),
            Audience::User(user) => self.user == Some(user),
        };
        hears && numbered.said.except != Some(before)
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

    /// Numbers broadcasts in the order in which they will be heard.
    pub(super) fn record(&self, said: impl Iterator<Item = Said>) -> Vec<Arc<Numbered>> {
        let mut index = self.write();
        said.map(|said| index.recent.record(said)).collect()
    }

    /// A client has connected, unless it has left again: then it has no queue any more. It loses
    /// that before it is removed, so whoever is added here will be.
    pub(super) fn add(&self, listener: Arc<Listener>) {
        let sid = listener.socket.id;
        let mut index = self.write();
        if listener.socket.extensions.get::<Queue>().is_some() {
            let since = index.recent.last;
            index.insert(sid, Entry { listener, pid: Pid(sid), since, joined: None, user: None });
        }
    }

    /// Whether it is known what a client that comes back has missed.
    pub(super) fn can_return(&self, Returning { pid, offset }: Returning) -> bool {
        let index = self.read();
        let since = |left: Left| offset.unwrap_or(left.since);
        index.left(pid).is_some_and(|left| index.recent.since(since(left)).is_some())
    }

    /// A client has come back as this user: it hears what it has missed, and then the rest.
    pub(super) fn add_returning(
        &self,
        listener: &Arc<Listener>,
        returning: Returning,
        user: Option<UserId>,
    ) {
        if !self.try_to_return(listener, returning, user) {
            listener.let_go();
            self.add(listener.clone());
        }
    }

    /// False if it is not known any more what the client has missed.
    fn try_to_return(
        &self,
        listener: &Arc<Listener>,
        Returning { pid, offset }: Returning,
        user: Option<UserId>,
    ) -> bool {
        let sid = listener.socket.id;
        let mut guard = self.write();
        let index = &mut *guard;
        if listener.socket.extensions.get::<Queue>().is_none() {
            return true;
        }
        let Some(left) = index.left(pid) else { return false };
        let since = offset.unwrap_or(left.since);
        let Some(missed) = index.recent.since(since) else { return false };
        let entry = Entry { listener: listener.clone(), pid, since, joined: left.joined, user };
        let missed: Vec<_> =
            missed.filter(|numbered| entry.hears(numbered, left.sid)).cloned().collect();
        let is_first = !missed.is_empty() && listener.put_in_line(&Due::of(&missed));
        listener.has_heard.store(index.recent.last, Relaxed);
        index.away.has_returned(pid);
        let before = index.back.insert(pid, sid).unwrap_or(pid.0);
        let stale = index.all.get(&before).filter(|entry| entry.pid == pid);
        let stale = stale.and_then(|entry| entry.listener.wire().cloned());
        index.insert(sid, entry);
        drop(guard);
        if let Some(stale) = stale {
            stale.break_off();
        }
        if is_first {
            listener.flush();
        }
        true
    }

    /// A client that polls is to be told who it is when it is connected.
    pub(super) fn will_tell(&self, sid: Sid, pid: Pid) {
        let mut index = self.write();
        if index.pids.len() >= MOST_UNTOLD {
            // Most of them will never connect.
            index.pids.clear();
        }
        index.pids.insert(sid, pid);
    }

    /// What a client that polls has not been told yet.
    pub(super) fn untold(&self, sid: Sid) -> Option<Pid> {
        self.read().pids.get(&sid).copied()
    }

    pub(super) fn told(&self, sid: Sid) {
        self.write().pids.remove(&sid);
    }

    /// A client is gone.
    pub(super) fn remove(&self, socket: &Socket) {
        let (sid, mut index) = (socket.id, self.write());
        index.pids.remove(&sid);
        if index.entry(socket).is_none() {
            return;
        }
        let Some(entry) = index.all.remove(&sid) else { return };
        index.everywhere.remove(&sid);
        for event in entry.joined.iter().flat_map(Joined::keys) {
            remove(&mut index.joined, *event, sid);
        }
        if let Some(user) = entry.user {
            remove(&mut index.users, user, sid);
        }
        // Unless it has come back already.
        if index.back.get(&entry.pid).is_none_or(|back| *back == sid) {
            index.back.remove(&entry.pid);
            index.away.leave(entry.pid, entry.left());
        }
    }

    /// The client hears about this event, and not about those that it has not joined; as long as
    /// the event is private, if this is its code. False if it has joined `most` others.
    pub(super) fn join(
        &self,
        socket: &Socket,
        event: EventId,
        code: Option<ShareCode>,
        most: usize,
    ) -> bool {
        let (sid, mut index) = (socket.id, self.write());
        if index.entry(socket).is_none() {
            return true;
        }
        let Index { all, everywhere, joined, .. } = &mut *index;
        let Some(entry) = all.get_mut(&sid) else { return true };
        let events = entry.joined.get_or_insert_with(|| {
            everywhere.remove(&sid);
            BTreeMap::new()
        });
        if events.len() >= most && !events.contains_key(&event) {
            return false;
        }
        events.insert(event, code);
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
            listener.unpolled().bytes = 0;
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
            Audience::Event(event, visibility) => index.viewers(event, visibility),
            Audience::Bystanders(parties) => {
                deaf.extend(parties.users().flat_map(|user| index.of(user)).map(|(sid, _)| *sid));
                index.viewers(parties.event, parties.visibility)
            }
            Audience::Parties(parties) => {
                let index = &index;
                Box::new(parties.users().flat_map(move |user| index.viewing(user, parties.event)))
            }
            Audience::User(user) => Box::new(index.of(user)),
        };
        group
            .filter(|(sid, _)| !deaf.contains(sid))
            .map(|(_, listener): (_, &Arc<Listener>)| listener.clone())
            .collect()
    }
}
