//! The `yunbase` binary.

use std::process::ExitCode;

use clap::Parser;
use yunbase::cli::bench::BenchCommand;
use yunbase::cli::db::DbCommand;

#[derive(Parser)]
#[command(
    name = "yunbase",
    version,
    about = "A cloud for Mini Programs and apps that you run yourself"
)]
enum Command {
    /// Documents, indexes, import and export
    Db(DbCommand),
    /// Measure a cluster
    Bench(BenchCommand),
}

#[tokio::main]
async fn main() -> ExitCode {
    match Command::parse() {
        Command::Db(command) => command.run().await.into(),
        Command::Bench(command) => command.run().await.into(),
    }
}
