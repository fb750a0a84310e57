//! The clients that are connected to this process, and who of them hears what.

use std::{
    collections::{BTreeMap, HashMap, HashSet, VecDeque},
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
    realtime::Audience,
    types::{
        ids::{EventId, UserId},
        visibility::{ShareCode, Visibility},
    },
};
use socketioxide::{TransportType, socket::Sid};

use super::{
    due::Due,
    ears::{Ears, Joined},
    queue::Queue,
    recent::{Numbered, Offset, Recent, Said},
    recovery::{Away, Client, Left, Pid, Returning},
    server::Socket,
    wire::Wire,
};

/// What may wait for a client until it polls.
const MOST_UNPOLLED: usize = 192 * 1024;
/// What a packet that waits takes beside its text.
const PACKET: usize = 256;
/// How much of what it has missed a client is told that comes back, and how many broadcasts may have
/// to be looked at for that. Whoever has missed more fetches what it shows.
const MOST_REPLAYED: usize = 96 * 1024;
const MOST_MISSED: u64 = 10_000;
/// Earlier sockets of a client that are remembered.
const MOST_BEFORE: usize = 8;
/// Clients that have connected, and not polled to be told who they are.
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
    /// The number of the last broadcast before it came back: it has been told of those.
    has_heard: AtomicU64,
    _connected: metrics::Connected,
}

/// What waits for a client that polls.
#[derive(Default)]
struct Unpolled {
    bytes: usize,
    /// Of the broadcasts, in order.
    offsets: VecDeque<Offset>,
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

    pub(super) fn is_leaving(&self) -> bool {
        self.is_leaving.load(Relaxed)
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
        for (offset, event, payload) in due.packets() {
            match self.socket.emit(event, payload) {
                Ok(()) => unpolled.offsets.extend(offset),
                Err(error) => {
                    tracing::debug!(%error, event, "a broadcast did not reach a client that polls");
                }
            }
        }
    }

    /// The client takes so many broadcasts: the offset of the last.
    pub(super) fn takes(&self, count: usize) -> Option<Offset> {
        let mut unpolled = self.unpolled();
        let count = count.min(unpolled.offsets.len());
        unpolled.offsets.drain(..count).next_back()
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
    /// The sockets of clients that are here, and what is known of those that are not.
    present: HashMap<Pid, Sid>,
    away: Away,
    /// What clients that poll are to be told when they are connected.
    pids: HashMap<Sid, Pid>,
}

struct Entry {
    listener: Arc<Listener>,
    client: Client,
    ears: Ears,
}

/// What a client has missed that comes back.
struct Missed {
    client: Client,
    ears: Ears,
    said: Vec<Arc<Numbered>>,
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
        let organiser = match visibility {
            Visibility::Open => return Box::new(self.everywhere.iter().chain(joined)),
            Visibility::Private { organiser, .. } | Visibility::Draft { organiser } => organiser,
        };
        // A few: whoever has joined it, and those of the organiser's that have joined nothing.
        let own = self.of(organiser).filter(|(sid, _)| self.everywhere.contains_key(sid));
        let guests = joined.filter(move |(sid, _)| {
            let entry = self.all.get(sid);
            entry.is_some_and(|entry| visibility.is_open_to(entry.ears.viewer(event)))
        });
        Box::new(own.chain(guests))
    }

    /// Those that hear what is not of an event's seats and bookings, but for `except`.
    fn audience(&self, audience: Audience, except: Option<Sid>) -> Vec<Arc<Listener>> {
        let mut deaf: Vec<Sid> = except.into_iter().collect();
        let group: Box<dyn Iterator<Item = _>> = match audience {
            Audience::User(user) => Box::new(self.of(user)),
            Audience::Others(user) => {
                deaf.extend(self.of(user).map(|(sid, _)| *sid));
                Box::new(self.all())
            }
            Audience::Everyone => Box::new(self.all()),
            Audience::Event(event, visibility) => self.viewers(event, visibility),
            Audience::Parties(parties)
            | Audience::Bystanders(parties)
            | Audience::Insiders(parties) => self.viewers(parties.event, parties.visibility),
        };
        group
            .filter(|(sid, _)| !deaf.contains(sid))
            .map(|(_, listener): (_, &Arc<Listener>)| listener.clone())
            .collect()
    }

    /// What is known of a client that is away, or whose last connection is not known to be broken.
    fn left(&self, pid: Pid) -> Option<Left> {
        let here = self.present.get(&pid).and_then(|sid| self.all.get(sid)).map(Entry::left);
        here.or_else(|| self.away.get(pid).cloned())
    }

    /// A client that comes back as this user, and what it has missed; none if that is not known any
    /// more, or too much to be told.
    fn missed(&self, Returning { pid, offset }: Returning, user: Option<UserId>) -> Option<Missed> {
        let Left { client, joined } = self.left(pid)?;
        let heard = match offset {
            Some(offset) => self.recent.number(offset)?,
            None => client.since,
        };
        let since = heard.max(client.since);
        if self.recent.last.saturating_sub(since) > MOST_MISSED {
            return None;
        }
        let ears = Ears { joined, user };
        let is_own = |sid: Option<Sid>| sid.is_some_and(|sid| client.before.contains(&sid));
        let hears = |numbered: &&Arc<Numbered>| {
            ears.hear(numbered.said.to) && !is_own(numbered.said.except)
        };
        let said: Vec<_> = self.recent.since(since)?.filter(hears).cloned().collect();
        let weight: usize = said.iter().map(|numbered| numbered.weight()).sum();
        let client = Client { since, ..client };
        (weight <= MOST_REPLAYED).then_some(Missed { client, ears, said })
    }

    /// Adds a client to its groups.
    fn insert(&mut self, sid: Sid, entry: Entry) {
        match &entry.ears.joined {
            None => drop(self.everywhere.insert(sid, entry.listener.clone())),
            Some(events) => {
                for event in events.keys() {
                    self.joined.entry(*event).or_default().insert(sid, entry.listener.clone());
                }
            }
        }
        if let Some(user) = entry.ears.user {
            self.users.entry(user).or_default().insert(sid, entry.listener.clone());
        }
        self.present.insert(entry.client.pid, sid);
        self.all.insert(sid, entry);
    }

    /// Removes a client from its groups.
    fn remove(&mut self, sid: Sid) -> Option<Entry> {
        let entry = self.all.remove(&sid)?;
        self.everywhere.remove(&sid);
        for event in entry.ears.joined.iter().flat_map(Joined::keys) {
            remove(&mut self.joined, *event, sid);
        }
        if let Some(user) = entry.ears.user {
            remove(&mut self.users, user, sid);
        }
        self.present.remove(&entry.client.pid);
        Some(entry)
    }

    fn of(&self, user: UserId) -> impl Iterator<Item = (&Sid, &Arc<Listener>)> {
        self.users.get(&user).into_iter().flatten()
    }
}

impl Entry {
    fn left(&self) -> Left {
        let mut client = self.client.clone();
        if client.before.len() >= MOST_BEFORE {
            client.before.remove(0);
        }
        client.before.push(self.listener.socket.id);
        Left { client, joined: self.ears.joined.clone() }
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
    pub(super) fn add(&self, listener: Arc<Listener>, pid: Pid) {
        let sid = listener.socket.id;
        let mut index = self.write();
        if listener.socket.extensions.get::<Queue>().is_some() {
            let client = Client { pid, since: index.recent.last, before: Vec::new() };
            index.insert(sid, Entry { listener, client, ears: Ears::default() });
        }
    }

    /// Whether it is known what a client has missed that comes back as this user.
    pub(super) fn can_return(&self, returning: Returning, user: Option<UserId>) -> bool {
        self.read().missed(returning, user).is_some()
    }

    /// A client has come back as this user: it hears what it has missed, and then the rest.
    pub(super) fn add_returning(
        &self,
        listener: &Arc<Listener>,
        returning: Returning,
        user: Option<UserId>,
    ) {
        let sid = listener.socket.id;
        let mut index = self.write();
        if listener.socket.extensions.get::<Queue>().is_none() {
            return;
        }
        let Some(Missed { client, ears, said }) = index.missed(returning, user) else {
            drop(index);
            return self.begin_anew(listener, returning.pid);
        };
        let is_first = !said.is_empty() && listener.put_in_line(&Due::of(&said));
        listener.has_heard.store(index.recent.last, Relaxed);
        index.away.has_returned(client.pid);
        let stale = index.present.get(&client.pid).copied().and_then(|sid| index.remove(sid));
        index.insert(sid, Entry { listener: listener.clone(), client, ears });
        drop(index);
        if let Some(stale) = stale {
            stale.listener.let_go();
        }
        if is_first {
            listener.flush();
        }
    }

    /// A client has been told that it has come back, and cannot: it is let go, and not known when
    /// it comes again.
    pub(super) fn begin_anew(&self, listener: &Arc<Listener>, pid: Pid) {
        let mut index = self.write();
        index.away.has_returned(pid);
        let stale = index.present.get(&pid).copied().and_then(|sid| index.remove(sid));
        drop(index);
        if let Some(stale) = stale {
            stale.listener.let_go();
        }
        listener.let_go();
        self.add(listener.clone(), Pid::new());
    }

    /// The number of the last broadcast.
    pub(super) fn last(&self) -> u64 {
        self.read().recent.last
    }

    /// A client that polls is to be told who it is when it is connected.
    pub(super) fn will_tell(&self, sid: Sid, pid: Pid) {
        let mut index = self.write();
        if index.pids.len() >= MOST_UNTOLD {
            // Most of them will never poll.
            index.pids.clear();
        }
        index.pids.insert(sid, pid);
    }

    /// What a client that polls has not been told yet, and is now.
    pub(super) fn take_pid(&self, sid: Sid) -> Option<Pid> {
        self.write().pids.remove(&sid)
    }

    /// A client is gone.
    pub(super) fn remove(&self, socket: &Socket) {
        let (sid, mut index) = (socket.id, self.write());
        index.pids.remove(&sid);
        if index.entry(socket).is_none() {
            return;
        }
        if let Some(entry) = index.remove(sid) {
            index.away.leave(entry.client.pid, entry.left());
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
        let events = entry.ears.joined.get_or_insert_with(|| {
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
        if let Some(events) = index.entry(socket).and_then(|entry| entry.ears.joined.as_mut()) {
            events.remove(&event);
            remove(&mut index.joined, event, socket.id);
        }
    }

    /// The client hears what is meant for this user alone. False if it did already, or is gone.
    pub(super) fn identify(&self, socket: &Socket, user: UserId) -> bool {
        let mut index = self.write();
        let Some(entry) = index.entry(socket).filter(|entry| entry.ears.user.is_none()) else {
            return false;
        };
        entry.ears.user = Some(user);
        let listener = entry.listener.clone();
        index.users.entry(user).or_default().insert(socket.id, listener);
        true
    }

    /// The client no longer hears what is meant for its user alone.
    pub(super) fn make_anonymous(&self, socket: &Socket) {
        let mut index = self.write();
        if let Some(user) = index.entry(socket).and_then(|entry| entry.ears.user.take()) {
            remove(&mut index.users, user, socket.id);
        }
    }

    /// As whom the client hears.
    pub(super) fn user(&self, socket: &Socket) -> Option<UserId> {
        self.write().entry(socket).and_then(|entry| entry.ears.user)
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

    /// Who hears which of some broadcasts that [go together](Said::goes_with), in order.
    pub(super) fn hearing(&self, said: &[Arc<Numbered>]) -> Vec<Hearing> {
        let index = self.read();
        let Some(first) = said.first() else { return vec![] };
        let Some((event, visibility)) = first.said.to.view() else {
            let listeners = index.audience(first.said.to, first.said.except);
            return vec![Hearing { listeners, said: said.to_vec() }];
        };
        // A few hear something else than the crowd: those who are named, and those who have caused
        // something.
        let mut apart: HashSet<Sid> = said.iter().filter_map(|one| one.said.except).collect();
        for parties in said.iter().filter_map(|one| one.said.to.parties()) {
            let users = parties.users().flat_map(|user| index.of(user));
            apart.extend(users.map(|(sid, _)| *sid));
        }
        let is_for_all = |one: &&Arc<Numbered>| {
            !matches!(one.said.to, Audience::Parties(_) | Audience::Insiders(_))
        };
        let public: Vec<_> = said.iter().filter(is_for_all).cloned().collect();
        let mut hearing = Vec::with_capacity(apart.len() + 1);
        if !public.is_empty() {
            let crowd = index.viewers(event, visibility).filter(|(sid, _)| !apart.contains(sid));
            let listeners = crowd.map(|(_, listener)| listener.clone()).collect();
            hearing.push(Hearing { listeners, said: public });
        }
        for sid in apart {
            let Some(entry) = index.all.get(&sid) else { continue };
            let hears =
                |one: &&Arc<Numbered>| one.said.except != Some(sid) && entry.ears.hear(one.said.to);
            let heard = said.iter().filter(hears).cloned().collect();
            hearing.push(Hearing { listeners: vec![entry.listener.clone()], said: heard });
        }
        hearing.retain(|hearing| !hearing.listeners.is_empty() && !hearing.said.is_empty());
        hearing
    }

    /// The share code with which the client has joined the event.
    pub(crate) fn joined_with(&self, socket: &Socket, event: EventId) -> Option<ShareCode> {
        let index = self.read();
        let entry = index.all.get(&socket.id)?;
        let is_it = ptr::eq(&*entry.listener.socket, &**socket);
        is_it.then(|| entry.ears.viewer(event).code).flatten()
    }
}

/// Clients, and the broadcasts that all of them hear.
pub(super) struct Hearing {
    pub(super) listeners: Vec<Arc<Listener>>,
    pub(super) said: Vec<Arc<Numbered>>,
}
