//! See the library.

use std::process::ExitCode;

fn main() -> ExitCode {
    nexus_api::main()
}
