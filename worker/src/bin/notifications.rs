//! The worker of the notifications queue.

use std::process::ExitCode;

use nexus_common::jobs::Queue;
use nexus_worker::handlers::notifications::{self, Notifications};

fn main() -> ExitCode {
    nexus_worker::serve(Queue::Notifications, Notifications::from_env, |worker| {
        worker.on(notifications::email_tickets).on(notifications::sms_tickets)
    })
}
