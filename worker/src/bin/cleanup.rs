//! The worker of the cleanup queue.

use std::{process::ExitCode, time::Duration};

use nexus_common::jobs::{
    Queue,
    cleanup::{CheckBooks, CleanUp},
};
use nexus_worker::handlers::cleanup::{self, Cleanup};

fn main() -> ExitCode {
    nexus_worker::run_worker(Queue::Cleanup, Cleanup::from_env, |worker| {
        worker
            .on(cleanup::clean_up)
            .every(Duration::from_secs(300), || CleanUp {})
            .on(cleanup::check_books)
            .every(Duration::from_secs(86_400), || CheckBooks {})
    })
}
