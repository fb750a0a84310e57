//! One queue of commands per socket. The library runs handlers concurrently and without a bound, so
//! one socket's commands would overtake each other. An extractor, however, runs in arrival order:
//! it puts each command into the socket's queue, and one task takes them out.

use std::{
    convert::Infallible,
    sync::{Arc, Mutex, PoisonError},
};

use serde_json::{Value, json};
use socketioxide::{
    extract::{AckSender, Event, TryData},
    handler::{FromMessageParts, Value as RawMessage},
    socket::Socket as RawSocket,
};
use tokio::sync::mpsc;

use super::{
    arguments::Arguments,
    command_rate_limiter::{CommandRateLimiter, Step},
    delivery::{Adapter, Socket},
};

/// How many commands of one socket may wait.
const WAITING: usize = 64;
const FULL: &str = "Too many commands are waiting. Please slow down.";

/// A command as it arrived.
pub(super) struct Message {
    /// The event's name.
    pub(super) name: String,
    /// The first argument; null if it is absent or unreadable.
    pub(super) payload: Value,
    /// Answers the client's callback, if it gave one.
    pub(super) ack: AckSender<Adapter>,
}

#[derive(Clone)]
struct Sender {
    queue: mpsc::Sender<Message>,
    limiter: CommandRateLimiter,
}

/// The end of a queue at which its commands are taken, until somebody does that.
#[derive(Clone)]
struct Receiver(Arc<Mutex<Option<mpsc::Receiver<Message>>>>);

/// Opens the queue of a socket's commands.
pub(super) fn open(socket: &Socket, limiter: CommandRateLimiter) {
    let (queue, receiver) = mpsc::channel(WAITING);
    socket.extensions.insert(Sender { queue, limiter });
    socket.extensions.insert(Receiver(Arc::new(Mutex::new(Some(receiver)))));
    socket.on_fallback(async |socket: Socket, queued: Queued| match queued {
        Queued::Yes => {}
        Queued::Refused(command, why) => refuse(&socket, command, &why),
        Queued::Flooding => {
            tracing::info!(socket = %socket.id, "a client that went on flooding is disconnected");
            let _ = socket.disconnect();
        }
    });
    socket.on_disconnect(async |socket: Socket| {
        socket.extensions.remove::<Sender>();
    });
}

/// The commands of a socket's queue, if it is [open]; they end when the socket is gone.
pub(super) fn commands(socket: &Socket) -> Option<mpsc::Receiver<Message>> {
    let Receiver(commands) = socket.extensions.remove()?;
    commands.lock().unwrap_or_else(PoisonError::into_inner).take()
}

/// Answers a command that will not be served, like any other failed command.
fn refuse(socket: &Socket, command: Message, why: &str) {
    let refusal = json!({ "success": false, "error": why });
    let _ = socket.emit(format!("{}_response", command.name), &refusal);
    let _ = command.ack.send(&refusal);
}

/// Queues a command as a side effect of being extracted, because extraction happens in arrival
/// order.
enum Queued {
    Yes,
    Refused(Message, String),
    Flooding,
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
        let Ok(TryData(arguments)) =
            TryData::<Arguments>::from_message_parts(socket, message, ack_id);
        let Ok(ack) = AckSender::from_message_parts(socket, message, ack_id);
        let payload = arguments.ok().and_then(|arguments| arguments.0).unwrap_or_default();
        let Some(Sender { queue, limiter }) = socket.extensions.get() else {
            return Ok(Queued::Yes);
        };
        let command = Message { name, payload, ack };
        Ok(match limiter.step() {
            Step::Taken => match queue.try_send(command) {
                Ok(()) => Queued::Yes,
                Err(full) => Queued::Refused(full.into_inner(), FULL.to_owned()),
            },
            Step::Refused(why) => Queued::Refused(command, why.to_string()),
            Step::Flooding => Queued::Flooding,
        })
    }
}
