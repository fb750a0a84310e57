//! The worker of the expiry queue.

use std::{process::ExitCode, time::Duration};

use nexus_common::jobs::{
    Queue,
    expiry::{CallVisitors, SweepExpired},
};
use nexus_worker::handlers::{
    expiry::{self, Expiry},
    waiting_rooms,
};

fn main() -> ExitCode {
    nexus_worker::run_worker(Queue::Expiry, Expiry::from_env, |worker| {
        worker
            .on(expiry::sweep_expired)
            .every(Duration::from_secs(60), || SweepExpired {})
            .at_start(|| SweepExpired {})
            .on(waiting_rooms::call_visitors)
            .every(Duration::from_secs(60), || CallVisitors {})
            .at_start(|| CallVisitors {})
    })
}
