//! The commands: what they print, and how they end.

#![allow(clippy::print_stdout)]

mod runs;
mod simulate;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand};
use jepsen_style_tests::{nemesis, workload};

/// Breaks real clusters on purpose and judges what clients saw
#[derive(Debug, Parser)]
#[command(name = "jepsen-style-tests", version)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Workloads and nemeses, and which of them are not available here
    List,
    /// One run
    Run(RunArguments),
    /// The short suite, at most 8 minutes
    Suite(Common),
    /// Rotates workloads and faults with fresh seeds
    Soak {
        /// For how long
        #[arg(long, default_value_t = 60)]
        minutes: u64,
        /// Seed of the first run; each next has the next
        #[arg(long, default_value_t = 1)]
        seed: u64,
        /// Seconds of a run
        #[arg(long, default_value_t = 45)]
        time: u64,
        #[command(flatten)]
        common: Common,
    },
    /// Each deliberate bug, which must be caught (build both programs with `--features mutants`)
    Mutants {
        /// Only these
        #[arg(long, value_delimiter = ',')]
        only: Vec<String>,
        #[command(flatten)]
        common: Common,
    },
    /// Consensus alone, on a simulated network, clock and disk
    Simulate {
        /// The only seed, shown event by event; or the first
        #[arg(long, default_value_t = 1)]
        seed: u64,
        /// How many seeds
        #[arg(long)]
        seeds: Option<u64>,
    },
    /// Judges and draws a run again from its folder
    Render {
        /// The folder
        folder: PathBuf,
    },
}

#[derive(Debug, Clone, Args)]
struct Common {
    /// Where files go
    #[arg(long, default_value = "target/chaos")]
    out: PathBuf,
    /// The `yunbase` to run; without it, the one that was built beside this program
    #[arg(long, env = "YUNBASE_BIN")]
    binary: Option<PathBuf>,
    /// All nodes on 127.0.0.1, as without root: leaves out what happens between hosts
    #[arg(long)]
    loopback: bool,
    /// How many clients
    #[arg(long, default_value_t = 10)]
    clients: u64,
}

#[derive(Debug, Args)]
struct RunArguments {
    /// What clients do
    #[arg(long)]
    workload: String,
    /// What breaks the cluster, in turn
    #[arg(long, value_delimiter = ',')]
    nemesis: Vec<String>,
    /// How many nodes
    #[arg(long, default_value_t = 3)]
    nodes: usize,
    /// Seconds
    #[arg(long, default_value_t = 60)]
    time: u64,
    /// Fixes what clients and faults do
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// A deliberate bug, for a `yunbase` that was built with them
    #[arg(long)]
    mutant: Option<String>,
    #[command(flatten)]
    common: Common,
}

/// Runs what the command line says.
pub(crate) fn main() -> ExitCode {
    let cli = Cli::parse();
    let done = match cli.command {
        Command::List => {
            list();
            Ok(true)
        }
        Command::Run(arguments) => runs::one(arguments),
        Command::Suite(common) => runs::suite(&common),
        Command::Soak {
            minutes,
            seed,
            time,
            common,
        } => runs::soak(minutes, seed, time, &common),
        Command::Mutants { only, common } => runs::mutants(&only, &common),
        Command::Simulate {
            seed,
            seeds: Some(count),
        } => simulate::many(seed, count),
        Command::Simulate { seed, seeds: None } => simulate::one(seed),
        Command::Render { folder } => runs::render(&folder),
    };
    match done {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn list() {
    println!("workloads");
    for workload in workload::all() {
        println!("  {:<20} {}", workload.name(), workload.about());
    }
    println!("\nnemeses");
    for nemesis in nemesis::all() {
        let missing = match nemesis.needs().available() {
            Ok(()) => String::new(),
            Err(why) => format!(" (not available here: {why})"),
        };
        println!("  {:<20} {}{missing}", nemesis.name(), nemesis.about());
    }
}
