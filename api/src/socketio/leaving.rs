//! The process stops, and its clients leave it: a few at a time, so that those who take them are
//! not overrun. What a client has commanded is answered first; what it commands after that is not
//! read. So whatever is not answered when its connection closes has not been done.

use std::{sync::Arc, time::Duration};

use socketioxide::socket::Sid;
use tokio::time::{Instant, sleep};

use super::{
    listeners::{Listener, Listeners},
    queue::Queue,
    wire::LAST,
};

/// Over how long many clients leave. With the second that official clients wait before they come
/// back, all have connected to another process within ten.
const SPREAD: Duration = Duration::from_secs(4);
/// A few leave at once.
const STEP: Duration = Duration::from_millis(20);
const FEW: usize = 20;
/// How long a client may take to close its connection, when all have been told to. Some are out of
/// reach.
const LINGER: Duration = Duration::from_secs(2);

impl Listeners {
    /// Lets go of all clients; returns when they are gone.
    pub(crate) async fn let_all_leave(&self) {
        let (mut leaving, mut all_left_at) = (Vec::new(), None);
        loop {
            // Some may connect just now.
            let staying = self.of(None).into_iter().filter(|listener| listener.begins_to_leave());
            leaving.extend(staying);
            let few =
                (leaving.len() * STEP.as_millis() as usize / SPREAD.as_millis() as usize).max(FEW);
            while !leaving.is_empty() {
                let next = leaving.split_off(leaving.len().saturating_sub(few));
                for wire in next.iter().filter_map(|listener| listener.wire()) {
                    wire.stop_reading();
                }
                for listener in next {
                    tokio::spawn(let_leave(listener));
                }
                sleep(STEP).await;
            }
            let staying = self.of(None);
            if staying.iter().all(|listener| listener.has_left()) {
                let since: Instant = *all_left_at.get_or_insert_with(Instant::now);
                // A client that polls is gone when it does not poll again.
                let are_gone = staying.iter().all(|listener| listener.wire().is_none());
                if are_gone || since.elapsed() > LINGER {
                    return;
                }
            }
            sleep(STEP).await;
        }
    }

    /// Returns when a client that polls need not wait for anything more.
    pub(crate) async fn until_left(&self, sid: Sid) {
        while self.get(sid).is_some_and(|listener| !listener.has_left()) {
            sleep(STEP).await;
        }
    }
}

/// A client that is to leave has a websocket now.
pub(super) fn upgraded(listener: Arc<Listener>) {
    if listener.is_leaving() {
        tokio::spawn(let_leave(listener));
    }
}

async fn let_leave(listener: Arc<Listener>) {
    let Listener { socket, .. } = &*listener;
    let has_more = || {
        let is_reading = listener.wire().is_some_and(|wire| wire.is_reading());
        is_reading || socket.extensions.get::<Queue>().is_some_and(|queue| !queue.is_idle())
    };
    if let Some(wire) = listener.wire() {
        wire.stop_reading();
    }
    while has_more() {
        sleep(STEP).await;
    }
    if listener.wire().is_some() {
        // Answers wait in the library for a task of its own.
        let _ = socket.emit(LAST, &());
    }
    listener.leaves();
}
