//! `yunbase storage cp`: from this machine, to it, or within the cluster.

use std::path::{Path, PathBuf};

use clap::Args;
use futures::TryStreamExt as _;
use serde_json::json;
use tokio::sync::watch;
use yunbase_client::storage::{NewFile, Storage, StoredFile};

use super::landing::Landing;
use super::local::{self, FILES_MAX};
use super::meter::Meter;
use super::plan::Plan;
use super::remote::{Place, Remote, name};
use super::task::{self, Task};
use super::{ManyArgs, Outcome, Session, download};
use crate::cli::environment::EnvironmentArgs;
use crate::cli::exit::Exit;
use crate::cli::failure::CliError;
use crate::cli::output::{Printed, would};

#[derive(Debug, Args)]
pub(super) struct CopyArgs {
    /// What to copy, and last where to. A place that ends with `/` is a folder, and so is any to which several are copied
    #[arg(required = true, num_args = 2.., value_name = "PLACE")]
    places: Vec<String>,
    /// Copy what is below a folder to below the other
    #[arg(long, short = 'r')]
    recursive: bool,
    /// Media type of what is uploaded [default: by the ending of its name]
    #[arg(long)]
    content_type: Option<String>,
    #[command(flatten)]
    many: ManyArgs,
}

/// All sources of a command, of one kind.
enum Sources {
    Input,
    Local(Vec<PathBuf>),
    Remote(Vec<Remote>),
}

impl Sources {
    fn of(places: Vec<Place>) -> Result<Self, CliError> {
        let (mut local, mut remote, mut input) = (Vec::new(), Vec::new(), 0);
        for place in places {
            match place {
                Place::Standard => input += 1,
                Place::Local(path) => local.push(path),
                Place::Remote(place) => remote.push(place),
            }
        }
        match (input, local.is_empty(), remote.is_empty()) {
            (1, true, true) => Ok(Self::Input),
            (0, false, true) => Ok(Self::Local(local)),
            (0, true, false) => Ok(Self::Remote(remote)),
            _ => Err(CliError::usage(
                "copy files of this machine, or of the environment, or standard input: not several of them with one command",
            )),
        }
    }
}

impl CopyArgs {
    pub(super) async fn run(mut self, target: &EnvironmentArgs) -> Result<Outcome, CliError> {
        let last = self.places.pop().unwrap_or_default();
        let destination = Place::parse(&last)?;
        let sources: Result<Vec<Place>, CliError> =
            self.places.iter().map(|text| Place::parse(text)).collect();
        match (Sources::of(sources?)?, destination) {
            (Sources::Input, Place::Remote(to)) => self.receive(target, &to).await,
            (Sources::Local(from), Place::Remote(to)) => {
                let session = Session::of(target, [&to])?;
                let plan = self.uploads(&from, &to)?;
                self.finish(plan, &session).await
            }
            (Sources::Remote(from), Place::Local(to)) => {
                let session = Session::of(target, &from)?;
                let plan = self.downloads(&session.storage, &from, &to).await?;
                self.finish(plan, &session).await
            }
            (Sources::Remote(from), Place::Standard) => self.print(target, &from).await,
            (Sources::Remote(from), Place::Remote(to)) => {
                let session = Session::of(target, from.iter().chain([&to]))?;
                let plan = self.copies(&session.storage, &from, &to).await?;
                self.finish(plan, &session).await
            }
            (Sources::Input | Sources::Local(_), Place::Local(_) | Place::Standard) => {
                Err(CliError::usage(
                    "neither of the places is in the environment: put a colon in front of one that is, as in :dir/a.txt",
                ))
            }
        }
    }

    async fn finish(&self, plan: Plan, session: &Session) -> Result<Outcome, CliError> {
        if self.many.dry_run {
            return Ok(plan.shown());
        }
        Ok(plan
            .carry_out(&session.storage, self.many.jobs.into())
            .await)
    }

    fn new_file(&self, path: &str) -> NewFile {
        let file = NewFile::at(path);
        match &self.content_type {
            Some(content_type) => file.content_type(content_type),
            None => file,
        }
    }

    fn upload(&self, from: &Path, path: String, bytes: u64) -> Task {
        Task::Upload {
            from: from.to_owned(),
            to: self.new_file(&path),
            path,
            bytes,
        }
    }

    /// Whether the destination stands for a folder in which each source keeps its name.
    fn is_into(&self, sources: usize, to_folder: bool) -> bool {
        sources > 1 || (to_folder && !self.recursive)
    }

    fn uploads(&self, from: &[PathBuf], to: &Remote) -> Result<Plan, CliError> {
        let mut plan = Plan::default();
        for source in from {
            let there = std::fs::metadata(source).map_err(|error| {
                let exit = match error.kind() {
                    std::io::ErrorKind::NotFound => Exit::NotFound,
                    _ => Exit::Failed,
                };
                CliError::new(exit, format!("cannot read {}: {error}", source.display()))
            })?;
            let own_name = || {
                let name = source.file_name().and_then(|name| name.to_str());
                let no_name =
                    || CliError::usage(format!("{} has no name to keep", source.display()));
                name.ok_or_else(no_name)
            };
            if there.is_dir() {
                self.require_recursive(&source.display().to_string())?;
                let mut folder = to.folder();
                if from.len() > 1 {
                    folder = format!("{folder}{}/", own_name()?);
                }
                let walked = local::walk(source)?;
                plan.left_out.extend(walked.left_out);
                plan.tasks.extend(walked.files.into_iter().map(|file| {
                    self.upload(&file.path, format!("{folder}{}", file.name), file.bytes)
                }));
            } else if to.is_folder() || from.len() > 1 {
                let path = format!("{}{}", to.folder(), own_name()?);
                plan.tasks.push(self.upload(source, path, there.len()));
            } else {
                let path = to.path.clone();
                plan.tasks.push(self.upload(source, path, there.len()));
            }
        }
        Ok(plan)
    }

    async fn downloads(
        &self,
        storage: &Storage,
        from: &[Remote],
        to: &Path,
    ) -> Result<Plan, CliError> {
        let mut plan = Plan::default();
        let is_folder = to.is_dir() || to.as_os_str().as_encoded_bytes().ends_with(b"/");
        for source in from {
            let many = self.is_into(from.len(), is_folder);
            if self.recursive || source.is_folder() {
                self.require_recursive(&format!(":{}", source.path))?;
                let prefix = source.folder();
                let root = match many && !source.name().is_empty() {
                    true => Landing::below(to, source.name())?.path(),
                    false => to.to_owned(),
                };
                for file in below(storage, source).await? {
                    let landed = file.path.strip_prefix(&prefix);
                    let landed = landed.unwrap_or(name(&file.path)).to_owned();
                    push_download(&mut plan, &root, &landed, file);
                }
                continue;
            }
            let file = existing(storage, &source.path).await?;
            let landing = match many {
                true => Landing::below(to, name(&source.path))?,
                false => Landing::at(to)?,
            };
            plan.tasks.push(Task::Download { file, to: landing });
        }
        Ok(plan)
    }

    async fn copies(
        &self,
        storage: &Storage,
        from: &[Remote],
        to: &Remote,
    ) -> Result<Plan, CliError> {
        let mut plan = Plan::default();
        for source in from {
            let many = self.is_into(from.len(), to.is_folder());
            if self.recursive || source.is_folder() {
                self.require_recursive(&format!(":{}", source.path))?;
                let prefix = source.folder();
                let mut folder = to.folder();
                if many && !source.name().is_empty() {
                    folder = format!("{folder}{}/", source.name());
                }
                for file in below(storage, source).await? {
                    let rest = file.path.strip_prefix(&prefix).unwrap_or(name(&file.path));
                    let to = format!("{folder}{rest}");
                    plan.tasks.push(Task::Copy { file, to });
                }
                continue;
            }
            let file = existing(storage, &source.path).await?;
            let to = match many {
                true => format!("{}{}", to.folder(), source.name()),
                false => to.path.clone(),
            };
            plan.tasks.push(Task::Copy { file, to });
        }
        Ok(plan)
    }

    fn require_recursive(&self, place: &str) -> Result<(), CliError> {
        if self.recursive {
            return Ok(());
        }
        Err(CliError::usage(format!(
            "{place} is a folder: add -r to copy what is below it"
        )))
    }

    /// Stores standard input.
    async fn receive(&self, target: &EnvironmentArgs, to: &Remote) -> Result<Outcome, CliError> {
        if to.is_folder() {
            return Err(CliError::usage(
                "standard input has no name: name the file that it shall become",
            ));
        }
        let session = Session::of(target, [to])?;
        if self.many.dry_run {
            let what = format!(
                "store standard input as :{} in {}",
                to.path,
                session.target.describe()
            );
            return Ok(Outcome::of(would(what)));
        }
        let meter = Meter::new(0);
        // Nothing is left to be ended in an orderly way: an interrupt may just end the process.
        let (_stop, mut stopping) = watch::channel(false);
        let reader = meter.counted(tokio::io::stdin());
        let done = task::send(
            &session.storage,
            self.new_file(&to.path),
            reader,
            &mut stopping,
        )
        .await;
        meter.finish();
        let done = done?;
        Ok(Outcome::of(Printed::Value(json!({
            "files": done.files, "bytes": done.bytes, "moved_bytes": done.moved_bytes,
        }))))
    }

    /// Writes files to standard output, one after the other.
    async fn print(&self, target: &EnvironmentArgs, from: &[Remote]) -> Result<Outcome, CliError> {
        if self.recursive || from.iter().any(Remote::is_folder) {
            return Err(CliError::usage("standard output takes files, not folders"));
        }
        let session = Session::of(target, from)?;
        for source in from {
            let file = existing(&session.storage, &source.path).await?;
            if self.many.dry_run {
                eprintln!("would write :{} to standard output", file.path);
                continue;
            }
            let meter = Meter::new(file.bytes);
            let printed = download::print(&session.storage, &file, &meter).await;
            meter.finish();
            printed?;
        }
        Ok(Outcome {
            printed: None,
            verdict: Ok(()),
        })
    }
}

/// Plans to fetch a file to below a folder; a name that cannot be one here is left out.
pub(super) fn push_download(plan: &mut Plan, root: &Path, name: &str, file: StoredFile) {
    // What stands for the folder itself.
    if name.is_empty() {
        return;
    }
    match Landing::below(root, name) {
        Err(error) => {
            plan.left_out.push(error.message);
            plan.refused += 1;
        }
        // Tools make empty files of such names to stand for folders.
        Ok(to) if name.ends_with('/') => plan.tasks.push(Task::Folder {
            path: file.path,
            to,
        }),
        Ok(to) => plan.tasks.push(Task::Download { file, to }),
    }
}

/// The file at `path`.
pub(super) async fn existing(storage: &Storage, path: &str) -> Result<StoredFile, CliError> {
    storage.stat(path).await?.ok_or_else(|| {
        let message = format!("there is no file `{path}` in environment {}", storage.env());
        CliError::new(Exit::NotFound, message)
    })
}

/// The file of this name, if there is one, and all that are below it as a folder.
pub(super) async fn below(storage: &Storage, place: &Remote) -> Result<Vec<StoredFile>, CliError> {
    let mut files = match place.is_folder() {
        true => Vec::new(),
        false => storage.stat(&place.path).await?.into_iter().collect(),
    };
    let mut listed = std::pin::pin!(storage.files(&place.folder()));
    while let Some(file) = listed.try_next().await? {
        files.push(file);
        if files.len() > FILES_MAX {
            return Err(CliError::usage(format!(
                "there are more than {FILES_MAX} files below :{}: take one of its folders at a time",
                place.path
            )));
        }
    }
    if files.is_empty() {
        let message = format!(
            "there is nothing below `{}` in environment {}",
            place.folder(),
            storage.env()
        );
        return Err(CliError::new(Exit::NotFound, message));
    }
    Ok(files)
}
