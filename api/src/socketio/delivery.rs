//! The Socket.IO server and its limits (docs/realtime.md#limits has every number), and how
//! broadcasts reach its sockets.

use std::time::Duration;

use nexus_common::{
    config,
    realtime::{Broadcast, Publish, user_room},
    types::ids::UserId,
};
use socketioxide::{SocketIo, adapter::Emitter, extract::SocketRef, layer::SocketIoLayer};
use socketioxide_redis::{CustomRedisAdapter, RedisAdapterConfig, RedisAdapterCtr};

use super::driver::RedisDriver;

/// Carries broadcasts between API processes.
pub(crate) type Adapter = CustomRedisAdapter<Emitter, RedisDriver>;

/// The Socket.IO server of this process.
pub(crate) type Io = SocketIo<Adapter>;

/// One client's connection.
pub(crate) type Socket = SocketRef<Adapter>;

/// Packets that may wait for a client. The library's 128 loses packets of healthy clients.
const BUFFERED_PACKETS: usize = 4096;

/// The largest message, over any transport; the handshake tells clients.
const MAX_MESSAGE: usize = 1_000_000;

/// The server, as a layer for the middleware stack.
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

/// The access token that a socket came with, checked anew for every command: it can expire or be
/// revoked meanwhile.
#[derive(Clone)]
pub(crate) struct Identity {
    pub(super) token: String,
    pub(super) user: UserId,
}

/// Delivers to every client of every process.
#[derive(Clone)]
pub(crate) struct Everyone(pub(crate) Io);

impl Everyone {
    /// The sockets of this process that hear what is meant for their user alone: those of `user`,
    /// or all.
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

/// Delivers to every client of every process except the one whose command caused the broadcast.
#[derive(Clone)]
pub(super) struct Others(pub(super) Socket);

impl Publish for Others {
    async fn publish(&self, broadcast: Broadcast) {
        let others = self.0.broadcast().to(broadcast.rooms()).except(broadcast.except());
        let emit = others.emit(broadcast.event, &broadcast.payload);
        log_loss(broadcast.event, broadcast.send(emit).await);
    }
}

fn log_loss<E: std::fmt::Display>(event: &str, sent: Result<(), E>) {
    if let Err(error) = sent {
        // The usual reason is a client that is gone or stuck.
        tracing::debug!(%error, event, "a broadcast did not reach everybody");
    }
}
