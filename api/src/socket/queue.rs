//! One queue of commands a socket. The library runs handlers concurrently and without a bound, so that one socket's commands would overtake
//! each other; an extractor, however, runs in arrival order. It puts each command into the socket's queue, where one task takes them out.

use std::{convert::Infallible, sync::Arc};

use nexus_common::domain::arguments::Arguments;
use serde_json::Value;
use socketioxide::{
    extract::{AckSender, Event, TryData},
    handler::{FromMessageParts, Value as RawMessage},
    socket::Socket as RawSocket,
};
use tokio::sync::mpsc;

use super::{Adapter, Socket};

/// Commands of one socket that may wait.
const WAITING: usize = 64;

/// A command as it arrived.
pub(super) struct Command {
    /// The event's name.
    pub(super) name: String,
    /// The first argument; absent and unreadable ones are null.
    pub(super) payload: Value,
    /// Answers the client's callback, if there is one.
    pub(super) ack: AckSender<Adapter>,
}

#[derive(Clone)]
struct Sender(mpsc::Sender<Command>);

/// Lets the socket's commands queue up; the receiver ends when the socket is gone.
pub(super) fn open(socket: &Socket) -> mpsc::Receiver<Command> {
    let (sender, receiver) = mpsc::channel(WAITING);
    socket.extensions.insert(Sender(sender));
    socket.on_fallback(async |socket: Socket, queued: Queued| {
        if let Queued::Full(name) = queued {
            let busy = serde_json::json!({ "success": false, "error": "Too many commands are waiting. Please slow down." });
            let _ = socket.emit(format!("{name}_response"), &busy);
        }
    });
    socket.on_disconnect(async |socket: Socket| {
        socket.extensions.remove::<Sender>();
    });
    receiver
}

/// Queues a command as a side effect of being extracted, because extraction happens in arrival order.
enum Queued {
    Yes,
    Full(String),
}

impl FromMessageParts<Adapter> for Queued {
    type Error = Infallible;

    fn from_message_parts(
        socket: &Arc<RawSocket<Adapter>>,
        message: &mut RawMessage,
        ack_id: &Option<i64>,
    ) -> Result<Self, Infallible> {
        let Ok(Event(name)) = Event::from_message_parts(socket, message, ack_id) else {
            return Ok(Queued::Yes);
        };
        let Ok(TryData(arguments)) = TryData::<Arguments>::from_message_parts(socket, message, ack_id);
        let Ok(ack) = AckSender::from_message_parts(socket, message, ack_id);
        let payload = arguments.ok().and_then(|arguments| arguments.0).unwrap_or_default();
        let Some(queue) = socket.extensions.get::<Sender>() else { return Ok(Queued::Yes) };
        match queue.0.try_send(Command { name, payload, ack }) {
            Ok(()) => Ok(Queued::Yes),
            Err(refused) => Ok(Queued::Full(refused.into_inner().name)),
        }
    }
}
