//! A client connects: its limits, its token, its queue of commands (docs/contract.md#commands).

use std::sync::{
    Arc, Weak,
    atomic::{AtomicBool, Ordering::SeqCst},
};

use nexus_common::{Result, error::Kind, types::ids::UserId};
use serde_json::Value;
use socketioxide::{extract::TryData, handler::ConnectHandler};

use super::{
    command,
    command_rate_limiter::CommandRateLimiter,
    identity::Identity,
    listeners::Listener,
    queue::{self, Queue, Serve},
    recovery::{Pid, Returning},
    server::{Io, Socket},
    wire::Wire,
};
use crate::{
    app::App,
    auth::{caller::bearer, revocations},
};

/// A session's: its client may connect once. No client of ours connects again over a session that
/// it has left, and the library confuses a socket with its successor of the same id.
#[derive(Clone, Default)]
pub(super) struct ConnectsOnce(Arc<AtomicBool>);

impl ConnectsOnce {
    fn is_first(&self) -> bool {
        !self.0.swap(true, SeqCst)
    }
}

pub(crate) fn open(io: &Io, app: App) {
    let serving = app.clone();
    let serve: Serve = Arc::new(move |socket, message| {
        let app = serving.clone();
        Box::pin(async move { command::measured(&socket, message, &app).await })
    });
    let connecting = app.clone();
    let connected = async move |socket: Socket, auth: TryData<Value>| {
        on_connect(socket, auth, app.clone()).await
    };
    // Before the client is told that it is connected: `connected` runs in a task of its own, and
    // commands that came before it would be lost.
    let connect = connected.with(async move |socket: Socket, auth: TryData<Value>| {
        let once = socket.req_parts().extensions.get::<ConnectsOnce>();
        if !once.is_some_and(ConnectsOnce::is_first) {
            return Err("This session has been connected before");
        }
        recognise(&socket, auth, &connecting);
        let limiter = CommandRateLimiter::new(connecting.budgets.commands());
        queue::open(&socket, limiter, serve.clone());
        let listeners = connecting.everyone.listeners.clone();
        socket.on_disconnect(async move |socket: Socket| {
            queue::close(&socket);
            listeners.remove(&socket);
        });
        Ok(())
    });
    io.ns("/", connect);
}

/// Whether this is a client that comes back, and who it is from now on.
fn recognise(socket: &Socket, TryData(auth): TryData<Value>, app: &App) {
    let listeners = &app.everyone.listeners;
    let auth = auth.unwrap_or_default();
    let returning = Returning::read(&auth).filter(|returning| {
        let user = identity(socket, &auth, app).map(|identity| identity.user);
        listeners.can_return(*returning, user)
    });
    let pid = returning.map_or_else(Pid::new, |returning| returning.pid);
    match socket.req_parts().extensions.get::<Weak<Wire>>().and_then(Weak::upgrade) {
        Some(wire) => wire.will_tell(pid),
        None => listeners.will_tell(socket.id, pid),
    }
    socket.extensions.insert(pid);
    if let Some(returning) = returning {
        socket.extensions.insert(returning);
    }
}

/// Who the client says that it is, and has been.
fn identity(socket: &Socket, auth: &Value, app: &App) -> Option<Identity> {
    let token = match auth.get("token").and_then(Value::as_str) {
        Some(token) => token.to_owned(),
        None => bearer(&socket.req_parts().headers)?.to_owned(),
    };
    let verified = app.signer.verify_access(&token).ok()?;
    Some(Identity { token, user: verified.user, expires_at: verified.expires_at })
}

async fn on_connect(socket: Socket, TryData(auth): TryData<Value>, app: App) {
    // An unreadable auth payload is not "no auth": something is wrong with this client. Without a
    // queue, it has left again.
    let (Ok(auth), Some(commands)) = (auth, socket.extensions.get::<Queue>()) else {
        let _ = socket.disconnect();
        return;
    };
    let identity = identity(&socket, &auth, &app);
    let (listeners, listener) = (&app.everyone.listeners, Listener::new(socket.clone()));
    let pid = socket.extensions.remove::<Pid>().unwrap_or_else(Pid::new);
    match socket.extensions.remove::<Returning>() {
        None => listeners.add(listener, pid),
        Some(returning) => match user(&identity, &app).await {
            Ok(user) => listeners.add_returning(&listener, returning, user),
            // What its user has missed, it would never hear.
            Err(_) => listeners.begin_anew(&listener, pid),
        },
    }
    if let Some(identity) = identity {
        socket.extensions.insert(identity.clone());
        revocations::recheck(&app, vec![(socket.clone(), identity)]).await;
    }
    commands.begin(&socket);
}

/// The user of a good token. An error says that nobody knows.
async fn user(identity: &Option<Identity>, app: &App) -> Result<Option<UserId>> {
    let Some(identity) = identity else { return Ok(None) };
    match app.authenticate(&identity.token).await {
        Err(error) if error.kind() == Kind::Unauthenticated => Ok(None),
        user => user.map(Some),
    }
}
