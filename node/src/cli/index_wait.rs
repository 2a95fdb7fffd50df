//! `yunbase db index create --wait`: asks until an index is built, and shows on a terminal that it does.
//!
//! The build is the cluster's and goes on without us: an interrupted wait loses nothing.

use std::io::IsTerminal;
use std::time::Duration;

use bson::Document;
use indicatif::{ProgressBar, ProgressStyle};
use yunbase_client::Collection;

use super::exit::Exit;
use super::failure::CliError;

/// Pause before the first question: an index over a small collection is built at once.
const PAUSE_MIN: Duration = Duration::from_millis(20);
/// Pauses double up to this: a long build is not asked after more often.
const PAUSE_MAX: Duration = Duration::from_secs(1);
const SPINNER_TICK: Duration = Duration::from_millis(100);

/// Returns once index `name` of `collection` serves queries; fails when its build has failed or it is gone.
pub(super) async fn built(collection: &Collection<Document>, name: &str) -> Result<(), CliError> {
    let spinner = std::io::stderr().is_terminal().then(|| spinner(name));
    let outcome = wait(collection, name).await;
    if let Some(spinner) = spinner {
        spinner.finish_and_clear();
    }
    outcome
}

async fn wait(collection: &Collection<Document>, name: &str) -> Result<(), CliError> {
    let mut pause = PAUSE_MIN;
    loop {
        let indexes = collection.list_indexes().await?;
        let index = indexes
            .iter()
            .find(|index| index.get_str("name").is_ok_and(|known| known == name))
            .ok_or_else(|| {
                let message = format!("index {name} was dropped while it was built");
                CliError::new(Exit::NotFound, message)
            })?;
        match index.get_str("state") {
            Ok("ready") => return Ok(()),
            Ok("building") => {}
            Ok("failed") => return Err(failed(name, index)),
            other => {
                return Err(CliError::failed(format!(
                    "the cluster describes index {name} in a way this version does not know: state {other:?}"
                )));
            }
        }
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(PAUSE_MAX);
    }
}

/// A failed build stays until it is dropped. Its reason begins with a code, as every refusal does.
fn failed(name: &str, index: &Document) -> CliError {
    let reason = index.get_str("error").unwrap_or("no reason given");
    let code = reason.split(':').next().unwrap_or_default();
    let message =
        format!("index {name} could not be built: {reason}; drop it with `db index drop`");
    CliError::new(Exit::of_code(code), message)
}

fn spinner(name: &str) -> ProgressBar {
    let style = ProgressStyle::with_template("{spinner} {msg} {elapsed}")
        .unwrap_or_else(|_| ProgressStyle::default_spinner());
    let spinner = ProgressBar::new_spinner()
        .with_style(style)
        .with_message(format!("building index {name}"));
    spinner.enable_steady_tick(SPINNER_TICK);
    spinner
}
