//! Waiting rooms as this process knows them: looked up once a second, and asked for by everybody who
//! waits. A visitor is looked up when they ask first, and now and then; positions do not change.
//! What is decided by it is decided by PostgreSQL again: whoever locks a seat has been called there.

use std::{
    collections::{HashMap, VecDeque},
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use nexus_common::{
    Error, Result,
    events::event::require_visible,
    storage::{groups::Groups, postgres::bounded},
    types::{
        ids::{EventId, UserId},
        statuses::RoomState,
        time::Timestamp,
        visibility::Viewer,
    },
    waiting_rooms::{
        loads,
        snapshots::{self, Snapshot},
        tokens::AdmissionKeys,
        visitors::{self, Asked, Visitor},
    },
};
use serde::Serialize;
use sqlx::PgPool;
use tokio::{sync::Notify, time::timeout};
use utoipa::ToSchema;
use uuid::Uuid;

use crate::admission::Gate;

/// How often all rooms are looked up.
const EVERY: Duration = Duration::from_secs(1);
/// How often where there is none: whoever asks for one has it looked up at once.
const IDLE: Duration = Duration::from_secs(10);
/// How long a visitor is remembered: they may have left over another process.
const REMEMBERED: Duration = Duration::from_secs(10);
/// Over how long it is measured how fast a room moves, and how long that takes at least.
const MEASURED: Duration = Duration::from_secs(60);
const MEASURABLE: Duration = Duration::from_secs(10);
/// Whoever has no more before them is told sooner.
const NEAR: i64 = 50;

pub(crate) struct WaitingRooms {
    db: PgPool,
    gate: Gate,
    /// This process, when it says how much there is to do.
    process: Uuid,
    /// When all rooms were last looked up, by one caller at a time.
    looked: tokio::sync::Mutex<Option<Instant>>,
    /// There is a room, where there was none.
    awaken: Notify,
    rooms: Mutex<HashMap<EventId, Room>>,
    remembered: Mutex<HashMap<Asked, (Visitor, Instant)>>,
    joining: Groups<Asked, Visitor>,
    looking: Groups<Asked, Option<Visitor>>,
    keys: AdmissionKeys,
}

#[derive(Clone)]
struct Room {
    now: Snapshot,
    checked_at: Timestamp,
    /// How far the room was when, for a minute.
    called: VecDeque<(Instant, i64)>,
}

/// A waiting room, and where the caller is in it.
#[derive(Serialize, ToSchema)]
pub(crate) struct QueueState {
    #[serde(flatten)]
    room: Snapshot,
    checked_at: Timestamp,
    /// How long to wait before asking again.
    #[schema(minimum = 1)]
    poll_after_seconds: u32,
    /// The Ed25519 key that checks admission tokens, in base64.
    admission_key: String,
    /// Null for whoever has not joined.
    you: Option<You>,
}

/// Where a visitor is.
#[derive(Serialize, ToSchema)]
pub(crate) struct You {
    #[serde(flatten)]
    visitor: Visitor,
    state: VisitState,
    /// How many are called before, at most; null before the draw, and once it does not matter.
    ahead: Option<i64>,
    /// How long that may take, as fast as the room moves now; null if nobody knows.
    estimated_seconds: Option<i64>,
    /// Shows others that the visitor has been called, until their window ends.
    admission_token: Option<String>,
}

#[derive(Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
enum VisitState {
    Waiting,
    Called,
    /// The visitor has left, has bought, or has let the window pass.
    Ended,
}

impl WaitingRooms {
    pub(crate) fn new(db: &PgPool, gate: Gate, keys: AdmissionKeys) -> Self {
        WaitingRooms {
            db: db.clone(),
            gate,
            process: Uuid::new_v4(),
            looked: tokio::sync::Mutex::default(),
            awaken: Notify::new(),
            rooms: Mutex::default(),
            remembered: Mutex::default(),
            joining: visitors::joining(db.clone()),
            looking: visitors::looking(db.clone()),
            keys,
        }
    }

    /// Where a room is, and where in it the user is.
    pub(crate) async fn state(&self, event: EventId, viewer: Viewer) -> Result<QueueState> {
        let room = self.room(event).await?.ok_or(Error::WaitingRoomNotFound)?;
        require_visible(room.now.visibility, viewer)?;
        let visitor = match viewer.user {
            Some(user) => self.visitor(event, user, &room.now).await?.map(|found| (user, found)),
            None => None,
        };
        let you = visitor.map(|(user, visitor)| self.you(&room, user, visitor)).transpose()?;
        let ahead = you.as_ref().and_then(|you| you.ahead);
        Ok(QueueState {
            poll_after_seconds: poll_after(room.now.state, ahead),
            room: room.now,
            checked_at: room.checked_at,
            admission_key: self.keys.public(),
            you,
        })
    }

    fn you(&self, room: &Room, user: UserId, visitor: Visitor) -> Result<You> {
        let (mut ahead, mut admission_token) = (None, None);
        let state = if visitor.is_called() {
            let until =
                visitor.window_ends_at.map(|until| self.keys.sign(room.now.event_id, user, until));
            admission_token = until.transpose()?;
            VisitState::Called
        } else if visitor.is_live() {
            ahead = visitor.position.map(|position| (position - room.now.called - 1).max(0));
            VisitState::Waiting
        } else {
            VisitState::Ended
        };
        let estimated_seconds = ahead.and_then(|ahead| room.seconds_for(ahead + 1));
        Ok(You { visitor, state, ahead, estimated_seconds, admission_token })
    }

    /// The place that the user has in the room already.
    pub(crate) async fn place(&self, event: EventId, user: UserId) -> Result<Option<Visitor>> {
        // Not as it is remembered: the user may have left over another process.
        Ok(self.look_up(event, user).await?.filter(Visitor::is_live))
    }

    /// Joins the room. The caller has seen to it that the user may know of the event.
    pub(crate) async fn join(&self, event: EventId, user: UserId) -> Result<Visitor> {
        let visitor = self.joining.call((event, user)).await?;
        self.remember(event, user, &visitor);
        Ok(visitor)
    }

    /// The user has left.
    pub(crate) fn forget(&self, event: EventId, user: UserId) {
        self.remembered().remove(&(event, user));
    }

    /// Whether an outside system has let the user in. [`Error::QueueRequired`] if the user has to wait
    /// first, so that who waits takes no seat's key in Redis.
    pub(crate) async fn admit(
        &self,
        event: EventId,
        user: UserId,
        viewer: Viewer,
        token: Option<&str>,
    ) -> Result<bool> {
        let Some(room) = self.rooms().get(&event).map(|room| room.now.clone()) else {
            return Ok(token.is_some_and(|token| self.is_admitted_outside(token, event, user)));
        };
        require_visible(room.visibility, viewer)?;
        if token.is_some_and(|token| self.is_admitted_outside(token, event, user)) {
            return Ok(true);
        }
        if self.known(event, user, &room).is_some_and(|visitor| visitor.is_called()) {
            return Ok(false);
        }
        // Whoever has been told that it is their turn may be faster than the next look at all rooms.
        match self.look_up(event, user).await? {
            Some(visitor) if visitor.is_called() => Ok(false),
            _ => Err(Error::QueueRequired(event)),
        }
    }

    fn is_admitted_outside(&self, token: &str, event: EventId, user: UserId) -> bool {
        self.keys.is_admitted_outside(token, event, user)
    }

    /// The user's visit, if there is one: remembered, as long as nothing can have changed.
    async fn visitor(
        &self,
        event: EventId,
        user: UserId,
        room: &Snapshot,
    ) -> Result<Option<Visitor>> {
        match self.known(event, user, room) {
            Some(visitor) => Ok(Some(visitor)),
            None => self.look_up(event, user).await,
        }
    }

    fn known(&self, event: EventId, user: UserId, room: &Snapshot) -> Option<Visitor> {
        let (visitor, since) = self.remembered().get(&(event, user)).cloned()?;
        let is_current =
            since.elapsed() < REMEMBERED && visitor.is_live() && is_as_before(&visitor, room);
        is_current.then_some(visitor)
    }

    async fn look_up(&self, event: EventId, user: UserId) -> Result<Option<Visitor>> {
        let found = self.looking.call((event, user)).await?;
        if let Some(visitor) = &found {
            self.remember(event, user, visitor);
        }
        Ok(found)
    }

    fn remember(&self, event: EventId, user: UserId, visitor: &Visitor) {
        self.remembered().insert((event, user), (visitor.clone(), Instant::now()));
    }

    /// Looks all rooms up as long as there are any, once a second.
    pub(crate) async fn watch(&self) {
        loop {
            if let Err(error) = self.look().await {
                tracing::debug!(error = error.details(), "waiting rooms are not looked up");
            }
            let is_idle = self.rooms().is_empty();
            let pause = if is_idle { IDLE } else { EVERY };
            let _ = timeout(pause, self.awaken.notified()).await;
        }
    }

    /// The room of an event. One that nobody here knows may just have been announced.
    async fn room(&self, event: EventId) -> Result<Option<Room>> {
        let known = self.rooms().get(&event).cloned();
        if known.is_none() {
            self.look().await?;
        }
        Ok(known.or_else(|| self.rooms().get(&event).cloned()))
    }

    /// Looks all rooms up, unless that has been done a moment ago, and says how many buyers this
    /// process has turned away.
    async fn look(&self) -> Result<()> {
        let mut looked = self.looked.lock().await;
        if looked.is_some_and(|at| at.elapsed() < EVERY) {
            return Ok(());
        }
        let found = bounded(async {
            let mut conn = self.db.acquire().await?;
            let rooms = snapshots::snapshots(&mut conn).await?;
            let turned_away = self.gate.take_buyers_turned_away();
            if !rooms.is_empty() {
                loads::report(&mut conn, self.process, turned_away).await?;
            }
            Ok(rooms)
        });
        self.found(found.await?);
        *looked = Some(Instant::now());
        Ok(())
    }

    fn found(&self, found: Vec<Snapshot>) {
        let now = Instant::now();
        let mut rooms = self.rooms();
        let mut before = std::mem::take(&mut *rooms);
        if before.is_empty() && !found.is_empty() {
            self.awaken.notify_one();
        }
        for room in found {
            let mut called =
                before.remove(&room.event_id).map(|room| room.called).unwrap_or_default();
            called.push_back((now, room.called));
            while called.pop_front_if(|(at, _)| at.elapsed() > MEASURED).is_some() {}
            let event = room.event_id;
            rooms.insert(event, Room { now: room, checked_at: Timestamp::now(), called });
        }
        drop(rooms);
        self.remembered().retain(|_, (_, since)| since.elapsed() < REMEMBERED);
    }

    fn rooms(&self) -> MutexGuard<'_, HashMap<EventId, Room>> {
        self.rooms.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn remembered(&self) -> MutexGuard<'_, HashMap<Asked, (Visitor, Instant)>> {
        self.remembered.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Room {
    /// How long it takes until so many more have been called.
    fn seconds_for(&self, more: i64) -> Option<i64> {
        let a_minute = match (self.called.front(), self.called.back()) {
            (Some((first, before)), Some((last, now))) if *last - *first >= MEASURABLE => {
                60.0 * (now - before) as f64 / (*last - *first).as_secs_f64()
            }
            _ => self.now.calls_per_minute as f64,
        };
        let is_moving = self.now.state == RoomState::Open && a_minute > 0.0;
        is_moving.then(|| (60.0 * more as f64 / a_minute).ceil() as i64)
    }
}

/// Whether a visitor who waits has not been drawn, or called, since they were looked up.
fn is_as_before(visitor: &Visitor, room: &Snapshot) -> bool {
    match visitor.position {
        None => room.drawn_at.is_none(),
        Some(position) => visitor.called_at.is_some() || position > room.called,
    }
}

fn poll_after(state: RoomState, ahead: Option<i64>) -> u32 {
    match (state, ahead) {
        (RoomState::Open, Some(ahead)) if ahead <= NEAR => 2,
        (RoomState::Open, _) => 5,
        _ => 10,
    }
}
