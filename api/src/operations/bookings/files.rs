//! What the operations have in common that make files of a booking's tickets.

use std::{sync::Arc, time::Duration};

use nexus_common::{
    Error, Result,
    config::Limit,
    tickets::{
        delivery::{self, Delivery},
        files::Files,
    },
    types::ids::{BookingId, UserId},
};
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    time::timeout,
};

use crate::{admission::away, app::App};

/// How long a request waits until others have made their files.
const WAIT: Duration = Duration::from_secs(5);

/// The tickets of a confirmed booking that are `user`'s.
pub(super) async fn delivery(app: &App, user: UserId, booking: BookingId) -> Result<Delivery> {
    let mut conn = app.db.acquire().await?;
    delivery::of_owner(&mut conn, booking, user).await
}

/// Does what takes a core for a while, when it is its turn.
pub(super) async fn in_turn<T: Send + 'static>(
    turns: &Arc<Semaphore>,
    work: impl FnOnce() -> Result<T> + Send + 'static,
) -> Result<T> {
    // Others are served while it waits and works, which has a bound of its own.
    away(async {
        let turn = turn(turns).await?;
        let done = tokio::task::spawn_blocking(move || {
            // Until it is done, even if nobody waits for it any more.
            let _turn = turn;
            work()
        });
        done.await.map_err(Error::internal)?
    })
    .await
}

async fn turn(turns: &Arc<Semaphore>) -> Result<OwnedSemaphorePermit> {
    let turn = timeout(WAIT, turns.clone().acquire_owned()).await;
    let turn = turn.map_err(|_| Error::Busy("others have their tickets drawn".into()))?;
    turn.map_err(Error::internal)
}

/// Makes something of tickets, on one of the few threads that do.
pub(super) async fn make<T: Send + 'static>(
    app: &App,
    user: UserId,
    make: impl FnOnce(&Files) -> Result<T> + Send + 'static,
) -> Result<T> {
    let taken = app.budgets.ticket_files(user).await?;
    let files = app.files.clone();
    let made = in_turn(&app.making_files, move || make(&files)).await;
    if matches!(made, Err(Error::Busy(_))) {
        app.budgets.give_back(&taken, &[Limit::TicketFiles]).await;
    }
    made
}
