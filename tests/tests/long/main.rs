//! Everything goes wrong at once, under load. These tests need the machine for themselves, so they
//! take turns. Here each is as short as it can be and still say something; `make test-long` runs
//! them in full.

#![allow(
    clippy::expect_used,
    clippy::unwrap_used,
    clippy::panic,
    reason = "helpers of tests are tests"
)]

mod chaos;
mod door;
mod kill;
mod malformed;
mod restarts;
mod soak;

use tokio::sync::{Mutex, MutexGuard};

/// The machine, until it is dropped.
async fn turn() -> MutexGuard<'static, ()> {
    static MACHINE: Mutex<()> = Mutex::const_new(());
    MACHINE.lock().await
}
