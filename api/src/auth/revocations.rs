//! What happens when tokens are revoked, by whichever process, the operators' command line
//! included: PostgreSQL notifies every API process as the revocation commits. From then on none
//! answers from memory that the token is good, and the sockets that came with it are told no more
//! of what is their user's alone.

use std::time::Duration;

use nexus_common::{
    accounts::sessions::REVOCATIONS, config::Database, storage::postgres, types::ids::UserId,
};
use sqlx::{Executor, PgPool, postgres::PgListener};
use tokio::time::timeout;

use crate::{
    app::App,
    socketio::delivery::{Identity, Socket},
};

const RECONNECT_AFTER: Duration = Duration::from_millis(250);
/// How soon a socket is looked at again whose token could not be looked up, and the longest pause
/// between two looks.
const LOOK_AGAIN_AFTER: Duration = Duration::from_secs(1);
const LONGEST_WAIT: Duration = Duration::from_secs(30);
/// A server that has said nothing for so long is asked whether it is still there, and has so long
/// to answer.
const SILENCE: Duration = Duration::from_secs(5);

/// A pool of one connection, which listens.
pub(crate) fn pool(database: &Database) -> PgPool {
    postgres::pool(&Database { max_connections: 1, ..database.clone() }, "nexus-api revocations")
}

/// Listens for as long as the process lives.
pub(crate) async fn listen(app: App, pool: PgPool) {
    let mut heard = true;
    loop {
        let error = match session(&app, &pool, &mut heard).await {
            Ok(()) => "the connection was closed".to_owned(),
            Err(error) => error.to_string(),
        };
        app.verified.listen(false);
        if heard {
            tracing::warn!(
                error,
                "revocations are not heard of, so every token is looked up; reconnecting"
            );
        }
        heard = false;
        tokio::time::sleep(RECONNECT_AFTER).await;
    }
}

/// One connection, until it breaks.
async fn session(app: &App, pool: &PgPool, heard: &mut bool) -> Result<(), sqlx::Error> {
    let mut listener = PgListener::connect_with(pool).await?;
    listener.listen(REVOCATIONS).await?;
    app.verified.listen(true);
    if !std::mem::replace(heard, true) {
        tracing::info!("revocations are heard of again");
    }
    // Whoever was revoked meanwhile.
    tokio::spawn(recheck_identified(app.clone(), None));
    loop {
        let notification = match timeout(SILENCE, listener.try_recv()).await {
            Ok(received) => received?,
            Err(_) => {
                let answer = timeout(SILENCE, listener.execute("SELECT 1")).await;
                answer.map_err(|_| sqlx::Error::Io(std::io::ErrorKind::TimedOut.into()))??;
                continue;
            }
        };
        let Some(notification) = notification else { return Ok(()) };
        if let Ok(user) = notification.payload().parse().map(UserId) {
            app.verified.forget(user);
            tokio::spawn(recheck_identified(app.clone(), Some(user)));
        }
    }
}

/// Looks again at the sockets of this process: `user`'s, or everybody's.
async fn recheck_identified(app: App, user: Option<UserId>) {
    recheck(&app, app.everyone.identified(user)).await;
}

/// A token of `user` has been revoked, or all of them: known in this process when this returns.
pub(crate) async fn revoked(app: &App, user: UserId) {
    app.verified.forget(user);
    recheck(app, app.everyone.identified(Some(user))).await;
}

/// Looks again at the tokens of these sockets; later once more at those that could not be looked
/// up.
pub(crate) async fn recheck(app: &App, sockets: Vec<(Socket, Identity)>) {
    let doubtful = look(app, sockets).await;
    if !doubtful.is_empty() {
        tokio::spawn(settle(app.clone(), doubtful));
    }
}

/// Looks, less and less often, until there is no doubt about any of the sockets, or they are gone.
/// A token that has expired leaves none.
async fn settle(app: App, mut doubtful: Vec<(Socket, Identity)>) {
    let mut wait = LOOK_AGAIN_AFTER;
    while !doubtful.is_empty() {
        tokio::time::sleep(wait).await;
        wait = (wait * 2).min(LONGEST_WAIT);
        doubtful.retain(|(socket, _)| socket.connected());
        doubtful = look(&app, doubtful).await;
    }
}

/// Returns the sockets of which it could not be said.
async fn look(app: &App, sockets: Vec<(Socket, Identity)>) -> Vec<(Socket, Identity)> {
    let mut doubtful = Vec::new();
    for (socket, identity) in sockets {
        if !identity.recheck(&socket, app).await {
            doubtful.push((socket, identity));
        }
    }
    doubtful
}
