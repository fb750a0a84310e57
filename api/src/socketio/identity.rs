//! The user of a socket, for as long as its token is good, and what the socket hears because of
//! that.

use nexus_common::{
    error::Kind,
    realtime::{is_own, own_room, user_room},
};

use super::delivery::{Identity, Socket};
use crate::app::App;

impl Identity {
    /// Begins or ends what the socket hears as its user's, depending on its token. If the token
    /// cannot be looked up, that also ends, and false means that the socket must be checked again.
    pub(crate) async fn recheck(&self, socket: &Socket, app: &App) -> bool {
        let room = user_room(self.user);
        let mut looked = app.authenticate(&self.token).await;
        if looked.is_ok() && !socket.rooms().iter().any(|joined| *joined == room) {
            socket.join(room.clone());
            let viewed = socket.rooms().into_iter().filter(|room| !is_own(room));
            socket.join(viewed.map(|viewed| own_room(self.user, &viewed)).collect::<Vec<_>>());
            // A revocation at this very moment did not find the socket in the room, so look again.
            looked = app.authenticate(&self.token).await;
        }
        let Err(error) = looked else { return true };
        socket.leave(room);
        // After the user's room, which a socket that joins an event at this moment looks for.
        let own: Vec<_> = socket.rooms().into_iter().filter(|room| is_own(room)).collect();
        socket.leave(own);
        error.kind() == Kind::Unauthenticated
    }
}

/// Lets a socket hear the broadcasts for `room`: in full where they concern its user, as long as it
/// hears what is meant for its user alone.
pub(super) fn view(socket: &Socket, room: String) {
    let Some(Identity { user, .. }) = socket.extensions.get::<Identity>() else {
        return socket.join(room);
    };
    let own = own_room(user, &room);
    // Joined together: a broadcast finds both rooms or none.
    socket.join([room, own.clone()]);
    let user_room = user_room(user);
    if !socket.rooms().iter().any(|room| *room == user_room) {
        socket.leave(own);
    }
}

pub(super) fn look_away(socket: &Socket, room: String) {
    match socket.extensions.get::<Identity>() {
        Some(Identity { user, .. }) => socket.leave([own_room(user, &room), room]),
        None => socket.leave(room),
    }
}
