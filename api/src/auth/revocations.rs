//! What follows when a process, or the operators' command line, revokes tokens: PostgreSQL notifies
//! every API process as the revocation commits. From then on, no process answers from memory that
//! the token is good, and the sockets that came with it no longer hear what is meant for their user
//! alone.

use std::time::Duration;

use nexus_common::{
    accounts::sessions::REVOCATIONS,
    config::Database,
    storage::{
        listener::{Heard, listen_to_postgres},
        postgres,
    },
    types::ids::UserId,
};
use sqlx::PgPool;

use crate::{
    app::App,
    socketio::{identity::Identity, server::Socket},
};

/// How soon a socket is looked at again if its token could not be looked up, and the longest pause
/// between two looks.
const LOOK_AGAIN_AFTER: Duration = Duration::from_secs(1);
const LONGEST_WAIT: Duration = Duration::from_secs(30);
/// A pool of one connection, for the listener.
pub(crate) fn pool(database: &Database) -> PgPool {
    postgres::pool(&Database { max_connections: 1, ..database.clone() }, "nexus-api revocations")
}

/// Acts on revocations for as long as the process lives. While the listener is not connected, every
/// token is looked up.
pub(crate) async fn listen_for_revocations(app: App, pool: PgPool) {
    let hear = |heard: Heard<'_>| match heard {
        Heard::Connected => {
            app.verified.set_listening(true);
            // Tokens may have been revoked while the listener was away.
            tokio::spawn(recheck_identified(app.clone(), None));
        }
        Heard::Message(user) => {
            if let Ok(user) = user.parse().map(UserId) {
                app.verified.forget(user);
                tokio::spawn(recheck_identified(app.clone(), Some(user)));
            }
        }
        Heard::Disconnected => app.verified.set_listening(false),
    };
    listen_to_postgres(pool, REVOCATIONS, "revocations", hear).await;
}

/// Looks again at the sockets whose tokens expire, for as long as the process lives.
pub(crate) async fn end_expired(app: App) {
    loop {
        app.expiries.next().await;
        for user in app.expiries.expired() {
            recheck_identified(app.clone(), Some(user)).await;
        }
    }
}

/// Looks again at the sockets of this process: those of `user`, or all.
async fn recheck_identified(app: App, user: Option<UserId>) {
    recheck(&app, app.everyone.identified(user)).await;
}

/// One or all tokens of `user` have been revoked: this process knows it when this returns.
pub(crate) async fn revoked(app: &App, user: UserId) {
    app.verified.forget(user);
    recheck(app, app.everyone.identified(Some(user))).await;
}

/// Looks again at the tokens of these sockets, and later once more at those that could not be
/// looked up.
pub(crate) async fn recheck(app: &App, sockets: Vec<(Socket, Identity)>) {
    let doubtful = look(app, sockets).await;
    if !doubtful.is_empty() {
        tokio::spawn(settle(app.clone(), doubtful));
    }
}

/// Looks, less and less often, until every socket is certain or gone. An expired token is certain.
async fn settle(app: App, mut doubtful: Vec<(Socket, Identity)>) {
    let mut wait = LOOK_AGAIN_AFTER;
    while !doubtful.is_empty() {
        tokio::time::sleep(wait).await;
        wait = (wait * 2).min(LONGEST_WAIT);
        doubtful.retain(|(socket, _)| socket.connected());
        doubtful = look(&app, doubtful).await;
    }
}

/// Returns the sockets whose tokens could not be looked up.
async fn look(app: &App, sockets: Vec<(Socket, Identity)>) -> Vec<(Socket, Identity)> {
    let mut doubtful = Vec::new();
    for (socket, identity) in sockets {
        if !identity.recheck(&socket, app).await {
            doubtful.push((socket, identity));
        }
    }
    doubtful
}
