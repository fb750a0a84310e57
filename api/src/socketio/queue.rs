//! One queue of commands per socket. The library runs handlers concurrently and without a bound, so
//! one socket's commands would overtake each other. An extractor, however, runs in arrival order:
//! it puts each command into the socket's queue. A task takes them out while there are any: most
//! sockets send none, and cost no task.

use std::{
    collections::VecDeque,
    convert::Infallible,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Instant,
};

use futures_util::future::BoxFuture;
use serde_json::{Value, json};
use socketioxide::{
    adapter::LocalAdapter,
    extract::{AckSender, Event, TryData},
    handler::{FromMessageParts, Value as RawMessage},
    socket::Socket as RawSocket,
};

use super::{
    arguments::Arguments,
    command_rate_limiter::{CommandRateLimiter, Step},
    server::Socket,
};

/// How many commands of one socket may wait.
const MOST_WAITING: usize = 64;
/// No command has a longer name. What nobody has defined gets no answer.
const LONGEST_NAME: usize = 64;
const FULL: &str = "Too many commands are waiting. Please slow down.";

/// A command as it arrived.
pub(super) struct Message {
    /// The event's name.
    pub(super) name: String,
    /// The first argument; null if it is absent or unreadable.
    pub(super) payload: Value,
    /// Answers the client's callback, if it gave one.
    pub(super) ack: AckSender,
    pub(super) came: Instant,
}

/// Serves a command.
pub(super) type Serve = Arc<dyn Fn(Socket, Message) -> BoxFuture<'static, ()> + Send + Sync>;

/// A socket's commands. Cheap to clone.
#[derive(Clone)]
pub(super) struct Queue(Arc<Inner>);

struct Inner {
    limiter: CommandRateLimiter,
    serve: Serve,
    commands: Mutex<Commands>,
}

#[derive(Default)]
struct Commands {
    waiting: VecDeque<Message>,
    served: Served,
}

#[derive(Default, PartialEq)]
enum Served {
    /// Not before it is known who has connected.
    #[default]
    Later,
    /// As soon as there is one.
    Ready,
    /// A task takes them out.
    Now,
}

impl Queue {
    fn commands(&self) -> MutexGuard<'_, Commands> {
        self.0.commands.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether all commands that have come are served.
    pub(super) fn is_idle(&self) -> bool {
        let commands = self.commands();
        commands.waiting.is_empty() && commands.served != Served::Now
    }

    /// Serves commands from now on, in turn.
    pub(super) fn begin(&self, socket: &Socket) {
        self.commands().served = Served::Ready;
        self.serve(socket);
    }

    fn serve(&self, socket: &Socket) {
        let mut commands = self.commands();
        if commands.served == Served::Ready && !commands.waiting.is_empty() {
            commands.served = Served::Now;
            tokio::spawn(self.clone().run_in_turn(socket.clone()));
        }
    }

    async fn run_in_turn(self, socket: Socket) {
        while let Some(message) = self.next() {
            (self.0.serve)(socket.clone(), message).await;
        }
    }

    /// The next command; after the last, the task that asks has ended.
    fn next(&self) -> Option<Message> {
        let mut commands = self.commands();
        let next = commands.waiting.pop_front();
        if next.is_none() {
            *commands = Commands { served: Served::Ready, ..Commands::default() };
        }
        next
    }

    fn add(&self, message: Message) -> Result<(), Message> {
        let mut commands = self.commands();
        if commands.waiting.len() >= MOST_WAITING {
            return Err(message);
        }
        commands.waiting.push_back(message);
        Ok(())
    }
}

/// Opens the queue of a socket's commands.
pub(super) fn open(socket: &Socket, limiter: CommandRateLimiter, serve: Serve) {
    let commands = Mutex::default();
    socket.extensions.insert(Queue(Arc::new(Inner { limiter, serve, commands })));
    socket.on_fallback(async |socket: Socket, queued: Queued| match queued {
        Queued::Yes => {}
        Queued::Refused(command, why) => refuse(&socket, command, &why),
        Queued::Flooding => {
            tracing::info!(socket = %socket.id, "a client that went on flooding is disconnected");
            let _ = socket.disconnect();
        }
    });
}

/// Takes no more commands: the client is gone. Those that wait are served.
pub(super) fn close(socket: &Socket) {
    socket.extensions.remove::<Queue>();
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

impl FromMessageParts<LocalAdapter> for Queued {
    type Error = Infallible;

    fn from_message_parts(
        socket: &Arc<RawSocket>,
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
        let Some(queue) = socket.extensions.get::<Queue>() else { return Ok(Queued::Yes) };
        let command = Message { name, payload, ack, came: Instant::now() };
        let is_defined = command.name.len() <= LONGEST_NAME;
        Ok(match queue.0.limiter.step() {
            Step::Taken | Step::Refused(_) if !is_defined => Queued::Yes,
            Step::Taken => match queue.add(command) {
                Ok(()) => {
                    queue.serve(&socket.clone().into());
                    Queued::Yes
                }
                Err(command) => Queued::Refused(command, FULL.to_owned()),
            },
            Step::Refused(why) => Queued::Refused(command, why.to_string()),
            Step::Flooding => Queued::Flooding,
        })
    }
}
