//! Socket.IO: commands, broadcasts, and the official clients.

mod amplification;
mod bad_input;
mod booking_broadcasts;
mod broadcasts;
mod leaving;
mod limits;
mod official_clients;
mod private_events;
mod pseudonyms;
mod recovery;
mod slow_readers;

use nexus_tests::{SOON, SocketClient, Stack};

/// Waits until every socket has heard of an event made now, and with it of everything before.
async fn fence(stack: &Stack, sockets: &[&SocketClient]) {
    let organiser = stack.user().await;
    let marker = stack.event(&organiser, &[("Marker", 1.0, 1)]).await;
    for socket in sockets {
        socket
            .wait_for("event_created", |broadcast| broadcast["event"]["id"] == marker.id, SOON)
            .await;
    }
}
