//! The user of a socket, for as long as its token is good, and what the socket hears because of
//! that.

use chrono::{DateTime, Utc};
use nexus_common::{error::Kind, types::ids::UserId};

use super::{delivery::Everyone, server::Socket};
use crate::app::App;

/// The access token that a socket came with, checked anew for every command: it can expire or be
/// revoked meanwhile.
#[derive(Clone)]
pub(crate) struct Identity {
    pub(super) token: String,
    pub(super) user: UserId,
    pub(super) expires_at: DateTime<Utc>,
}

impl Identity {
    /// Whether its time has not come yet; it may have been revoked.
    pub(super) fn is_valid(&self) -> bool {
        self.expires_at > Utc::now()
    }

    /// Begins or ends what the socket hears as its user's, depending on its token. If the token
    /// cannot be looked up, that also ends, and false means that the socket must be checked again.
    pub(crate) async fn recheck(&self, socket: &Socket, app: &App) -> bool {
        let mut looked = app.authenticate(&self.token).await;
        if looked.is_ok() && app.everyone.listeners.identify(socket, self.user) {
            app.expiries.watch(self.user, self.expires_at);
            // A revocation at this very moment did not find the socket, so look again.
            looked = app.authenticate(&self.token).await;
        }
        let Err(error) = looked else { return true };
        app.everyone.listeners.make_anonymous(socket);
        error.kind() == Kind::Unauthenticated
    }
}

impl Everyone {
    /// The sockets of this process that hear what is meant for their user alone: those of `user`,
    /// or all that came with a token.
    pub(crate) fn identified(&self, user: Option<UserId>) -> Vec<(Socket, Identity)> {
        let listeners = self.listeners.of(user);
        let sockets = listeners.iter().map(|listener| listener.socket.clone());
        sockets.filter_map(|socket| Some((socket.clone(), socket.extensions.get()?))).collect()
    }
}
