//! See the library.

use std::process::ExitCode;

use tikv_jemallocator::Jemalloc;

/// A request allocates in one thread what another one frees, which jemalloc takes less time for
/// than glibc; and it gives memory back when a rush is over (`.cargo/config.toml`).
#[global_allocator]
static ALLOCATOR: Jemalloc = Jemalloc;

fn main() -> ExitCode {
    nexus_api::main()
}
