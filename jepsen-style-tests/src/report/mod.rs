//! What one run tells, as files of a folder and as a page.
//!
//! | file | for whom |
//! |---|---|
//! | `report.html` | people; one page that needs nothing else, but links to the files beside it |
//! | `results.json`, `nemesis.jsonl` | scripts |
//! | `history.edn` | Jepsen's own tools |
//! | `history.jsonl`, `run.json` | [`Run::read`], to draw the page again |

pub mod availability;
mod html;
mod results;
#[cfg(test)]
mod sample;
pub mod summary;
mod text;
pub mod timeline;

use std::fs::{self, File};
use std::io::{self, BufReader};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::check::Verdict;
use crate::history::{self, History};
use availability::Availability;

/// A fault that was there, and how one knows.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FaultRecord {
    /// Its kind: `kill-leader`, `partition-halves` ...
    pub name: String,
    /// The nodes it hit; one that led is named as such, as in `n2 (leader)`.
    pub targets: Vec<String>,
    /// What was done, in a sentence.
    pub what: String,
    /// When it began, by the clock of the history.
    pub start_ns: u64,
    /// When it had ended.
    pub end_ns: u64,
    /// What shows that it happened: packets dropped, `State: T`, a checksum before and after. Empty is none.
    pub proof: String,
}

impl FaultRecord {
    /// Whether it killed one node that led, and no other.
    pub fn kills_a_leader(&self) -> bool {
        let leads = |text: &str| text.contains("leader");
        let kills = ["kill", "power"]
            .iter()
            .any(|word| self.name.contains(word));
        kills && self.targets.len() == 1 && (leads(&self.name) || leads(&self.targets[0]))
    }
}

/// One run, after its end.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Run {
    /// What clients did.
    pub workload: String,
    /// What broke the cluster.
    pub nemeses: Vec<String>,
    /// What fixed the schedule.
    pub seed: u64,
    /// The nodes' names.
    pub nodes: Vec<String>,
    /// Where nodes ran: network namespaces, or loopback.
    pub mode: String,
    /// When it began, in milliseconds since 1970 by the machine's clock.
    pub started_unix_ms: u64,
    /// From its beginning to its end, by the clock of the history.
    pub duration_ns: u64,
    /// The command that repeats it.
    pub command: String,
    /// What clients saw; kept in a file of its own.
    #[serde(skip)]
    pub history: History,
    /// What the judges say of it.
    pub verdict: Verdict,
    /// What was broken, by beginning.
    pub faults: Vec<FaultRecord>,
    /// What else a reader must know: faults that this machine does not have, for example.
    pub notes: Vec<String>,
    /// The nodes' logs, relative to the folder.
    pub logs: Vec<String>,
    /// [`Availability::measure`] of the history and the faults.
    pub availability: Availability,
}

/// Why a run could not be written or read back.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The disk.
    #[error("{file}: {error}; check that the folder is there and has room")]
    Io {
        /// Which file.
        file: PathBuf,
        /// Why.
        error: io::Error,
    },
    /// A file of a run that is none.
    #[error("{file}: {error}; give the folder of a run that ended")]
    Json {
        /// Which file.
        file: PathBuf,
        /// Why.
        error: serde_json::Error,
    },
    /// The history.
    #[error("{file}: {error}")]
    History {
        /// Which file.
        file: PathBuf,
        /// Why.
        error: history::FileError,
    },
}

impl Run {
    /// Writes all files into `folder`, which must exist.
    pub fn write(&self, folder: &Path) -> Result<(), Error> {
        history::write(&self.history, folder).map_err(|error| Error::Io {
            file: folder.join("history.edn"),
            error,
        })?;
        let file = folder.join("run.json");
        let json = serde_json::to_vec_pretty(self).map_err(|error| Error::Json {
            file: file.clone(),
            error,
        })?;
        save(&file, &json)?;
        save(
            &folder.join("results.json"),
            format!("{:#}\n", results::results(self)).as_bytes(),
        )?;
        save(
            &folder.join("nemesis.jsonl"),
            results::nemesis(&self.faults).as_bytes(),
        )?;
        self.render(folder)
    }

    /// Writes `report.html` only: the other files of a run that was read back stay what they were.
    pub fn render(&self, folder: &Path) -> Result<(), Error> {
        save(&folder.join("report.html"), html::page(self).as_bytes())
    }

    /// Reads a run that was written.
    pub fn read(folder: &Path) -> Result<Self, Error> {
        let file = folder.join("run.json");
        let opened = File::open(&file).map_err(|error| Error::Io {
            file: file.clone(),
            error,
        })?;
        let mut run: Self = serde_json::from_reader(BufReader::new(opened))
            .map_err(|error| Error::Json { file, error })?;
        let file = folder.join("history.jsonl");
        run.history = history::read(&file).map_err(|error| Error::History { file, error })?;
        Ok(run)
    }
}

fn save(file: &Path, bytes: &[u8]) -> Result<(), Error> {
    fs::write(file, bytes).map_err(|error| Error::Io {
        file: file.to_owned(),
        error,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_run_is_read_as_it_was_written_and_drawn_again_alike() {
        let folder = tempfile::tempdir().unwrap();
        let run = sample::run(2_000);
        run.write(folder.path()).unwrap();
        let page = fs::read_to_string(folder.path().join("report.html")).unwrap();
        let edn = fs::read_to_string(folder.path().join("history.edn")).unwrap();

        let again = Run::read(folder.path()).unwrap();
        assert_eq!(again.verdict, run.verdict);
        assert_eq!(again.availability, run.availability);
        assert_eq!(
            again.availability,
            Availability::measure(&again.history, &again.faults)
        );
        again.render(folder.path()).unwrap();
        let drawn = fs::read_to_string(folder.path().join("report.html")).unwrap();
        assert!(
            drawn == page,
            "the page is another one when it is drawn again"
        );
        let kept = fs::read_to_string(folder.path().join("history.edn")).unwrap();
        assert!(kept == edn, "drawing the page again touched the history");
    }

    #[test]
    fn a_folder_without_a_run_is_refused_by_name() {
        let folder = tempfile::tempdir().unwrap();
        let error = Run::read(folder.path()).unwrap_err().to_string();
        assert!(error.contains("run.json"), "{error}");
        fs::write(folder.path().join("run.json"), "{}").unwrap();
        let error = Run::read(folder.path()).unwrap_err().to_string();
        assert!(error.contains("the folder of a run that ended"), "{error}");
    }

    #[test]
    fn only_the_death_of_one_leader_is_a_failover() {
        let kills = |name, targets: &[&str]| sample::fault(name, targets, 0, 1).kills_a_leader();
        assert!(kills("kill-leader", &["n1"]));
        assert!(kills("kill-one", &["n1 (leader)"]));
        assert!(kills("power-loss", &["n3 (leader)"]));
        assert!(!kills("kill-one", &["n1"]));
        assert!(!kills("kill-majority", &["n1 (leader)", "n2", "n3"]));
        assert!(!kills("pause-leader", &["n1"]));
    }
}
