//! A crowd of Socket.IO clients, on the line to the driver that `BENCH_HUB` names.

use std::process::ExitCode;

use nexus_bench::{crowd, hub::BENCH_HUB};

fn main() -> ExitCode {
    let hub = std::env::var(BENCH_HUB).unwrap_or_default();
    match crowd::run(&hub) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error:#}");
            ExitCode::FAILURE
        }
    }
}
