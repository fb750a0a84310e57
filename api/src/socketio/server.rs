//! The Socket.IO library, and its limits (docs/realtime.md#limits has every number).

use std::time::Duration;

use axum::Router;
use socketioxide::{ParserConfig, SocketIo, extract::SocketRef, service::SocketIoService};

/// The Socket.IO server of this process.
pub(crate) type Io = SocketIo;

/// Answers the requests of the protocol.
pub(crate) type Library = SocketIoService<Router>;

/// One client's connection to it.
pub(crate) type Socket = SocketRef;

/// Packets that may wait for a client that polls. The library's 128 loses packets of healthy
/// clients.
const BUFFERED_PACKETS: usize = 4096;

/// The largest message, over any transport; the handshake tells clients.
pub(super) const MAX_MESSAGE: usize = 1_000_000;

/// Binary attachments of a message. No command has any; to put them together takes the library the
/// square of their number.
const MOST_ATTACHMENTS: usize = 16;

/// What is read of a websocket at once: commands are small, and each socket has such a buffer.
const READ_BUFFER: usize = 512;

/// The server.
pub(crate) fn build() -> (Library, Io) {
    let parser = ParserConfig::common()
        .max_incoming_binaries(MOST_ATTACHMENTS)
        .max_incoming_binary_buf_size(MAX_MESSAGE);
    SocketIo::builder()
        .with_parser(parser)
        .max_buffer_size(BUFFERED_PACKETS)
        .max_payload(MAX_MESSAGE as u64)
        .ws_read_buffer_size(READ_BUFFER)
        .ws_max_message_size(MAX_MESSAGE)
        .ws_max_frame_size(MAX_MESSAGE)
        .connect_timeout(Duration::from_secs(10))
        .ping_interval(Duration::from_secs(25))
        .ping_timeout(Duration::from_secs(20))
        .build_with_inner_svc(Router::new())
}
