//! `join_event` and `leave_event`: a client that shows one event hears only about that event.

use futures_util::future::BoxFuture;
use nexus_common::{
    Error, Result,
    types::{ids::EventId, visibility::ShareCode},
};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use utoipa::{
    PartialSchema, ToSchema,
    openapi::{RefOr, Schema, schema::AnyOfBuilder},
};

use super::{
    queue::Message,
    response::{Outcome, respond},
    server::Socket,
};
use crate::{
    app::App,
    http::fields::{Code, Field, Id, part},
    spec::operation::Operation,
};

/// How many events a socket may join at once.
const MOST_JOINED: usize = 100;

/// What may be sent instead of the event's id alone.
#[derive(Deserialize, ToSchema)]
struct WithCode {
    event_id: Id,
    share_code: Option<Code>,
}

/// An event's id, or an object with it.
struct IdOrObject;

impl PartialSchema for IdOrObject {
    fn schema() -> RefOr<Schema> {
        AnyOfBuilder::new().item(Id::schema()).item(WithCode::schema()).into()
    }
}

impl ToSchema for IdOrObject {
    fn schemas(schemas: &mut Vec<(String, RefOr<Schema>)>) {
        WithCode::schemas(schemas);
    }
}

/// The event that a socket has joined or left.
#[derive(Serialize, ToSchema)]
pub(crate) struct Joined {
    event_id: EventId,
}

pub(super) fn join_spec() -> Operation {
    Operation::open("join_event", "Join an event")
        .description("The client receives broadcasts about seats and bookings of the events that it has joined, and of no others. At most 100 events. Whoever joins a private event hears of it with its share code, and is answered the same with any other and with none.")
        .request::<IdOrObject>()
        .response::<Joined>()
}

pub(super) fn leave_spec() -> Operation {
    Operation::open("leave_event", "Leave an event").request::<IdOrObject>().response::<Joined>()
}

pub(super) fn join<'a>(
    socket: &'a Socket,
    message: Message,
    app: &'a App,
) -> BoxFuture<'a, Outcome> {
    let joined = wanted(&message.payload).and_then(|(event, code)| {
        match app.everyone.listeners.join(socket, event, code, MOST_JOINED) {
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
    let left = wanted(&message.payload).map(|(event, _)| {
        app.everyone.listeners.leave(socket, event);
        json!(Joined { event_id: event })
    });
    Box::pin(async move { respond(socket, message, left) })
}

/// The event, and the code that comes with it.
fn wanted(payload: &Value) -> Result<(EventId, Option<ShareCode>)> {
    let WithCode { event_id, share_code } = match payload.is_object() {
        true => part(payload.clone())?,
        false => WithCode { event_id: Id::holding(payload.clone()), share_code: None },
    };
    let event = event_id.read().filter(|id| *id > 0).map(EventId);
    let event = event.ok_or_else(|| Error::invalid("Invalid event ID"))?;
    Ok((event, share_code.as_ref().and_then(Code::read)))
}
