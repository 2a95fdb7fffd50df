//! The files of a folder of this machine.

use std::fs;
use std::path::{Path, PathBuf};

use super::landing::is_part;
use crate::cli::failure::CliError;

/// Most files of one command: what is to be done with each is kept in memory.
pub(super) const FILES_MAX: usize = 4 << 20;

/// A file below a folder.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct LocalFile {
    /// Its path below the folder, with `/`.
    pub(super) name: String,
    /// Where it is.
    pub(super) path: PathBuf,
    /// Size.
    pub(super) bytes: u64,
}

/// What a folder holds.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Walked {
    /// Files, by name.
    pub(super) files: Vec<LocalFile>,
    /// What was left out, and why.
    pub(super) left_out: Vec<String>,
}

/// All files below `root`. Links are left out: they may lead anywhere, also back.
pub(super) fn walk(root: &Path) -> Result<Walked, CliError> {
    let mut walked = Walked::default();
    let mut folders = vec![(root.to_owned(), String::new())];
    while let Some((folder, prefix)) = folders.pop() {
        let failed = |error: std::io::Error| {
            CliError::failed(format!("cannot read {}: {error}", folder.display()))
        };
        for entry in fs::read_dir(&folder).map_err(failed)? {
            let entry = entry.map_err(failed)?;
            let path = entry.path();
            let leave_out = |why: &str| format!("{} is left out: {why}", path.display());
            let file_name = entry.file_name();
            let Some(name) = file_name.to_str() else {
                walked.left_out.push(leave_out("its name is not Unicode"));
                continue;
            };
            let kind = entry.file_type().map_err(failed)?;
            let name_below = format!("{prefix}{name}");
            if kind.is_dir() {
                folders.push((path, format!("{name_below}/")));
            } else if is_part(name) {
                // The rest of an unfinished download.
            } else if kind.is_file() {
                let bytes = entry.metadata().map_err(failed)?.len();
                walked.files.push(LocalFile {
                    name: name_below,
                    path,
                    bytes,
                });
                if walked.files.len() > FILES_MAX {
                    return Err(CliError::usage(format!(
                        "{} has more than {FILES_MAX} files: take one of its folders at a time",
                        root.display()
                    )));
                }
            } else {
                walked.left_out.push(leave_out("it is a link or no file"));
            }
        }
    }
    walked.files.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(walked)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_found_and_links_are_left_out() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path();
        fs::create_dir_all(root.join("b/c")).unwrap();
        fs::write(root.join("b/c/2"), "22").unwrap();
        fs::write(root.join("a"), "1").unwrap();
        fs::write(root.join(".a.yunbase-part"), "1").unwrap();
        std::os::unix::fs::symlink("/", root.join("b/link")).unwrap();
        let walked = walk(root).unwrap();
        let found: Vec<_> = walked
            .files
            .iter()
            .map(|f| (f.name.as_str(), f.bytes))
            .collect();
        assert_eq!(found, [("a", 1), ("b/c/2", 2)]);
        assert_eq!(walked.left_out.len(), 1);
        assert!(walk(&root.join("missing")).is_err());
    }
}
