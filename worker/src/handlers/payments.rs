//! The state of the payments queue's handlers, and the handler of bookings that cost nothing. All
//! handlers of that queue call Razorpay outside any transaction, and commit what follows from its
//! response together with the job.

use std::{
    sync::{Arc, OnceLock},
    time::Duration,
};

use nexus_common::{
    Error,
    bookings::{changes, sale},
    config::{self, Env},
    events::turns::Turns,
    jobs::{payments::ConfirmFreeBooking, wakeups},
    payments::sales::{self, Received},
    providers::{Key, razorpay::Razorpay},
    realtime::AfterCommit,
    storage::groups::Groups,
    types::ids::EventId,
};

use sqlx::PgPool;

use super::needed;
use crate::{Attempt, Build, Context, JobFailure, reconciler::CallRateLimiter};

/// What these handlers need besides the common context.
pub struct Payments {
    razorpay: Option<Razorpay>,
    pub(super) rate: CallRateLimiter,
    pub(super) reconciliation: config::Reconciliation,
    /// Limits how many jobs of one event change its bookings at once.
    turns: Turns,
    /// See [`Payments::sell`].
    sales: OnceLock<Groups<Received, Option<AfterCommit>>>,
}

/// Connections that the jobs of one event may take: fewer than the handlers have, which is 7 by
/// default.
const AT_ONE_EVENT: usize = 3;
/// How long a job waits for its event's turn before it gives its slot to others and comes back
/// later.
const TURN_TIMEOUT: Duration = Duration::from_millis(250);

impl Payments {
    /// Reads the settings.
    pub fn from_env(env: &mut Env) -> Build<Self> {
        let off = "captures, refunds and reconciliation, which wait; bookings that cost nothing are confirmed";
        let razorpay = config::Razorpay::optional(env, off);
        let reconciliation = config::Reconciliation::from_env(env);
        Box::new(move || {
            let razorpay = razorpay.as_ref().map(Razorpay::new).transpose()?;
            let rate = CallRateLimiter::new(reconciliation.per_second);
            Ok(Payments {
                razorpay,
                rate,
                reconciliation,
                turns: Turns::new(AT_ONE_EVENT, TURN_TIMEOUT),
                sales: OnceLock::new(),
            })
        })
    }

    /// The keys that these handlers need.
    pub fn keys(&self) -> Vec<Key> {
        self.razorpay.iter().map(|razorpay| razorpay.key().clone()).collect()
    }

    /// The client of Razorpay, if its credentials are set.
    pub(super) fn razorpay(&self) -> Result<&Razorpay, JobFailure> {
        needed(&self.razorpay)
    }

    /// Makes an ordinary sale together with others, and returns what follows from it; `None` when it
    /// is not ordinary.
    pub(super) async fn sell(
        cx: &Context<Self>,
        received: Received,
    ) -> Result<Option<AfterCommit>, Error> {
        let sales = cx.sales.get_or_init(|| {
            let db = cx.db.clone();
            Groups::new(move |received| sell(db.clone(), received))
        });
        sales.call(received).await
    }

    /// Does `work` when it is its event's turn; at once if there is no event.
    pub(super) async fn in_turn<T>(
        &self,
        event: Option<EventId>,
        work: impl Future<Output = Result<T, Error>>,
    ) -> Result<T, Error> {
        match event {
            Some(event) => self.turns.take(event, work).await,
            None => work.await,
        }
    }
}

async fn sell(
    db: PgPool,
    received: Vec<Received>,
) -> Result<Vec<Result<Option<AfterCommit>, Error>>, Error> {
    let selling = async {
        let mut tx = db.begin().await?;
        let made = sales::make(&mut tx, &received).await?;
        tx.commit().await?;
        wakeups::committed();
        for (received, _) in received.iter().zip(&made).filter(|(_, after)| after.is_some()) {
            received.lease.note_completed();
        }
        Ok(made)
    };
    match selling.await {
        Ok(made) => Ok(made.into_iter().map(Ok).collect()),
        // It is looked at with more care by itself.
        Err(error @ (Error::Collision(_) | Error::Internal(_))) if received.len() == 1 => {
            tracing::info!(error = error.details(), "a sale is not ordinary after all");
            Ok(vec![Ok(None)])
        }
        Err(error) => Err(error),
    }
}

/// See [`ConfirmFreeBooking`].
pub async fn confirm_free_booking(
    cx: Arc<Context<Payments>>,
    job: ConfirmFreeBooking,
    attempt: Attempt,
) -> Result<(), JobFailure> {
    let booking = job.booking_id;
    let event = changes::event(&mut *cx.db.acquire().await?, booking).await?;
    let mut after = AfterCommit::default();
    let confirming = async {
        let mut tx = cx.db.begin().await?;
        if let Some(booking) = sale::lock_for_update(&mut tx, booking, None).await? {
            sale::confirm_free(&mut tx, &booking, &mut after).await?;
        }
        attempt.lease.complete(&mut tx).await?;
        Ok(tx.commit().await?)
    };
    cx.in_turn(event, confirming).await?;
    after.run(&cx.cache, &cx.emitter, &cx.seats).await;
    Ok(())
}
