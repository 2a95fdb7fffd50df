//! The `yunbase` binary. Everything is in the library, where tests reach it.

use std::process::ExitCode;

fn main() -> ExitCode {
    yunbase::cli::run().into()
}
