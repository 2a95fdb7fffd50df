//! The command line of the chaos harness.

mod cli;

fn main() -> std::process::ExitCode {
    cli::main()
}
