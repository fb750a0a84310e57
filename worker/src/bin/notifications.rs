//! The worker of the notifications queue.

use std::process::ExitCode;

use nexus_common::jobs::Queue;
use nexus_worker::handlers::{
    cancellation_notices,
    notifications::{self, Notifications},
    refund_notices,
};

fn main() -> ExitCode {
    nexus_worker::run_worker(Queue::Notifications, Notifications::from_env, |worker| {
        worker
            .on(notifications::email_tickets)
            .on(notifications::sms_tickets)
            .on(cancellation_notices::email_cancellation)
            .on(cancellation_notices::sms_cancellation)
            .on(refund_notices::email_refund)
            .on(refund_notices::sms_refund)
            .on(refund_notices::email_part_refund)
            .on(refund_notices::sms_part_refund)
            .keys(Notifications::keys)
    })
}
