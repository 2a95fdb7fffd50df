//! `yunbase storage`: files of an environment.
//!
//! # Map
//! | file | owns |
//! |---|---|
//! | `remote` | how places are spelled |
//! | `copy`, `sync`, `remove` | what a command does with which files: makers of plans |
//! | `plan`, `task` | carrying out a plan, several files at once |
//! | `download`, `landing` | a file that arrives, and where it may go |
//! | `local` | the files of a folder |
//! | `look` | listing, details, addresses, checks |
//! | `meter` | progress |

mod copy;
mod download;
mod landing;
mod local;
mod look;
mod meter;
mod plan;
mod remote;
mod remove;
mod sync;
mod task;

use clap::{Args, Subcommand};
use yunbase_client::storage::Storage;

use super::environment::{Environment, EnvironmentArgs};
use super::exit::Exit;
use super::failure::{CliError, conclude};
use super::output::{OutputArgs, Printed};
use remote::{Remote, environment_of};

/// What the help says of places.
const PLACES: &str = "\
Places: a name with a colon in front is a file of the environment, any other is one of this machine.
  :photos/cat.jpg                     a file of the environment
  :photos/                            a folder of it; : alone is everything
  cloud://demo.demo/photos/cat.jpg    a file id as apps have it; names the environment too
  ./photos/cat.jpg                    a file of this machine
  -                                   standard input or output (cp)
Where only the environment can be meant (ls, rm, url, stat), the colon may be left out.";

/// Examples of the verbs that move files.
const EXAMPLES: &str = "\
Examples:
  yunbase storage cp report.pdf :reports/        keeps its name
  yunbase storage cp -r ./site :web              ./site/index.html becomes web/index.html
  yunbase storage cp :reports/report.pdf -       to standard output
  yunbase storage cp :a.txt :b.txt               in the cluster, without moving content
  yunbase storage sync ./site :web --delete --yes
An interrupted upload or download goes on where it was when the command is given again.";

/// Files of an environment.
#[derive(Debug, Args)]
#[command(after_help = PLACES)]
pub struct StorageCommand {
    #[command(flatten)]
    shared: Shared,
    #[command(subcommand)]
    verb: Verb,
}

/// Flags of all verbs; they may stand before or after the verb.
#[derive(Debug, Args)]
struct Shared {
    #[command(flatten)]
    target: EnvironmentArgs,
    #[command(flatten)]
    output: OutputArgs,
}

/// Flags of what changes many files.
#[derive(Debug, Args)]
struct ManyArgs {
    /// Files at once
    #[arg(long, short = 'j', default_value_t = 4, value_parser = clap::value_parser!(u16).range(1..=64))]
    jobs: u16,
    /// Say what would be done, do nothing
    #[arg(long)]
    dry_run: bool,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// List files and folders
    Ls(look::ListArgs),
    /// Copy files to, from or within the environment
    #[command(after_help = EXAMPLES)]
    Cp(copy::CopyArgs),
    /// Make a folder equal to another, one of them in the environment: what is equal is not moved
    #[command(after_help = EXAMPLES)]
    Sync(sync::SyncArgs),
    /// Delete files
    Rm(remove::RemoveArgs),
    /// Bring a deleted file back, by the version that `ls --deleted` tells
    Restore(look::RestoreArgs),
    /// Print an address that opens a file to anybody who has it, for a while
    Url(look::UrlArgs),
    /// Show a file: size, type, chunks, where its copies are, how much of it is stored once
    Stat(look::StatArgs),
    /// Check that every file is on enough nodes and intact, and that nothing else is kept
    Verify(look::VerifyArgs),
}

/// What a command has come to: what it prints, also when it has failed in part.
#[derive(Debug)]
struct Outcome {
    printed: Option<Printed>,
    verdict: Result<(), CliError>,
}

impl Outcome {
    /// All is well.
    fn of(printed: Printed) -> Self {
        Self {
            printed: Some(printed),
            verdict: Ok(()),
        }
    }
}

/// The files that a command is about.
struct Session {
    target: Environment,
    storage: Storage,
}

impl Session {
    /// Finds the environment that `places` name, or the flags. Connects with the first request.
    fn of<'a>(
        target: &EnvironmentArgs,
        places: impl IntoIterator<Item = &'a Remote>,
    ) -> Result<Self, CliError> {
        let target = target.resolve_for(environment_of(places)?)?;
        target.cluster.require_credentials()?;
        let storage = target.builder().connect_lazily()?.storage();
        Ok(Self { target, storage })
    }
}

impl StorageCommand {
    /// Carries out the command.
    pub async fn run(self) -> Exit {
        conclude(self.try_run().await)
    }

    async fn try_run(self) -> Result<(), CliError> {
        let output = self.shared.output;
        let Outcome { printed, verdict } = self.carry_out().await?;
        if let Some(printed) = printed {
            output.printed(printed)?;
        }
        verdict
    }

    async fn carry_out(self) -> Result<Outcome, CliError> {
        let target = &self.shared.target;
        match self.verb {
            Verb::Ls(args) => args.run(target).await,
            Verb::Cp(args) => args.run(target).await,
            Verb::Sync(args) => args.run(target).await,
            Verb::Rm(args) => args.run(target).await,
            Verb::Restore(args) => args.run(target).await,
            Verb::Url(args) => args.run(target).await,
            Verb::Stat(args) => args.run(target).await,
            Verb::Verify(args) => args.run(target).await,
        }
    }
}

#[cfg(test)]
#[path = "storage_test.rs"]
mod tests;
