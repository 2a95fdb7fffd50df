//! How far an import has come: the place in the file before which every row is settled.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use serde::{Deserialize, Serialize};

use super::Report;
use super::batch::Done;
use crate::cli::failure::CliError;
use crate::cli::json_file;

/// Progress that survives an interruption. Batches end in any order; only those without a gap before them count.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Checkpoint {
    /// The file or dump that is imported.
    source: String,
    /// Files of a dump that are done.
    #[serde(default)]
    finished: BTreeSet<String>,
    /// The file that is being imported, or was when the run was interrupted.
    #[serde(default)]
    current: String,
    /// Where the first unsettled row of the file begins.
    pub(super) offset: u64,
    /// Settled rows of the file.
    pub(super) rows: u64,
    /// Rows of the files that are done.
    #[serde(default)]
    rows_before: u64,
    written: u64,
    skipped: u64,
    rejected: u64,
    conflicts: u64,
    /// Number of the next batch without a gap.
    #[serde(skip)]
    next: u64,
    #[serde(skip)]
    ahead: BTreeMap<u64, Tally>,
}

#[derive(Debug, Clone, PartialEq)]
struct Tally {
    end_offset: u64,
    rows: u64,
    written: u64,
    skipped: u64,
    rejected: u64,
    conflicts: u64,
}

impl Checkpoint {
    /// Reads the checkpoint at `path`, which may not exist yet.
    pub(super) fn load(path: &Path, source: &Path) -> Result<Self, CliError> {
        let source = source.display().to_string();
        let Some(loaded) = json_file::load::<Self>(path, "a checkpoint")? else {
            return Ok(Self {
                source,
                ..Self::default()
            });
        };
        if loaded.source != source {
            let message = format!(
                "{} belongs to an import of {}",
                path.display(),
                loaded.source
            );
            return Err(CliError::usage(message));
        }
        Ok(loaded)
    }

    /// Replaces the checkpoint at `path` at once: a crash leaves the old one or the new one.
    pub(super) fn save(&self, path: &Path) -> Result<(), CliError> {
        json_file::save(path, self)
    }

    /// Takes note of a batch; true when the settled place moved.
    pub(super) fn finished(&mut self, done: &Done) -> bool {
        let tally = Tally {
            end_offset: done.end_offset,
            rows: done.rows,
            written: done.written,
            skipped: done.skipped,
            rejected: done.rejections.len() as u64,
            conflicts: done
                .rejections
                .iter()
                .filter(|rejection| rejection.conflict)
                .count() as u64,
        };
        self.ahead.insert(done.number, tally);
        let before = self.next;
        while let Some(tally) = self.ahead.remove(&self.next) {
            self.next += 1;
            self.offset = tally.end_offset;
            self.rows += tally.rows;
            self.written += tally.written;
            self.skipped += tally.skipped;
            self.rejected += tally.rejected;
            self.conflicts += tally.conflicts;
        }
        self.next > before
    }

    /// Whether an earlier run is done with this file.
    pub(super) fn has_finished(&self, part: &Path) -> bool {
        self.finished.contains(&part.display().to_string())
    }

    /// Begins with a file; true when an earlier run has begun with it, and may have written rows that are not settled.
    pub(super) fn begin_part(&mut self, part: &Path) -> bool {
        let part = part.display().to_string();
        let has_begun = self.current == part || self.offset > 0;
        self.current = part;
        has_begun
    }

    /// All rows of this file are settled; the next one begins at its beginning.
    pub(super) fn finish_part(&mut self, part: &Path) {
        self.finished.insert(part.display().to_string());
        self.rows_before += self.rows;
        (self.offset, self.rows, self.next) = (0, 0, 0);
    }

    /// What earlier runs did.
    pub(super) fn report(&self) -> Report {
        Report {
            rows: self.rows_before + self.rows,
            written: self.written,
            skipped: self.skipped,
            rejected: self.rejected,
            conflicts: self.conflicts,
            ..Report::default()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn done(number: u64, end_offset: u64) -> Done {
        Done {
            number,
            end_offset,
            rows: 10,
            written: 10,
            ..Done::default()
        }
    }

    #[test]
    fn only_batches_without_a_gap_count() {
        let mut checkpoint = Checkpoint::default();
        assert!(!checkpoint.finished(&done(1, 200)));
        assert_eq!(checkpoint.offset, 0);
        assert!(checkpoint.finished(&done(0, 100)));
        assert_eq!((checkpoint.offset, checkpoint.rows), (200, 20));
        assert!(!checkpoint.finished(&done(3, 400)));
    }

    #[test]
    fn it_survives_and_belongs_to_one_source() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("c.json");
        let mut checkpoint = Checkpoint::load(&path, Path::new("a.json")).unwrap();
        checkpoint.finished(&done(0, 7));
        checkpoint.save(&path).unwrap();
        assert_eq!(
            Checkpoint::load(&path, Path::new("a.json")).unwrap().offset,
            7
        );
        assert!(Checkpoint::load(&path, Path::new("b.json")).is_err());
        std::fs::write(&path, "{").unwrap();
        assert!(Checkpoint::load(&path, Path::new("a.json")).is_err());
    }

    #[test]
    fn files_of_a_dump_follow_each_other() {
        let mut checkpoint = Checkpoint::default();
        assert!(!checkpoint.begin_part(Path::new("a.bson")));
        assert!(checkpoint.begin_part(Path::new("a.bson")));
        checkpoint.finished(&done(0, 100));
        checkpoint.finish_part(Path::new("a.bson"));
        assert!(checkpoint.has_finished(Path::new("a.bson")));
        assert!(!checkpoint.has_finished(Path::new("b.bson")));
        assert!(!checkpoint.begin_part(Path::new("b.bson")));
        assert!(checkpoint.finished(&done(0, 50)));
        assert_eq!((checkpoint.offset, checkpoint.rows), (50, 10));
        assert_eq!(checkpoint.report().rows, 20);
    }
}
