//! The worker of the payments queue.

use std::process::ExitCode;

use nexus_common::jobs::Queue;
use nexus_worker::handlers::payments::{self, Payments};

fn main() -> ExitCode {
    nexus_worker::serve(Queue::Payments, Payments::from_env, |worker| {
        worker.on(payments::process_webhook).on(payments::confirm_free_booking).on(payments::refund_payment)
    })
}
