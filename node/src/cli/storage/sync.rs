//! `yunbase storage sync`: makes one folder equal to another. Files of equal size are compared by their content, without
//! moving it: this machine cuts and hashes its file as the cluster would.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use clap::Args;
use futures::{StreamExt as _, TryStreamExt as _};
use yunbase_client::storage::{NewFile, Storage, StoredFile};

use super::copy::push_download;
use super::local::{self, FILES_MAX, LocalFile, Walked};
use super::plan::Plan;
use super::remote::{Place, Remote};
use super::task::{self, Task};
use super::{ManyArgs, Outcome, Session};
use crate::cli::environment::EnvironmentArgs;
use crate::cli::exit::Exit;
use crate::cli::failure::CliError;

#[derive(Debug, Args)]
pub(super) struct SyncArgs {
    /// The folder to be like
    source: String,
    /// The folder to make so
    destination: String,
    /// Delete in the destination what the source does not have
    #[arg(long)]
    delete: bool,
    /// Really delete
    #[arg(long)]
    yes: bool,
    #[command(flatten)]
    many: ManyArgs,
}

/// Two files of one name and size, and what to do unless they are equal.
struct Pair {
    local: PathBuf,
    remote: String,
    task: Task,
}

impl SyncArgs {
    pub(super) async fn run(self, target: &EnvironmentArgs) -> Result<Outcome, CliError> {
        let places = (
            Place::parse(&self.source)?,
            Place::parse(&self.destination)?,
        );
        let (session, plan, place) = match places {
            (Place::Local(from), Place::Remote(to)) => {
                let session = Session::of(target, [&to])?;
                let plan = self.up(&session.storage, &from, &to).await?;
                let place = format!(":{} in {}", to.folder(), session.target.describe());
                (session, plan, place)
            }
            (Place::Remote(from), Place::Local(to)) => {
                let session = Session::of(target, [&from])?;
                let plan = self.down(&session.storage, &from, &to).await?;
                (session, plan, to.display().to_string())
            }
            _ => {
                return Err(CliError::usage(
                    "sync takes one folder of this machine and one of the environment, such as ./site and :web",
                ));
            }
        };
        if self.many.dry_run {
            return Ok(plan.shown());
        }
        plan.check_deletions(self.yes, &place)?;
        Ok(plan
            .carry_out(&session.storage, self.many.jobs.into())
            .await)
    }

    /// Makes the cluster's folder like that of this machine.
    async fn up(&self, storage: &Storage, from: &Path, to: &Remote) -> Result<Plan, CliError> {
        let Walked { files, left_out } = local::walk(from)?;
        let prefix = to.folder();
        let mut there = listed(storage, &prefix).await?;
        let mut plan = Plan {
            left_out,
            ..Plan::default()
        };
        let mut pairs = Vec::new();
        for LocalFile { name, path, bytes } in files {
            let remote = format!("{prefix}{name}");
            let task = Task::Upload {
                from: path.clone(),
                to: NewFile::at(&*remote),
                path: remote.clone(),
                bytes,
            };
            match there.remove(&name) {
                Some(file) if file.bytes == bytes => pairs.push(Pair {
                    local: path,
                    remote,
                    task,
                }),
                _ => plan.tasks.push(task),
            }
        }
        self.compare(storage, pairs, &mut plan).await?;
        if self.delete {
            // What stands for a folder has no file here that it could be like.
            let extra = there.into_values().filter(|file| !file.path.ends_with('/'));
            plan.tasks.extend(extra.map(|file| Task::Delete {
                path: file.path,
                version: Some(file.version),
            }));
        }
        Ok(plan)
    }

    /// Makes this machine's folder like that of the cluster.
    async fn down(&self, storage: &Storage, from: &Remote, to: &Path) -> Result<Plan, CliError> {
        let here = match to.exists() {
            true => local::walk(to)?,
            false => Walked::default(),
        };
        let mut here: BTreeMap<String, LocalFile> = here
            .files
            .into_iter()
            .map(|file| (file.name.clone(), file))
            .collect();
        let there = listed(storage, &from.folder()).await?;
        if there.is_empty() {
            // Else a name that is misspelt would empty a folder.
            let message = format!("there is nothing below `{}`", from.folder());
            return Err(CliError::new(Exit::NotFound, message));
        }
        let mut plan = Plan::default();
        let mut pairs = Vec::new();
        for (name, file) in there {
            let local = here.remove(&name);
            let same_size = local.filter(|local| local.bytes == file.bytes);
            let (remote, before) = (file.path.clone(), plan.tasks.len());
            push_download(&mut plan, to, &name, file);
            let is_planned = plan.tasks.len() > before;
            if let Some(local) = same_size
                && is_planned
                && let Some(task) = plan.tasks.pop()
            {
                pairs.push(Pair {
                    local: local.path,
                    remote,
                    task,
                });
            }
        }
        self.compare(storage, pairs, &mut plan).await?;
        if self.delete {
            let extra = here.into_values();
            plan.tasks
                .extend(extra.map(|file| Task::DeleteLocal { path: file.path }));
        }
        Ok(plan)
    }

    /// Plans what is to be done with files that are not equal.
    async fn compare(
        &self,
        storage: &Storage,
        pairs: Vec<Pair>,
        plan: &mut Plan,
    ) -> Result<(), CliError> {
        let compared = pairs.into_iter().map(|pair| async move {
            let equal = are_equal(storage, &pair.local, &pair.remote).await?;
            Ok::<_, CliError>((!equal).then_some(pair.task))
        });
        let mut compared =
            futures::stream::iter(compared).buffer_unordered(usize::from(self.many.jobs));
        while let Some(task) = compared.try_next().await? {
            match task {
                Some(task) => plan.tasks.push(task),
                None => plan.unchanged += 1,
            }
        }
        Ok(())
    }
}

/// Whether two files have equal content. Where that is not known they have not: what is moved then is only asked about.
async fn are_equal(storage: &Storage, local: &Path, remote: &str) -> Result<bool, CliError> {
    let Some(file) = storage.stat(remote).await? else {
        return Ok(false);
    };
    let Some(hash) = file.content_hash else {
        return Ok(false);
    };
    let print = storage.fingerprint(task::open(local).await?).await?;
    Ok(print.bytes == file.bytes && print.content_hash == hash)
}

/// The files of a folder of the cluster, by their path below it.
async fn listed(storage: &Storage, prefix: &str) -> Result<BTreeMap<String, StoredFile>, CliError> {
    let mut files = BTreeMap::new();
    let mut listed = std::pin::pin!(storage.files(prefix));
    while let Some(file) = listed.try_next().await? {
        let name = file.path.strip_prefix(prefix).unwrap_or(&file.path);
        // The folder itself.
        if name.is_empty() {
            continue;
        }
        files.insert(name.to_owned(), file);
        if files.len() > FILES_MAX {
            return Err(CliError::usage(format!(
                "there are more than {FILES_MAX} files below :{prefix}: take one of its folders at a time"
            )));
        }
    }
    Ok(files)
}
