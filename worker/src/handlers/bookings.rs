//! Handlers of the bookings queue.

use std::{
    sync::{Arc, OnceLock},
    time::{Duration, Instant},
};

use nexus_common::{
    Error,
    bookings::changes,
    config::{self, Env, TokenStorage},
    jobs::{
        self,
        bookings::{FinaliseBooking, ReissueTickets, StoreCodes, TransferTicket},
        lifecycle::{self, Lease},
        wakeups,
    },
    observability::traces,
    realtime::{Broadcast, Publish},
    storage::groups::Groups,
    tickets::{
        codes::{Code, SigningKey},
        issuing::{self, Signer},
        keys, reissue, transfers,
    },
    types::ids::{BookingId, TicketId},
};
use sqlx::PgPool;
use tokio::sync::OnceCell;

use crate::{Attempt, Build, Context, JobFailure};

/// What these handlers need besides the common context.
pub struct Bookings {
    signer: Signer,
    /// How long before an event its buyers are reminded; `None`: nobody is.
    pub(super) remind: Option<Duration>,
    /// Whether every door knows the key.
    known: OnceCell<()>,
    /// Makes the tickets of many bookings; `None` for a booking that another transaction holds.
    finalising: OnceLock<Groups<Finalising, Option<Finalised>>>,
}

/// The broadcast that follows; none if the booking was cancelled meanwhile.
type Finalised = Option<Broadcast>;

/// A booking whose tickets are to be made.
#[derive(Clone)]
struct Finalising {
    booking: BookingId,
    /// The job that makes them.
    lease: Lease,
    /// Its trace context.
    trace: Option<String>,
}

impl Bookings {
    /// Reads the settings.
    pub fn from_env(env: &mut Env) -> Build<Self> {
        let key = config::ticket_signing_key(env);
        let remind = config::remind(env);
        // The Node service shows the pictures that are stored.
        let draws = TokenStorage::from_env(env) == TokenStorage::Raw;
        Box::new(move || {
            let key = key.as_ref().map(SigningKey::new);
            let key = key.ok_or_else(|| Error::internal("there is no key to sign tickets with"))?;
            // Logged because operators must keep the key while its tickets are valid, even when a
            // newer key signs.
            tracing::info!(key = %key.public().id(), public_key = %key.public(), "signing tickets");
            let signer = Signer { key, draws };
            Ok(Bookings { signer, remind, known: OnceCell::new(), finalising: OnceLock::new() })
        })
    }
}

/// Lets every door know the key, before anything is signed with it. A key that an operator has
/// revoked signs nothing.
async fn publish_key(cx: &Context<Bookings>) -> Result<(), Error> {
    let publish = async || {
        let mut tx = cx.db.begin().await?;
        keys::add(&mut tx, &cx.signer.key.public()).await?;
        Ok(tx.commit().await?)
    };
    cx.known.get_or_try_init(publish).await.copied()
}

/// See [`FinaliseBooking`].
pub async fn finalise_booking(
    cx: Arc<Context<Bookings>>,
    job: FinaliseBooking,
    attempt: Attempt,
) -> Result<(), JobFailure> {
    publish_key(&cx).await?;
    let (lease, trace) = (attempt.lease.clone(), traces::current());
    let finalising = cx.finalising.get_or_init(|| {
        let (db, signer) = (cx.db.clone(), cx.signer.clone());
        Groups::new(move |all| finalise(db.clone(), signer.clone(), all, false))
    });
    let one = Finalising { booking: job.booking_id, lease, trace };
    let ready = match finalising.call(one.clone()).await? {
        Some(ready) => ready,
        // By itself, so that no other job waits for whoever holds the booking.
        None => {
            let mut alone = finalise(cx.db.clone(), cx.signer.clone(), vec![one], true).await?;
            alone.pop().transpose()?.flatten().flatten()
        }
    };
    if let Some(ready) = ready {
        cx.emitter.publish(ready).await;
    }
    Ok(())
}

/// Makes tickets; unless it `waits`, leaves out bookings that another transaction holds.
async fn finalise(
    db: PgPool,
    signer: Signer,
    all: Vec<Finalising>,
    waits: bool,
) -> Result<Vec<Result<Option<Finalised>, Error>>, Error> {
    let bookings: Vec<BookingId> = all.iter().map(|one| one.booking).collect();
    let pending = issuing::pending(&mut *db.acquire().await?, &bookings).await?;
    let key = signer.key.clone();
    let sign = move || issuing::sign(pending, &signer);
    let signed = tokio::task::spawn_blocking(sign).await.map_err(Error::internal)??;
    let mut tx = db.begin().await?;
    let free = match waits {
        true => bookings.into_iter().collect(),
        false => changes::lock_free(&mut tx, &bookings).await?,
    };
    let is_free = |one: &&Finalising| free.contains(&one.booking);
    let leases: Vec<Lease> = all.iter().filter(is_free).map(|one| one.lease.clone()).collect();
    let held = lifecycle::complete_all(&mut tx, &leases).await?;
    let is_held = |one: &Finalising| held.contains(&one.lease.job_id());
    let bookings: Vec<_> =
        all.iter().filter(|one| is_held(one)).map(|one| (one.booking, one.trace.clone())).collect();
    let mut ready = issuing::issue(&mut tx, &bookings, &signed, &key).await?;
    tx.commit().await?;
    wakeups::committed();
    all.iter().filter(|one| is_held(one)).for_each(|one| one.lease.note_completed());
    let result = |one: &Finalising| match (is_free(&one), is_held(one)) {
        (false, _) => Ok(None),
        (true, false) => Err(Error::LeaseLost),
        (true, true) => Ok(Some(ready.remove(&one.booking))),
    };
    Ok(all.iter().map(result).collect())
}

/// How long one run issues tickets anew before it gives way to other jobs.
const RUN: Duration = Duration::from_secs(10);

/// See [`ReissueTickets`].
pub async fn reissue_tickets(
    cx: Arc<Context<Bookings>>,
    job: ReissueTickets,
    attempt: Attempt,
) -> Result<(), JobFailure> {
    publish_key(&cx).await?;
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
        let signer = cx.signer.clone();
        let sign = move || reissue::sign(some, &signer);
        for reissue in tokio::task::spawn_blocking(sign).await.map_err(Error::internal)?? {
            let mut tx = cx.db.begin().await?;
            reissued += reissue::replace(&mut tx, &reissue, &cx.signer.key).await?;
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

/// See [`TransferTicket`].
pub async fn transfer_ticket(
    cx: Arc<Context<Bookings>>,
    job: TransferTicket,
    attempt: Attempt,
) -> Result<(), JobFailure> {
    publish_key(&cx).await?;
    let (id, key) = (job.transfer_id, &cx.signer.key);
    let accepted = transfers::accepted(&mut *cx.db.acquire().await?, id).await?;
    let Some((event, ticket)) = accepted else { return Ok(()) };
    let code = Code::new(key, event, ticket);
    let mut tx = cx.db.begin().await?;
    let ready = transfers::complete(&mut tx, id, &code, key).await?;
    attempt.lease.complete(&mut tx).await?;
    tx.commit().await?;
    wakeups::committed();
    if let Some(ready) = ready {
        cx.emitter.publish(ready).await;
    }
    Ok(())
}

/// See [`StoreCodes`].
pub async fn store_codes(
    cx: Arc<Context<Bookings>>,
    _job: StoreCodes,
    _attempt: Attempt,
) -> Result<(), JobFailure> {
    let (started, mut stored) = (Instant::now(), 0);
    loop {
        let some = reissue::unstored(&mut *cx.db.acquire().await?, &cx.signer.key).await?;
        if some.is_empty() || started.elapsed() > RUN {
            break;
        }
        let key = cx.signer.key.clone();
        let sign = move || reissue::sign_again(some, &key);
        let codes = tokio::task::spawn_blocking(sign).await.map_err(Error::internal)?;
        stored += reissue::store(&mut *cx.db.acquire().await?, &codes).await?;
    }
    if stored > 0 {
        tracing::info!(tickets = stored, "codes of earlier tickets are stored");
    }
    Ok(())
}
