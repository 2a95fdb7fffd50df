//! A plan: what a command does with which files. It is made whole before anything is done, so that it can be shown instead,
//! and so that what deletes can be refused before anything has changed.

use futures::StreamExt as _;
use serde_json::json;
use tokio::sync::watch;
use yunbase_client::storage::Storage;

use super::Outcome;
use super::meter::{LINE_INTERVAL, Meter};
use super::task::{Done, Task};
use crate::cli::exit::Exit;
use crate::cli::failure::CliError;
use crate::cli::output::Printed;

/// What is to be done.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Plan {
    /// In any order; deletions follow when everything else has been done.
    pub(super) tasks: Vec<Task>,
    /// Files that are as they should be already.
    pub(super) unchanged: u64,
    /// What is left out, and why.
    pub(super) left_out: Vec<String>,
    /// How many of these were asked for: the command has not done all that it should.
    pub(super) refused: u64,
}

/// What came of several tasks.
#[derive(Default)]
struct Tally {
    done: Done,
    failed: u64,
    /// The first failure: how the command ends.
    first: Option<CliError>,
    /// There is one task only, whose failure is that of the command.
    is_alone: bool,
    is_interrupted: bool,
}

impl Plan {
    /// Refuses deletions that nobody has confirmed. Commands do not ask: what they would delete is shown by `--dry-run`.
    pub(super) fn check_deletions(&self, yes: bool, place: &str) -> Result<(), CliError> {
        let deletions = self.tasks.iter().filter(|task| task.is_deletion()).count();
        if deletions > 0 && !yes {
            let message = format!(
                "this would delete {deletions} files of {place}: look at them with --dry-run, and add --yes if you mean it"
            );
            return Err(CliError::new(Exit::Unsafe, message));
        }
        Ok(())
    }

    /// Shows it, as rows.
    pub(super) fn shown(&self) -> Outcome {
        self.left_out.iter().for_each(|text| eprintln!("{text}"));
        Outcome::of(Printed::Rows(self.tasks.iter().map(Task::shown).collect()))
    }

    /// Does it, `jobs` files at once. One that fails does not hold up the others.
    pub(super) async fn carry_out(self, storage: &Storage, jobs: usize) -> Outcome {
        let total = self.tasks.iter().map(Task::bytes).sum();
        let meter = Meter::new(total);
        self.left_out.iter().for_each(|text| meter.say(text));
        let (deletions, transfers): (Vec<Task>, Vec<Task>) =
            self.tasks.into_iter().partition(Task::is_deletion);
        let mut tally = Tally {
            is_alone: transfers.len() + deletions.len() == 1,
            ..Tally::default()
        };
        tally.run(transfers, storage, &meter, jobs).await;
        if tally.failed == 0 {
            tally.run(deletions, storage, &meter, jobs).await;
        } else if !deletions.is_empty() {
            meter.say("nothing is deleted, since not everything else could be done");
        }
        meter.finish();
        let Tally { done, failed, .. } = tally;
        let verdict = match tally.first {
            None if self.refused > 0 => Err(CliError::failed(format!(
                "{} files have names that cannot be used on this machine",
                self.refused
            ))),
            None => Ok(()),
            Some(error) if tally.is_alone => Err(error),
            Some(_) if tally.is_interrupted => Err(CliError::failed(
                "interrupted: the same command goes on where this one was",
            )),
            Some(error) => Err(CliError::new(error.exit, format!("{failed} files failed"))),
        };
        let seconds = (meter.seconds() * 1000.0).round() / 1000.0;
        let printed = Printed::Value(json!({
            "files": done.files, "bytes": done.bytes, "moved_bytes": done.moved_bytes,
            "unchanged": self.unchanged, "deleted": done.deleted, "failed": failed, "seconds": seconds,
        }));
        Outcome {
            printed: Some(printed),
            verdict,
        }
    }
}

impl Tally {
    async fn run(&mut self, tasks: Vec<Task>, storage: &Storage, meter: &Meter, jobs: usize) {
        let (stop, stopping) = watch::channel(false);
        let mut outcomes = futures::stream::iter(tasks)
            .map(|task| {
                let mut stopping = stopping.clone();
                async move {
                    // What has not begun when the user interrupts does not begin any more.
                    if *stopping.borrow() {
                        return Err(CliError::failed("interrupted"));
                    }
                    task.carry_out(storage, meter, &mut stopping).await
                }
            })
            .buffer_unordered(jobs.max(1));
        let mut lines = tokio::time::interval(LINE_INTERVAL);
        lines.tick().await;
        let mut interrupt = std::pin::pin!(tokio::signal::ctrl_c());
        loop {
            tokio::select! {
                outcome = outcomes.next() => match outcome {
                    Some(Ok(done)) => self.done += done,
                    Some(Err(error)) => self.fail(error, meter),
                    None => return,
                },
                _ = lines.tick() => meter.line(),
                _ = &mut interrupt, if !self.is_interrupted => {
                    // What is under way ends in an orderly way, so that it can go on later.
                    self.is_interrupted = true;
                    stop.send_replace(true);
                }
            }
        }
    }

    fn fail(&mut self, error: CliError, meter: &Meter) {
        self.failed += 1;
        if !self.is_alone && !self.is_interrupted {
            meter.complain(&error.message);
        }
        self.first.get_or_insert(error);
    }
}
