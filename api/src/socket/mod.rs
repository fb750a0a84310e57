//! Socket.IO: the server's limits, the handshake, and delivery (docs/contract.md#commands and
//! docs/contract.md#broadcasts; docs/realtime.md#limits for every number here).

mod arguments;
mod command;
mod driver;
pub(crate) mod http;
pub(crate) mod pace;
mod queue;

use std::time::Duration;

use driver::RedisDriver;
use nexus_common::{
    config,
    error::Kind,
    realtime::{ALL_EVENTS, Broadcast, Publish, is_own, own_room, user_room},
    types::ids::UserId,
};
use pace::{Pace, Step};
use serde_json::Value;
use socketioxide::{
    SocketIo,
    adapter::Emitter,
    extract::{SocketRef, TryData},
    layer::SocketIoLayer,
};
use socketioxide_redis::{CustomRedisAdapter, RedisAdapterConfig, RedisAdapterCtr};

use crate::{app::App, extract::bearer, revocations};

/// Carries broadcasts between API processes.
pub(crate) type Adapter = CustomRedisAdapter<Emitter, RedisDriver>;
/// The Socket.IO server of this process.
pub(crate) type Io = SocketIo<Adapter>;
/// One client's connection.
pub(crate) type Socket = SocketRef<Adapter>;

/// Packets that wait for a client. The library's 128 loses packets of healthy clients.
const BUFFERED_PACKETS: usize = 4096;
/// Largest message, over any transport; clients are told so in the handshake.
const MAX_MESSAGE: usize = 1_000_000;

/// The server, for the middleware stack.
pub(crate) fn layer(redis: &config::Redis) -> anyhow::Result<(SocketIoLayer<Adapter>, Io)> {
    let adapter = RedisAdapterCtr::new_with_driver(
        RedisDriver::start(redis)?,
        RedisAdapterConfig::new().with_stream_buffer(BUFFERED_PACKETS),
    );
    Ok(SocketIo::builder()
        .max_buffer_size(BUFFERED_PACKETS)
        .max_payload(MAX_MESSAGE as u64)
        .ws_max_message_size(MAX_MESSAGE)
        .ws_max_frame_size(MAX_MESSAGE)
        .connect_timeout(Duration::from_secs(10))
        .ping_interval(Duration::from_secs(25))
        .ping_timeout(Duration::from_secs(20))
        .with_adapter::<Adapter>(adapter)
        .build_layer())
}

/// Accepts connections.
pub(crate) async fn listen(io: &Io, app: App) -> anyhow::Result<()> {
    io.ns("/", async move |socket: Socket, auth: TryData<Value>| {
        on_connect(socket, auth, app.clone()).await
    })
    .await
    .map_err(|error| anyhow::anyhow!("the Socket.IO namespace cannot be opened: {error}"))
}

/// The access token that a socket came with, looked at anew for every command: it can expire or be
/// revoked meanwhile.
#[derive(Clone)]
pub(crate) struct Identity {
    token: String,
    user: UserId,
}

impl Identity {
    /// Begins or ends what the socket is told as its user's, as the token is good or not. In doubt
    /// it ends, too, and false is returned: it must be looked at again.
    pub(crate) async fn recheck(&self, socket: &Socket, app: &App) -> bool {
        let room = user_room(self.user);
        let mut looked = app.authenticate(&self.token).await;
        if looked.is_ok() && !socket.rooms().iter().any(|joined| *joined == room) {
            socket.join(room.clone());
            let viewed = socket.rooms().into_iter().filter(|room| !is_own(room));
            socket.join(viewed.map(|viewed| own_room(self.user, &viewed)).collect::<Vec<_>>());
            // Whoever revoked it in this moment did not find the socket in the room.
            looked = app.authenticate(&self.token).await;
        }
        let Err(error) = looked else { return true };
        socket.leave(room);
        // After the first: whoever joins an event in this moment looks there.
        let own: Vec<_> = socket.rooms().into_iter().filter(|room| is_own(room)).collect();
        socket.leave(own);
        error.kind() == Kind::Unauthenticated
    }
}

/// Lets a socket hear the news for `room`; in full where they are its user's business, as long as
/// it hears what is its user's alone.
fn view(socket: &Socket, room: String) {
    let Some(Identity { user, .. }) = socket.extensions.get::<Identity>() else {
        return socket.join(room);
    };
    let own = own_room(user, &room);
    // At once: a broadcast finds both or none.
    socket.join([room, own.clone()]);
    let user_room = user_room(user);
    if !socket.rooms().iter().any(|room| *room == user_room) {
        socket.leave(own);
    }
}

/// The opposite.
fn look_away(socket: &Socket, room: String) {
    match socket.extensions.get::<Identity>() {
        Some(Identity { user, .. }) => socket.leave([own_room(user, &room), room]),
        None => socket.leave(room),
    }
}

async fn on_connect(socket: Socket, TryData(auth): TryData<Value>, app: App) {
    // An auth payload that cannot be read is not "no auth": something is wrong with this client.
    let Ok(auth) = auth else {
        let _ = socket.disconnect();
        return;
    };
    let pace = socket.req_parts().extensions.get::<Pace>().cloned();
    let pace = pace.unwrap_or_else(|| Pace::new(app.limits.commands()));
    if !matches!(pace.step(), Step::Taken) {
        let _ = socket.disconnect();
        return;
    }
    // Commands first: they may arrive while the token is being looked at, and wait in the queue
    // meanwhile.
    let commands = queue::open(&socket, pace);
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
    tokio::spawn(command::serve(socket, commands, app));
}

/// Delivers to every client of every process.
#[derive(Clone)]
pub(crate) struct Everyone(pub(crate) Io);

impl Everyone {
    /// The sockets of this process that are told what is `user`'s alone, or anybody's.
    pub(crate) fn identified(&self, user: Option<UserId>) -> Vec<(Socket, Identity)> {
        let sockets = match user {
            Some(user) => self.0.within(user_room(user)).sockets(),
            None => self.0.sockets(),
        };
        let identified =
            sockets.into_iter().map(|socket| (socket.extensions.get::<Identity>(), socket));
        identified.filter_map(|(identity, socket)| Some((socket, identity?))).collect()
    }
}

impl Publish for Everyone {
    async fn publish(&self, broadcast: Broadcast) {
        let emit = self
            .0
            .to(broadcast.rooms())
            .except(broadcast.except())
            .emit(broadcast.event, &broadcast.payload);
        log_loss(broadcast.event, broadcast.send(emit).await);
    }
}

/// Delivers to every client of every process but the one whose command caused it.
#[derive(Clone)]
struct Others(Socket);

impl Publish for Others {
    async fn publish(&self, broadcast: Broadcast) {
        let others = self.0.broadcast().to(broadcast.rooms()).except(broadcast.except());
        let emit = others.emit(broadcast.event, &broadcast.payload);
        log_loss(broadcast.event, broadcast.send(emit).await);
    }
}

fn log_loss<E: std::fmt::Display>(event: &str, sent: Result<(), E>) {
    if let Err(error) = sent {
        // Clients that are gone or stuck are the usual reason.
        tracing::debug!(%error, event, "a broadcast did not reach everybody");
    }
}
