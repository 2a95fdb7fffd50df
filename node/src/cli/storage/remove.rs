//! `yunbase storage rm`: deletes files of the environment.

use clap::Args;

use super::copy::{below, existing};
use super::plan::Plan;
use super::remote::Remote;
use super::task::Task;
use super::{ManyArgs, Outcome, Session};
use crate::cli::environment::EnvironmentArgs;
use crate::cli::failure::CliError;

#[derive(Debug, Args)]
pub(super) struct RemoveArgs {
    /// The files
    #[arg(required = true, value_name = "PLACE")]
    places: Vec<String>,
    /// Delete everything below a folder too
    #[arg(long, short = 'r')]
    recursive: bool,
    /// With -r: really delete
    #[arg(long)]
    yes: bool,
    #[command(flatten)]
    many: ManyArgs,
}

impl RemoveArgs {
    pub(super) async fn run(self, target: &EnvironmentArgs) -> Result<Outcome, CliError> {
        let places: Result<Vec<Remote>, CliError> =
            self.places.iter().map(|text| Remote::parse(text)).collect();
        let places = places?;
        let session = Session::of(target, &places)?;
        let mut plan = Plan::default();
        for place in &places {
            if self.recursive {
                let files = below(&session.storage, place).await?;
                plan.tasks
                    .extend(files.into_iter().map(|file| delete(file.path)));
            } else if place.path.is_empty() {
                return Err(CliError::usage(
                    "this is everything: add -r if you mean to delete it",
                ));
            } else {
                // Whoever misspells a name wants to know it before other files are gone.
                let file = existing(&session.storage, &place.path).await?;
                plan.tasks.push(delete(file.path));
            }
        }
        if self.many.dry_run {
            return Ok(plan.shown());
        }
        let whole = session.target.describe();
        // Files that were named one by one are meant.
        plan.check_deletions(self.yes || !self.recursive, &whole)?;
        Ok(plan
            .carry_out(&session.storage, self.many.jobs.into())
            .await)
    }
}

fn delete(path: String) -> Task {
    Task::Delete {
        path,
        version: None,
    }
}
