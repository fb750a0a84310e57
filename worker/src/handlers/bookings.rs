//! Handlers of the bookings queue.

use std::sync::Arc;

use nexus_common::{
    Error,
    config::Env,
    domain::{ids::BookingId, tickets},
    jobs::bookings::FinaliseBooking,
    realtime::Publish,
};

use crate::{Attempt, Build, Context, Failure};

/// These handlers need nothing beside the common context.
pub struct Bookings {}

impl Bookings {
    /// Reads no settings.
    pub fn from_env(_env: &mut Env) -> Build<Self> {
        Box::new(|| Ok(Bookings {}))
    }
}

/// See [`FinaliseBooking`].
pub async fn finalise_booking(
    cx: Arc<Context<Bookings>>,
    job: FinaliseBooking,
    attempt: Attempt,
) -> Result<(), Failure> {
    let booking = BookingId(job.booking_id);
    let blanks = tickets::blanks(&mut *cx.db.acquire().await?, booking).await?;
    let printed =
        tokio::task::spawn_blocking(move || tickets::print(blanks)).await.map_err(Error::internal)??;
    let mut tx = cx.db.begin().await?;
    let news = tickets::issue(&mut tx, booking, &printed).await?;
    attempt.lease.complete(&mut tx).await?;
    tx.commit().await?;
    if let Some(news) = news {
        cx.emitter.publish(news).await;
    }
    Ok(())
}
