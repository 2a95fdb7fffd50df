//! How far an export has come: a size of the file, and the place in the collection that belongs to it.

use std::collections::BTreeMap;
use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::cli::failure::CliError;
use crate::cli::json_file;

/// Progress that survives an interruption.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Checkpoint {
    /// What is exported, and how.
    export: String,
    /// Collections that are done, and how many documents each had.
    pub(super) finished: BTreeMap<String, u64>,
    /// The one that is under way.
    pub(super) current: Option<Current>,
}

/// A collection under way.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Current {
    pub(super) collection: String,
    /// Where the next page begins, in hexadecimal digits.
    pub(super) after: String,
    /// Size of the file.
    pub(super) bytes: u64,
    /// Documents in it.
    pub(super) documents: u64,
    /// Columns of CSV.
    pub(super) columns: Vec<String>,
}

impl Checkpoint {
    /// Reads the checkpoint at `path`, which may not exist yet.
    pub(super) fn load(path: &Path, export: &str) -> Result<Self, CliError> {
        let Some(loaded) = json_file::load::<Self>(path, "a checkpoint")? else {
            return Ok(Self {
                export: export.to_owned(),
                ..Self::default()
            });
        };
        if loaded.export != export {
            let message = format!("{} belongs to another export", path.display());
            return Err(CliError::usage(message));
        }
        Ok(loaded)
    }

    /// Replaces the checkpoint at `path` at once.
    pub(super) fn save(&self, path: &Path) -> Result<(), CliError> {
        json_file::save(path, self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_survives_and_belongs_to_one_export() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("progress.json");
        let mut checkpoint = Checkpoint::load(&path, "a").unwrap();
        checkpoint.current = Some(Current {
            collection: "c".into(),
            bytes: 7,
            ..Current::default()
        });
        checkpoint.save(&path).unwrap();
        assert_eq!(Checkpoint::load(&path, "a").unwrap(), checkpoint);
        assert!(Checkpoint::load(&path, "b").is_err());
    }
}
