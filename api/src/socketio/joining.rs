//! `join_event` and `leave_event`: a client that shows one event hears only about that event.

use futures_util::future::BoxFuture;
use nexus_common::{
    Error, Result,
    types::{ids::EventId, visibility::Viewer},
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
    http::fields::{Code, Field, Id, Whole, part},
    spec::operation::Operation,
};

/// How many events a socket may join at once.
const MOST_JOINED: usize = 100;

/// What may be sent instead of the event's id alone.
#[derive(Deserialize, ToSchema)]
struct More {
    event_id: Id,
    share_code: Option<Code>,
    /// The version of the event's counts that the client shows, from before it lost its connection.
    version: Option<Whole>,
}

/// An event's id, or an object with it.
struct IdOrObject;

impl PartialSchema for IdOrObject {
    fn schema() -> RefOr<Schema> {
        AnyOfBuilder::new().item(Id::schema()).item(More::schema()).into()
    }
}

impl ToSchema for IdOrObject {
    fn schemas(schemas: &mut Vec<(String, RefOr<Schema>)>) {
        More::schemas(schemas);
    }
}

/// The event that a socket has joined or left.
#[derive(Serialize, ToSchema)]
pub(crate) struct Joined {
    event_id: EventId,
    /// Whether the version that came with it is the present one, of an event of which the client may
    /// know; otherwise it fetches the seat map.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    up_to_date: Option<bool>,
}

impl Joined {
    fn only(event_id: EventId) -> Self {
        Joined { event_id, up_to_date: None }
    }
}

pub(super) fn join_spec() -> Operation {
    Operation::open("join_event", "Join an event")
        .description("The client receives broadcasts about seats and bookings of the events that it has joined, and of no others. At most 100 events. Whoever joins a private event hears of it with its share code; any other, and none, is answered as for an event that there is not. Who comes back and says which `version` it shows is told whether it is `up_to_date`.")
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
    Box::pin(async move {
        let joined = try_to_join(socket, &message.payload, app).await;
        respond(socket, message, joined.map(|joined| json!(joined)))
    })
}

async fn try_to_join(socket: &Socket, payload: &Value, app: &App) -> Result<Joined> {
    let (event, more) = wanted(payload)?;
    let code = more.share_code.as_ref().and_then(Code::read);
    if !app.everyone.listeners.join(socket, event, code, MOST_JOINED) {
        return Err(Error::invalid("Too many events are joined"));
    }
    let Some(known) = more.version.as_ref().and_then(Whole::read) else {
        return Ok(Joined::only(event));
    };
    // Only now: of every later version, the client hears.
    let user = app.everyone.listeners.user(socket);
    // It has joined, whether or not PostgreSQL can be asked.
    let version = app.versions.call((event, Viewer { user, code })).await.ok().flatten();
    Ok(Joined { event_id: event, up_to_date: Some(version == Some(known)) })
}

pub(super) fn leave<'a>(
    socket: &'a Socket,
    message: Message,
    app: &'a App,
) -> BoxFuture<'a, Outcome> {
    let left = wanted(&message.payload).map(|(event, _)| {
        app.everyone.listeners.leave(socket, event);
        json!(Joined::only(event))
    });
    Box::pin(async move { respond(socket, message, left) })
}

/// The event, and what comes with it.
fn wanted(payload: &Value) -> Result<(EventId, More)> {
    let more = match payload.is_object() {
        true => part(payload.clone())?,
        false => More { event_id: Id::holding(payload.clone()), share_code: None, version: None },
    };
    let event = more.event_id.read().filter(|id| *id > 0).map(EventId);
    Ok((event.ok_or_else(|| Error::invalid("Invalid event ID"))?, more))
}
