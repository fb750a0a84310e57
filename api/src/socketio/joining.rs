//! `join_event` and `leave_event`: a client that shows one event hears only about that event.

use futures_util::future::BoxFuture;
use nexus_common::{Error, Result, types::ids::EventId};
use serde::Serialize;
use serde_json::{Value, json};
use utoipa::ToSchema;

use super::{
    queue::Message,
    response::{Outcome, respond},
    server::Socket,
};
use crate::{
    app::App,
    http::fields::{Field, Id},
    spec::operation::Operation,
};

/// How many events a socket may join at once.
const MOST_JOINED: usize = 100;

/// The event that a socket has joined or left.
#[derive(Serialize, ToSchema)]
pub(crate) struct Joined {
    event_id: EventId,
}

pub(super) fn join_spec() -> Operation {
    Operation::open("join_event", "Join an event")
        .description("The client receives broadcasts about seats and bookings of the events that it has joined, and of no others. At most 100 events.")
        .request::<Id>()
        .response::<Joined>()
}

pub(super) fn leave_spec() -> Operation {
    Operation::open("leave_event", "Leave an event").request::<Id>().response::<Joined>()
}

pub(super) fn join<'a>(
    socket: &'a Socket,
    message: Message,
    app: &'a App,
) -> BoxFuture<'a, Outcome> {
    let joined = event(&message.payload).and_then(|event| {
        match app.everyone.listeners.join(socket, event, MOST_JOINED) {
            true => Ok(json!(Joined { event_id: event })),
            false => Err(Error::invalid("Too many events are joined")),
        }
    });
    Box::pin(async move { respond(socket, message, joined) })
}

pub(super) fn leave<'a>(
    socket: &'a Socket,
    message: Message,
    app: &'a App,
) -> BoxFuture<'a, Outcome> {
    let left = event(&message.payload).map(|event| {
        app.everyone.listeners.leave(socket, event);
        json!(Joined { event_id: event })
    });
    Box::pin(async move { respond(socket, message, left) })
}

fn event(payload: &Value) -> Result<EventId> {
    let id = Id::holding(payload.clone()).read().filter(|id| *id > 0);
    id.map(EventId).ok_or_else(|| Error::invalid("Invalid event ID"))
}
