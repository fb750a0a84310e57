//! Handlers of the payments queue that ask Razorpay about what its webhooks have not told us. See
//! [`reconciler`](crate::reconciler).

use std::{
    sync::{Arc, atomic::AtomicU32},
    time::{Duration, Instant},
};

use nexus_common::{
    error::Kind,
    jobs::payments::{ReconcileDays, ReconcileOrders},
};

use super::payments::Payments;
use crate::{
    Attempt, Context, JobFailure,
    reconciler::{Clients, Mode, Reconciler, Report},
};

fn reconciler(cx: &Context<Payments>) -> Result<Reconciler<'_>, JobFailure> {
    Ok(Reconciler {
        db: &cx.db,
        razorpay: cx.razorpay()?,
        rate: &cx.rate,
        clients: Some(Clients { cache: &cx.cache, emitter: &cx.emitter, seats: &cx.seats }),
        settings: cx.reconciliation,
        mode: Mode::Job,
        unanswered: AtomicU32::default(),
    })
}

/// See [`ReconcileOrders`].
pub async fn reconcile_orders(
    cx: Arc<Context<Payments>>,
    _job: ReconcileOrders,
    _attempt: Attempt,
) -> Result<(), JobFailure> {
    let started = Instant::now();
    let mut report = Report::default();
    let reconciled = reconciler(&cx)?.reconcile_orders(&mut report).await;
    log(&report);
    match reconciled {
        Ok(true) => Err(JobFailure::Snooze(Duration::ZERO)),
        Ok(false) => {
            Err(JobFailure::Snooze(cx.reconciliation.every.saturating_sub(started.elapsed())))
        }
        // The orders and refunds that are due stay due for the next run.
        Err(error) if error.kind() == Kind::Provider => {
            tracing::warn!(error = error.details(), "Razorpay could not be asked");
            Err(JobFailure::Snooze(cx.reconciliation.every))
        }
        Err(error) => Err(error.into()),
    }
}

/// See [`ReconcileDays`].
pub async fn reconcile_days(
    cx: Arc<Context<Payments>>,
    _job: ReconcileDays,
    _attempt: Attempt,
) -> Result<(), JobFailure> {
    let mut report = Report::default();
    let reconciled = reconciler(&cx)?.reconcile_days(cx.reconciliation.days, &mut report).await;
    log(&report);
    Ok(reconciled?)
}

fn log(report: &Report) {
    let Report { compared, orders, not_ours, differences } = report;
    let differences = differences.len();
    tracing::info!(compared, orders, not_ours, differences, "compared our books with Razorpay's");
}
