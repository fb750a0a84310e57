//! A client connects: its limits, its token, its queue of commands (docs/contract.md#commands).

use std::convert::Infallible;

use nexus_common::realtime::ALL_EVENTS;
use serde_json::Value;
use socketioxide::{extract::TryData, handler::ConnectHandler};

use super::{
    command,
    command_rate_limiter::{CommandRateLimiter, Step},
    delivery::{Identity, Io, Socket},
    queue,
};
use crate::{
    app::App,
    auth::{caller::bearer, revocations},
};

pub(crate) async fn open(io: &Io, app: App) -> anyhow::Result<()> {
    let connecting = app.clone();
    let connected = async move |socket: Socket, auth: TryData<Value>| {
        on_connect(socket, auth, app.clone()).await
    };
    // Before the client is told that it is connected: `connected` runs in a task of its own, and
    // commands that came before it would be lost.
    let connect = connected.with(async move |socket: Socket| {
        let limiter = socket.req_parts().extensions.get::<CommandRateLimiter>().cloned();
        let limiter =
            limiter.unwrap_or_else(|| CommandRateLimiter::new(connecting.budgets.commands()));
        if matches!(limiter.step(), Step::Taken) {
            queue::open(&socket, limiter);
        }
        Ok::<_, Infallible>(())
    });
    io.ns("/", connect)
        .await
        .map_err(|error| anyhow::anyhow!("the Socket.IO namespace cannot be opened: {error}"))
}

async fn on_connect(socket: Socket, TryData(auth): TryData<Value>, app: App) {
    // An unreadable auth payload is not "no auth": something is wrong with this client. Without a
    // queue, it has sent too many commands over this connection.
    let (Ok(auth), Some(commands)) = (auth, queue::commands(&socket)) else {
        let _ = socket.disconnect();
        return;
    };
    socket.join(ALL_EVENTS);
    let token = match auth.get("token").and_then(Value::as_str) {
        Some(token) => Some(token.to_owned()),
        None => bearer(&socket.req_parts().headers).map(str::to_owned),
    };
    if let Some(token) = token
        && let Ok(verified) = app.signer.verify_access(&token)
    {
        let identity = Identity { token, user: verified.user };
        socket.extensions.insert(identity.clone());
        revocations::recheck(&app, vec![(socket.clone(), identity)]).await;
    }
    tokio::spawn(command::run_in_turn(socket, commands, app));
}
