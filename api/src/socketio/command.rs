//! Commands over a socket: command `x` is answered by `x_response` and through the acknowledgement
//! callback; other clients hear the broadcasts (docs/contract.md#commands).

use std::{sync::LazyLock, time::Instant};

use futures_util::future::BoxFuture;
use nexus_common::{
    Error,
    audit::{self, Origin},
    error::Kind,
    observability::{
        metrics,
        traces::{self, OpenTelemetrySpanExt},
    },
    storage::postgres::within,
};
use serde_json::json;
use tracing::{Instrument, Span, field};

use super::{
    delivery::Others,
    identity::Identity,
    joining::{join, join_spec, leave, leave_spec},
    queue::Message,
    response::{Outcome, respond},
    server::Socket,
};
use crate::{
    admission::Asker,
    app::App,
    http::{
        client_ip::ClientIp,
        fields::part,
        policy::{DEADLINE, Priority},
    },
    operations::{Call, Command, bookings::*, events::*, seats::*, waiting_rooms::*},
    spec::operation::Operation,
};

/// Serves a command in a separate trace, or in that of the `traceparent` in its payload: a socket
/// lives much longer than one action of its user.
pub(super) async fn measured(socket: &Socket, message: Message, app: &App) {
    // Undefined commands get no answer.
    let Some(entry) = COMMANDS.iter().find(|entry| entry.name == message.name) else { return };
    let Some(address) = socket.req_parts().extensions.get::<ClientIp>().copied() else { return };
    let is_known = socket.extensions.get::<Identity>().is_some_and(|identity| identity.is_valid());
    let priority = if is_known { entry.priority } else { Priority::Browse };
    // What has come before its socket was turned away is turned away with it, without waiting once
    // more.
    let is_late = socket.extensions.get::<TurnedAway>().is_some_and(|at| message.came <= at.0);
    let admitted = match is_late {
        true => Err(app.gate.turn_away(priority)),
        false => app.gate.admit(Asker { from: address.network(), priority }).await,
    };
    match admitted {
        Ok(admitted) => admitted.serve(serve(entry, socket, message, app)).await,
        // As cheaply as a request: no line, no trace.
        Err(error) => {
            if !is_late {
                socket.extensions.insert(TurnedAway(Instant::now()));
            }
            let _ = respond(socket, message, Err(error));
        }
    }
}

/// When a socket was last turned away.
#[derive(Clone)]
struct TurnedAway(Instant);

async fn serve(entry: &Entry, socket: &Socket, message: Message, app: &App) {
    let started = Instant::now();
    let identity = socket.extensions.get::<Identity>();
    let name = message.name.clone();
    let traceparent = message.payload["traceparent"].as_str();
    let span = tracing::info_span!(
        "command",
        otel.name = format!("command {name}"),
        otel.kind = "server",
        socket = %socket.id,
        user_id = field::Empty,
        trace_id = field::Empty,
    );
    let trace_id = traces::begin(&span, traceparent);
    let served = (entry.serve)(socket, message, app).instrument(span.clone()).await;
    let Some(outcome) = served else { return };
    let took = started.elapsed();
    metrics::socket_command(&name, outcome, took);
    span.set_attribute("nexus.outcome", outcome);
    let duration_ms = took.as_millis() as u64;
    // Whose token was not good is nobody.
    let user_id = identity.map(|identity| identity.user.0).filter(|_| !is_anonymous(outcome));
    tracing::info!(command = name, socket = %socket.id, user_id, trace_id, outcome, duration_ms, "command");
}

/// The function that serves a command, and its description in the API documents.
pub(super) struct Entry {
    pub(super) name: &'static str,
    priority: Priority,
    described: fn() -> Operation,
    serve: for<'a> fn(&'a Socket, Message, &'a App) -> BoxFuture<'a, Outcome>,
}

/// A command that HTTP serves, too.
fn command<C: Command>(priority: Priority) -> Entry {
    Entry {
        name: C::described().name,
        priority,
        described: C::described,
        serve: |socket, message, app| Box::pin(run::<C>(socket, message, app)),
    }
}

/// Every command, on one screen.
static COMMANDS: LazyLock<Vec<Entry>> = LazyLock::new(|| {
    vec![
        command::<CreateEvent>(Priority::Buy),
        command::<UpdateEvent>(Priority::Buy),
        command::<DeleteEvent>(Priority::Buy),
        command::<CreateSeatType>(Priority::Buy),
        command::<UpdateSeatType>(Priority::Buy),
        command::<DeleteSeatType>(Priority::Buy),
        command::<LockSeat>(Priority::Buy),
        command::<LockSeats>(Priority::Buy),
        command::<ExtendLock>(Priority::Pay),
        command::<UnlockSeat>(Priority::Buy),
        command::<CreateBooking>(Priority::Pay),
        command::<ConfirmBooking>(Priority::Pay),
        command::<CancelBooking>(Priority::Pay),
        command::<JoinQueue>(Priority::Enter),
        command::<LeaveQueue>(Priority::Enter),
        // Listening to fewer events needs no account.
        joining("join_event", join_spec, join),
        joining("leave_event", leave_spec, leave),
    ]
});

fn joining(
    name: &'static str,
    described: fn() -> Operation,
    serve: for<'a> fn(&'a Socket, Message, &'a App) -> BoxFuture<'a, Outcome>,
) -> Entry {
    Entry { name, priority: Priority::Browse, described, serve }
}

/// The description of every command in the API documents.
pub(crate) fn described() -> Vec<Operation> {
    COMMANDS.iter().map(|entry| (entry.described)()).collect()
}

/// Whether a command was refused because nobody knows whose it is.
fn is_anonymous(outcome: &str) -> bool {
    outcome.starts_with("token_")
}

/// Runs a command for the socket's user.
async fn run<C: Command>(socket: &Socket, message: Message, app: &App) -> Outcome {
    let user = match socket.extensions.get::<Identity>() {
        Some(Identity { token, .. }) => app.authenticate(&token).await,
        None => Err(Error::TokenMissing),
    };
    let user = match user {
        Ok(user) => user,
        Err(error) if error.kind() == Kind::Unauthenticated => {
            let _ = socket.emit("error", &json!({ "message": "Authentication required" }));
            let _ =
                message.ack.send(&json!({ "success": false, "error": "Authentication required" }));
            return Some(error.code());
        }
        Err(error) => return respond(socket, message, Err(error)),
    };
    // The budget is the same as over HTTP.
    if let Err(error) = app.budgets.user(user).await {
        return respond(socket, message, Err(error));
    }
    Span::current().record("user_id", user.0);
    let Some(address) = socket.req_parts().extensions.get::<ClientIp>().copied() else {
        return respond(socket, message, Err(Error::internal("a socket has no address")));
    };
    let over = Some(socket.clone());
    let call = Call { app: app.clone(), user, address, socket: over, reservation: None };
    let served = async { part::<C>(message.payload.clone())?.run(call).await };
    // The lines of a command name its socket.
    let request_id = Some(socket.id.to_string());
    let origin = Origin { address: Some(app.addresses.hash(address)), request_id };
    let served = audit::coming_from(origin, served);
    match within(DEADLINE, served).await {
        Ok(done) => {
            app.seat_maps.changed(user);
            // The caller of a socket's command is told first, and is not told again.
            let outcome = respond(socket, message, Ok(done.data.clone()));
            done.announce(app, Others(app.everyone.clone(), socket.id)).await;
            outcome
        }
        Err(error) => respond(socket, message, Err(error)),
    }
}
