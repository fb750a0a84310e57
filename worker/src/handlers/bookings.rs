//! Handlers of the bookings queue.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use nexus_common::{
    Error,
    config::{self, Env},
    jobs::{
        self,
        bookings::{FinaliseBooking, ReissueTickets},
    },
    realtime::Publish,
    tickets::{codes::SigningKey, issuing, reissue},
    types::ids::TicketId,
};

use crate::{Attempt, Build, Context, JobFailure};

/// What these handlers need besides the common context.
pub struct Bookings {
    key: SigningKey,
}

impl Bookings {
    /// Reads the settings.
    pub fn from_env(env: &mut Env) -> Build<Self> {
        let key = config::ticket_signing_key(env);
        Box::new(move || {
            let key = key.as_ref().map(SigningKey::new);
            let key = key.ok_or_else(|| Error::internal("there is no key to sign tickets with"))?;
            // Logged because operators must keep the key while its tickets are valid, even when a
            // newer key signs.
            tracing::info!(key = %key.public().id(), public_key = %key.public(), "signing tickets");
            Ok(Bookings { key })
        })
    }
}

/// See [`FinaliseBooking`].
pub async fn finalise_booking(
    cx: Arc<Context<Bookings>>,
    job: FinaliseBooking,
    attempt: Attempt,
) -> Result<(), JobFailure> {
    let booking = job.booking_id;
    let pending = issuing::pending(&mut *cx.db.acquire().await?, booking).await?;
    let key = cx.key.clone();
    let render = move || issuing::render(pending, &key);
    let rendered = tokio::task::spawn_blocking(render).await.map_err(Error::internal)??;
    let mut tx = cx.db.begin().await?;
    let ready = issuing::issue(&mut tx, booking, &rendered, &cx.key).await?;
    attempt.lease.complete(&mut tx).await?;
    tx.commit().await?;
    if let Some(ready) = ready {
        cx.emitter.publish(ready).await;
    }
    Ok(())
}

/// How long one run issues tickets anew before it gives way to other jobs.
const RUN: Duration = Duration::from_secs(10);

/// See [`ReissueTickets`].
pub async fn reissue_tickets(
    cx: Arc<Context<Bookings>>,
    job: ReissueTickets,
    attempt: Attempt,
) -> Result<(), JobFailure> {
    let started = Instant::now();
    let mut before = job.before.unwrap_or(TicketId(i32::MAX));
    let mut reissued = 0;
    while started.elapsed() < RUN {
        let (some, lowest) = reissue::unsigned(&mut *cx.db.acquire().await?, before).await?;
        if some.is_empty() {
            if reissued > 0 {
                tracing::info!(tickets = reissued, "issued anew, and no others are left");
            }
            return Ok(());
        }
        before = lowest;
        let key = cx.key.clone();
        let render = move || reissue::render(some, &key);
        for reissue in tokio::task::spawn_blocking(render).await.map_err(Error::internal)?? {
            let mut tx = cx.db.begin().await?;
            reissued += reissue::replace(&mut tx, &reissue, &cx.key).await?;
            tx.commit().await?;
        }
    }
    tracing::info!(tickets = reissued, before = before.0, "issued anew");
    let mut tx = cx.db.begin().await?;
    attempt.lease.complete(&mut tx).await?;
    jobs::enqueue(&mut tx, &ReissueTickets { before: Some(before) }).await?;
    tx.commit().await?;
    Ok(())
}
