//! The worker of the payments queue.

use std::{process::ExitCode, time::Duration};

use nexus_common::jobs::{
    Queue,
    payments::{ReconcileDays, ReconcileOrders},
};
use nexus_worker::handlers::{
    payments::{self, Payments},
    reconciliation, refunds, webhooks,
};

fn main() -> ExitCode {
    nexus_worker::run_worker(Queue::Payments, Payments::from_env, |worker| {
        worker
            .on(webhooks::process_webhook)
            .on(payments::confirm_free_booking)
            .on(refunds::refund_payment)
            .on(reconciliation::reconcile_orders)
            .on(reconciliation::reconcile_days)
            .keys(Payments::keys)
            .at_start(|| ReconcileOrders {})
            .every(Duration::from_secs(60), || ReconcileOrders {})
            .every(Duration::from_secs(86_400), || ReconcileDays {})
    })
}
