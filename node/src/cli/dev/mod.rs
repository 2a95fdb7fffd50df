//! `yunbase dev`: a real cluster of one, three or five processes on this machine, for developing and trying.

mod layout;
mod process;
mod start;

use std::path::PathBuf;

use clap::{Args, Subcommand};

pub use layout::{Addresses, DevJson, Layout, Settings};

use super::exit::Exit;
use process::Lifetime;

/// Starts 1, 3 or 5 node processes on loopback and creates an environment.
#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true)]
pub struct DevCommand {
    #[command(subcommand)]
    action: Option<Action>,
    #[command(flatten)]
    start: StartArgs,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Stop the nodes of a folder gracefully; data and keys are kept.
    Stop(DirArgs),
    /// Start a node again whose process has ended.
    RestartNode {
        /// Which node, from 1.
        node: u16,
        #[command(flatten)]
        dir: DirArgs,
    },
}

#[derive(Debug, Args)]
struct DirArgs {
    /// Folder of the development cluster.
    #[arg(long, default_value = "./.yunbase")]
    dir: PathBuf,
}

/// Arguments of starting.
#[derive(Debug, Args)]
pub struct StartArgs {
    /// Folder for data, keys, logs and `dev.json`.
    #[arg(long, default_value = "./.yunbase")]
    pub dir: PathBuf,
    /// HTTP port of node 1; peer and S3 ports follow, node k starts 10 higher each.
    #[arg(long)]
    pub port: Option<u16>,
    /// Number of nodes: 1, 3 or 5.
    #[arg(long, value_parser = parse_nodes)]
    pub nodes: Option<u16>,
    /// Environment to create.
    #[arg(long, default_value = "demo")]
    pub env: String,
    /// Folder of cloud functions to deploy.
    #[arg(long)]
    pub functions: Option<PathBuf>,
    /// Delete the folder when the cluster stops.
    #[arg(long)]
    pub ephemeral: bool,
    /// Return once the cluster is ready and leave it running.
    #[arg(long)]
    pub detach: bool,
}

fn parse_nodes(text: &str) -> Result<u16, String> {
    match text {
        "1" | "3" | "5" => text.parse().map_err(|_| "not a number".to_owned()),
        _ => Err("a development cluster has 1, 3 or 5 nodes".to_owned()),
    }
}

impl DevCommand {
    /// Runs the command.
    pub async fn run(self) -> Exit {
        let outcome = match self.action {
            None => start::run(self.start).await,
            Some(Action::Stop(args)) => stop(&args),
            Some(Action::RestartNode { node, dir }) => restart_node(&dir, node).await,
        };
        outcome.unwrap_or_else(|problem| {
            eprintln!("error: {}", problem.message);
            problem.exit
        })
    }
}

/// Why a command could not do its work.
#[derive(Debug)]
pub struct Problem {
    message: String,
    exit: Exit,
}

impl Problem {
    fn new(exit: Exit, message: impl Into<String>) -> Self {
        Self {
            message: message.into(),
            exit,
        }
    }
}

impl From<std::io::Error> for Problem {
    fn from(error: std::io::Error) -> Self {
        Self::new(Exit::Failed, error.to_string())
    }
}

fn used(dir: &DirArgs) -> Result<(Layout, Settings), Problem> {
    let layout = Layout::new(&dir.dir)?;
    let settings = layout.settings()?.ok_or_else(|| {
        Problem::new(
            Exit::NotFound,
            format!("{} holds no development cluster", layout.path().display()),
        )
    })?;
    Ok((layout, settings))
}

fn stop(args: &DirArgs) -> Result<Exit, Problem> {
    let (layout, settings) = used(args)?;
    process::stop(&layout, 1..=settings.nodes);
    if settings.ephemeral {
        std::fs::remove_dir_all(layout.path())?;
    }
    eprintln!("stopped");
    Ok(Exit::Ok)
}

async fn restart_node(args: &DirArgs, k: u16) -> Result<Exit, Problem> {
    let (layout, settings) = used(args)?;
    if k == 0 || k > settings.nodes {
        return Err(Problem::new(
            Exit::NotFound,
            format!("there are nodes 1 to {}", settings.nodes),
        ));
    }
    if let Some(pid) = process::running(&layout, k) {
        return Err(Problem::new(
            Exit::Conflict,
            format!("node {k} is running as process {pid}"),
        ));
    }
    let pid = process::start(&layout, k, Lifetime::Detached)?;
    if let Some(mut json) = DevJson::read(&layout)? {
        for node in json.nodes.iter_mut().filter(|node| node.id == k) {
            node.pid = pid;
        }
        json.write(&layout)?;
    }
    start::wait_ready(&layout, &settings, k).await?;
    eprintln!("node {k} is ready as process {pid}");
    Ok(Exit::Ok)
}
