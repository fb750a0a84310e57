//! How broadcasts reach clients: those of this process directly, those of the others over Redis.
//!
//! A broadcast to ten thousand clients takes the kernel longer than the next one takes to come. So
//! they leave in rounds: what comes while one round is written leaves together in the next, in one
//! system call a client. A single broadcast leaves at once; a flood is paced.

use std::{num::NonZero, sync::Arc, thread::available_parallelism, time::Duration};

use nexus_common::{
    config,
    realtime::{Broadcast, Message, Publish},
};
use redis::RedisError;
use socketioxide::socket::Sid;
use tokio::{
    sync::mpsc,
    task::JoinSet,
    time::{Instant, sleep, sleep_until},
};

use super::{
    bus::Bus,
    due::Due,
    gaps::Gaps,
    listeners::{Hearing, Listener, Listeners},
    recent::{Numbered, Said},
};

/// Broadcasts that may wait for their round. Further ones are lost: clients lose hints.
const WAITING: usize = 10_000;
/// Broadcasts that leave in one round.
const AT_ONCE: usize = 100;
/// How long all of them are, and how much leaves in a second. A larger burst would be more than may
/// wait for a client, and let go of everybody who is further away than the next room.
const LONGEST_ROUND: usize = 64 * 1024;
const PACE: f64 = 1_600_000.0;
/// How often clients are told how far they have heard.
const OFFSETS: Duration = Duration::from_secs(15);
/// Shorter pauses are not kept.
const SHORTEST_PAUSE: Duration = Duration::from_millis(1);
/// A task that writes lets others work after so many clients, a fraction of a millisecond.
const TURN: usize = 16;
/// Fewer clients than this are written to by one task.
const SHARE: usize = 256;

/// Delivers to every client of every process.
#[derive(Clone)]
pub(crate) struct Everyone {
    pub(crate) listeners: Listeners,
    pub(crate) gaps: Gaps,
    rounds: mpsc::Sender<Said>,
    bus: Bus,
}

impl Everyone {
    /// Starts the tasks that deliver. Redis may be away.
    pub(crate) fn start(settings: &config::Redis) -> Result<Self, RedisError> {
        let listeners = Listeners::default();
        let (rounds, said) = mpsc::channel(WAITING);
        tokio::spawn(deliver(said, listeners.clone()));
        tokio::spawn(tell_offsets(rounds.clone(), listeners.clone()));
        let heard = rounds.clone();
        let gaps = Gaps::default();
        let bus = Bus::start(settings, gaps.clone(), move |Message { to, data, .. }| {
            tell(&heard, Said { to, except: None, data });
        })?;
        Ok(Everyone { listeners, gaps, rounds, bus })
    }

    /// Returns when the other processes have been told everything.
    pub(crate) async fn settle(&self) {
        self.bus.settle().await;
    }

    async fn publish_but(&self, broadcast: Broadcast, except: Option<Sid>) {
        let emit = async {
            self.bus.say(Message::new(Some(self.bus.id), &broadcast));
            let (to, data) = (broadcast.audience, broadcast.data.clone());
            tell(&self.rounds, Said { to, except, data });
            Ok::<_, std::convert::Infallible>(())
        };
        let Ok(()) = broadcast.send(emit).await;
    }
}

impl Publish for Everyone {
    async fn publish(&self, broadcast: Broadcast) {
        self.publish_but(broadcast, None).await;
    }
}

/// Delivers to every client of every process except the one whose command caused the broadcast.
#[derive(Clone)]
pub(super) struct Others(pub(super) Everyone, pub(super) Sid);

impl Publish for Others {
    async fn publish(&self, broadcast: Broadcast) {
        self.0.publish_but(broadcast, Some(self.1)).await;
    }
}

fn tell(rounds: &mpsc::Sender<Said>, said: Said) {
    if rounds.try_send(said).is_err() {
        tracing::warn!("broadcasts are lost: too many wait");
    }
}

/// Tells clients how far they have heard, if it was others that heard something: they have missed
/// nothing, and are to know it when they come back.
async fn tell_offsets(rounds: mpsc::Sender<Said>, listeners: Listeners) {
    let mut told = 0;
    loop {
        sleep(OFFSETS).await;
        if listeners.last() > told {
            told = listeners.last();
            tell(&rounds, Said::nothing());
        }
    }
}

async fn deliver(mut waiting: mpsc::Receiver<Said>, listeners: Listeners) {
    let mut said = Vec::new();
    while waiting.recv_many(&mut said, AT_ONCE).await > 0 {
        let numbered = listeners.record(said.drain(..));
        let mut rest = &numbered[..];
        while !rest.is_empty() {
            let begun = Instant::now();
            let (round, bytes) = round(rest);
            write(&rest[..round], &listeners).await;
            rest = &rest[round..];
            let until_next = begun + Duration::from_secs_f64(bytes as f64 / PACE);
            if until_next.saturating_duration_since(Instant::now()) >= SHORTEST_PAUSE {
                sleep_until(until_next).await;
            }
        }
    }
}

/// How many broadcasts make a round, and how long they are.
fn round(said: &[Arc<Numbered>]) -> (usize, usize) {
    let mut bytes = 0;
    for (index, numbered) in said.iter().enumerate() {
        let length = numbered.said.data.get().len();
        if index > 0 && bytes + length > LONGEST_ROUND {
            return (index, bytes);
        }
        bytes += length;
    }
    (said.len(), bytes)
}

async fn write(said: &[Arc<Numbered>], listeners: &Listeners) {
    let writers = available_parallelism().map_or(1, NonZero::get);
    let mut touched = Vec::new();
    for together in said.chunk_by(|one, other| one.said.goes_with(&other.said)) {
        for Hearing { listeners, said } in listeners.hearing(together) {
            let due = Due::of(&said);
            touched.extend(listeners.into_iter().filter(|listener| listener.hear(&due)));
        }
        // Ten thousand clients take a millisecond or two, and a round may have a hundred audiences.
        tokio::task::yield_now().await;
    }
    let share = touched.len().div_ceil(writers).max(SHARE);
    let mut writing = JoinSet::new();
    while touched.len() > share {
        writing.spawn(flush(touched.split_off(touched.len() - share)));
    }
    flush(touched).await;
    while writing.join_next().await.is_some() {}
}

async fn flush(touched: Vec<Arc<Listener>>) {
    for turn in touched.chunks(TURN) {
        for listener in turn {
            listener.flush();
        }
        tokio::task::yield_now().await;
    }
}
