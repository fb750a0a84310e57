//! The worker of the otp queue.

use std::process::ExitCode;

use nexus_common::jobs::Queue;
use nexus_worker::handlers::otp::{self, Otp};

fn main() -> ExitCode {
    nexus_worker::run_worker(Queue::Otp, Otp::from_env, |worker| {
        worker.on(otp::send_otp).keys(Otp::keys)
    })
}
