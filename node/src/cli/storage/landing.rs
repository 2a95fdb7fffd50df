//! Where a downloaded file goes on this machine. Names come from a server and are not believed: nothing is ever written
//! outside of the folder that the user named, whatever they are.

use std::fs;
use std::io;
use std::path::{Component, Path, PathBuf};

use crate::cli::failure::CliError;

/// Ending of a file that is still arriving, and of what is known about it.
const PART: &str = ".yunbase-part";
const PART_STATE: &str = ".yunbase-part.json";
/// Ending of such a note while it is being written.
const PART_STATE_PARTIAL: &str = ".yunbase-part.json.partial";
/// Longest name that most file systems take.
const NAME_BYTES_MAX: usize = 255;

/// A place below a folder that the user named.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Landing {
    /// The folder, which the user trusts.
    root: PathBuf,
    /// Names below it, the last one that of the file. None of them can lead elsewhere.
    names: Vec<String>,
}

impl Landing {
    /// The place of the file `path` below `root`; one that would be elsewhere is refused.
    pub(super) fn below(root: &Path, path: &str) -> Result<Self, CliError> {
        let body = path.strip_suffix('/').unwrap_or(path);
        let names: Vec<String> = body.split('/').map(str::to_owned).collect();
        for name in &names {
            let refuse = |why: &str| {
                Err(CliError::failed(format!(
                    "`{}` is not downloaded: {why}",
                    path.escape_debug()
                )))
            };
            let mut parts = Path::new(name).components();
            let is_name = matches!(
                (parts.next(), parts.next()),
                (Some(Component::Normal(part)), None) if part == name.as_str()
            );
            if !is_name {
                return refuse("its name would lead out of the folder");
            }
            if name.chars().any(char::is_control) {
                return refuse("its name has control characters");
            }
            if is_part(name) {
                return refuse("its name is one that unfinished downloads have");
            }
        }
        Ok(Self {
            root: root.to_owned(),
            names,
        })
    }

    /// Exactly where the user says.
    pub(super) fn at(path: &Path) -> Result<Self, CliError> {
        let no_file = || CliError::usage(format!("{} cannot be a file", path.display()));
        let name = path.file_name().ok_or_else(no_file)?;
        let name = name
            .to_str()
            .ok_or_else(|| CliError::usage(format!("{} is not Unicode", path.display())))?;
        Ok(Self {
            root: path.parent().map(Path::to_owned).unwrap_or_default(),
            names: vec![name.to_owned()],
        })
    }

    /// The file.
    pub(super) fn path(&self) -> PathBuf {
        self.names
            .iter()
            .fold(self.root.clone(), |path, name| path.join(name))
    }

    /// Where it arrives.
    pub(super) fn part(&self) -> PathBuf {
        self.beside(PART)
    }

    /// What is known about what has arrived.
    pub(super) fn part_state(&self) -> PathBuf {
        self.beside(PART_STATE)
    }

    fn beside(&self, ending: &str) -> PathBuf {
        let name = self.names.last().map_or("", String::as_str);
        let beside = if name.len() + PART_STATE_PARTIAL.len() < NAME_BYTES_MAX {
            format!(".{name}{ending}")
        } else {
            // Too long with an ending: another name that only this file has.
            format!(".{}{ending}", &blake3::hash(name.as_bytes()).to_hex()[..32])
        };
        self.path().with_file_name(beside)
    }

    /// Makes the folders above the file. A link on the way, which another user may have put there, is not followed.
    pub(super) fn make_folders(&self) -> Result<(), CliError> {
        let folders = self.names.len().saturating_sub(1);
        self.make(folders)
    }

    /// Makes a folder of this name.
    pub(super) fn make_folder(&self) -> Result<(), CliError> {
        self.make(self.names.len())
    }

    fn make(&self, folders: usize) -> Result<(), CliError> {
        let failed = |path: &Path, error: io::Error| {
            CliError::failed(format!("cannot make {}: {error}", path.display()))
        };
        if !self.root.as_os_str().is_empty() {
            fs::create_dir_all(&self.root).map_err(|error| failed(&self.root, error))?;
        }
        let mut path = self.root.clone();
        for name in &self.names[..folders] {
            path.push(name);
            match fs::create_dir(&path) {
                Ok(()) => continue,
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                Err(error) => return Err(failed(&path, error)),
            }
            let there = fs::symlink_metadata(&path).map_err(|error| failed(&path, error))?;
            if !there.is_dir() {
                return Err(CliError::failed(format!(
                    "{} is a link or a file, where a folder would be: nothing is written through it",
                    path.display()
                )));
            }
        }
        Ok(())
    }
}

/// Whether a file of this name belongs to an unfinished download.
pub(super) fn is_part(name: &str) -> bool {
    [PART, PART_STATE, PART_STATE_PARTIAL]
        .iter()
        .any(|ending| name.ends_with(*ending))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_a_server_cannot_lead_out_of_the_folder() {
        let root = Path::new("/data");
        for good in ["a", "a/b.txt", "图片/一 二.png", "...", "a\\b", "folder/"] {
            let landing = Landing::below(root, good).unwrap();
            assert!(landing.path().starts_with(root), "{good}");
            assert_eq!(landing.path(), root.join(good.trim_end_matches('/')));
        }
        for bad in [
            "",
            "/",
            "/etc/passwd",
            "..",
            "../a",
            "a/../../b",
            "a/..",
            ".",
            "a/./b",
            "a//b",
            "a\0b",
            "a\nb",
            ".a.yunbase-part",
            ".a.yunbase-part.json",
        ] {
            assert!(Landing::below(root, bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn links_are_not_followed() {
        let outside = tempfile::tempdir().unwrap();
        let root = tempfile::tempdir().unwrap();
        std::os::unix::fs::symlink(outside.path(), root.path().join("link")).unwrap();
        let landing = Landing::below(root.path(), "link/a").unwrap();
        let error = landing.make_folders().unwrap_err();
        assert!(error.message.contains("link"), "{error}");
        let deep = Landing::below(root.path(), "x/y/z").unwrap();
        deep.make_folders().unwrap();
        deep.make_folders().unwrap();
        assert!(root.path().join("x/y").is_dir() && !root.path().join("x/y/z").exists());
        deep.make_folder().unwrap();
        assert!(root.path().join("x/y/z").is_dir());
    }

    #[test]
    fn what_arrives_has_a_name_of_its_own_however_long_the_name_is() {
        for name in ["a.txt".to_owned(), "x".repeat(255)] {
            let landing = Landing::below(Path::new("d"), &name).unwrap();
            for beside in [landing.part(), landing.part_state()] {
                let beside = beside.file_name().unwrap().to_str().unwrap().to_owned();
                assert!(
                    beside.len() <= NAME_BYTES_MAX && is_part(&beside),
                    "{beside}"
                );
            }
        }
    }

    #[test]
    fn a_place_that_the_user_names_is_taken_as_it_is() {
        assert_eq!(
            Landing::at(Path::new("a.txt")).unwrap().path(),
            Path::new("a.txt")
        );
        assert_eq!(
            Landing::at(Path::new("../b")).unwrap().path(),
            Path::new("../b")
        );
        assert!(Landing::at(Path::new("..")).is_err());
    }
}
