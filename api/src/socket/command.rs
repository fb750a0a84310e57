//! Commands over a socket: command `x` answers its sender with `x_response` and through the
//! acknowledgement callback; everybody else hears the broadcasts (docs/contract.md#commands).

use std::{future::Future, time::Instant};

use nexus_common::{
    Error, Result,
    error::Kind,
    observability::{
        metrics,
        traces::{KeyValue, Span, SpanKind},
    },
    realtime::{ALL_EVENTS, event_room, is_own},
    storage::postgres::within,
    types::{ids::EventId, input::Input},
};
use serde_json::{Value, json};
use tokio::sync::mpsc;
use tracing::Instrument;

use super::{Identity, Others, Socket, look_away, queue::Command, view};
use crate::{
    answers::Joined,
    app::App,
    commands::{Call, Done, bookings, confirmation, events, seats},
    middleware::requests::DEADLINE,
};

/// A socket may join so many events at once.
const MOST_JOINED: usize = 100;

/// Serves one socket's commands, one after the other, until the socket is gone.
pub(super) async fn serve(socket: Socket, mut commands: mpsc::Receiver<Command>, app: App) {
    let _connected = metrics::Connected::now();
    while let Some(command) = commands.recv().await {
        measured(&socket, command, &app).await;
    }
}

/// How a command was answered: `ok` or the failure's code; `None` for what is no command.
type Outcome = Option<&'static str>;

/// Serves a command in a trace of its own, or in that of the `traceparent` that its payload names:
/// a socket lives much longer than what its user does at a time.
async fn measured(socket: &Socket, command: Command, app: &App) {
    let started = Instant::now();
    let name = command.name.clone();
    let traceparent = command.payload["traceparent"].as_str();
    let span = Span::asked_for(SpanKind::Server, traceparent, || format!("command {name}"));
    let trace_id = span.trace_id();
    let log = tracing::info_span!("command", socket = %socket.id, trace_id);
    let served = span.run(dispatch(socket, command, app).instrument(log)).await;
    let Some(outcome) = served else { return };
    let took = started.elapsed();
    metrics::socket_command(&name, outcome, took);
    span.describe(|| [KeyValue::new("nexus.outcome", outcome)]);
    span.end();
    let duration_ms = took.as_millis() as u64;
    tracing::info!(command = name, socket = %socket.id, trace_id, outcome, duration_ms, "command");
}

/// Every command, on one screen.
async fn dispatch(socket: &Socket, command: Command, app: &App) -> Outcome {
    match command.name.as_str() {
        "create_event" => run(socket, command, app, events::create).await,
        "update_event" => run(socket, command, app, events::update).await,
        "delete_event" => run(socket, command, app, events::delete).await,
        "create_seat_type" => run(socket, command, app, events::create_seat_type).await,
        "update_seat_type" => run(socket, command, app, events::update_seat_type).await,
        "delete_seat_type" => run(socket, command, app, events::delete_seat_type).await,
        "lock_seat" => run(socket, command, app, seats::lock).await,
        "lock_seats" => run(socket, command, app, seats::lock_several).await,
        "extend_lock" => run(socket, command, app, seats::extend).await,
        "unlock_seat" => run(socket, command, app, seats::unlock).await,
        "create_booking" => run(socket, command, app, bookings::create).await,
        "confirm_booking" => run(socket, command, app, confirmation::confirm).await,
        "cancel_booking" => run(socket, command, app, bookings::cancel).await,
        // Listening to fewer events needs no account.
        "join_event" => answer(socket, command, join),
        "leave_event" => answer(socket, command, leave),
        // What nobody has defined, nobody answers.
        _ => None,
    }
}

/// Runs a command for the socket's user.
async fn run<F, Fut>(socket: &Socket, command: Command, app: &App, action: F) -> Outcome
where
    F: Fn(Call) -> Fut,
    Fut: Future<Output = Result<Done>>,
{
    let user = match socket.extensions.get::<Identity>() {
        Some(Identity { token, .. }) => app.authenticate(&token).await,
        None => Err(Error::TokenMissing),
    };
    let user = match user {
        Ok(user) => user,
        Err(error) if error.kind() == Kind::Unauthenticated => {
            let _ = socket.emit("error", &json!({ "message": "Authentication required" }));
            let _ =
                command.ack.send(&json!({ "success": false, "error": "Authentication required" }));
            return Some(error.code());
        }
        Err(error) => return respond(socket, command, Err(error)),
    };
    // The same budget as over HTTP.
    if let Err(error) = app.limits.user(user).await {
        return respond(socket, command, Err(error));
    }
    let input = Input::from(command.payload.clone());
    let call = Call { app: app.clone(), user, input, reservation: None };
    match within(DEADLINE, action(call)).await {
        Ok(done) => {
            app.seat_maps.changed(user);
            let outcome = respond(socket, command, Ok(done.data));
            done.after.run(&app.cache, &Others(socket.clone()), &app.seats).await;
            outcome
        }
        Err(error) => respond(socket, command, Err(error)),
    }
}

fn answer(
    socket: &Socket,
    command: Command,
    action: fn(&Socket, &Value) -> Result<Value>,
) -> Outcome {
    let result = action(socket, &command.payload);
    respond(socket, command, result)
}

fn respond(socket: &Socket, command: Command, result: Result<Value>) -> Outcome {
    let outcome = result.as_ref().map_or_else(Error::code, |_| "ok");
    let response = match result {
        Ok(data) => json!({ "success": true, "data": data }),
        Err(error) => {
            if matches!(error.kind(), Kind::Internal | Kind::Unavailable | Kind::Provider) {
                tracing::error!(command = command.name, error = error.details(), "command failed");
            }
            json!({ "success": false, "error": error.to_string() })
        }
    };
    let _ = socket.emit(format!("{}_response", command.name), &response);
    let _ = command.ack.send(&response);
    Some(outcome)
}

/// From now on: news of the joined events only.
fn join(socket: &Socket, payload: &Value) -> Result<Value> {
    let event = event_id(payload)?;
    if socket.rooms().iter().filter(|room| !is_own(room)).count() >= MOST_JOINED {
        return Err(Error::invalid("Too many events are joined"));
    }
    look_away(socket, ALL_EVENTS.into());
    view(socket, event_room(event));
    Ok(json!(Joined { event_id: event }))
}

fn leave(socket: &Socket, payload: &Value) -> Result<Value> {
    let event = event_id(payload)?;
    look_away(socket, event_room(event));
    Ok(json!(Joined { event_id: event }))
}

fn event_id(payload: &Value) -> Result<EventId> {
    let mut input = Input::default();
    input.set("event_id", payload.clone());
    let id: Option<EventId> = input.id("event_id");
    id.filter(|event| event.0 > 0).ok_or_else(|| Error::invalid("Invalid event ID"))
}
